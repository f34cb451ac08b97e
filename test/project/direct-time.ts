import ts from 'typescript';
import { globalsOf, placeOf, type SourceFile, walk } from './source-tree.ts';

const GLOBALS = new Set(['Date', 'performance', 'setTimeout', 'setInterval', 'setImmediate']);
const MODULES = new Set(['nanoid', 'node:timers', 'node:timers/promises', 'node:perf_hooks']);
const MEMBERS = new Set(['randomUUID', 'getRandomValues', 'randomBytes', 'randomInt', 'randomFillSync', 'hrtime']);

/**
 * Where a file asks the host for time, timers or randomness. The linter refuses the plain forms as they are written;
 * this also sees those that it cannot: computed names, names taken out of an object.
 */
export function directTimeIn(file: SourceFile): string[] {
  const found = new Set<ts.Node>();
  for (const node of globalsOf(file)) {
    if (GLOBALS.has(node.text)) found.add(node);
    else if (node.text === 'Math' && memberOf(node, 'random')) found.add(node);
    else if (node.text === 'AbortSignal' && memberOf(node, 'timeout')) found.add(node);
    else if (node.text === 'globalThis' && [...GLOBALS].some((name) => memberOf(node, name))) found.add(node);
  }
  walk(file.tree, (node) => {
    if (ts.isIdentifier(node) && MEMBERS.has(node.text)) found.add(node);
    if (ts.isStringLiteralLike(node) && MODULES.has(node.text)) found.add(node);
  });
  return [...found].map((node) => `${placeOf(file, node)}: ${node.getText(file.tree)}`);
}

/** Whether `name` is read from the object, by dot, bracket or destructuring; anything computed may be it. */
function memberOf(object: ts.Identifier, name: string): boolean {
  const { parent } = object;
  if (ts.isPropertyAccessExpression(parent)) return parent.name.text === name;
  if (ts.isElementAccessExpression(parent)) {
    const index = parent.argumentExpression;
    return !ts.isStringLiteralLike(index) || index.text === name;
  }
  if (!ts.isVariableDeclaration(parent) || !ts.isObjectBindingPattern(parent.name)) return false;
  return parent.name.elements.some((element) => (element.propertyName ?? element.name).getText() === name);
}

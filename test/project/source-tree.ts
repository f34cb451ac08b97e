import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

export const ROOT = path.resolve(import.meta.dirname, '../..');

/** One file of src, named from there with slashes: `storage/keys.ts`. */
export interface SourceFile {
  readonly name: string;
  readonly text: string;
  readonly tree: ts.SourceFile;
  readonly imports: readonly Import[];
}

export interface Import {
  readonly specifier: string;
  /** Gone at run time. */
  readonly typeOnly: boolean;
  /** Asked of the host by `getBuiltinModule`, which has no answer where there is no Node. */
  readonly asked: boolean;
  /** The file of src it leads to, if it is relative. */
  readonly target: string | undefined;
}

/** Every file of src, parsed once. */
export const SOURCES: readonly SourceFile[] = readdirSync(path.join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => name.replaceAll(path.sep, '/'))
  .sort()
  .map((name) => sourceFile(name, readFileSync(path.join(ROOT, 'src', name), 'utf8')));

export function sourceFile(name: string, text: string): SourceFile {
  const tree = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true);
  return { name, text, tree, imports: importsOf(tree, name) };
}

/** Calls back with every node of a file. */
export function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  ts.forEachChild(node, (child) => walk(child, visit));
}

/** Identifiers that the file uses and does not declare itself: the globals. */
export function globalsOf({ tree }: SourceFile): ts.Identifier[] {
  const declared = new Set<string>();
  const used: ts.Identifier[] = [];
  walk(tree, (node) => {
    if (!ts.isIdentifier(node)) return;
    if (isDeclared(node)) declared.add(node.text);
    else if (!isMemberName(node) && !isInType(node)) used.push(node);
  });
  return used.filter(({ text }) => !declared.has(text));
}

/** `name:line` of a node, for a failing test. */
export function placeOf({ name, tree }: SourceFile, node: ts.Node): string {
  return `${name}:${tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1}`;
}

function importsOf(tree: ts.SourceFile, name: string): Import[] {
  const found: Import[] = [];
  const add = (node: ts.Node | undefined, typeOnly: boolean, asked = false): void => {
    if (!node || !ts.isStringLiteralLike(node)) return;
    const specifier = node.text;
    const target = specifier.startsWith('.') ? path.posix.join(path.posix.dirname(name), specifier) : undefined;
    found.push({ specifier, typeOnly, asked, target });
  };
  walk(tree, (node) => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.isTypeOnly ?? false);
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true);
    else if (ts.isCallExpression(node)) {
      if (isLoader(node.expression)) add(node.arguments[0], false);
      else if (isMember(node.expression, 'getBuiltinModule')) add(node.arguments[0], false, true);
    }
  });
  return found;
}

/** `import(…)`, `require(…)`. */
function isLoader(called: ts.Expression): boolean {
  return called.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(called) && called.text === 'require');
}

function isMember(node: ts.Expression, name: string): boolean {
  return ts.isPropertyAccessExpression(node) && node.name.text === name;
}

function isDeclared(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isImportSpecifier(parent) || ts.isImportClause(parent) || ts.isNamespaceImport(parent)) return true;
  if (ts.isBindingElement(parent)) return parent.name === node;
  const declares =
    ts.isVariableDeclaration(parent) ||
    ts.isParameter(parent) ||
    ts.isFunctionDeclaration(parent) ||
    ts.isFunctionExpression(parent) ||
    ts.isClassDeclaration(parent) ||
    ts.isInterfaceDeclaration(parent) ||
    ts.isTypeAliasDeclaration(parent) ||
    ts.isTypeParameterDeclaration(parent);
  return declares && parent.name === node;
}

/** A name behind a dot, or of a member or a label: no variable. */
function isMemberName(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.name === node;
  if (ts.isBindingElement(parent)) return parent.propertyName === node;
  if (ts.isShorthandPropertyAssignment(parent)) return false;
  if (ts.isExportSpecifier(parent)) return parent.propertyName !== undefined && parent.name === node;
  return (ts.isPropertyAssignment(parent) || ts.isClassElement(parent) || ts.isTypeElement(parent)) && parent.name === node;
}

function isInType(node: ts.Node): boolean {
  for (let at: ts.Node | undefined = node.parent; at; at = at.parent) {
    if (ts.isTypeNode(at) && !ts.isExpressionWithTypeArguments(at)) return true;
    if (ts.isStatement(at)) return false;
  }
  return false;
}

// What there is to say about one file.
import { functionsIn, withoutTexts } from './scanner.mjs';

const LONG_FUNCTION = 40;

/** A finding: plain JSON, small enough for thousands of them. */
export function surveyOf({ file, language, directory }, text) {
  const common = { file, language, directory, bytes: Buffer.byteLength(text), lines: linesOf(text), todos: todosIn(text) };
  if (language === 'typescript' || language === 'javascript') return { ...common, ...codeFacts(text) };
  if (language === 'markdown') return { ...common, ...markdownFacts(text) };
  if (language === 'json') return { ...common, ...jsonFacts(text) };
  return common;
}

/** Whether a reviewer should look at it. */
export function isNoteworthy({ longest, problem, todos }) {
  return problem !== undefined || todos.length > 0 || (longest?.lines ?? 0) >= LONG_FUNCTION;
}

function codeFacts(text) {
  const code = withoutTexts(text);
  const functions = functionsIn(code);
  const [longest] = functions.sort((a, b) => b.lines - a.lines);
  return { imports: importsIn(text), exports: exportsIn(code), functions: functions.length, ...(longest && { longest }) };
}

function importsIn(text) {
  const found = text.matchAll(/^(?:import\s*|(?:import|export)\b[^'"`;]*?\bfrom\s*)['"]([^'"\n]+)['"]/gm);
  return [...new Set([...found].map(([, name]) => name))];
}

function exportsIn(code) {
  const declared = code.matchAll(
    /^export\s+(?:default\s+)?(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?(?:function\s*\*?|class|const|let|var|interface|type|enum)\s+([\w$]+)/gm,
  );
  return [...declared].map(([, name]) => name);
}

function todosIn(text) {
  return text.split('\n').flatMap((line, index) => (/(?:\/\/|\/\*|#|<!--|\*)\s*(?:TODO|FIXME)\b/.test(line) ? [index + 1] : []));
}

function markdownFacts(text) {
  const headings = text.match(/^#{1,6} .+$/gm) ?? [];
  return { headings: headings.length, codeBlocks: Math.floor((text.match(/^```/gm) ?? []).length / 2) };
}

function jsonFacts(text) {
  try {
    const value = JSON.parse(text);
    return { entries: typeof value === 'object' && value !== null ? Object.keys(value).length : 1 };
  } catch {
    // Configuration files may have comments, and are no JSON then.
    return { problem: 'no plain JSON' };
  }
}

function linesOf(text) {
  return text === '' ? 0 : text.split('\n').length - (text.endsWith('\n') ? 1 : 0);
}

// Reads code of the C family without a parser: where its functions are, when comments and texts are out of the way.

const BEFORE_REGEX = /(?:^|[(,=:[!&|?{};+\-*%~^<>]|\b(?:return|typeof|case|of|in|do|else|void|await|yield))\s*$/;

/** The code with comments, texts and regular expressions replaced by spaces; lines stay where they are. */
export function withoutTexts(code) {
  const out = [];
  /** For each `${` that is open: how many braces are open in it. */
  const templates = [];
  const blank = (from, to) => {
    for (let at = from; at < to; at++) out.push(code[at] === '\n' ? '\n' : ' ');
    return to;
  };
  for (let at = 0; at < code.length; ) {
    const two = code.slice(at, at + 2);
    const one = two[0];
    if (two === '//') at = blank(at, ends(code, '\n', at));
    else if (two === '/*') at = blank(at, Math.min(code.length, ends(code, '*/', at + 2) + 2));
    else if (one === '"' || one === "'") at = blank(at, endOfText(code, at, one));
    else if (one === '`' || (one === '}' && templates.at(-1) === 0)) {
      if (one === '}') templates.pop();
      const end = endOfTemplate(code, at + 1);
      if (code.startsWith('${', end)) templates.push(0);
      at = blank(at, Math.min(code.length, end + (code[end] === '`' ? 1 : 2)));
    } else if (one === '/' && BEFORE_REGEX.test(out.slice(-40).join(''))) at = blank(at, endOfRegex(code, at));
    else {
      if (templates.length > 0 && one === '{') templates[templates.length - 1] += 1;
      if (templates.length > 0 && one === '}') templates[templates.length - 1] -= 1;
      out.push(one);
      at += 1;
    }
  }
  return out.join('');
}

const NAMED =
  /(?:function\s*\*?\s*([\w$]+)|(?:const|let|var)\s+([\w$]+)[^=;]*=\s*(?:async\s*)?(?=\(|[\w$]+\s*=>)|([\w$#]+))\s*(?:<[^<>()]*>)?\s*\(/g;
const HEAD_END = /(?:\)\s*(?::\s*[^;{}()]+)?|=>)\s*$/;
const NOT_A_NAME = new Set(['if', 'for', 'while', 'switch', 'catch', 'with', 'function', 'return', 'await', 'super', 'new']);
/** A head of a function is rarely longer. */
const HEAD = 400;

/** The functions that have a name, as `{ name, line, lines }`. */
export function functionsIn(code) {
  const found = [];
  const open = [];
  let line = 1;
  for (let at = 0; at < code.length; at++) {
    if (code[at] === '\n') line += 1;
    else if (code[at] === '{') open.push({ name: nameBefore(code, at), line });
    else if (code[at] === '}') {
      const begun = open.pop();
      if (begun?.name !== undefined) found.push({ name: begun.name, line: begun.line, lines: line - begun.line + 1 });
    }
  }
  return found;
}

function nameBefore(code, brace) {
  const before = code.slice(Math.max(0, brace - HEAD), brace);
  const head = before.slice(1 + Math.max(before.lastIndexOf('{'), before.lastIndexOf('}'), before.lastIndexOf(';')));
  if (!HEAD_END.test(head)) return undefined;
  // The first call-like word begins the head; an arrow without a name is somebody's argument.
  const [, declared, assigned, method] = NAMED.exec(head) ?? [];
  NAMED.lastIndex = 0;
  const name = declared ?? assigned ?? (/=>\s*$/.test(head) || /[=.(,]\s*$/.test(head) ? undefined : method);
  return name === undefined || NOT_A_NAME.has(name) || new RegExp(`\\.\\s*${escaped(name)}\\s*\\(`).test(head) ? undefined : name;
}

function escaped(text) {
  return text.replace(/[$]/g, '\\$&');
}

function ends(code, what, from) {
  const at = code.indexOf(what, from);
  return at < 0 ? code.length : at;
}

function endOfText(code, from, quote) {
  for (let at = from + 1; at < code.length; at++) {
    if (code[at] === '\\') at += 1;
    else if (code[at] === quote) return at + 1;
    else if (code[at] === '\n') return at;
  }
  return code.length;
}

/** Where a template ends or is interrupted by `${`. */
function endOfTemplate(code, from) {
  for (let at = from; at < code.length; at++) {
    if (code[at] === '\\') at += 1;
    else if (code[at] === '`' || code.startsWith('${', at)) return at;
  }
  return code.length;
}

function endOfRegex(code, from) {
  let inClass = false;
  for (let at = from + 1; at < code.length && code[at] !== '\n'; at++) {
    if (code[at] === '\\') at += 1;
    else if (code[at] === '[') inClass = true;
    else if (code[at] === ']') inClass = false;
    else if (code[at] === '/' && !inClass) return at + 1;
  }
  // It was a division after all.
  return from + 1;
}

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT } from './source-tree.ts';

/** A fenced block of code. */
export interface CodeBlock {
  readonly language: string;
  readonly code: string;
  /** Of the first line of code. */
  readonly line: number;
}

export function readDocument(name: string): string {
  return readFileSync(path.join(ROOT, name), 'utf8');
}

export function codeBlocks(markdown: string): CodeBlock[] {
  const blocks: CodeBlock[] = [];
  let open: { language: string; lines: string[]; line: number } | undefined;
  for (const [index, line] of markdown.split('\n').entries()) {
    const fence = /^```\s*([\w-]*)/.exec(line);
    if (open && line.startsWith('```')) {
      blocks.push({ language: open.language, code: `${open.lines.join('\n')}\n`, line: open.line });
      open = undefined;
    } else if (open) open.lines.push(line);
    else if (fence) open = { language: fence[1] ?? '', lines: [], line: index + 2 };
  }
  return blocks;
}

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CodeBlock, codeBlocks, readDocument } from './readme.ts';
import { type Ran, runNode } from './run.ts';
import { ROOT } from './source-tree.ts';

const blocks = codeBlocks(readDocument('README.md'));
const js = blocks.filter(isProgram);
const ts = blocks.filter(({ language }) => language === 'ts' || language === 'typescript');
/** Other documents whose programs are whole. */
const DOCUMENTS = ['docs/errors.md', 'docs/events.md', 'docs/testing-your-agents.md'];

/** Inside the project, so that the blocks import the package by its own name. */
const scratch = path.join(ROOT, '.cache', `readme-${process.pid}`);
let elsewhere: string;

beforeAll(() => {
  mkdirSync(scratch, { recursive: true });
  elsewhere = mkdtempSync(path.join(tmpdir(), 'readme-'));
});

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
  rmSync(elsewhere, { recursive: true, force: true });
});

describe('README', () => {
  it('names the two commands of a fresh machine', () => {
    const commands = blocks
      .filter(({ language }) => language === 'sh' || language === 'bash')
      .flatMap(({ code }) => code.split('\n'));
    expect(commands).toContain('npm ci && npm run demo');
    expect(commands).toContain('npm ci && npm test');
  });

  it('begins with the quick start that is in examples', () => {
    expect(js[0]?.code.trim()).toBe(readDocument('examples/quick-start.mjs').trim());
  });

  it.each(js)('runs the code at line $line, and prints what it says', runs);

  it('has JavaScript whose types are known where it is TypeScript', async () => {
    // Whether something may be missing is a question that the examples in JavaScript leave out.
    const { code, output } = await compile(js, { strictNullChecks: false });
    expect(code, output).toBe(0);
  });

  it('has TypeScript that compiles against the types that are shipped', async () => {
    if (ts.length === 0) return;
    const { code, output } = await compile(ts, {});
    expect(code, output).toBe(0);
  });
});

describe.each(DOCUMENTS)('%s', (name) => {
  const programs = codeBlocks(readDocument(name)).filter(isProgram);

  it.each(programs)('runs the code at line $line, and prints what it says', runs);

  it('has JavaScript whose types are known where it is TypeScript', async () => {
    const { code, output } = await compile(programs, { strictNullChecks: false });
    expect(code, output).toBe(0);
  });
});

function isProgram({ language }: CodeBlock): boolean {
  return language === 'js' || language === 'javascript' || language === 'mjs';
}

async function runs(block: CodeBlock): Promise<void> {
  const file = path.join(mkdtempSync(path.join(scratch, 'run-')), `line-${block.line}.mjs`);
  writeFileSync(file, block.code);
  const { code, stdout, output } = await runNode([file], elsewhere);
  expect(code, output).toBe(0);
  expect(promised(block).filter((line) => !stdout.split('\n').includes(line), output)).toEqual([]);
}

function compile(blocks: readonly CodeBlock[], options: Record<string, unknown>): Promise<Ran> {
  const folder = mkdtempSync(path.join(scratch, 'compile-'));
  const files = blocks.map(({ code, line }) => {
    const file = path.join(folder, `line-${line}.mts`);
    writeFileSync(file, code);
    return file;
  });
  const common = { target: 'ES2023', module: 'NodeNext', strict: true, noEmit: true, types: ['node'], skipLibCheck: true };
  writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: { ...common, ...options }, files }));
  return runNode([path.join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', folder], folder);
}

/** What a block promises to print: `// prints: …`, on a line of its own or at the end of one. */
function promised({ code }: CodeBlock): string[] {
  return [...code.matchAll(/\/\/ prints: (.*)$/gm)].map(([, line]) => line ?? '');
}

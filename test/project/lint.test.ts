import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runNode } from './run.ts';
import { ROOT } from './source-tree.ts';

const CLOCK = 'noRestrictedGlobals';
const MEMBER = 'noJsRestrictedProperties';

const REFUSED: readonly (readonly [code: string, rule: string])[] = [
  ['export const at = Date.now();', CLOCK],
  ['export const at = new Date();', CLOCK],
  ['export const { now } = Date;', CLOCK],
  ['export const at = performance.now();', CLOCK],
  ['setTimeout(() => {}, 1);', CLOCK],
  ['export const timers = { setTimeout };', CLOCK],
  ['setInterval(() => {}, 1);', CLOCK],
  ['setImmediate(() => {});', CLOCK],
  ['globalThis.setTimeout(() => {}, 1);', MEMBER],
  ['export const at = globalThis.Date.now();', MEMBER],
  ['export const part = Math.random();', MEMBER],
  ["export const part = Math['random']();", MEMBER],
  ['export const { random } = Math;', MEMBER],
  ['export const id = crypto.randomUUID();', MEMBER],
  ['export const bytes = crypto.getRandomValues(new Uint8Array(8));', MEMBER],
  ['export const signal = AbortSignal.timeout(5);', MEMBER],
  ['export const at = process.hrtime.bigint();', MEMBER],
  ["import { nanoid } from 'nanoid';\nexport const id = nanoid();", 'noRestrictedImports'],
  ["import { setTimeout as sleep } from 'node:timers/promises';\nexport const wait = sleep;", 'noRestrictedImports'],
  ["import { readFileSync } from 'node:fs';\nexport const read = readFileSync;", 'noNodejsModules'],
  ["console.log('here');", 'noConsole'],
  ['export const value: any = 1;', 'noExplicitAny'],
  ['export default 1;', 'noDefaultExport'],
];

const ALLOWED: readonly (readonly [file: string, code: string])[] = [
  ['src/kernel/time.ts', 'export const at = Date.now() + Math.random();'],
  ['src/storage/turn.ts', 'queueMicrotask(() => {});'],
  ['src/storage/wait.ts', 'export const wait = (clock: { setTimeout(): void }) => clock.setTimeout();'],
  ['src/adapters/sqlite/file.ts', "import { readFileSync } from 'node:fs';\n\nexport const read = readFileSync;"],
];

/** The rules that each file breaks, by its name. */
let broken: Map<string, Set<string>>;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'lint-'));
  copyFileSync(path.join(ROOT, 'biome.json'), path.join(folder, 'biome.json'));
  for (const [index, [code]] of REFUSED.entries()) {
    for (const layer of ['storage', 'testing']) write(`src/${layer}/refused-${index}.ts`, code);
  }
  for (const [file, code] of ALLOWED) write(file, code);
  const biome = path.join(ROOT, 'node_modules', '@biomejs', 'biome', 'bin', 'biome');
  const { output } = await runNode([biome, 'lint', '--reporter=github', '--max-diagnostics=none', '.'], folder);
  broken = new Map();
  for (const [, rule = '', file = ''] of output
    .replaceAll('\\', '/')
    .matchAll(/title=lint\/\w+\/(\w+),file=[^,]*(src\/[^,]+)/g)) {
    broken.set(file, (broken.get(file) ?? new Set()).add(rule));
  }
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, code: string): void {
  const file = path.join(folder, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `${code}\n`);
}

describe('the linter', () => {
  it.each(REFUSED.map(([code, rule], index) => ({ code, rule, index })))('refuses in src: $code', ({ rule, index }) => {
    expect([...(broken.get(`src/storage/refused-${index}.ts`) ?? [])]).toContain(rule);
    expect([...(broken.get(`src/testing/refused-${index}.ts`) ?? [])]).toContain(rule);
  });

  it.each(ALLOWED)('allows in %s: %s', (file) => {
    expect([...(broken.get(file) ?? [])]).toEqual([]);
  });
});

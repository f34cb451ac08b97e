import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { ROOT } from './source-tree.ts';

interface Mistake {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  readonly test: string;
}

// A script of the long runs, without types.
const table: string = '../soak/mistakes.table.mjs';
const { MISTAKES } = (await import(table)) as { readonly MISTAKES: readonly Mistake[] };

it('are at least 25, each with a name of its own', () => {
  expect(new Set(MISTAKES.map(({ name }) => name)).size).toBe(MISTAKES.length);
  expect(MISTAKES.length).toBeGreaterThanOrEqual(25);
});

it.each(MISTAKES)('"$name" can still be made, and the test that is to notice is there', ({ file, find, replace, test }) => {
  expect(readFileSync(path.join(ROOT, file), 'utf8').split(find)).toHaveLength(2);
  expect(replace).not.toBe(find);
  expect(existsSync(path.join(ROOT, test))).toBe(true);
});

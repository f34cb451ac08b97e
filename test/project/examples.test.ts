import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { readDocument } from './readme.ts';
import { runNode } from './run.ts';
import { ROOT } from './source-tree.ts';

const folder = path.join(ROOT, 'examples');
const examples = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.mjs')) : [];
const elsewhere = mkdtempSync(path.join(tmpdir(), 'examples-'));

afterAll(() => rmSync(elsewhere, { recursive: true, force: true }));

it('has a quick start', () => {
  expect(examples).toContain('quick-start.mjs');
});

it('has an example of each part', () => {
  const parts = ['discovery-and-messaging', 'code-review', 'competing-writers', 'steer-and-kill', 'session-keys', 'existing-bus'];
  expect(examples).toEqual(expect.arrayContaining([...parts, 'fifty-agents', 'custom-storage'].map((name) => `${name}.mjs`)));
});

// The storage has its cases to check it, and the quick start is the README's, whose test looks at what it prints.
it.each(examples.filter((name) => !['custom-storage.mjs', 'quick-start.mjs'].includes(name)))(
  '%s fits on a screen and checks itself',
  (name) => {
    const text = readDocument(`examples/${name}`);
    expect(text.split('\n').length - 1).toBeLessThan(80);
    expect(text).toContain("from 'node:assert/strict'");
  },
);

it.each(examples)('%s runs to its end', async (name) => {
  const { code, output } = await runNode([path.join(folder, name)], elsewhere);
  expect(code, output).toBe(0);
});

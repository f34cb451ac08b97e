import { existsSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { readDocument } from './readme.ts';
import { ROOT } from './source-tree.ts';

const document = readDocument('docs/guarantees.md');
const rows = document.split('\n').filter((line) => /^\| \*\*/.test(line));
const proofs = [...document.matchAll(/`((?:test|src)\/[\w./-]+\.ts)` "([^"]+)"/g)].map(([, file = '', name = '']) => ({
  file,
  name,
}));

describe('the guarantees', () => {
  it('have a proof each', () => {
    expect(rows.length).toBeGreaterThan(20);
    expect(rows.filter((row) => !/`(test|src)\/[\w./-]+` "/.test(row))).toEqual([]);
  });

  it.each(proofs)('are proved by $file: $name', ({ file, name }) => {
    expect(existsSync(path.join(ROOT, file)), file).toBe(true);
    // Not only in a comment: in the text of a name.
    const texts = readDocument(file).match(/'[^'\n]*'|`[^`]*`|"[^"\n]*"/g) ?? [];
    expect(texts.filter((text) => text.includes(name))).not.toEqual([]);
  });
});

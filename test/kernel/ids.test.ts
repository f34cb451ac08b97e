import { expect, it } from 'vitest';
import { generateId } from '../../src/kernel/ids.ts';

it('makes ids of a prefix and 21 letters or digits', () => {
  for (let count = 0; count < 1000; count++) expect(generateId('msg')).toMatch(/^msg_[0-9A-Za-z]{21}$/);
});

it('makes no id twice', () => {
  const ids = Array.from({ length: 20_000 }, () => generateId('s'));
  expect(new Set(ids).size).toBe(ids.length);
});

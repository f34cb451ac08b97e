import { SqliteStorage } from '../../dist/sqlite.js';
import { temporaryFile } from './temporary.mjs';

const TOGETHER = 500;

/** An operation that does so many of a kind, one after the other. */
export const times = (work) => async (count) => {
  for (let n = 0; n < count; n++) await work(n);
};

/** Fills something with so many, some at a time. */
export async function inParts(size, work) {
  for (let start = 0; start < size; start += TOGETHER) {
    await Promise.all(Array.from({ length: Math.min(TOGETHER, size - start) }, (_, n) => work(start + n)));
  }
}

/** The curve in memory and on a file. */
export function onBoth({ name, about, open, ...rest }) {
  return [
    { name: `${name}, memory`, about, ...rest, open: (size) => open(size, {}) },
    {
      name: `${name}, SQLite`,
      about: `${about}; on a file, \`synchronous\` NORMAL`,
      ...rest,
      open: async (size) => open(size, { storage: await SqliteStorage.open(temporaryFile('mesh.db')) }),
    },
  ];
}

import { createMesh } from '../../dist/index.js';
import { SqliteStorage } from '../../dist/sqlite.js';
import { seeded } from '../lib/measure.mjs';
import { contentOf } from '../lib/talk.mjs';
import { temporaryFile } from '../lib/temporary.mjs';

const GROUPS = 100;
const TOGETHER = 500;
const OPERATIONS = [
  { operation: 'get', count: 2000 },
  { operation: 'set', count: 500 },
  { operation: 'update', count: 500 },
  { operation: 'search by prefix, 10', count: 200 },
  { operation: 'search by tag, 10', count: 200 },
  { operation: 'set and delete a new key', count: 300 },
];

const keyOf = (n) => `group-${n % GROUPS}:${String(n).padStart(7, '0')}`;

async function entries(size, options) {
  const mesh = createMesh(options);
  const { memory } = mesh;
  for (let start = 0; start < size; start += TOGETHER) {
    const some = Array.from({ length: Math.min(TOGETHER, size - start) }, (_, n) => start + n);
    await Promise.all(some.map((n) => memory.set(keyOf(n), contentOf(n), { tags: [`tag-${n % GROUPS}`] })));
  }
  const below = seeded(1);
  const any = () => keyOf(below(size));
  let made = 0;
  const times = (work) => async (count) => {
    for (let n = 0; n < count; n++) await work(n);
  };
  return {
    operations: {
      get: times(() => memory.get(any())),
      set: times((n) => memory.set(any(), contentOf(n))),
      update: times(() => memory.update(any(), (value) => ({ ...value, seen: true }))),
      'search by prefix, 10': times((n) => memory.search({ pattern: `group-${n % GROUPS}:*`, limit: 10 })),
      'search by tag, 10': times((n) => memory.search({ tags: [`tag-${n % GROUPS}`], limit: 10 })),
      'set and delete a new key': times(async (n) => {
        const key = `new-${made++}`;
        await memory.set(key, contentOf(n));
        await memory.delete(key);
      }),
    },
    close: () => mesh.close(),
  };
}

const SIZES = [100, 1000, 10_000, 100_000];
export const curves = [
  {
    name: 'entries, memory',
    about: 'by the number of keys in shared memory, in a hundred groups with a tag each',
    sizes: SIZES,
    operations: OPERATIONS,
    open: (size) => entries(size, {}),
  },
  {
    name: 'entries, SQLite',
    about: 'the same on a file, `synchronous` NORMAL',
    sizes: SIZES,
    operations: OPERATIONS,
    open: async (size) => entries(size, { storage: await SqliteStorage.open(temporaryFile('mesh.db')) }),
  },
];

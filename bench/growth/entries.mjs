import { createMesh } from '../../dist/index.js';
import { inParts, onBoth, times } from '../lib/curves.mjs';
import { seeded } from '../lib/measure.mjs';
import { contentOf } from '../lib/talk.mjs';

const GROUPS = 100;
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
  await inParts(size, (n) => memory.set(keyOf(n), contentOf(n), { tags: [`tag-${n % GROUPS}`] }));
  const below = seeded(1);
  const any = () => keyOf(below(size));
  let made = 0;
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

export const curves = onBoth({
  name: 'entries',
  about: 'by the number of keys in shared memory, in a hundred groups with a tag each',
  sizes: [100, 1000, 10_000, 100_000],
  operations: OPERATIONS,
  open: entries,
});

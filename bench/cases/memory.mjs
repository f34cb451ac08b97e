import assert from 'node:assert/strict';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createMesh } from '../../dist/index.js';
import { SqliteStorage } from '../../dist/sqlite.js';
import { seeded, timed } from '../lib/measure.mjs';
import { notInstalled, peer, skipped, versioned } from '../lib/peers.mjs';
import { HandWritten, putsOf } from '../lib/sqlite.mjs';
import { temporaryFile } from '../lib/temporary.mjs';

const GROUPS = 100;
const TOGETHER = 500;
const SIZE = 10_000;
const OPERATIONS = 10_000;

const LANGGRAPH =
  'LangGraph InMemoryStore gives its own objects out, so that callers share what they change, and knows no versions, expiry or events';
const KEYV = 'Keyv keeps JSON, so it is isolated; no versions, search or events';
const UNSTORAGE = 'unstorage (memory driver) keeps JSON, so it is isolated; no versions, search or events';

const groupOf = (index) => `group-${String(index % GROUPS).padStart(2, '0')}`;
const nameOf = (index) => `entry-${String(index).padStart(8, '0')}`;
const keyOf = (index) => `${groupOf(index)}:${nameOf(index)}`;
const tagOf = (index) => `tag-${index % GROUPS}`;
/** 90 bytes of JSON. */
const contentAt = (index) => ({ name: 'Build', index, done: false, notes: 'something short to say', tag: tagOf(index) });

const STEPS = ['design', 'form', 'session', 'errors', 'tests', 'review'];

/** 550 bytes of JSON: a plan, as sessions share them. */
const planAt = (index) => ({
  name: 'Build',
  index,
  done: false,
  tag: tagOf(index),
  branch: 'feature/login-form',
  steps: STEPS.map((name, n) => ({ name, owner: `dev-00${n}`, status: n < 3 ? 'completed' : 'waiting', tries: n })),
  notes: 'The form keeps what was typed when the server refuses it.',
});

async function filled(size, { tags = false, storage, valueAt = contentAt } = {}) {
  const mesh = createMesh({ storage });
  for (let start = 0; start < size; start += TOGETHER) {
    const some = Array.from({ length: Math.min(TOGETHER, size - start) }, (_, index) => start + index);
    await Promise.all(
      some.map((index) => mesh.memory.set(keyOf(index), valueAt(index), tags ? { tags: [tagOf(index)] } : undefined)),
    );
  }
  return mesh;
}

/** Stores of other packages behind one face. */
const STORES = {
  async langgraph() {
    const found = await peer(() => import('@langchain/langgraph-checkpoint'));
    if (!found) return notInstalled('@langchain/langgraph-checkpoint');
    const store = new found.InMemoryStore();
    return {
      version: versioned('@langchain/langgraph-checkpoint'),
      store,
      get: async (index) => (await store.get([groupOf(index)], nameOf(index))).value,
      set: (index, value) => store.put([groupOf(index)], nameOf(index), value),
      async close() {},
    };
  },
  async keyv() {
    const found = await peer(() => import('keyv'));
    if (!found) return notInstalled('keyv');
    const store = new found.default();
    return {
      version: versioned('keyv'),
      get: (index) => store.get(keyOf(index)),
      set: (index, value) => store.set(keyOf(index), value),
      close: () => store.disconnect(),
    };
  },
  async unstorage() {
    const found = await peer(() => import('unstorage'));
    if (!found) return notInstalled('unstorage');
    const store = found.createStorage();
    return {
      version: versioned('unstorage'),
      get: (index) => store.getItem(keyOf(index)),
      set: (index, value) => store.setItem(keyOf(index), value),
      close: () => store.dispose(),
    };
  },
};

/** Entries anywhere among all. */
function operating(count, operation, size = SIZE) {
  const pick = seeded(11);
  return () =>
    timed(count, async () => {
      for (let done = 0; done < count; done++) await operation(pick(size));
    });
}

const KINDS = {
  get: (memory) => async (index) => {
    if ((await memory.get(keyOf(index))).index !== index) throw new Error('expected the value that was set');
  },
  set:
    (memory, valueAt = contentAt) =>
    (index) =>
      memory.set(keyOf(index), valueAt(index)),
  update: (memory) => (index) => memory.update(keyOf(index), (value) => ({ ...value, done: !value.done })),
};

const PEER_KINDS = {
  get: (store) => async (index) => {
    if ((await store.get(index)).index !== index) throw new Error('expected the value that was set');
  },
  set: (store, valueAt) => (index) => store.set(index, valueAt(index)),
  update: (store) => async (index) => {
    const value = await store.get(index);
    await store.set(index, { ...value, done: !value.done });
  },
};

/** As the goals were set: where LangGraph took 0.67 µs for a get and keyv 11. */
const PLANS = { what: '', size: 1_000, valueAt: planAt };
const LITTLE = { what: ' of 90 bytes among 10,000', size: SIZE, valueAt: contentAt };

function peerCase({ kind, other, about, row, of = PLANS, first, goal }) {
  const { what, size, valueAt } = of;
  return {
    name: `memory.${kind}${what} beside ${other} (row ${row})`,
    about: `anywhere among ${size.toLocaleString('en')} values of ${JSON.stringify(valueAt(0)).length} bytes. ${about}`,
    warmUps: 3,
    first,
    goal,
    async open() {
      const store = await STORES[other]();
      if (store.skipped) return store;
      const mesh = await filled(size, { valueAt });
      for (let index = 0; index < size; index++) await store.set(index, valueAt(index));
      return {
        ours: operating(OPERATIONS, KINDS[kind](mesh.memory, valueAt), size),
        reference: operating(OPERATIONS, PEER_KINDS[kind](store, valueAt), size),
        async verify() {
          assert.equal((await mesh.memory.stats()).entries, size);
        },
        notes: () => [store.version],
        async close() {
          await mesh.close();
          await store.close();
        },
      };
    },
  };
}

/** The first ten of a group, or of a tag. */
function searching(times, search) {
  return () =>
    timed(times, async () => {
      for (let index = 0; index < times; index++) {
        const found = await search(index);
        if (found.length !== 10 || found[0].value.tag !== tagOf(index)) throw new Error('expected ten of the group');
      }
    });
}

const byPrefix = (mesh) => async (index) => (await mesh.memory.search({ pattern: `${groupOf(index)}:*`, limit: 10 })).items;
const byTag = (mesh) => async (index) => (await mesh.memory.search({ tags: [tagOf(index)], limit: 10 })).items;

function searchCase({ name, about, size, tags, find, findThere, first, goal }) {
  return {
    name,
    about: `${about}. ${LANGGRAPH}`,
    warmUps: 3,
    first,
    goal,
    async open() {
      const other = await STORES.langgraph();
      if (other.skipped) return other;
      const mesh = await filled(size, { tags });
      for (let index = 0; index < size; index++) await other.set(index, contentAt(index));
      return {
        ours: searching(500, find(mesh)),
        reference: searching(50, (index) => findThere(other.store, index)),
        verify() {},
        notes: () => [other.version],
        close: () => mesh.close(),
      };
    },
  };
}

const searchGrowthCase = {
  name: 'memory.search by prefix, limit 10, 1,000 → 100,000 (row 12)',
  about: 'reference: the same among 1,000 entries',
  warmUps: 3,
  first: { time: 2 },
  goal: { time: 1.3 },
  async open() {
    const [few, many] = [await filled(1_000), await filled(100_000)];
    return {
      ours: searching(500, byPrefix(many)),
      reference: searching(500, byPrefix(few)),
      verify() {},
      async close() {
        await few.close();
        await many.close();
      },
    };
  },
};

/** Begins with a star and almost matches everywhere. */
const WORST = '*e*n*t*r*y*-*9*9*9*9*x';

const globCase = {
  name: 'memory.search with the worst glob, 10,000 entries (row 14)',
  about: `nothing matches ${WORST}; reference: its regular expression over an array of keys`,
  first: { time: 2 },
  goal: { time: 1.3 },
  async open() {
    const mesh = await filled(SIZE);
    const keys = Array.from({ length: SIZE }, (_, index) => keyOf(index));
    const expression = new RegExp(`^${WORST.replaceAll('*', '.*')}$`);
    const delays = monitorEventLoopDelay({ resolution: 1 });
    delays.enable();
    return {
      ours: () =>
        timed(1, async () => {
          assert.equal((await mesh.memory.search({ pattern: WORST })).items.length, 0);
        }),
      reference: () =>
        timed(1, async () => {
          assert.equal(keys.filter((key) => expression.test(key)).length, 0);
        }),
      verify() {},
      notes: () => [
        `the event loop was never blocked for longer than ${(delays.max / 1e6).toFixed(0)} ms, the reference included`,
      ],
      close: () => mesh.close(),
    };
  },
};

const longGlobCase = {
  name: 'memory.search with the worst glob, longest block among 100,000 (row 14)',
  about: 'reference: 10 ms, after which a long scan is to yield the event loop',
  unit: 'ms',
  goal: { value: 25 },
  async open() {
    const mesh = await filled(100_000);
    return {
      async ours() {
        const delays = monitorEventLoopDelay({ resolution: 1 });
        delays.enable();
        assert.equal((await mesh.memory.search({ pattern: WORST })).items.length, 0);
        delays.disable();
        return { value: delays.max / 1e6 };
      },
      reference: async () => ({ value: 10 }),
      verify() {},
      close: () => mesh.close(),
    };
  },
};

function statementsCase({ kind, operations, about, first, goal }) {
  return {
    name: `sqlite memory.${kind} (row 20)`,
    about,
    warmUps: 3,
    first,
    goal,
    async open() {
      const storage = await SqliteStorage.open(temporaryFile('ours.db'));
      const mesh = await filled(SIZE, { storage });
      const rows = await putsOf(storage, () => mesh.memory.set(keyOf(1), contentAt(1)));
      const hand = new HandWritten(temporaryFile('hand.db'));
      for (let start = 0; start < SIZE; start += TOGETHER) {
        hand.transaction((revision) => {
          for (let index = start; index < start + TOGETHER; index++) {
            hand.put({ partition: 'memory', key: keyOf(index), value: rows[0].value }, revision, 0);
          }
        });
      }
      const byHand = {
        async get(index) {
          const [, , text] = hand.one.get('memory', keyOf(index));
          return JSON.parse(text);
        },
        async set(index) {
          hand.transaction((revision) =>
            rows.forEach((row, position) => {
              const place = position === 0 ? { ...row, partition: 'memory', key: keyOf(index) } : row;
              hand.put(place, revision, position);
            }),
          );
        },
      };
      return {
        ours: operating(operations, KINDS[kind](mesh.memory)),
        reference: operating(operations, byHand[kind]),
        async verify() {
          assert.equal((await mesh.memory.stats()).entries, SIZE);
          assert.equal(hand.countOf('memory'), SIZE);
        },
        notes: () => (kind === 'set' ? [`a set writes ${rows.length} rows`] : []),
        async close() {
          await mesh.close();
          hand.close();
        },
      };
    },
  };
}

export const cases = [
  peerCase({ kind: 'get', other: 'langgraph', about: LANGGRAPH, row: 10, first: { rate: 0.7 }, goal: { rate: 1.5 } }),
  peerCase({ kind: 'get', other: 'keyv', about: KEYV, row: 10, first: { rate: 10 }, goal: { rate: 25 } }),
  peerCase({ kind: 'get', other: 'unstorage', about: UNSTORAGE, row: 10 }),
  peerCase({ kind: 'set', other: 'langgraph', about: LANGGRAPH, row: 11, first: { rate: 0.2 }, goal: { rate: 0.6 } }),
  peerCase({ kind: 'set', other: 'keyv', about: KEYV, row: 11, first: { rate: 1 }, goal: { rate: 2 } }),
  peerCase({ kind: 'set', other: 'unstorage', about: UNSTORAGE, row: 11 }),
  peerCase({
    kind: 'update',
    other: 'langgraph',
    about: `reference: a get and a put, which lose what others write between them. ${LANGGRAPH}`,
    row: 11,
    first: { rate: 0.2 },
    goal: { rate: 0.6 },
  }),
  peerCase({
    kind: 'update',
    other: 'keyv',
    about: `reference: a get and a set, which lose what others write between them. ${KEYV}`,
    row: 11,
    first: { rate: 1 },
    goal: { rate: 2 },
  }),
  peerCase({ kind: 'set', other: 'langgraph', about: LANGGRAPH, row: 11, of: LITTLE }),
  ...['get', 'set', 'update'].map((kind) =>
    peerCase({ kind, other: 'keyv', about: KEYV, row: kind === 'get' ? 10 : 11, of: LITTLE }),
  ),
  ...[
    { size: 10_000, first: { faster: 2 }, goal: { faster: 5 } },
    { size: 100_000, first: { faster: 20 }, goal: { faster: 60 } },
  ].map(({ size, first, goal }) =>
    searchCase({
      name: `memory.search by prefix, limit 10, ${size.toLocaleString('en')} entries (row 12)`,
      about: 'one of a hundred prefixes; reference: search in one of a hundred namespaces',
      size,
      find: byPrefix,
      findThere: (store, index) => store.search([groupOf(index)], { limit: 10 }),
      first,
      goal,
    }),
  ),
  searchGrowthCase,
  searchCase({
    name: 'memory.search by tag, limit 10, 10,000 entries (row 13)',
    about: 'one of a hundred tags; reference: search with a filter',
    size: SIZE,
    tags: true,
    find: byTag,
    findThere: (store, index) => store.search([], { filter: { tag: tagOf(index) }, limit: 10 }),
    first: { faster: 30 },
    goal: { faster: 100 },
  }),
  globCase,
  longGlobCase,
  statementsCase({
    kind: 'get',
    operations: 5000,
    about: 'anywhere among ten thousand; reference: one prepared statement, the value parsed',
    first: { rate: 0.4 },
    goal: { rate: 0.6 },
  }),
  statementsCase({
    kind: 'set',
    operations: 1000,
    about: 'NORMAL, one after the other; reference: the very rows that a set writes, by prepared statements, a transaction each',
    first: { rate: 0.4 },
    goal: { rate: 0.6 },
  }),
  // Both need a driver that is built by an install script, and none is run here.
  ...[
    { kind: 'get', first: { rate: 2 }, goal: { rate: 4 } },
    { kind: 'set', first: { rate: 2 }, goal: { rate: 2.5 } },
  ].map(({ kind, ...bounds }) => ({
    name: `sqlite memory.${kind} beside keyv-sqlite (row 20)`,
    ...bounds,
    open: async () => skipped('keyv-sqlite and @keyv/sqlite need an install script'),
  })),
];

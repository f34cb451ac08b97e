import assert from 'node:assert/strict';
import { InMemoryStorage } from '../../dist/index.js';
import { heapBytes, seeded, timed } from '../lib/measure.mjs';

const COMMITS = 20_000;
const GETS = 100_000;
const CLAIMED = 20_000;
const SIZES = [1_000, 1_000_000];

/**
 * The same work by hand: a map of partitions, each a map and an array in order; padded stamps, frozen copies, records
 * made for each reader, an async function that answers what the library answers. No checks, limits, expiry, watchers.
 */
class HandStore {
  partitions = new Map();
  revision = 0;

  async commit({ puts }) {
    const revision = ++this.revision;
    const stamp = String(revision).padStart(16, '0');
    for (let position = 0; position < puts.length; position++) {
      const put = puts[position];
      const partition = this.partition(put.partition);
      const value = Object.freeze({ ...put.value });
      if (put.stamped) {
        const key = put.key + stamp + String(position).padStart(4, '0');
        this.append(partition, { key, value, revision });
        continue;
      }
      const entry = partition.byKey.get(put.key);
      if (entry) {
        entry.value = value;
        entry.revision = revision;
      } else this.append(partition, { key: put.key, value, revision });
    }
    return { committed: true, revision, at: Date.now(), taken: [] };
  }

  async get(addresses) {
    return addresses.map(({ partition, key }) => {
      const entry = this.partitions.get(partition)?.byKey.get(key);
      return entry && { partition, key, value: entry.value, revision: entry.revision };
    });
  }

  /** Moves the first records into a map of claims, as a take does. */
  async take(from, to, limit, deadline) {
    const source = this.partition(from);
    const target = this.partition(to);
    const revision = ++this.revision;
    const lead = `${String(deadline).padStart(16, '0')}>`;
    const taken = source.sorted.splice(0, limit).map((entry) => {
      source.byKey.delete(entry.key);
      const moved = { key: lead + entry.key, value: entry.value, revision };
      this.append(target, moved);
      return { partition: to, ...moved };
    });
    return { committed: true, revision, at: Date.now(), taken };
  }

  /** Removes records that stand at the front. */
  async remove(partitionName, keys) {
    const partition = this.partition(partitionName);
    for (const key of keys) {
      partition.byKey.delete(key);
      if (partition.sorted[0].key === key) partition.sorted.shift();
      else
        partition.sorted.splice(
          partition.sorted.findIndex((entry) => entry.key === key),
          1,
        );
    }
    return { committed: true, revision: ++this.revision, at: Date.now(), taken: [] };
  }

  /** Empties a partition, and says how many records it had. */
  async drain(name) {
    const { length } = this.partition(name).sorted;
    this.partitions.delete(name);
    return length;
  }

  partition(name) {
    let partition = this.partitions.get(name);
    if (!partition) this.partitions.set(name, (partition = { byKey: new Map(), sorted: [] }));
    return partition;
  }

  append(partition, entry) {
    partition.byKey.set(entry.key, entry);
    partition.sorted.push(entry);
  }
}

const keyOf = (index) => `k${String(index).padStart(8, '0')}`;
/** Made beforehand, so that a round does not measure how they are made. */
const keysOf = (size) => Array.from({ length: size }, (_, index) => keyOf(index));
const fresh = (index) => ({ id: index, from: 'session-a', to: 'session-b', text: 'something short to say' });

const BYTES_OF = 100_000;

const bytesCase = {
  name: 'memory bytes per record',
  about: 'a hundred thousand small records in one partition; by hand: the entry in a map and an array',
  unit: 'B',
  warmUps: 1,
  async open() {
    const round = (make) => async () => {
      const before = heapBytes();
      const store = await filled(make(), BYTES_OF);
      const value = (heapBytes() - before) / BYTES_OF;
      assert.equal(await drain(store, 'state'), BYTES_OF);
      return { value };
    };
    return { ours: round(inMemory), reference: round(byHand), verify() {}, async close() {} };
  },
};

async function filled(store, size) {
  for (let start = 0; start < size; start += 1000) {
    const puts = [];
    for (let index = start; index < Math.min(size, start + 1000); index++) {
      puts.push({ partition: 'state', key: keyOf(index), value: fresh(index) });
    }
    await store.commit({ puts });
  }
  return store;
}

/** One stamped put into a log, one plain put over a record anywhere among all. The log is emptied between the rounds. */
function committing(store, size) {
  const pick = seeded(7);
  const keys = keysOf(size);
  return async () => {
    const sample = await timed(COMMITS, async () => {
      for (let index = 0; index < COMMITS; index++) {
        const { committed } = await store.commit({
          puts: [
            { partition: 'log', key: 'e', value: fresh(index), stamped: true },
            { partition: 'state', key: keys[pick(size)], value: fresh(index) },
          ],
        });
        if (!committed) throw new Error('expected every commit to be applied');
      }
    });
    assert.equal(await drain(store, 'log'), COMMITS);
    return sample;
  };
}

function getting(store, size) {
  const pick = seeded(11);
  const keys = keysOf(size);
  return () =>
    timed(GETS, async () => {
      for (let index = 0; index < GETS; index++) {
        const wanted = pick(size);
        const [record] = await store.get([{ partition: 'state', key: keys[wanted] }]);
        if (record.value.id !== wanted) throw new Error('expected the record that was asked for');
      }
    });
}

function commitCase(size) {
  return {
    name: `memory commit, ${size.toLocaleString('en')} records`,
    about:
      'one stamped and one plain put of a small fresh object; by hand: map, array, padded stamp, frozen copy, async function',
    goal: { time: 3 },
    async open() {
      const storage = await filled(new InMemoryStorage(), size);
      const hand = await filled(new HandStore(), size);
      return {
        ours: committing(storage, size),
        reference: committing(hand, size),
        async verify() {
          for (const store of [storage, hand]) assert.equal(await drain(store, 'state'), size);
        },
        close: () => storage.close(),
      };
    },
  };
}

function getCase(size) {
  return {
    name: `memory get, ${size.toLocaleString('en')} records`,
    about: 'one record anywhere among all; by hand: map lookups and a record object, async function',
    goal: { time: 3 },
    async open() {
      const storage = await filled(new InMemoryStorage(), size);
      const hand = await filled(new HandStore(), size);
      return { ours: getting(storage, size), reference: getting(hand, size), verify() {}, close: () => storage.close() };
    },
  };
}

/** The same side at both sizes: how much slower a thousand times the records makes it. */
function growthCase(name, about, goal, make, work) {
  return {
    name,
    about,
    goal,
    async open() {
      const [small, large] = await Promise.all(SIZES.map((size) => filled(make(), size)));
      return { ours: work(large, SIZES[1]), reference: work(small, SIZES[0]), verify() {}, async close() {} };
    },
  };
}

const inMemory = () => new InMemoryStorage();
const byHand = () => new HandStore();
const GROWTH = 'a million records, as a multiple of a thousand';

function takeCase(size) {
  return {
    name: `memory claim of ${size} and ack`,
    about:
      'a take of the first records with a lease, then one commit that deletes them, each message; by hand: splice, map, array',
    async open() {
      const storage = new InMemoryStorage();
      const hand = new HandStore();
      let [done, handDone] = [0, 0];
      const claims = Math.ceil(CLAIMED / size);
      const fill = async (store) => {
        for (let start = 0; start < claims * size; start += 500) {
          const puts = Array.from({ length: Math.min(500, claims * size - start) }, (_, index) => {
            return { partition: 'queue', key: 'm', value: fresh(start + index), stamped: true };
          });
          await store.commit({ puts });
        }
      };
      return {
        async ours() {
          await fill(storage);
          return timed(claims * size, async () => {
            for (let claim = 0; claim < claims; claim++) {
              const { taken } = await storage.commit({ takes: [{ from: 'queue', to: 'claims', limit: size, leaseMs: 30_000 }] });
              await storage.commit({ deletes: taken.map(({ partition, key }) => ({ partition, key })) });
              done += taken.length;
            }
          });
        },
        async reference() {
          await fill(hand);
          return timed(claims * size, async () => {
            for (let claim = 0; claim < claims; claim++) {
              const { taken } = await hand.take('queue', 'claims', size, Date.now() + 30_000);
              await hand.remove(
                'claims',
                taken.map(({ key }) => key),
              );
              handDone += taken.length;
            }
          });
        },
        async verify() {
          assert.equal(done, handDone);
          assert.equal(done % (claims * size), 0);
          for (const store of [storage, hand]) {
            for (const name of ['queue', 'claims']) assert.equal(await drain(store, name), 0);
          }
        },
        close: () => storage.close(),
      };
    },
  };
}

/** Removes all records of a partition, and says how many there were. */
async function drain(store, partition) {
  if (store instanceof HandStore) return store.drain(partition);
  for (let count = 0; ; ) {
    const { length } = await store.list(partition, { values: false });
    if (length === 0) return count;
    await store.commit({ deletes: [{ partition, limit: 1000 }] });
    count += length;
  }
}

export const cases = [
  ...SIZES.map(commitCase),
  growthCase('memory commit, growth', GROWTH, { time: 1.5 }, inMemory, committing),
  growthCase('memory commit by hand, growth', `${GROWTH}: what the machine itself loses`, undefined, byHand, committing),
  ...SIZES.map(getCase),
  growthCase('memory get, growth', GROWTH, undefined, inMemory, getting),
  growthCase('memory get by hand, growth', `${GROWTH}: what the machine itself loses`, undefined, byHand, getting),
  ...[1, 10, 64].map(takeCase),
  bytesCase,
];

import assert from 'node:assert/strict';
import { SqliteStorage } from '../../dist/sqlite.js';
import { seeded, timed } from '../lib/measure.mjs';
import { HandWritten } from '../lib/sqlite.mjs';
import { temporaryFile } from '../lib/temporary.mjs';

const STATE = 10_000;
const COMMITS = 4_096;
const SYNCED = 500;
const GETS = 20_000;
const LISTS = 500;
const CLAIMED = 2_560;

const keyOf = (index) => `k${String(index).padStart(8, '0')}`;
const small = (index) => ({ id: index, from: 'session-a', to: 'session-b', text: 'something short to say' });
const body = 'x'.repeat(400);

/** One record at the end of a log, one over a record anywhere among all. */
function twoPuts(index, pick) {
  return [
    { partition: 'log', key: 'e', value: small(index), stamped: true },
    { partition: 'state', key: keyOf(pick(STATE)), value: small(index) },
  ];
}

/** What a send writes: the message itself, its place in the recipient's queue, the event. */
function sendPuts(index) {
  const id = `m${String(index).padStart(10, '0')}`;
  return [
    { partition: 'message', key: id, value: { id, from: 'session-a', to: 'session-b', type: 'note', at: index, body } },
    { partition: 'queue/session-b', key: '5', value: { id }, stamped: true },
    { partition: 'log', key: 'e', value: { name: 'message_sent', id, from: 'session-a', to: 'session-b' }, stamped: true },
  ];
}

/** Both sides on a file of their own, filled alike. */
async function opened({ synchronous = 'normal', ...options } = {}) {
  const storage = await SqliteStorage.open(temporaryFile('ours.db'), { synchronous, ...options });
  const hand = new HandWritten(temporaryFile('hand.db'), { synchronous });
  for (let start = 0; start < STATE; start += 1000) {
    const puts = Array.from({ length: 1000 }, (_, index) => ({
      partition: 'state',
      key: keyOf(start + index),
      value: small(start + index),
    }));
    await storage.commit({ puts });
    hand.transaction((revision) => puts.forEach((put, position) => void hand.put(put, revision, position)));
  }
  return { storage, hand };
}

/** Commits so many at a time, as concurrent callers do. */
async function commitAll(storage, commits, inFlight, make) {
  for (let done = 0; done < commits; done += inFlight) {
    const results = await Promise.all(
      Array.from({ length: Math.min(inFlight, commits - done) }, (_, index) => storage.commit({ puts: make(done + index) })),
    );
    if (results.some(({ committed }) => !committed)) throw new Error('expected every commit to be applied');
  }
}

function handAll(hand, commits, perTransaction, make) {
  for (let done = 0; done < commits; done += perTransaction) {
    hand.begin.run();
    for (let index = done; index < Math.min(commits, done + perTransaction); index++) {
      const revision = ++hand.revision;
      make(index).forEach((put, position) => void hand.put(put, revision, position));
    }
    hand.end.run();
  }
}

/** A case that writes `commits` a round on both sides, and counts at the end what arrived in the log. */
function writingCase({ name, about, first, goal, commits, inFlight, perTransaction, synchronous, make }) {
  return {
    name,
    about,
    first,
    goal,
    async open() {
      const { storage, hand } = await opened({ synchronous });
      const [pick, pickByHand] = [seeded(7), seeded(7)];
      let [total, byHand] = [0, 0];
      return {
        async ours() {
          const sample = await timed(commits, () => commitAll(storage, commits, inFlight, (index) => make(total + index, pick)));
          total += commits;
          return sample;
        },
        async reference() {
          const sample = await timed(commits, () =>
            handAll(hand, commits, perTransaction, (index) => make(byHand + index, pickByHand)),
          );
          byHand += commits;
          return sample;
        },
        async verify() {
          assert.equal(await countOf(storage, 'log'), total);
          assert.equal(hand.countOf('log'), byHand);
        },
        close: () => closed(storage, hand),
      };
    },
  };
}

function getCase(name, about, options, among) {
  return {
    name,
    about,
    goal: { rate: 0.4 },
    async open() {
      const { storage, hand } = await opened(options);
      const keys = Array.from({ length: STATE }, (_, index) => keyOf(index));
      const [pick, pickByHand] = [seeded(11), seeded(11)];
      const expect = (value, wanted) => {
        if (value.id !== wanted) throw new Error('expected the record that was asked for');
      };
      return {
        ours: () =>
          timed(GETS, async () => {
            for (let index = 0; index < GETS; index++) {
              const wanted = pick(among);
              const [record] = await storage.get([{ partition: 'state', key: keys[wanted] }]);
              expect(record.value, wanted);
            }
          }),
        reference: () =>
          timed(GETS, async () => {
            for (let index = 0; index < GETS; index++) {
              const wanted = pickByHand(among);
              const [, , text] = await hand.one.get('state', keys[wanted]);
              expect(JSON.parse(text), wanted);
            }
          }),
        verify() {},
        close: () => closed(storage, hand),
      };
    },
  };
}

const listCase = {
  name: 'sqlite list of 100',
  about: 'the first hundred records of ten thousand; by hand: one prepared statement, each value parsed',
  goal: { rate: 0.4 },
  async open() {
    const { storage, hand } = await opened();
    return {
      ours: () =>
        timed(LISTS, async () => {
          for (let index = 0; index < LISTS; index++) assert.equal((await storage.list('state', { limit: 100 })).length, 100);
        }),
      reference: () =>
        timed(LISTS, async () => {
          for (let index = 0; index < LISTS; index++) {
            const records = (await hand.first.all('state', 100)).map(([key, revision, , text]) => {
              return { partition: 'state', key, revision, value: JSON.parse(text) };
            });
            assert.equal(records.length, 100);
          }
        }),
      verify() {},
      close: () => closed(storage, hand),
    };
  },
};

function takeCase(size) {
  return {
    name: `sqlite claim of ${size} and ack`,
    about:
      'a take of the first records with a lease, then one commit that deletes them, each message; by hand: the same rows moved and removed',
    async open() {
      const { storage, hand } = await opened();
      const claims = CLAIMED / size;
      let [done, byHand] = [0, 0];
      const messages = (index) =>
        Array.from({ length: 256 }, () => ({ partition: 'queue', key: '5', value: small(index), stamped: true }));
      return {
        async ours() {
          for (let index = 0; index < CLAIMED / 256; index++) await storage.commit({ puts: messages(index) });
          return timed(CLAIMED, async () => {
            for (let claim = 0; claim < claims; claim++) {
              const { taken } = await storage.commit({
                takes: [{ from: 'queue', to: 'queue-claims', limit: size, leaseMs: 30_000 }],
              });
              await storage.commit({ deletes: taken.map(({ partition, key }) => ({ partition, key })) });
              done += taken.length;
            }
          });
        },
        async reference() {
          for (let index = 0; index < CLAIMED / 256; index++) {
            hand.transaction((revision) => messages(index).forEach((put, position) => void hand.put(put, revision, position)));
          }
          return timed(CLAIMED, async () => {
            for (let claim = 0; claim < claims; claim++) {
              const taken = await claimByHand(hand, size);
              hand.transaction(() => {
                for (const { key } of taken) hand.delete.run('queue-claims', key);
              });
              byHand += taken.length;
            }
          });
        },
        async verify() {
          assert.equal(done % CLAIMED, 0);
          assert.equal(done, byHand);
          for (const partition of ['queue', 'queue-claims']) {
            assert.equal(await countOf(storage, partition), 0);
            assert.equal(hand.countOf(partition), 0);
          }
        },
        close: () => closed(storage, hand),
      };
    },
  };
}

async function claimByHand(hand, size) {
  const lead = `${String(Date.now() + 30_000).padStart(16, '0')}>`;
  return hand.transaction((revision) =>
    hand.first.all('queue', size).map(([key, , , text]) => {
      hand.delete.run('queue', key);
      hand.insert.run('queue-claims', lead + key, revision, text);
      return { partition: 'queue-claims', key: lead + key, revision, value: JSON.parse(text) };
    }),
  );
}

async function countOf(storage, partition) {
  let count = 0;
  for (let start = ''; ; ) {
    const page = await storage.list(partition, { values: false, start });
    count += page.length;
    if (page.length < 1000) return count;
    start = `${page.at(-1).key}\u0001`;
  }
}

async function closed(storage, hand) {
  await storage.close();
  hand.close();
}

export const cases = [
  writingCase({
    name: 'sqlite NORMAL, 64 in flight',
    about: 'one stamped and one plain put a commit; by hand: the same rows by prepared statements in transactions of 64',
    goal: { rate: 0.7 },
    commits: COMMITS,
    inFlight: 64,
    perTransaction: 64,
    make: twoPuts,
  }),
  writingCase({
    name: 'sqlite NORMAL, a lone commit',
    about: 'one stamped and one plain put, each commit awaited; by hand: a transaction each',
    goal: { rate: 0.6 },
    commits: COMMITS,
    inFlight: 1,
    perTransaction: 1,
    make: twoPuts,
  }),
  writingCase({
    name: 'sqlite NORMAL, the puts of a send',
    about: 'message, queue reference and event, one send at a time; by hand: the same three rows, a transaction each',
    first: { time: 2 },
    goal: { time: 1.35 },
    commits: COMMITS,
    inFlight: 1,
    perTransaction: 1,
    make: sendPuts,
  }),
  writingCase({
    name: 'sqlite FULL, the puts of 50 sends in flight',
    about: 'three puts a send; by hand: one transaction per send, which is one fsync each',
    first: { rate: 2 },
    goal: { rate: 3 },
    commits: SYNCED,
    inFlight: 50,
    perTransaction: 1,
    synchronous: 'full',
    make: sendPuts,
  }),
  getCase('sqlite get', 'anywhere among ten thousand; by hand: one prepared statement, the value parsed', {}, STATE),
  getCase('sqlite get of few', 'the same hundred records again and again', {}, 100),
  getCase('sqlite get, no cache', 'cacheBytes: 0, so that each value is parsed', { cacheBytes: 0 }, STATE),
  listCase,
  ...[1, 10, 64].map(takeCase),
];

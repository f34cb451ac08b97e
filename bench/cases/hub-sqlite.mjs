import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createMesh } from '../../dist/index.js';
import { SqliteStorage } from '../../dist/sqlite.js';
import { HandMailTable } from '../lib/hand-mail-table.mjs';
import { median, percentile, seeded, timed } from '../lib/measure.mjs';
import { notInstalled, peer, skipped, versioned } from '../lib/peers.mjs';
import { bareDriver, HandWritten, putsOf } from '../lib/sqlite.mjs';
import { assertSettled, checkSum, contentOf, cycle, LASTING, pair } from '../lib/talk.mjs';
import { temporaryFile } from '../lib/temporary.mjs';

const SENDS = 500;
const CYCLES = 500;
const NEIGHBOUR = path.join(import.meta.dirname, '..', 'lib', 'hub-neighbour.mjs');

function sendCase({ name, about, synchronous, inFlight, first, goal }) {
  return {
    name,
    about,
    first,
    goal,
    async open() {
      const storage = await SqliteStorage.open(temporaryFile('ours.db'), { synchronous });
      const ours = await pair({ storage });
      const send = (index) => ours.hub.send({ from: ours.planner, to: 'dev-001', ...contentOf(index) });
      for (let index = 0; index < 3; index++) await send(index);
      // By hand the same is written again and again, with new stamps.
      const rows = await putsOf(storage, () => send(3));
      const hand = new HandWritten(temporaryFile('hand.db'), { synchronous });
      let [sent, byHand] = [4, 0];
      const empty = async () => {
        sent -= await ours.hub.purge('dev-001');
        assert.equal(sent, 0);
      };
      return {
        async ours() {
          await empty();
          return timed(SENDS, async () => {
            for (let done = 0; done < SENDS; done += inFlight) {
              if (inFlight === 1) await send(done);
              else await Promise.all(Array.from({ length: inFlight }, (_, index) => send(done + index)));
            }
            sent += SENDS;
          });
        },
        reference: () =>
          timed(SENDS, async () => {
            for (let index = 0; index < SENDS; index++) {
              hand.transaction((revision) => rows.forEach((row, position) => void hand.put(row, revision, position)));
              byHand += 1;
            }
          }),
        async verify() {
          const { messages } = await ours.hub.stats();
          assert.equal(messages.ready, sent);
          const stamped = rows.find((row) => row.stamped);
          assert.ok(stamped);
          assert.equal(hand.countOf(stamped.partition) % byHand, 0);
        },
        notes: () => [`a send writes ${rows.length} rows, ${JSON.stringify(rows.map(({ value }) => value)).length} bytes`],
        async close() {
          await ours.mesh.close();
          hand.close();
        },
      };
    },
  };
}

/** Either nothing, or what the cycle of another queue is. */
function cycleCase({ name, about, size, other, first, goal }) {
  const count = CYCLES - (CYCLES % size);
  return {
    name,
    about,
    first,
    goal,
    async open() {
      const reference = await other(size);
      if (reference.skipped) return reference;
      const ours = await pair({ storage: await SqliteStorage.open(temporaryFile('ours.db')) });
      let [through, byOther] = [0, 0];
      return {
        ours: () => timed(count, async () => (through += await cycle(ours, { count, size }))),
        reference: () =>
          timed(count, async () => {
            for (let done = 0; done < count; done += size) await reference.cycle(done);
            byOther += count;
          }),
        async verify() {
          assert.equal(through, byOther);
          reference.verify(byOther);
          await assertSettled(ours);
        },
        notes: () => reference.notes ?? [],
        async close() {
          await ours.mesh.close();
          reference.close();
        },
      };
    },
  };
}

const messageOf = (index) => ({ from: 'planner-001', to: 'dev-001', type: 'notification', ...contentOf(index) });

async function tableByHand(size) {
  const table = new HandMailTable(temporaryFile('hand.db'));
  return {
    async cycle(done) {
      await table.send(Array.from({ length: size }, (_, index) => messageOf(done + index)));
      const messages = await table.receive('dev-001', size);
      checkSum(messages, { first: done, size });
      await table.ack(messages);
    },
    verify: (count) => assert.deepEqual(table.counts(), { mail: count, open: 0 }),
    close: () => table.close(),
  };
}

/** plainjobs by its queue's own functions, with the driver that the library uses too. */
async function plainjobs(size) {
  const found = await peer(() => import('plainjobs'));
  if (!found) return notInstalled('plainjobs');
  const { name, DatabaseSync } = bareDriver();
  const { enhance } = await peer(() => import('@photostructure/sqlite')).then((driver) => driver ?? {});
  if (!enhance) return skipped('plainjobs needs @photostructure/sqlite here');
  const silent = () => {};
  const logger = { error: silent, warn: silent, info: silent, debug: silent };
  const queue = found.defineQueue({ connection: enhance(new DatabaseSync(temporaryFile('jobs.db'))), logger });
  return {
    notes: [`${versioned('plainjobs')} on ${name}; its pragmas are WAL and NORMAL`],
    async cycle(done) {
      for (let index = 0; index < size; index++) queue.add('build', messageOf(done + index));
      const jobs = Array.from({ length: size }, () => queue.getAndMarkJobAsProcessing('build'));
      checkSum(
        jobs.map(({ data }) => JSON.parse(data)),
        { first: done, size },
      );
      for (const { id } of jobs) queue.markJobAsDone(id);
    },
    verify: (count) => assert.equal(queue.countJobs(), count),
    close: () => queue.close(),
  };
}

/** A mesh here, and another process on the same file; besides a bare connection to it. */
async function household() {
  const file = temporaryFile('mesh.db');
  const mesh = createMesh({ storage: await SqliteStorage.open(file) });
  const planner = await mesh.registry.register({ id: 'planner-001', ...LASTING });
  const { DatabaseSync } = bareDriver();
  const bare = new DatabaseSync(file);
  const neighbour = fork(NEIGHBOUR, [file], { execArgv: [] });
  await once(neighbour, 'message');
  return {
    mesh,
    planner,
    bare,
    async tell(message) {
      const answered = once(neighbour, 'message');
      neighbour.send(message);
      const [answer] = await answered;
      return answer;
    },
    async close() {
      neighbour.disconnect();
      await once(neighbour, 'exit');
      await mesh.close();
      bare.close();
    },
  };
}

const microseconds = (began) => Number(process.hrtime.bigint() - began) / 1000;

/** Until a waiting inbox has the message that the other process sends. */
async function delivered({ mesh, planner, tell }, index) {
  const waiting = mesh.hub.inbox(planner).receive({ timeoutMs: 30_000 });
  const arrived = waiting.then((deliveries) => ({ deliveries, at: process.hrtime.bigint() }));
  const { began } = await tell({ send: index });
  const { deliveries, at } = await arrived;
  checkSum(
    deliveries.map(({ message }) => message),
    { first: index, size: 1 },
  );
  await deliveries[0].ack();
  return Number(at - BigInt(began)) / 1000;
}

/** Until the file's version, read every millisecond, has changed. */
async function polled({ mesh, bare, tell }, index) {
  const version = bare.prepare('PRAGMA data_version');
  const last = version.get().data_version;
  const changed = new Promise((resolve) => {
    const timer = setInterval(() => {
      if (version.get().data_version === last) return;
      clearInterval(timer);
      resolve(process.hrtime.bigint());
    }, 1);
  });
  const { began } = await tell({ send: index });
  const at = await changed;
  await mesh.hub.purge('planner-001');
  return Number(at - BigInt(began)) / 1000;
}

async function requested({ mesh, planner }, index) {
  const began = process.hrtime.bigint();
  const { data } = await mesh.hub.request({ from: planner, to: 'dev-001', timeoutMs: 30_000, ...contentOf(index) });
  if (data.pr !== index) throw new Error('expected the answer to what was asked');
  return microseconds(began);
}

async function delegated({ mesh, planner }, index) {
  const began = process.hrtime.bigint();
  const task = await mesh.hub.delegate({ from: planner, to: 'dev-001', type: 'build', payload: contentOf(index).data });
  const result = await task.result();
  if (result.pr !== index) throw new Error('expected the result of the task');
  return microseconds(began);
}

async function asked({ tell }, index) {
  const began = process.hrtime.bigint();
  const { answer } = await tell({ ask: index });
  if (answer !== index) throw new Error('expected the answer to what was asked');
  return microseconds(began);
}

const spreadOf = (times) =>
  `p50 ${(percentile(times, 50) / 1000).toFixed(2)} ms, p99 ${(percentile(times, 99) / 1000).toFixed(2)} ms`;

function acrossCase({ name, about, ours, reference, count, pauseMs = [0, 1], first, goal }) {
  return {
    name,
    about,
    first,
    goal,
    warmUps: 1,
    async open() {
      const house = await household();
      const all = { ours: [], reference: [] };
      const random = seeded(3);
      const side = (one, into) => async () => {
        const found = [];
        for (let index = 0; index < count; index++) {
          await sleep(pauseMs[0] + random(pauseMs[1] - pauseMs[0]));
          found.push(await one(house, index));
        }
        into.push(...found);
        return { value: median(found) };
      };
      return {
        ours: side(ours, all.ours),
        reference: side(reference, all.reference),
        verify() {
          for (const found of Object.values(all)) assert.equal(found.length % count, 0);
        },
        notes: () => [`ours ${spreadOf(all.ours)}; reference ${spreadOf(all.reference)}; of ${all.ours.length}`],
        close: house.close,
      };
    },
  };
}

const channel = 'reference: a question and its answer by the channel of child_process, where nothing is stored or claimed';

export const cases = [
  sendCase({
    name: 'sqlite send, one at a time (row 17)',
    about: 'NORMAL; reference: the very rows that a send writes, by prepared statements, a transaction each',
    inFlight: 1,
    first: { time: 2 },
    goal: { time: 1.35 },
  }),
  cycleCase({
    name: 'sqlite send → claim → ack, one by one (row 18)',
    about: 'NORMAL, a transaction for each of the three; reference: a mailbox table by hand that keeps what was acked',
    size: 1,
    other: tableByHand,
    first: { rate: 0.3 },
    goal: { rate: 0.5 },
  }),
  cycleCase({
    name: 'sqlite send → claim → ack, in tens (row 18)',
    about: 'ten sends at once, claimed at once, acked at once; reference: the table by hand with three transactions for ten',
    size: 10,
    other: tableByHand,
    first: { rate: 0.8 },
    goal: { rate: 1 },
  }),
  cycleCase({
    name: 'sqlite send → claim → ack beside plainjobs, one by one (row 18)',
    about: 'reference: add, mark as processing, mark as done; plainjobs tells no events, has no sessions, and polls for work',
    size: 1,
    other: plainjobs,
    goal: { rate: 1 },
  }),
  cycleCase({
    name: 'sqlite send → claim → ack beside plainjobs, in tens (row 18)',
    about: 'reference: ten jobs added, marked and done one after the other, which is all that plainjobs can',
    size: 10,
    other: plainjobs,
    goal: { rate: 1 },
  }),
  sendCase({
    name: 'sqlite FULL, 50 sends in flight (row 19)',
    about: 'reference: the very rows that a send writes, one transaction per send, which is one fsync each',
    synchronous: 'full',
    inFlight: 50,
    first: { rate: 2 },
    goal: { rate: 3 },
  }),
  acrossCase({
    name: 'sqlite another process: send → receive (row 21)',
    about:
      'p50 from the call of the other process until a waiting inbox has the message; reference: the file’s version read every millisecond',
    ours: delivered,
    reference: polled,
    count: 40,
    pauseMs: [2, 20],
    first: { value: 6000 },
    goal: { value: 400 },
  }),
  acrossCase({
    name: 'sqlite another process: request → reply',
    about: `p50; ${channel}`,
    ours: requested,
    reference: asked,
    count: 40,
  }),
  acrossCase({
    name: 'sqlite another process: delegate → result',
    about: `p50; ${channel}`,
    ours: delegated,
    reference: asked,
    count: 40,
  }),
];

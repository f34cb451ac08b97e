import assert from 'node:assert/strict';
import { createMesh } from '../../dist/index.js';
import { bullMq, jetStream, pQueue } from '../lib/brokers.mjs';
import { HandMailbox } from '../lib/hand-mailbox.mjs';
import { HandTasks } from '../lib/hand-tasks.mjs';
import { percentile, timed } from '../lib/measure.mjs';
import { notInstalled, peer, versioned } from '../lib/peers.mjs';
import { assertSettled, checkSum, contentOf, cycle, LASTING, pair } from '../lib/talk.mjs';

/** So many that each side clears away what it makes while it is measured, and not before its next turn. */
const CYCLES = 20_480;
const REQUESTS = 8_192;
const TASKS = 4_096;
/** So many rounds until what is measured no longer becomes faster. */
const WARM_UPS = 5;

/** The same cycle with a mailbox made by hand. */
async function cycleByHand(mailbox, { count, size }) {
  let through = 0;
  for (let done = 0; done < count; done += size) {
    const send = (index) => mailbox.send({ from: 'planner-001', to: 'dev-001', ...contentOf(index) });
    if (size === 1) await send(done);
    else await Promise.all(Array.from({ length: size }, (_, index) => send(done + index)));
    const messages = await mailbox.receive(size);
    checkSum(messages, { first: done, size });
    if (size === 1) await mailbox.ack(messages[0].id);
    else await Promise.all(messages.map(({ id }) => mailbox.ack(id)));
    through += messages.length;
  }
  return through;
}

function cycleCase({ size, name, goal }) {
  const count = CYCLES - (CYCLES % size);
  return {
    name,
    warmUps: WARM_UPS,
    about:
      'send, claim, ack, kept for history, with its events; reference: an array mailbox by hand that copies, freezes, claims and keeps',
    first: { rate: 0.2 },
    goal,
    async open() {
      const ours = await pair();
      const mailbox = new HandMailbox();
      let [through, byHand] = [0, 0];
      return {
        ours: () => timed(count, async () => (through += await cycle(ours, { count, size }))),
        reference: () => timed(count, async () => (byHand += await cycleByHand(mailbox, { count, size }))),
        async verify() {
          assert.equal(through, byHand);
          assert.equal(mailbox.kept.length, byHand);
          await assertSettled(ours);
        },
        close: () => ours.mesh.close(),
      };
    },
  };
}

/** The same cycle, 64 at a time on both sides, beside the queue of another package. */
function besideCase({ name, about, broker, count = CYCLES, first, goal }) {
  return {
    name,
    about,
    first,
    goal,
    async open() {
      const other = await broker({ inFlight: 64 });
      if (other.skipped) return other;
      const ours = await pair();
      let through = 0;
      return {
        ours: () => timed(CYCLES, async () => (through += await cycle(ours, { count: CYCLES, size: 64 }))),
        reference: () => timed(count, () => other.cycle(count, contentOf)),
        async verify() {
          assert.equal(through % CYCLES, 0);
          await assertSettled(ours);
        },
        notes: () => [other.version],
        async close() {
          await other.close();
          await ours.mesh.close();
        },
      };
    },
  };
}

/** Calls one after the other or so many at a time, and keeps how long each took. */
async function called(count, inFlight, times, call) {
  const one = async (index) => {
    const began = process.hrtime.bigint();
    await call(index);
    times.push(Number(process.hrtime.bigint() - began) / 1000);
  };
  for (let done = 0; done < count; done += inFlight) {
    if (inFlight === 1) await one(done);
    else await Promise.all(Array.from({ length: inFlight }, (_, index) => one(done + index)));
  }
}

const spreadOf = (times) => `p50 ${percentile(times, 50).toFixed(1)} µs, p99 ${percentile(times, 99).toFixed(1)} µs`;

function requestCase({ name, inFlight, first, goal }) {
  return {
    name,
    warmUps: WARM_UPS,
    about:
      'request with a deadline, claimed, answered and settled; reference: Moleculer local call with requestTimeout, which queues, copies, claims and keeps nothing',
    first,
    goal,
    async open() {
      const moleculer = await peer(() => import('moleculer'));
      if (!moleculer) return notInstalled('moleculer');
      const { mesh, hub, planner, dev, inbox } = await pair();
      const consumer = inbox.handle((message) => hub.reply(message, { from: dev, data: { pr: message.data.pr } }), {
        concurrency: 64,
      });
      const broker = new moleculer.default.ServiceBroker({ logger: false, requestTimeout: 5000 });
      broker.createService({ name: 'dev', actions: { build: async ({ params }) => ({ pr: params.data.pr }) } });
      await broker.start();
      const times = { ours: [], reference: [] };
      const check = (data, index) => {
        if (data.pr !== index) throw new Error('expected the answer to what was asked');
      };
      return {
        ours: () =>
          timed(REQUESTS, () =>
            called(REQUESTS, inFlight, times.ours, async (index) =>
              check((await hub.request({ from: planner, to: 'dev-001', timeoutMs: 5000, ...contentOf(index) })).data, index),
            ),
          ),
        reference: () =>
          timed(REQUESTS, () =>
            called(REQUESTS, inFlight, times.reference, async (index) =>
              check(await broker.call('dev.build', contentOf(index)), index),
            ),
          ),
        async verify() {
          const { messages } = await hub.stats();
          assert.deepEqual([messages.ready, messages.claimed, messages.dead], [0, 0, 0]);
        },
        notes: () => [versioned('moleculer'), `ours ${spreadOf(times.ours)}; reference ${spreadOf(times.reference)}`],
        async close() {
          await consumer.stop();
          await mesh.close();
          await broker.stop();
        },
      };
    },
  };
}

function broadcastCase({ name, size, times, first, goal }) {
  return {
    name,
    about: `one message to ${size} sessions, claimed and acked by each; reference: as many mailboxes by hand, with one frozen copy`,
    first,
    goal,
    async open() {
      const mesh = createMesh();
      const planner = await mesh.registry.register({ id: 'planner-001', ...LASTING });
      const ids = Array.from({ length: size }, (_, index) => `dev-${index}`);
      const inboxes = [];
      for (const id of ids) inboxes.push(mesh.hub.inbox(await mesh.registry.register({ id, ...LASTING })));
      const mailboxes = ids.map(() => new HandMailbox());
      let [sent, byHand] = [0, 0];
      return {
        ours: () =>
          timed(times, async () => {
            for (let index = 0; index < times; index++) {
              const { total } = await mesh.hub.broadcast({ from: planner, ...contentOf(index) });
              if (total !== size) throw new Error('expected everybody to be reached');
              for (const inbox of inboxes) {
                const [delivery] = await inbox.receive();
                await delivery.ack();
                sent += 1;
              }
            }
          }),
        reference: () =>
          timed(times, async () => {
            for (let index = 0; index < times; index++) {
              const { data, ...content } = contentOf(index);
              byHand += 1;
              const message = Object.freeze({
                id: `m${byHand}`,
                from: 'planner-001',
                to: '*',
                type: 'broadcast',
                ...content,
                data: Object.freeze({ ...data }),
                at: Date.now(),
              });
              for (const mailbox of mailboxes) await mailbox.post(message);
              for (const mailbox of mailboxes) {
                const [{ id }] = await mailbox.receive();
                await mailbox.ack(id);
              }
            }
          }),
        async verify() {
          assert.equal(sent, byHand * size);
          for (const mailbox of mailboxes) assert.equal(mailbox.kept.length, byHand);
          const { messages } = await mesh.hub.stats();
          assert.deepEqual([messages.ready, messages.claimed, messages.dead], [0, 0, 0]);
        },
        close: () => mesh.close(),
      };
    },
  };
}

function taskCase({ name, inFlight }) {
  return {
    name,
    warmUps: WARM_UPS,
    about:
      'delegate, claimed by a worker with 64 hands, done, its result awaited; reference: a queue of tasks by hand with claims, kept results and promises',
    async open() {
      const { mesh, hub, planner, dev } = await pair();
      const worker = hub.work(dev, { concurrency: 64 }, async ({ payload }) => ({ pr: payload.pr }));
      const tasks = new HandTasks();
      const stop = tasks.work({ concurrency: 64 }, async ({ payload }) => ({ pr: payload.pr }));
      const times = { ours: [], reference: [] };
      const round = (delegate, into) => () =>
        timed(TASKS, () =>
          called(TASKS, inFlight, into, async (index) => {
            const { data } = contentOf(index);
            const task = await delegate({ from: 'planner-001', to: 'dev-001', type: 'build', payload: data });
            if ((await task.result()).pr !== index) throw new Error('expected the result of the task');
          }),
        );
      return {
        ours: round((options) => hub.delegate({ ...options, from: planner }), times.ours),
        reference: round((options) => tasks.delegate(options), times.reference),
        async verify() {
          const { tasks: counts } = await hub.stats();
          assert.equal(counts.completed, times.ours.length);
          assert.equal(tasks.kept.size, times.reference.length);
        },
        notes: () => [`ours ${spreadOf(times.ours)}; reference ${spreadOf(times.reference)}`],
        async close() {
          await worker.stop();
          stop();
          await mesh.close();
        },
      };
    },
  };
}

export const cases = [
  cycleCase({ size: 1, name: 'send → claim → ack, one by one (row 1)', goal: { rate: 0.35 } }),
  cycleCase({ size: 10, name: 'send → claim → ack, in tens (row 1)', goal: { rate: 0.5 } }),
  cycleCase({ size: 64, name: 'send → claim → ack, 64 at a time (row 1)', goal: { rate: 0.5 } }),
  besideCase({
    name: 'send → claim → ack, 64 at a time, beside p-queue (row 2)',
    about: 'reference: 64 adds awaited together; p-queue runs functions: it copies, claims, acknowledges and keeps nothing',
    broker: pQueue,
    first: { rate: 0.25 },
    goal: { rate: 0.7 },
  }),
  besideCase({
    name: 'send → claim → ack, 64 at a time, beside BullMQ (row 2)',
    about:
      'reference: 64 adds in flight, a worker with 64 hands; BullMQ speaks to Redis by TCP, outlives this process, and serves others',
    broker: bullMq,
    count: 2_560,
    first: { rate: 10 },
    goal: { rate: 25 },
  }),
  besideCase({
    name: 'send → claim → ack, 64 at a time, beside JetStream (row 2)',
    about:
      'reference: 64 publishes in flight, a pull consumer that acks each message; JetStream speaks to its server by TCP and serves other processes',
    broker: jetStream,
    count: 2_560,
    first: { rate: 8 },
    goal: { rate: 20 },
  }),
  requestCase({ name: 'request → reply, one by one (row 3)', inFlight: 1, first: { rate: 0.15 }, goal: { rate: 0.3 } }),
  requestCase({ name: 'request → reply, 64 in flight (row 3)', inFlight: 64, first: { rate: 0.15 }, goal: { rate: 0.3 } }),
  broadcastCase({ name: 'broadcast to 10', size: 10, times: 2000 }),
  broadcastCase({ name: 'broadcast to 100 (row 4)', size: 100, times: 300, first: { time: 8 }, goal: { time: 4 } }),
  broadcastCase({ name: 'broadcast to 1,000', size: 1000, times: 30 }),
  broadcastCase({ name: 'broadcast to 10,000', size: 10_000, times: 3 }),
  taskCase({ name: 'delegate → result, one by one', inFlight: 1 }),
  taskCase({ name: 'delegate → result, 64 in flight', inFlight: 64 }),
];

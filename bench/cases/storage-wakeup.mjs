import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SqliteStorage } from '../../dist/sqlite.js';
import { median, percentile, seeded } from '../lib/measure.mjs';
import { bareDriver } from '../lib/sqlite.mjs';
import { temporaryFile } from '../lib/temporary.mjs';

const NEIGHBOUR = path.join(import.meta.dirname, '..', 'lib', 'neighbour.mjs');
const REST_MS = 1000;

/** Our storage with a watcher, a bare connection polled every millisecond, and a process that commits to their file. */
async function household() {
  const file = temporaryFile('mesh.db');
  const storage = await SqliteStorage.open(file);
  const { DatabaseSync } = bareDriver();
  const bare = new DatabaseSync(file);
  const neighbour = fork(NEIGHBOUR, [file], { execArgv: [] });
  await once(neighbour, 'message');
  return {
    storage,
    bare,
    async commit() {
      const answered = once(neighbour, 'message');
      neighbour.send(1);
      const [{ began }] = await answered;
      return BigInt(began);
    },
    async close() {
      neighbour.disconnect();
      await once(neighbour, 'exit');
      await storage.close();
      bare.close();
    },
  };
}

/** Calls back when the storage hints at a change. */
function hints({ storage }, changed) {
  return storage.watch(changed);
}

/** The same by hand: look at the file's version every millisecond. */
function poll({ bare }, changed) {
  const version = bare.prepare('PRAGMA data_version');
  let last = version.get().data_version;
  const timer = setInterval(() => {
    const { data_version: now } = version.get();
    if (now === last) return;
    last = now;
    changed();
  }, 1);
  return () => clearInterval(timer);
}

/** From the call of the neighbour's commit to the first word of it here, in microseconds. */
async function latencies(house, watch, { count, pause }) {
  const found = [];
  let heard = [];
  let wake;
  const stop = watch(house, () => {
    heard.push(process.hrtime.bigint());
    wake?.();
  });
  await sleep(20);
  for (let index = 0; index < count; index++) {
    await sleep(pause());
    heard = [];
    const began = await house.commit();
    // A late word of the commit before may have come first.
    const news = () => heard.find((at) => at >= began);
    while (news() === undefined) {
      await new Promise((resolve) => {
        wake = resolve;
      });
    }
    found.push(Number(news() - began) / 1000);
  }
  stop();
  return found;
}

function wakeUpCase({ name, about, first, goal, count, pauseMs: [from, to], warmUps }) {
  return {
    name,
    about,
    first,
    goal,
    warmUps,
    async open() {
      const house = await household();
      const all = { ours: [], reference: [] };
      const random = seeded(3);
      const side = (watch, into) => async () => {
        const found = await latencies(house, watch, { count, pause: () => from + random(to - from) });
        into.push(...found);
        return { value: median(found) };
      };
      return {
        ours: side(hints, all.ours),
        reference: side(poll, all.reference),
        verify() {
          for (const found of Object.values(all)) assert.equal(found.length % count, 0);
        },
        notes: () => [
          `p99 ${(percentile(all.ours, 99) / 1000).toFixed(2)} ms, polled ${(percentile(all.reference, 99) / 1000).toFixed(2)} ms, of ${all.ours.length}`,
        ],
        close: house.close,
      };
    },
  };
}

const restCase = {
  name: 'sqlite watching at rest',
  about: 'processor time while nothing happens, as a share of one core; reference: the 1 ms poll',
  goal: { value: 1 },
  unit: '%',
  warmUps: 1,
  async open() {
    const house = await household();
    const side = (watch) => async () => {
      const stop = watch(house, () => {});
      // Long enough for the poll to slow down.
      await sleep(REST_MS);
      const before = process.cpuUsage();
      await sleep(REST_MS);
      const { user, system } = process.cpuUsage(before);
      stop();
      return { value: (user + system) / 10 / REST_MS };
    };
    return { ours: side(hints), reference: side(poll), verify() {}, close: house.close };
  },
};

const wakeUp = 'another process commits, p50 from its call to the hint here; reference: data_version read every millisecond';

export const cases = [
  wakeUpCase({
    name: 'sqlite wake-up, busy',
    about: `${wakeUp}; 2 to 20 ms apart`,
    first: { value: 6000 },
    goal: { value: 400 },
    count: 40,
    pauseMs: [2, 20],
    warmUps: 1,
  }),
  wakeUpCase({
    name: 'sqlite wake-up, after a second of rest',
    about: wakeUp,
    goal: undefined,
    count: 2,
    pauseMs: [900, 1100],
    warmUps: 0,
  }),
  restCase,
];

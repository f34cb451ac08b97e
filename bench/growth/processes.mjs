import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { temporaryFile } from '../lib/temporary.mjs';

const NEIGHBOUR = path.join(import.meta.dirname, '..', 'lib', 'growth-neighbour.mjs');
const OPERATIONS = [
  { operation: 'send → claim → ack, a mailbox each', work: 'messages', count: 400 },
  { operation: 'delegate → claim → complete, one queue', work: 'tasks', count: 200 },
  { operation: 'update of one key', work: 'updates', count: 400 },
  { operation: 'get of that key', work: 'gets', count: 20_000 },
];

/** So many processes at once on one file: microseconds for each operation of all of them together. */
async function processes(size) {
  const file = temporaryFile('mesh.db');
  const children = [];
  for (let n = 0; n < size; n++) {
    const child = fork(NEIGHBOUR, [file, `p${n}`], { execArgv: ['--no-warnings'] });
    await once(child, 'message');
    children.push(child);
  }
  const all = async (work, count) => {
    const before = performance.now();
    await Promise.all(
      children.map((child) => {
        const done = once(child, 'message');
        child.send({ work, count: Math.ceil(count / size) });
        return done;
      }),
    );
    return ((performance.now() - before) * 1000) / (Math.ceil(count / size) * size);
  };
  return {
    operations: Object.fromEntries(
      OPERATIONS.map(({ operation, work, count }) => [operation, { measure: () => all(work, count) }]),
    ),
    async close() {
      for (const child of children) {
        const ended = once(child, 'exit');
        child.disconnect();
        await ended;
      }
    },
  };
}

export const curves = [
  {
    name: 'processes on one SQLite file',
    about:
      'by the number of processes that do the same at once; time per operation of all together, so that a flat line is a file that is busy all the time',
    sizes: [1, 2, 4, 8],
    operations: OPERATIONS,
    open: processes,
  },
];

// Holds a session, and writes all the time if told so. Once it has lost the session it tries everything, and reports.
import { createMesh } from '../../../dist/index.js';
import { SqliteStorage } from '../../../dist/sqlite.js';

const [file, id, writes] = process.argv.slice(2);
const mesh = createMesh({ storage: await SqliteStorage.open(file) });
const handle = await mesh.registry.register({ id, ttlMs: 1000 });
const lost = new Promise((resolve) => handle.signal.addEventListener('abort', resolve));
process.stdout.write('ready\n');

const outcome = async (write) => {
  try {
    return (await write()) ?? 'done';
  } catch (error) {
    return error.code ?? String(error);
  }
};

let first = 'none';
if (writes === 'writes') {
  const keepAlive = setInterval(() => {}, 1000);
  for (let n = 0; first === 'none' || first === 'done'; n++) {
    first = await outcome(() => handle.update({ metadata: { zombie: n } }));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  clearInterval(keepAlive);
} else {
  const keepAlive = setInterval(() => {}, 1000);
  await lost;
  clearInterval(keepAlive);
}
const attempts = [
  await outcome(() => handle.update({ task: 'zombie' })),
  await outcome(() => handle.spawn({ id: `${id}-child` })),
  await outcome(() => handle.end({ result: 'zombie' })),
  await outcome(() => mesh.registry.steer(id, { message: 'zombie', by: handle })),
  await outcome(() => handle.heartbeat()),
];
const report = { first, attempts, aborted: handle.signal.aborted, reason: handle.signal.reason?.code };
process.stdout.write(`${JSON.stringify(report)}\n`);
await mesh.close();

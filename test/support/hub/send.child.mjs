// Sends so many messages to three sessions in turn, and prints the body of each that was acknowledged.
import { createMesh } from '../../../dist/index.js';
import { SqliteStorage } from '../../../dist/sqlite.js';

const [file, count] = process.argv.slice(2);
const mesh = createMesh({ storage: await SqliteStorage.open(file, { busyTimeoutMs: 30_000 }) });
const sender = await mesh.registry.register({ id: 'sender' });
process.stdout.write('ready\n');
for (let n = 0; n < Number(count); n++) {
  await mesh.hub.send({ from: sender, to: `consumer${n % 3}`, body: `m${n}`, idempotencyKey: `m${n}` });
  process.stdout.write(`sent m${n}\n`);
  await new Promise((resolve) => setTimeout(resolve, 5));
}
process.stdout.write('done\n');
await mesh.close();

// Takes a session over and handles its mail, slowly: prints the body of each message that it has acked, once that is told.
import { createMesh } from '../../../dist/index.js';
import { SqliteStorage } from '../../../dist/sqlite.js';

const [file, id] = process.argv.slice(2);
const mesh = createMesh({
  storage: await SqliteStorage.open(file, { busyTimeoutMs: 30_000 }),
  hub: { visibilityMs: 1000, maxDeliveries: 1000 },
});
const handle = await mesh.registry.register({ id, takeover: true });
process.stdout.write('ready\n');
for await (const delivery of mesh.hub.inbox(handle)) {
  process.stdout.write(`got ${delivery.message.body} ${delivery.attempt}\n`);
  await new Promise((resolve) => setTimeout(resolve, 2));
  await delivery.ack();
  process.stdout.write(`acked ${delivery.message.body}\n`);
}

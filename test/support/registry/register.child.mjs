// Registers the id of each line it reads eight times at once, and prints what became of each.
import { createInterface } from 'node:readline';
import { createMesh } from '../../../dist/index.js';
import { SqliteStorage } from '../../../dist/sqlite.js';

const [file, name] = process.argv.slice(2);
const mesh = createMesh({ storage: await SqliteStorage.open(file, { busyTimeoutMs: 30_000 }) });
process.stdout.write('ready\n');
for await (const id of createInterface({ input: process.stdin })) {
  const attempts = Array.from({ length: 8 }, async () => {
    try {
      const { epoch } = await mesh.registry.register({ id, user: name, heartbeat: 'manual' });
      return `done ${epoch}`;
    } catch (error) {
      return error.code ?? String(error);
    }
  });
  process.stdout.write(`${JSON.stringify(await Promise.all(attempts))}\n`);
}
await mesh.close();

// Works on tasks of a capability in a file, a little while on each, until it is killed.
import { setTimeout as sleep } from 'node:timers/promises';
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import { createMesh } from '../../../src/mesh.ts';

const [file, id] = process.argv.slice(2) as [string, string];
const mesh = createMesh({ storage: await SqliteStorage.open(file), onError: () => {} });
const agent = await mesh.registry.register({ id, ttlMs: 1500, capabilities: ['job'] });
mesh.hub.work<number>(agent, { concurrency: 4 }, async ({ payload }) => {
  await sleep(10 + (payload % 7) * 10);
  return [payload * 2, id];
});
process.stdout.write('working\n');

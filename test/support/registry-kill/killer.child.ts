// Kills a tree in a file, and says so once the first sessions are marked, so that it can be killed itself.
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import { createMesh } from '../../../src/index.ts';

const [file, root, graceMs] = process.argv.slice(2) as [string, string, string];
const mesh = createMesh({ storage: await SqliteStorage.open(file), onError: () => {} });
let heard = 0;
mesh.on('*', ({ name }) => {
  if (name === 'session_created') return;
  heard += 1;
  if (heard === 5) process.kill(process.pid, 'SIGKILL');
});
process.stdout.write('killing\n');
await mesh.registry.kill(root, { graceMs: Number(graceMs), force: graceMs === '0', reason: 'crash' });
process.stdout.write('survived\n');

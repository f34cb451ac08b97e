// Registers sessions whose leases are renewed, listens, and then has nothing left to do: ends by itself, or closes first.
import { performance } from 'node:perf_hooks';
import { createMesh } from '../../../dist/index.js';
import { SqliteStorage } from '../../../dist/sqlite.js';

const [file, how] = process.argv.slice(2);
const mesh = createMesh(file === 'memory' ? {} : { storage: await SqliteStorage.open(file) });
mesh.on('*', () => {});
const handles = await Promise.all(Array.from({ length: 1000 }, (_, n) => mesh.registry.register({ id: `s${n}`, ttlMs: 3000 })));
for (const { signal } of handles) signal.addEventListener('abort', () => {});
let closedInMs = 0;
if (how === 'close') {
  const begun = performance.now();
  await mesh.close();
  closedInMs = performance.now() - begun;
}
// The pipe to whoever reads this is not the library's.
const resources = process.getActiveResourcesInfo().filter((name) => !/Pipe|TTY/.test(name));
process.stdout.write(`${JSON.stringify({ closedInMs, resources })}\n`);

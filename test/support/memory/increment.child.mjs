// Increments one counter of shared memory many times at once, as one of several processes.
import { createMesh } from '../../../dist/index.js';
import { SqliteStorage } from '../../../dist/sqlite.js';

const [file, times] = process.argv.slice(2);
const mesh = createMesh({ storage: await SqliteStorage.open(file, { busyTimeoutMs: 60_000 }) });
const increment = (n) => (n ?? 0) + 1;
await Promise.all(Array.from({ length: Number(times) }, () => mesh.memory.update('counter', increment)));
await mesh.close();

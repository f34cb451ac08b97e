// Verifies a token many times at once when it is told to, and counts the outcomes.
import { once } from 'node:events';
import { createMesh } from '../../../dist/index.js';
import { SqliteStorage } from '../../../dist/sqlite.js';

const [file, token, times] = process.argv.slice(2);
const mesh = createMesh({ storage: await SqliteStorage.open(file) });
console.log('ready');
await once(process.stdin, 'data');
const outcomes = await Promise.all(
  Array.from({ length: Number(times) }, async () => {
    try {
      const verification = await mesh.keys.verify(token);
      return verification.valid ? 'valid' : verification.code;
    } catch (error) {
      return error.code ?? String(error);
    }
  }),
);
const counts = {};
for (const outcome of outcomes) counts[outcome] = (counts[outcome] ?? 0) + 1;
console.log(JSON.stringify(counts));
process.stdin.unref();
await mesh.close();

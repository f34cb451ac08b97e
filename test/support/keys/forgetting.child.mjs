// Uses the tokens of a file in every way, forgets them, and writes down everything that its memory still holds.
import { createWriteStream, readFileSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { getHeapSnapshot } from 'node:v8';
import { createMesh } from '../../../dist/index.js';
import { SqliteStorage } from '../../../dist/sqlite.js';

const [database, file, target] = process.argv.slice(2);
const meshes = [createMesh({ storage: await SqliteStorage.open(database) }), createMesh()];
globalThis.kept = [`kept-${process.pid}`];

async function use() {
  for (const token of JSON.parse(readFileSync(file, 'utf8'))) {
    for (const { keys } of meshes) {
      for (let n = 0; n < 3; n++) {
        const { principal } = await keys.verify(token, { scope: 'a' });
        globalThis.kept.push(principal);
      }
      const derived = await keys.derive(token).catch(() => undefined);
      globalThis.kept.push(derived?.apiKey);
      await keys.authenticate(token, { scope: 'b' }).catch((error) => globalThis.kept.push(error.message));
      await keys.revoke(token).catch((error) => globalThis.kept.push(error));
    }
  }
  // What was made here is forgotten too.
  for (const { keys } of meshes) {
    const { token, apiKey } = await keys.issue({ maxUses: 5 });
    await keys.verify(token);
    const rotated = await keys.rotate(apiKey.id);
    await keys.verify(rotated.token);
    globalThis.kept.push(apiKey, rotated.apiKey);
  }
}

await use();
for (let n = 0; n < 5; n++) {
  globalThis.gc();
  await new Promise(setImmediate);
}
await pipeline(getHeapSnapshot(), createWriteStream(target));
console.log('written');
for (const mesh of meshes) await mesh.close();

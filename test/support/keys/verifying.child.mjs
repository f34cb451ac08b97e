// Verifies several tokens in turn, over and over, until it is told to stop; then tells of each when the last verification
// that passed began, and what the others were refused for.
import { createMesh } from '../../../dist/index.js';
import { SqliteStorage } from '../../../dist/sqlite.js';

const [file, ...tokens] = process.argv.slice(2);
const mesh = createMesh({ storage: await SqliteStorage.open(file) });
const seen = tokens.map(() => ({ passed: 0, last: '0', refused: {} }));
let isTold = false;
process.stdin.once('data', () => {
  isTold = true;
});

const passedAtLeast = (times) => seen.every(({ passed }) => passed >= times);
const refusedAtLeast = (times) =>
  seen.every(({ refused }) => Object.values(refused).reduce((sum, count) => sum + count, 0) >= times);
let hasPassed = false;
let isRefused = false;

while (!isTold) {
  for (const [n, token] of tokens.entries()) {
    const began = process.hrtime.bigint();
    const verification = await mesh.keys.verify(token, { scope: 'a:b' });
    const one = seen[n];
    if (verification.valid) {
      one.passed += 1;
      one.last = String(began);
    } else one.refused[verification.code] = (one.refused[verification.code] ?? 0) + 1;
  }
  if (!hasPassed && passedAtLeast(20)) {
    hasPassed = true;
    console.log('passed');
  }
  if (!isRefused && refusedAtLeast(20)) {
    isRefused = true;
    console.log('refused');
  }
  await new Promise(setImmediate);
}
console.log(JSON.stringify(seen));
process.stdin.unref();
await mesh.close();

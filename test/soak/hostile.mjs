import fc from 'fast-check';
import { load, temporaryFolder } from './bundle.mjs';

/** Every bad value in every place of every method, and how long the slowest call held up the event loop. */
export async function soakHostile() {
  const { attack, LISTED } = await load('test/support/hostile/attack.ts', temporaryFolder());
  const anything = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withSparseArray: true,
  });
  const made = fc.sample(anything, { seed: 11, numRuns: 200 }).map((value) => () => value);
  // Once without counting, so that what is compiled at the first call is not taken for a block.
  await attack(LISTED, { every: 7 });
  const { inputs, refused, accepted, wrong, slow } = await attack([...LISTED, ...made]);
  console.log(`${inputs} inputs: ${refused} refused, ${accepted} accepted, ${wrong.length} wrong`);
  console.log(`${slow.length} calls held up the event loop for more than 50 ms`);
  for (const text of slow.slice(0, 20)) console.log(text);
  for (const text of wrong.slice(0, 20)) console.log(text);
  return wrong.length === 0 && slow.length === 0;
}

import { expect, it } from 'vitest';
import { runLibrary } from '../support/simulation/library.ts';

const SEEDS = Number(process.env['SIMULATION_SEEDS'] ?? 200);
const FIRST_SEED = Number(process.env['SIMULATION_SEED'] ?? 1);
/** On a machine that is slower than any it was made for, fewer seeds are better than none of the other tests. */
const BUDGET_MS = Number(process.env['SIMULATION_MS'] ?? 15_000);

it(`keeps its promises in up to ${SEEDS} random runs of several processes, audited after each step`, async () => {
  const began = Date.now();
  let crashes = 0;
  let seeds = 0;
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS && Date.now() - began < BUDGET_MS; seed++) {
    crashes += (await runLibrary(seed)).crashes;
    seeds += 1;
  }
  expect(seeds).toBeGreaterThanOrEqual(Math.min(SEEDS, 50));
  expect(crashes).toBeGreaterThan(seeds / 4);
});

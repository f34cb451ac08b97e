import { defineConfig } from 'vitest/config';
import { SecondTries } from './test/second-tries.ts';

/** Where to leave the counts for whoever adds up several runs. */
const report = process.env['TEST_REPORT'];

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Tests start processes and open databases: worker threads would share what a process must not.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Several thousand tests, many of them with real processes on a machine that others use too: the check of a clean checkout
    // repeats a failed one once, and says which it was.
    retry: process.env['CI'] ? 1 : 0,
    reporters: ['default', ...(report ? ['json'] : []), new SecondTries()],
    ...(report && { outputFile: { json: report } }),
  },
});

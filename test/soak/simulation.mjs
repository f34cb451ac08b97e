import { load, temporaryFolder } from './bundle.mjs';

/** Runs seed after seed of the workload of the library, and stops at the first that fails. */
export async function soakSimulation({ first, seeds, minutes, steps }) {
  const { runLibrary } = await load('test/support/simulation/library.ts', temporaryFolder());
  const began = Date.now();
  const deadline = began + minutes * 60_000;
  const done = { seeds: 0, calls: 0, crashes: 0 };
  let told = began;
  for (let seed = first; done.seeds < seeds && Date.now() < deadline; seed++) {
    try {
      const { calls, crashes } = await runLibrary(seed, steps);
      done.seeds += 1;
      done.calls += calls;
      done.crashes += crashes;
    } catch (error) {
      console.error(`seed ${seed} fails (npm run soak -- --seed ${seed} --seeds 1):`);
      console.error(error);
      return { ...done, failed: seed };
    }
    if (Date.now() - told < 10_000) continue;
    told = Date.now();
    console.log(`${done.seeds} seeds, ${done.calls} calls, ${done.crashes} crashes, ${Math.round((told - began) / 1000)} s`);
  }
  return done;
}

import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { ROOT } from './bundle.mjs';

/** Kills writers for as long as wanted: the test that `npm test` runs too, with more kills, again and again. */
export function soakWriters({ minutes }) {
  /** About as many as there is time for; a run that is done early is followed by another. */
  const kills = Math.min(1000, Math.ceil(minutes * 200));
  const vitest = path.join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
  const deadline = Date.now() + minutes * 60_000;
  for (let run = 1; Date.now() < deadline; run++) {
    console.log(`run ${run}, ${((deadline - Date.now()) / 60_000).toFixed(1)} of ${minutes} minutes left`);
    const { status } = spawnSync(process.execPath, [vitest, 'run', 'test/adapters/sqlite/processes', '--testTimeout=3600000'], {
      cwd: ROOT,
      stdio: 'inherit',
      env: { ...process.env, SOAK_KILLS: String(kills) },
    });
    if (status !== 0) return false;
  }
  return true;
}

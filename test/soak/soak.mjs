import { parseArgs } from 'node:util';

const HELP = `Long runs, one kind at a time:

  npm run soak -- --seeds 10000 --minutes 30     the simulation of the library, seed after seed, from --seed on
  npm run soak -- --crash --minutes 10           real processes on one file, killed at random, against a ledger
  npm run soak -- --writers --minutes 10         writers of a file, killed at random
  npm run soak -- --mistakes [--only words]      wrong variants of the library, each of which some test must notice
  npm run soak -- --hostile                      bad input for every public method, and how long it holds up the loop`;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seeds: { type: 'string', default: 'Infinity' },
    seed: { type: 'string', default: '1' },
    steps: { type: 'string', default: '60' },
    only: { type: 'string' },
    crash: { type: 'boolean', default: false },
    writers: { type: 'boolean', default: false },
    mistakes: { type: 'boolean', default: false },
    hostile: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit();
}

function above(zero, name) {
  const number = Number(values[name]);
  if (!(number > zero)) throw new Error(`expected --${name} above ${zero}, got ${values[name]}`);
  return number;
}

const minutes = above(0, 'minutes');
const first = above(-1, 'seed');
let isGood;
if (values.crash) {
  const { soakCrashes } = await import('./crash.mjs');
  isGood = await soakCrashes({ minutes, seed: first });
} else if (values.writers) {
  const { soakWriters } = await import('./writers.mjs');
  isGood = soakWriters({ minutes });
} else if (values.mistakes) {
  const { soakMistakes } = await import('./mistakes.mjs');
  isGood = await soakMistakes({ only: values.only });
} else if (values.hostile) {
  const { soakHostile } = await import('./hostile.mjs');
  isGood = await soakHostile();
} else {
  const { soakSimulation } = await import('./simulation.mjs');
  const done = await soakSimulation({ first, seeds: above(0, 'seeds'), minutes, steps: above(0, 'steps') });
  console.log(`${done.seeds} seeds, ${done.calls} calls to the storage, ${done.crashes} crashes`);
  isGood = done.failed === undefined;
}
process.exit(isGood ? 0 : 1);

import { type SimulateOptions, simulate } from '../../../src/testing/simulate.ts';
import { EVENTUALLY, INVARIANTS } from './audits.ts';
import { Ledger } from './ledger.ts';
import { ACTIONS, type Own, start } from './workload.ts';

/** Every third seed is with a reliable storage, every fifth with more processes: each finds what others do not. */
function optionsOf(seed: number): SimulateOptions<Ledger, Own> {
  const isReliable = seed % 3 === 0;
  const faults = {
    conflictRate: seed % 2 === 0 ? 0.05 : 0,
    unknownRate: isReliable ? 0 : 0.04,
    latencyMs: seed % 4 === 0 ? 30 : 2,
    dropHints: seed % 4 === 1 ? 0.5 : 0,
    crashRate: 0.04,
    stallRate: 0.02,
    pauseRate: 0.01,
  };
  return { seed, faults, processes: seed % 5 === 0 ? 4 : 2 };
}

/** Runs one seed of the workload of this library, audited after every step. */
export async function runLibrary(seed: number, steps = 45): Promise<{ readonly calls: number; readonly crashes: number }> {
  let ledger = new Ledger();
  const { counts } = await simulate<Ledger, Own>({
    ...optionsOf(seed),
    steps,
    stepMs: 400,
    state: () => (ledger = new Ledger()),
    storage: (clock) => ledger.open(clock as never).storage,
    start,
    actions: ACTIONS,
    invariants: INVARIANTS,
    // Some runs are followed to their end, which costs more than all before it.
    ...(seed % 8 === 0 && { eventually: EVENTUALLY, settleMs: 90_000 }),
    mesh: { hub: { maxDeliveries: 3, mailboxLimit: 8 } },
    shrinkRuns: 300,
  });
  return counts;
}

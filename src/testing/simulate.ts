import { parse } from '../kernel/inputs.ts';
import { InMemoryStorage } from '../storage/in-memory-storage.ts';
import { type Accepted, NO_FAULTS, SIMULATE, type SimulateOptions } from './simulation/options.ts';
import { ORDINARY } from './simulation/ordinary.ts';
import { planOf, type Step } from './simulation/plan.ts';
import { type Failure, type Outcome, Run, type SimulationCounts } from './simulation/run.ts';
import { shrink } from './simulation/shrink.ts';

export type {
  Invariant,
  SimulatedAction,
  SimulatedProcess,
  SimulatedWorld,
  SimulateOptions,
  SimulationFaults,
} from './simulation/options.ts';
export type { SimulationCounts } from './simulation/run.ts';

/** What a simulation came to. */
export interface SimulationReport {
  /** How many seeds were run. */
  readonly seeds: number;
  /** Of all of them together. */
  readonly counts: SimulationCounts;
  /** What the last seed did, step by step. */
  readonly trace: readonly string[];
}

/** An invariant that did not hold: under which seed, at which step, and the shortest way there that was found. */
export class SimulationFailure extends Error {
  override readonly name = 'SimulationFailure';
  readonly seed: number;
  readonly step: number;
  readonly invariant: string;
  readonly trace: readonly string[];

  /** @internal */
  constructor(seed: number, { step, invariant, error }: Failure, trace: readonly string[], how: string) {
    const why = error instanceof Error ? error.message : String(error);
    super(`seed ${seed} breaks "${invariant}" at step ${step} (${how}): ${why}\n${trace.join('\n')}`, { cause: error });
    this.seed = seed;
    this.step = step;
    this.invariant = invariant;
    this.trace = trace;
  }
}

/**
 * Runs your agents as several processes on one storage, in virtual time, with everything drawn from a seed: what they do,
 * in which order their calls reach the storage, and what goes wrong. Processes crash at any await point and come back,
 * freeze, lose answers and hints. After every step the invariants are checked. The same seed gives the same run, so what
 * it finds can be found again; it is then shortened to the steps that it takes.
 *
 * ```ts
 * await simulate({
 *   seeds: 100,
 *   state: () => ({ shipped: new Map<string, number>() }),
 *   start: ({ name, mesh }) => mesh.registry.register({ id: name, takeover: true }),
 *   actions: {
 *     order: ({ own, mesh }, random) => mesh.hub.send({ from: own, to: random.pick(['p1', 'p2']), body: 'ship it' }),
 *     ship: async ({ own, mesh, state }) => {
 *       for (const { message, ack } of await mesh.hub.inbox(own).receive()) …
 *     },
 *   },
 *   invariants: { 'nothing is shipped twice': ({ state }) => assert([...state.shipped.values()].every((n) => n === 1)) },
 * });
 * ```
 *
 * Repeatable is only what takes time and randomness from here: from `process.sleep`, `process.now` and the `random` of an
 * action. Secrets of API keys are random in every run.
 *
 * @throws SimulationFailure; MeshError `invalid_input`
 */
export async function simulate<State = Record<string, unknown>, Own = unknown>(
  options: SimulateOptions<State, Own> = {},
): Promise<SimulationReport> {
  const accepted = accept(options as SimulateOptions);
  const total: Record<string, number> = {};
  let trace: readonly string[] = [];
  for (let n = 0; n < accepted.seeds; n++) {
    const seed = accepted.seed + n;
    const steps = plan(seed, accepted);
    const outcome = await Run.through(steps, seed, accepted);
    if (outcome.failure) throw await explained(seed, steps, outcome, outcome.failure, accepted);
    for (const [name, count] of Object.entries(outcome.counts)) total[name] = (total[name] ?? 0) + (count as number);
    trace = outcome.trace;
  }
  return { seeds: accepted.seeds, counts: total as unknown as SimulationCounts, trace };
}

function plan(seed: number, { processes, steps, stepMs, rates, actions }: Accepted): Step[] {
  return planOf({ seed, processes, steps, stepMs, rates, weights: [...actions].map(([name, { weight }]) => [name, weight]) });
}

/** Makes sure that it happens again, and looks for fewer steps in which it does. */
async function explained(
  seed: number,
  steps: readonly Step[],
  first: Outcome,
  failure: Failure,
  options: Accepted,
): Promise<SimulationFailure> {
  const again = await Run.through(steps, seed, options);
  if (String(again.trace) !== String(first.trace))
    return new SimulationFailure(
      seed,
      failure,
      first.trace,
      'and not the same when it was run again: something is not drawn from the seed',
    );
  const isSame = async (candidate: readonly Step[]): Promise<boolean> =>
    (await Run.through(candidate, seed, options)).failure?.invariant === failure.invariant;
  const reached = steps.filter(({ index }) => index <= failure.step);
  const short = await shrink(reached, isSame, options.shrinkRuns);
  const last = await Run.through(short, seed, options);
  const how = `in ${short.length} of ${reached.length} steps`;
  return new SimulationFailure(seed, last.failure ?? failure, last.failure ? last.trace : first.trace, how);
}

function accept(options: SimulateOptions): Accepted {
  const { faults, actions, start, state, storage, ...rest } = parse(SIMULATE, options, 'options');
  const chosen = actions ?? ORDINARY.actions;
  return {
    ...rest,
    rates: faults === false ? NO_FAULTS : faults,
    start: start ?? (actions ? () => undefined : ORDINARY.start),
    state: state ?? (() => ({})),
    storage: storage ?? ((clock) => new InMemoryStorage({ clock })),
    actions: new Map(
      Object.entries(chosen).map(([name, given]) => {
        const [weight, act] = typeof given === 'function' ? [1, given] : given;
        return [name, { weight, act }];
      }),
    ),
  };
}

import * as z from 'zod';
import { type Clock, MAX_TIMER_MS } from '../../kernel/clock.ts';
import { callback, policy, wholeNumber } from '../../kernel/inputs.ts';
import type { Mesh, MeshOptions } from '../../mesh.ts';
import type { Storage } from '../../storage/storage.ts';
import type { SeededRandom } from '../random.ts';

/** What goes wrong in a run, all drawn from its seed. */
export interface SimulationFaults {
  /** The share, 0 … 1, of commits that report a conflict that is none. Default 0.02. */
  readonly conflictRate?: number | undefined;
  /** The share of commits whose answer is lost; half of these were applied. Default 0.02. */
  readonly unknownRate?: number | undefined;
  /** How long a call to the storage takes at most, there and back each. Default 5. */
  readonly latencyMs?: number | undefined;
  /** The share of hints that get lost. Default 0.1. */
  readonly dropHints?: number | undefined;
  /** The share of steps in which a process crashes, at an await point, to be back within 10 s. Default 0.03. */
  readonly crashRate?: number | undefined;
  /** The share of steps in which the event loop of a process stalls, for up to 3 s. Default 0.02. */
  readonly stallRate?: number | undefined;
  /** The share of steps in which a process is paused, for 3 s to a minute, as by SIGSTOP. Default 0.01. */
  readonly pauseRate?: number | undefined;
  /** The share of steps in which the clock is set, forward or back. Default 0: liveness is not promised then. */
  readonly clockStepRate?: number | undefined;
  /** How far at most. Default 5,000. */
  readonly clockStepMs?: number | undefined;
}

/** One of the processes, as its program sees it. After a crash another one of the same name takes its place. */
export interface SimulatedProcess<State = unknown, Own = unknown> {
  /** `p1`, `p2`, … */
  readonly name: string;
  readonly mesh: Mesh;
  /** What `start` answered. */
  readonly own: Own;
  /** What the test knows: shared by all processes and invariants, and outside of what can crash. */
  readonly state: State;
  /** The time of the simulation. */
  now(): number;
  /** Lets simulated time pass. */
  sleep(ms: number): Promise<void>;
}

/** What invariants look at. */
export interface SimulatedWorld<State = unknown> {
  readonly state: State;
  /** A mesh beside those of the processes: without faults, and it does nothing by itself. */
  readonly mesh: Mesh;
  /** The storage as it is. */
  readonly storage: Storage;
  /** What the meshes of the processes reported to `onError` since the step before. */
  readonly errors: readonly unknown[];
  /** The time of the simulation. */
  now(): number;
}

/**
 * Something that a process may be told to do. It need not be done within its step. A MeshError that it ends with belongs
 * to the run; anything else that it throws fails it.
 */
export type SimulatedAction<State = unknown, Own = unknown> = (
  process: SimulatedProcess<State, Own>,
  random: SeededRandom,
) => unknown;

/** Throws, or rejects, if something is wrong. Must not wait for time to pass. */
export type Invariant<State = unknown> = (world: SimulatedWorld<State>) => unknown;

/** What is simulated, and what must hold. */
export interface SimulateOptions<State = unknown, Own = unknown> {
  /** The first seed. Default 1. */
  readonly seed?: number | undefined;
  /** How many seeds, one after the other. Default 1. */
  readonly seeds?: number | undefined;
  /** 1 … 32. Default 3. */
  readonly processes?: number | undefined;
  /** 1 … 100,000. Default 300. */
  readonly steps?: number | undefined;
  /** How much time a step lets pass: mostly next to nothing, often up to this, seldom ten times as much. Default 1,000. */
  readonly stepMs?: number | undefined;
  /** `false`: none. */
  readonly faults?: SimulationFaults | false | undefined;
  /** For the meshes of the processes, which look for news once a second here, unless told otherwise. */
  readonly mesh?: Omit<MeshOptions, 'storage' | 'closeStorage' | 'generateId' | 'onError'> | undefined;
  /** Opens the storage that all processes share, new and empty, on this clock. Default: in memory. */
  readonly storage?: ((clock: Clock) => Storage | Promise<Storage>) | undefined;
  /** Makes what the test knows, anew for each run. Default: an empty object. */
  readonly state?: (() => State) | undefined;
  /**
   * What each process does at the beginning and after each crash: registers sessions, begins to work. Actions wait for
   * what it answers. When it ends with a MeshError it is tried again a second later.
   */
  readonly start?: ((process: Omit<SimulatedProcess<State>, 'own'>, random: SeededRandom) => Own | Promise<Own>) | undefined;
  /** By name, with a weight where they are not to be equally frequent. Default: some ordinary ones. */
  readonly actions?:
    | Readonly<Record<string, SimulatedAction<State, Own> | readonly [weight: number, action: SimulatedAction<State, Own>]>>
    | undefined;
  /** By name: checked after every step. */
  readonly invariants?: Readonly<Record<string, Invariant<State>>> | undefined;
  /** By name: checked once, after the last step, when all faults have ended, every process is up and `settleMs` passed. */
  readonly eventually?: Readonly<Record<string, Invariant<State>>> | undefined;
  /** Default 60,000. */
  readonly settleMs?: number | undefined;
  /** How many runs it may take to find a short trace. Default 200. */
  readonly shrinkRuns?: number | undefined;
}

export type Rates = { readonly [Name in keyof SimulationFaults]-?: number };

const share = policy((value): value is number => typeof value === 'number' && value >= 0 && value <= 1, 'between 0 and 1');
const ms = wholeNumber(0, MAX_TIMER_MS);
const isAction = (value: unknown): boolean =>
  typeof value === 'function' ||
  (Array.isArray(value) && value.length === 2 && value[0] > 0 && value[0] < 1e6 && typeof value[1] === 'function');
const actions = z.custom<NonNullable<SimulateOptions['actions']>>(
  (value) => typeof value === 'object' && value !== null && Object.keys(value).length > 0 && Object.values(value).every(isAction),
  { message: 'at least one action: functions, or pairs of a weight and a function' },
);
const invariants = z.record(z.string(), callback<Invariant>()).default({});

/** What a mesh looks at itself, but what each process of a simulation has of its own. */
const MESH = z.looseObject({
  storage: z.undefined().optional(),
  closeStorage: z.undefined().optional(),
  generateId: z.undefined().optional(),
  onError: z.undefined().optional(),
});

const FAULTS = z.strictObject({
  conflictRate: share.default(0.02),
  unknownRate: share.default(0.02),
  latencyMs: wholeNumber(0, 60_000).default(5),
  dropHints: share.default(0.1),
  crashRate: share.default(0.03),
  stallRate: share.default(0.02),
  pauseRate: share.default(0.01),
  clockStepRate: share.default(0),
  clockStepMs: wholeNumber(1, MAX_TIMER_MS).default(5000),
});

export const NO_FAULTS: Rates = {
  conflictRate: 0,
  unknownRate: 0,
  latencyMs: 0,
  dropHints: 0,
  crashRate: 0,
  stallRate: 0,
  pauseRate: 0,
  clockStepRate: 0,
  clockStepMs: 1,
};

export const SIMULATE = z.strictObject({
  seed: wholeNumber(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER).default(1),
  seeds: wholeNumber(1, Number.MAX_SAFE_INTEGER).default(1),
  processes: wholeNumber(1, 32).default(3),
  steps: wholeNumber(1, 100_000).default(300),
  stepMs: ms.default(1000),
  faults: z.union([z.literal(false), FAULTS]).default(FAULTS.parse({})),
  mesh: MESH.default({}),
  storage: callback<NonNullable<SimulateOptions['storage']>>().optional(),
  state: callback<() => unknown>().optional(),
  start: callback<NonNullable<SimulateOptions['start']>>().optional(),
  actions: actions.optional(),
  invariants,
  eventually: invariants,
  settleMs: ms.default(60_000),
  shrinkRuns: wholeNumber(0, 100_000).default(200),
});

/** What a run is made of. */
export type Accepted = Omit<z.output<typeof SIMULATE>, 'faults' | 'actions' | 'start' | 'state' | 'storage'> & {
  readonly rates: Rates;
  readonly actions: ReadonlyMap<string, { readonly weight: number; readonly act: SimulatedAction }>;
  readonly start: NonNullable<SimulateOptions['start']>;
  readonly state: () => unknown;
  readonly storage: NonNullable<SimulateOptions['storage']>;
};

import { type Clock, holdProcess, MAX_TIMER_MS, systemClock, type Timer } from '../kernel/clock.ts';
import { describe } from '../kernel/describe.ts';
import { MeshError } from '../kernel/errors.ts';
import { parse } from '../kernel/inputs.ts';
import { checkedCommit } from '../storage/checked.ts';
import type {
  Address,
  Commit,
  CommitResult,
  Durability,
  Hint,
  ListRange,
  MaybePromise,
  Storage,
  StoredRecord,
  Unsubscribe,
} from '../storage/storage.ts';
import { storagePolicy } from '../storage/storage-policy.ts';
import { SeededRandom } from './random.ts';

/** What goes wrong, and how often. */
export interface FaultOptions {
  /** The same seed and the same calls in the same order give the same faults. Default: 1. */
  readonly seed?: number;
  /** The share, 0 … 1, of commits with checks or touches that report one of these as failed and change nothing. Default: 0. */
  readonly conflictRate?: number;
  /** The share, 0 … 1, of commits that throw `commit_unknown`; half of these were applied. Default: 0. */
  readonly unknownRate?: number;
  /** How long a call may be under way before the storage has it, and again before the answer is back. Default: 0. */
  readonly latencyMs?: number;
  /** The share, 0 … 1, of hints that get lost; `true` for all. Default: 0. */
  readonly dropHints?: boolean | number;
}

/** What was done to the storage so far. */
export interface FaultCounts {
  readonly calls: number;
  readonly conflicts: number;
  readonly unknownApplied: number;
  readonly unknownNotApplied: number;
  readonly hintsDropped: number;
}

/** The faults of one storage, to be read and switched by a test. */
export interface Faults {
  readonly counts: FaultCounts;
  /** Ends all faults until `resume`, so that a test can drain; calls that are held up go on at once. */
  pause(): void;
  /** Faults begin again. */
  resume(): void;
  /** From now on faults are drawn from another seed. @throws MeshError `invalid_input` */
  reseed(seed: number): void;
}

/** Behind a line, every answer comes later. */
export interface FaultyStorage extends Storage {
  readonly faults: Faults;
  get(addresses: readonly Address[]): Promise<(StoredRecord | undefined)[]>;
  list(partition: string, range?: ListRange): Promise<StoredRecord[]>;
  commit(commit: Commit): Promise<CommitResult>;
}

/**
 * The storage behind a bad line: a view of it with injected conflicts, unknown outcomes, latency and lost hints, all
 * drawn from one seed. Faults are only such as the contract allows, so whatever is built on it must still hold. Closing
 * it closes `storage`.
 *
 * @throws MeshError `invalid_input`
 */
export function withFaults(storage: Storage, options: FaultOptions = {}): FaultyStorage {
  return new StorageBehindFaults(parse(storagePolicy, storage, 'storage'), checkedOptions(options));
}

/** What is to happen to one call. */
interface Drawn {
  readonly before: number;
  readonly after: number;
  /** Where in the list of its conditions, 0 … 1, the one stands that is said to have failed. */
  readonly conflictAt?: number;
  readonly unknown?: 'applied' | 'lost';
}

const NO_FAULTS: Drawn = { before: 0, after: 0 };

class StorageBehindFaults implements FaultyStorage {
  readonly clock: Clock;
  readonly uncertain: boolean;
  readonly reliableHints: boolean;
  readonly faults: Faults;
  readonly #storage: Storage;
  readonly #options: Required<FaultOptions>;
  #random: SeededRandom;
  /** Hints come when they come, and must not change what calls draw. */
  #hintRandom: SeededRandom;
  readonly #counts = { calls: 0, conflicts: 0, unknownApplied: 0, unknownNotApplied: 0, hintsDropped: 0 };
  readonly #held = new Map<Timer, () => void>();
  readonly #underWay = new Set<Promise<unknown>>();
  #paused = false;
  #closing: Promise<void> | undefined;

  constructor(storage: Storage, options: Required<FaultOptions>) {
    this.#storage = storage;
    this.#options = options;
    this.clock = storage.clock ?? systemClock;
    this.uncertain = options.unknownRate > 0 || storage.uncertain === true;
    this.reliableHints = storage.reliableHints === true && Number(options.dropHints) === 0;
    this.#random = new SeededRandom(options.seed);
    this.#hintRandom = new SeededRandom(this.#random.below(2 ** 32));
    this.faults = {
      counts: this.#counts,
      pause: () => this.#pause(),
      resume: () => this.#resume(),
      reseed: (seed) => this.#reseed(seed),
    };
  }

  get durability(): Durability {
    return this.#storage.durability;
  }

  now(): number {
    return this.#storage.now();
  }

  get(addresses: readonly Address[]): Promise<(StoredRecord | undefined)[]> {
    return this.#call(() => this.#storage.get(addresses));
  }

  list(partition: string, range?: ListRange): Promise<StoredRecord[]> {
    return this.#call(() => this.#storage.list(partition, range));
  }

  async commit(commit: Commit): Promise<CommitResult> {
    this.#assertOpen();
    // What breaks the contract is refused, and never a conflict; the copy is safe from a caller who goes on with its own.
    const { bytesAtMost: _, ...checked } = checkedCommit(commit);
    return this.#call((faults) => this.#commit(checked, faults));
  }

  watch(listener: (hint: Hint) => void): Unsubscribe {
    return this.#storage.watch((hint) => {
      const { dropHints } = this.#options;
      if (!this.#paused && this.#hintRandom.chance(Number(dropHints))) this.#counts.hintsDropped += 1;
      else return listener(hint);
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  #assertOpen(): void {
    if (this.#closing) throw new MeshError('closed', 'expected an open storage, got a closed one');
  }

  async #commit(commit: Commit, { conflictAt, unknown }: Drawn): Promise<CommitResult> {
    const conditions = [...(commit.checks ?? []), ...(commit.touches ?? [])];
    const failed = conflictAt === undefined ? undefined : conditions[Math.floor(conflictAt * conditions.length)];
    if (failed) {
      this.#counts.conflicts += 1;
      const key = 'key' in failed ? failed.key : (failed.start ?? '');
      return { committed: false, conflicts: [{ partition: failed.partition, key }] };
    }
    if (!unknown) return this.#storage.commit(commit);
    const applied = unknown === 'applied' && (await this.#storage.commit(commit)).committed;
    this.#counts[applied ? 'unknownApplied' : 'unknownNotApplied'] += 1;
    throw new MeshError(
      'commit_unknown',
      'expected an answer from the storage, got none: the commit may have been applied or not',
    );
  }

  async #call<T>(operation: (faults: Drawn) => MaybePromise<T>): Promise<T> {
    this.#assertOpen();
    this.#counts.calls += 1;
    const answer = this.#delayed(this.#draw(), operation);
    this.#underWay.add(answer);
    try {
      return await answer;
    } finally {
      this.#underWay.delete(answer);
    }
  }

  async #delayed<T>(faults: Drawn, operation: (faults: Drawn) => MaybePromise<T>): Promise<T> {
    if (faults.before > 0) await this.#hold(faults.before);
    try {
      return await operation(faults);
    } finally {
      if (faults.after > 0) await this.#hold(faults.after);
    }
  }

  /** Each call draws as many numbers as any other, so that one more fault changes none of the later ones. */
  #draw(): Drawn {
    if (this.#paused) return NO_FAULTS;
    const { latencyMs, conflictRate, unknownRate } = this.#options;
    const before = this.#random.below(latencyMs + 1);
    const after = this.#random.below(latencyMs + 1);
    const isConflict = this.#random.chance(conflictRate);
    const conflictAt = this.#random.next();
    const isUnknown = this.#random.chance(unknownRate);
    const unknown = this.#random.chance(0.5) ? 'applied' : 'lost';
    return { before, after, ...(isConflict && { conflictAt }), ...(isUnknown && { unknown }) };
  }

  #hold(ms: number): Promise<void> | undefined {
    if (this.#paused || this.#closing) return undefined;
    const release = holdProcess();
    return new Promise<void>((resolve) => {
      const timer = this.clock.setTimeout(() => {
        this.#held.delete(timer);
        resolve();
      }, ms);
      this.#held.set(timer, resolve);
    }).finally(release);
  }

  #release(): void {
    for (const [timer, resolve] of this.#held) {
      this.clock.clearTimeout(timer);
      resolve();
    }
    this.#held.clear();
  }

  #pause(): void {
    this.#paused = true;
    this.#release();
  }

  #resume(): void {
    this.#paused = false;
  }

  #reseed(seed: number): void {
    this.#random = new SeededRandom(seed);
    this.#hintRandom = new SeededRandom(this.#random.below(2 ** 32));
  }

  async #end(): Promise<void> {
    // Nobody may be there to move a virtual clock on, and close must come to its end.
    this.#release();
    await Promise.allSettled(this.#underWay);
    await this.#storage.close();
  }
}

function checkedOptions(options: FaultOptions): Required<FaultOptions> {
  if (typeof options !== 'object' || options === null) throw invalid('an object of fault options', options);
  const { seed = 1, conflictRate = 0, unknownRate = 0, latencyMs = 0, dropHints = 0, ...unknown } = options;
  const [stranger] = Object.keys(unknown);
  if (stranger !== undefined) throw invalid('a known option', stranger);
  if (!Number.isSafeInteger(seed)) throw invalid('a whole number for seed', seed);
  for (const [name, value] of Object.entries({ conflictRate, unknownRate, dropHints })) {
    const isSwitch = name === 'dropHints' && typeof value === 'boolean';
    if (!isSwitch && !(typeof value === 'number' && value >= 0 && value <= 1)) throw invalid(`${name} between 0 and 1`, value);
  }
  if (!Number.isInteger(latencyMs) || latencyMs < 0 || latencyMs > MAX_TIMER_MS) {
    throw invalid(`a whole number between 0 and ${MAX_TIMER_MS} for latencyMs`, latencyMs);
  }
  return { seed, conflictRate, unknownRate, latencyMs, dropHints };
}

function invalid(expected: string, got: unknown): MeshError {
  return new MeshError('invalid_input', `expected ${expected}, got ${describe(got)}`);
}

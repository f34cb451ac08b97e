import { MeshError } from '../../../src/index.ts';
import type { Address, Commit, ListRange, MaybePromise, Storage } from '../../../src/storage/storage.ts';
import { SeededRandom } from '../../../src/testing/random.ts';

export type CallName = 'get' | 'list' | 'commit';
export interface Call {
  readonly name: CallName;
  readonly partition?: string;
  readonly commit?: Commit;
}

/** A view of a storage whose every read and commit goes through `around`. */
export function wrapped(storage: Storage, around: <T>(call: Call, run: () => MaybePromise<T>) => MaybePromise<T>): Storage {
  return {
    get: (addresses: readonly Address[]) => around({ name: 'get' }, () => storage.get(addresses)),
    list: (partition: string, range?: ListRange) => around({ name: 'list', partition }, () => storage.list(partition, range)),
    commit: (commit: Commit) => around({ name: 'commit', commit }, () => storage.commit(commit)),
    watch: (listener) => storage.watch(listener),
    close: () => storage.close(),
    now: () => storage.now(),
    durability: storage.durability,
    ...(storage.clock && { clock: storage.clock }),
    ...(storage.reliableHints !== undefined && { reliableHints: storage.reliableHints }),
    ...(storage.uncertain !== undefined && { uncertain: storage.uncertain }),
  };
}

export interface Counted {
  readonly storage: Storage;
  readonly calls: Call[];
  /** How many calls of each name since the last time this was asked. */
  take(): { get: number; list: number; commit: number };
}

/** Counts what is asked of a storage. Polling the event log does not count: it goes on all the time. */
export function counted(storage: Storage): Counted {
  const calls: Call[] = [];
  return {
    calls,
    storage: wrapped(storage, (call, run) => {
      if (call.partition !== 'events') calls.push(call);
      return run();
    }),
    take() {
      const count = { get: 0, list: 0, commit: 0 };
      for (const { name } of calls.splice(0)) count[name] += 1;
      return count;
    },
  };
}

/**
 * Lets calls that are under way at the same time reach the storage, and their answers come back, in an order drawn from
 * a seed: one step of one call per turn of the event loop. The same seed gives the same run.
 */
export class Shuffle {
  readonly #random: SeededRandom;
  readonly #steps: (() => void)[] = [];
  #pumping = false;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
  }

  over(storage: Storage): Storage {
    return wrapped(storage, async (_call, run) => {
      await this.step();
      const answer = await run();
      await this.step();
      return answer;
    });
  }

  /** Resolves when nothing is under way any more. */
  async rest(): Promise<void> {
    for (let quiet = 0; quiet < 5; quiet = this.#pumping ? 0 : quiet + 1) await new Promise((resolve) => setImmediate(resolve));
  }

  step(): Promise<void> {
    return new Promise((resolve) => {
      this.#steps.push(resolve);
      if (this.#pumping) return;
      this.#pumping = true;
      setImmediate(() => this.#pump());
    });
  }

  #pump(): void {
    const chosen = this.#random.below(this.#steps.length);
    const [step] = this.#steps.splice(chosen, 1);
    step?.();
    // What the step leads to is queued before the next turn.
    setImmediate(() => {
      if (this.#steps.length > 0) return this.#pump();
      this.#pumping = false;
    });
  }
}

export interface Mortal {
  readonly storage: Storage;
  /** Commits of this process that were applied so far. */
  readonly commits: number;
  readonly dead: boolean;
  die(): void;
}

/**
 * The storage as a process sees it that dies right after its `last`-th commit was applied: the answer never comes, and
 * every later call fails. Commits that `counts` does not want are not counted.
 */
export function mortal(storage: Storage, last: number, counts: (commit: Commit) => boolean = () => true): Mortal {
  let commits = 0;
  let dead = false;
  const gone = (): MeshError => new MeshError('unavailable', 'expected a living process, got a dead one');
  const view = wrapped(storage, async (call, run) => {
    if (dead) throw gone();
    const answer = await run();
    if (dead) throw gone();
    if (call.commit && counts(call.commit) && (answer as { committed?: boolean }).committed) {
      commits += 1;
      if (commits >= last) dead = true;
    }
    if (dead) throw gone();
    return answer;
  });
  return {
    storage: view,
    get commits() {
      return commits;
    },
    get dead() {
      return dead;
    },
    die() {
      dead = true;
    },
  };
}

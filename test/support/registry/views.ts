import type {
  Address,
  Commit,
  CommitResult,
  ListRange,
  MaybePromise,
  Storage,
  StoredRecord,
} from '../../../src/storage/storage.ts';
import type { SeededRandom } from '../../../src/testing/random.ts';

/** What a view does before a call goes on to the storage. What it throws is what the caller gets. */
export interface Hooks {
  get?(addresses: readonly Address[]): MaybePromise<void>;
  list?(partition: string, range: ListRange | undefined): MaybePromise<void>;
  commit?(commit: Commit): MaybePromise<void>;
  /** Answers in place of the storage, which then does not hear of the commit. */
  answer?(commit: Commit): CommitResult | undefined;
  /** Called with the answer of each commit, before its caller has it. */
  committed?(commit: Commit, result: CommitResult): MaybePromise<void>;
}

/** The same storage, with something done before each call. Closing the view leaves the storage open. */
export function viewOf(storage: Storage, hooks: Hooks): Storage {
  const view: Storage = {
    durability: storage.durability,
    ...(storage.clock && { clock: storage.clock }),
    ...(storage.reliableHints !== undefined && { reliableHints: storage.reliableHints }),
    now: () => storage.now(),
    async get(addresses): Promise<(StoredRecord | undefined)[]> {
      await hooks.get?.(addresses);
      return storage.get(addresses);
    },
    async list(partition, range): Promise<StoredRecord[]> {
      await hooks.list?.(partition, range);
      return storage.list(partition, range);
    },
    async commit(commit): Promise<CommitResult> {
      await hooks.commit?.(commit);
      const result = hooks.answer?.(commit) ?? (await storage.commit(commit));
      await hooks.committed?.(commit, result);
      return result;
    },
    watch: (listener) => storage.watch(listener),
    close: async () => {},
  };
  return view;
}

/** The same storage where each call takes a few turns of the event loop, how many is drawn. */
export function scattered(storage: Storage, random: SeededRandom, turns = 4): Storage {
  const wander = async (): Promise<void> => {
    for (let left = random.below(turns); left > 0; left--) await new Promise(setImmediate);
  };
  return viewOf(storage, { get: wander, list: wander, commit: wander, committed: wander });
}

/** Every call of a storage that reads or writes, as a test counts it. Following the log is none: it goes on all the time. */
export interface Calls {
  count: number;
  readonly commits: Commit[];
}

export function counted(storage: Storage): { readonly storage: Storage; readonly calls: Calls } {
  const calls: Calls = { count: 0, commits: [] };
  const count = (partition?: unknown): void => {
    if (partition !== 'events') calls.count += 1;
  };
  const commit = (made: Commit): void => {
    calls.count += 1;
    calls.commits.push(made);
  };
  return { storage: viewOf(storage, { get: count, list: count, commit }), calls };
}

/** A gate that a hook waits at, and a test opens. */
export function gate(): { readonly reached: Promise<void>; readonly wait: () => Promise<void>; open(): void } {
  let reach = (): void => {};
  let open = (): void => {};
  const reached = new Promise<void>((resolve) => {
    reach = resolve;
  });
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const wait = (): Promise<void> => {
    reach();
    return opened;
  };
  return { reached, wait, open };
}

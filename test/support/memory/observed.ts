import { keyAfter } from '../../../src/storage/keys.ts';
import { type Commit, type MaybePromise, type Storage, type StoredRecord, whenDone } from '../../../src/storage/storage.ts';

export interface Counts {
  readonly get: number;
  readonly list: number;
  readonly commit: number;
  /** Records that gets and lists have answered. */
  readonly records: number;
  /** Deletes, takes, touches and puts. */
  readonly writes: number;
}

export interface Observed {
  readonly storage: Storage;
  /** Every partition that was ever written. */
  readonly partitions: ReadonlySet<string>;
  /** What was asked of the storage since the last time this was called. Who follows the log does not count. */
  take(): Counts;
}

/** The same storage, which answers at once what it answered at once, with everything it is asked for counted. */
export function observed(storage: Storage): Observed {
  const partitions = new Set<string>();
  const none = { get: 0, list: 0, commit: 0, records: 0, writes: 0 };
  let counts = { ...none };
  const answered = <T extends readonly (StoredRecord | undefined)[]>(records: T): T => {
    counts.records += records.filter(Boolean).length;
    return records;
  };
  const view: Storage = {
    durability: storage.durability,
    ...(storage.clock && { clock: storage.clock }),
    ...(storage.reliableHints !== undefined && { reliableHints: storage.reliableHints }),
    ...(storage.uncertain !== undefined && { uncertain: storage.uncertain }),
    now: () => storage.now(),
    watch: (listener) => storage.watch(listener),
    close: () => storage.close(),
    get(addresses) {
      counts.get += 1;
      return whenDone(storage.get(addresses), answered);
    },
    list(partition, range) {
      if (partition === 'events') return storage.list(partition, range);
      counts.list += 1;
      return whenDone(storage.list(partition, range), answered);
    },
    commit(commit) {
      counts.commit += 1;
      counts.writes += writesOf(commit);
      for (const { partition } of commit.puts ?? []) partitions.add(partition);
      return storage.commit(commit);
    },
  };
  const take = (): Counts => {
    const taken = counts;
    counts = { ...none };
    return taken;
  };
  return { storage: view, partitions, take };
}

function writesOf({ deletes = [], takes = [], touches = [], puts = [] }: Commit): number {
  return deletes.length + takes.length + touches.length + puts.length;
}

/** What a view does before a call goes on to the storage. */
export interface Hooks {
  get?(partitions: readonly string[]): MaybePromise<void>;
  list?(partition: string): MaybePromise<void>;
  commit?(commit: Commit): MaybePromise<void>;
}

/** The same storage, with something done before each call: every answer comes later. */
export function hooked(storage: Storage, hooks: Hooks): Storage {
  return {
    durability: storage.durability,
    ...(storage.clock && { clock: storage.clock }),
    ...(storage.reliableHints !== undefined && { reliableHints: storage.reliableHints }),
    now: () => storage.now(),
    watch: (listener) => storage.watch(listener),
    close: () => storage.close(),
    async get(addresses) {
      await hooks.get?.(addresses.map(({ partition }) => partition));
      return storage.get(addresses);
    },
    async list(partition, range) {
      await hooks.list?.(partition);
      return storage.list(partition, range);
    },
    async commit(commit) {
      await hooks.commit?.(commit);
      return storage.commit(commit);
    },
  };
}

/** Runs something once, the first time that it is called while armed. */
export function once(work: () => Promise<unknown>): { arm(): void; run(): Promise<void> } {
  let armed = false;
  return {
    arm() {
      armed = true;
    },
    async run() {
      if (!armed) return;
      armed = false;
      await work();
    },
  };
}

/** All records of a partition. */
export async function recordsOf(storage: Storage, partition: string): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  let start = '';
  for (;;) {
    const page = await storage.list(partition, { start, limit: 1000 });
    records.push(...page);
    const last = page[page.length - 1];
    if (!last || page.length < 1000) return records;
    start = keyAfter(last.key);
  }
}

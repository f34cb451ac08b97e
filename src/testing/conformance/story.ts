import { holdProcess, systemClock } from '../../kernel/clock.ts';
import type {
  Address,
  Commit,
  CommitResult,
  Committed,
  ListRange,
  MaybePromise,
  Put,
  Storage,
  StoredRecord,
} from '../../storage/storage.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { ensure } from './expect.ts';

/** What a case hands to the function that opens a storage. */
export interface OpenOptions {
  /** Stands still until the case moves it. A storage that lives by it is judged to the millisecond, and without waiting. */
  readonly clock: VirtualClock;
}

/** Opens a storage that is new and empty. The case closes it. */
export type OpenStorage = (options: OpenOptions) => MaybePromise<Storage>;

/** One promise of the contract, told as a small story. */
export interface ConformanceCase {
  /** A sentence, which begins with the theme. */
  readonly name: string;
  /** @throws Error that says what was expected, and what the storage did instead */
  run(open: OpenStorage): Promise<void>;
}

/** What a case has to work with. */
export interface Stage {
  readonly storage: Storage;
  readonly time: StoryTime;
}

export function story(name: string, tell: (stage: Stage) => Promise<void>): ConformanceCase {
  return {
    name,
    async run(open) {
      const clock = new VirtualClock();
      await heldOpen(async () => {
        const storage = await open({ clock });
        try {
          await tell({ storage, time: new StoryTime(() => storage.now(), clock) });
        } finally {
          await storage.close();
        }
      });
    },
  };
}

/** No timer of a storage keeps a process alive, and here it may be all that a case waits for. */
export async function heldOpen<T>(work: () => Promise<T>): Promise<T> {
  const release = holdProcess();
  try {
    return await work();
  } finally {
    release();
  }
}

const REAL_STEP_MS = 5;
const REAL_PATIENCE_MS = 10_000;

/** Moves a case's time: at once on the virtual clock, by waiting for a storage that has a clock of its own. */
export class StoryTime {
  readonly #now: () => number;
  readonly #clock: VirtualClock;
  /** Whether the storage lives by the clock that it was given. */
  readonly #virtual: boolean;

  constructor(now: () => number, clock: VirtualClock) {
    this.#now = now;
    this.#clock = clock;
    const before = now();
    clock.set(clock.now() + 1);
    this.#virtual = before === clock.now() - 1 && now() === clock.now();
  }

  /** Goes to the last millisecond before `instant`, and does there what must still be possible. */
  async before(instant: number, look: () => Promise<void>): Promise<void> {
    if (this.#virtual) {
      await this.#clock.advanceTo(instant - 1);
      return look();
    }
    try {
      await look();
    } catch (error) {
      // By its own clock the storage may have got there meanwhile, and then all is as it should be.
      if (this.#now() < instant) throw error;
    }
  }

  /** Goes to `instant`. */
  async reach(instant: number): Promise<void> {
    if (this.#virtual) return this.#clock.advanceTo(instant);
    await this.until(() => this.#now() >= instant, `the storage's clock to reach ${instant}`);
  }

  /** Lets time pass until something holds. @throws Error when it does not within ten seconds */
  async until(holds: () => boolean, what: string): Promise<void> {
    for (let waited = 0; waited < REAL_PATIENCE_MS; waited += REAL_STEP_MS) {
      await this.#clock.advance(waited === 0 ? 0 : 2 * REAL_STEP_MS);
      if (holds()) return;
      await new Promise<void>((resolve) => systemClock.setTimeout(resolve, REAL_STEP_MS));
      if (holds()) return;
    }
    throw new Error(`expected ${what}, got nothing of it in ${REAL_PATIENCE_MS} ms`);
  }
}

/** Puts records of a partition in one commit, with their keys as values unless told otherwise. */
export async function fill(
  storage: Storage,
  partition: string,
  keys: readonly string[],
  more: Partial<Put> = {},
): Promise<Committed> {
  return commit(storage, { puts: keys.map((key) => ({ partition, key, value: key, ...more })) });
}

export async function read(storage: Storage, partition: string, key: string): Promise<StoredRecord | undefined> {
  const records = await storage.get([{ partition, key }]);
  ensure(records.length === 1, 'one answer for one address', records);
  return records[0];
}

export async function keysOf(storage: Storage, partition: string, range?: ListRange): Promise<string[]> {
  const records = await storage.list(partition, range);
  return records.map(({ key }) => key);
}

/** Commits what must not conflict. */
export async function commit(storage: Storage, changes: Commit): Promise<Committed> {
  const result = await storage.commit(changes);
  ensure(result.committed, 'a commit without conflict', result);
  return result;
}

/** Commits what must conflict; answers what the store named. */
export async function conflict(storage: Storage, changes: Commit): Promise<readonly Address[]> {
  const result = await storage.commit(changes);
  ensure(!result.committed, 'a conflict', result);
  return result.conflicts;
}

/** Starts many at once; a storage that answers at once has then done them one after another. */
export function atOnce<T>(count: number, start: (index: number) => MaybePromise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, async (_, index) => start(index)));
}

/** One turn of the event loop: who reads in a loop lets a storage come to its writes. */
export function turn(): Promise<void> {
  return new Promise((resolve) => systemClock.nextTurn(resolve));
}

export function winners(results: readonly CommitResult[]): Committed[] {
  return results.filter((result) => result.committed);
}

/** The newest revision: a commit that changes nothing tells it and spends none. */
export async function newest(storage: Storage): Promise<number> {
  return (await commit(storage, {})).revision;
}

/** The whole of a partition, in pages. */
export async function everything(storage: Storage, partition: string, limit = 1000): Promise<StoredRecord[]> {
  const all: StoredRecord[] = [];
  const met = new Set<string>();
  for (let start: string | undefined; ; ) {
    const page = await storage.list(partition, start === undefined ? { limit } : { start, limit });
    all.push(...page);
    for (const { key } of page) met.add(key);
    ensure(met.size === all.length, `a walk through ${partition} that meets no record twice`, page.at(-1)?.key);
    const last = page.at(-1);
    if (!last || page.length < limit) return all;
    start = `${last.key}\u0001`;
  }
}

/** Takes note of some partitions and the revision, and later ensures that all is as it was. */
export async function unchanged(storage: Storage, partitions: readonly string[]): Promise<(what: string) => Promise<void>> {
  const picture = async (): Promise<string> => {
    const records = [];
    for (const partition of partitions) records.push(await everything(storage, partition));
    return JSON.stringify([await newest(storage), records]);
  };
  const before = await picture();
  return async (what) => {
    const after = await picture();
    ensure(after === before, `${what} to change nothing, neither records nor revision: before ${before}`, after);
  };
}

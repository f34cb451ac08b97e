import { describe, expect, it } from 'vitest';
import type { Clock } from '../../src/kernel/clock.ts';
import { MeshError } from '../../src/kernel/errors.ts';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';
import type { Address, Commit, CommitResult, Hint, ListRange, Storage, StoredRecord } from '../../src/storage/storage.ts';
import { type OpenStorage, persistenceConformance, storageConformance } from '../../src/testing/conformance.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';

/** The names of the cases that a storage fails. */
async function failures(open: OpenStorage, which = /./): Promise<string[]> {
  const cases = storageConformance.filter(({ name }) => which.test(name));
  const results = await Promise.allSettled(cases.map((c) => c.run(open)));
  return cases.filter((_, index) => results[index]?.status === 'rejected').map(({ name }) => name);
}

/** A clock that the storage behind it sees some milliseconds off. */
function off(clock: Clock, ms: number): Clock {
  return {
    now: () => clock.now() + ms,
    setTimeout: (callback, delay) => clock.setTimeout(callback, delay),
    clearTimeout: (timer) => clock.clearTimeout(timer),
    nextTurn: (callback) => clock.nextTurn(callback),
  };
}

/** What somebody who writes a storage may get wrong, and the case that tells them. */
const MISTAKES: readonly (readonly [what: string, told: string, open: OpenStorage])[] = [
  [
    'keys in the order of JavaScript strings',
    'order: keys are listed by their UTF-8 bytes, whatever is in them',
    open(
      class extends InMemoryStorage {
        override list(partition: string, range: ListRange = {}): StoredRecord[] {
          const records = super.list(partition, range).sort((a, b) => (a.key < b.key ? -1 : 1));
          return range.reverse ? records.reverse() : records;
        }
      },
    ),
  ],
  [
    'expiry a millisecond late',
    'expiry: a record is there until its last millisecond and never again from its expiry on',
    ({ clock }) => Object.assign(new InMemoryStorage({ clock: off(clock, -1) }), { now: () => clock.now() }),
  ],
  [
    'expiry a millisecond early',
    'touches: succeed until the last millisecond',
    open(
      class extends InMemoryStorage {
        override commit(commit: Commit): CommitResult {
          for (const { partition, key, revision } of commit.touches ?? []) {
            const [record] = super.get([{ partition, key }]);
            if (record?.revision === revision && (record.expiresAt ?? 0) === this.now() + 1)
              return conflictAt({ partition, key });
          }
          return super.commit(commit);
        }
      },
    ),
  ],
  [
    'bounds that nobody looks at',
    'bounds: of fifty appends at once exactly as many pass as there is room',
    committing(withoutBounds),
  ],
  [
    'checks that nobody looks at',
    'checks: of two commits that each check what the other writes, one loses',
    committing(withoutChecks),
  ],
  [
    'a conflict that names one address of many',
    'checks: a conflict names every check and touch that failed, in their order, and no other',
    answering((result) => (result.committed ? result : { ...result, conflicts: result.conflicts.slice(0, 1) })),
  ],
  [
    'writes before the checks',
    'checks: absent means absent, and a revision means this one',
    open(
      class extends InMemoryStorage {
        override commit(commit: Commit): CommitResult {
          const { checks = [], ...writes } = commit;
          const result = super.commit(writes);
          return checks.length > 0 && result.committed ? super.commit({ checks }) : result;
        }
      },
    ),
  ],
  [
    'a commit in two halves',
    'reads: get and list are snapshots, so two keys written together are never seen apart',
    (options) => {
      const storage = new InMemoryStorage(options);
      const whole = storage.commit.bind(storage);
      const commit = async ({ puts = [], ...rest }: Commit): Promise<CommitResult> => {
        const first = whole({ ...rest, puts: puts.slice(0, 1) });
        await new Promise((resolve) => setImmediate(resolve));
        return first.committed && puts.length > 1 ? whole({ puts: puts.slice(1) }) : first;
      };
      return Object.assign(storage, { commit });
    },
  ],
  [
    'a revision for what changes nothing',
    'revisions: none is spent by what changes nothing',
    open(
      class extends InMemoryStorage {
        #extra = 0;
        override commit(commit: Commit): CommitResult {
          const result = super.commit(commit);
          if (commit.touches?.length) this.#extra += 1;
          return result.committed ? { ...result, revision: result.revision + this.#extra } : result;
        }
      },
    ),
  ],
  [
    'the revision of a deleted record, again',
    'revisions: are not used again after a delete',
    answering((result) => (result.committed ? { ...result, revision: Math.min(result.revision, 50) } : result)),
  ],
  [
    'a take that keeps the deadline in the key',
    'takes: without leaseMs give the key back that a record had before',
    committing((commit) => ({
      ...commit,
      ...(commit.takes && { takes: commit.takes.map((take) => ({ leaseMs: 5, ...take })) }),
    })),
  ],
  [
    'a take of what others have',
    'takes: of consumers that compete never share a record, and leave none',
    (options) => {
      const storage = new InMemoryStorage(options);
      const whole = storage.commit.bind(storage);
      const commit = async (commit: Commit): Promise<CommitResult> => {
        const [take] = commit.takes ?? [];
        if (!take || commit.takes?.length !== 1) return whole(commit);
        const found = storage.list(take.from, { limit: Math.min(take.limit, 1000) });
        await Promise.resolve();
        const puts = found.map(({ key, value }) => ({ partition: take.to, key, value }));
        const result = whole({ deletes: found.map(({ partition, key }) => ({ partition, key })), puts });
        return { ...result, taken: puts.map((put) => ({ ...put, revision: 0 })) } as CommitResult;
      };
      return Object.assign(storage, { commit });
    },
  ],
  [
    'values that can be changed',
    'values: are frozen to the depth',
    open(
      class extends InMemoryStorage {
        override list(partition: string, range?: ListRange): StoredRecord[] {
          return structuredClone(super.list(partition, range));
        }
      },
    ),
  ],
  [
    'a hint inside of commit',
    'hints: never come inside the call of commit',
    open(
      class extends InMemoryStorage {
        readonly #listeners = new Set<(hint: Hint) => void>();
        override watch(listener: (hint: Hint) => void): () => void {
          this.#listeners.add(listener);
          return () => this.#listeners.delete(listener);
        }
        override commit(commit: Commit): CommitResult {
          const result = super.commit(commit);
          for (const listener of this.#listeners) listener({});
          return result;
        }
      },
    ),
  ],
  [
    'a hint of every heartbeat',
    'hints: none names a partition that was only touched, read, checked or fought for',
    open(
      class extends InMemoryStorage {
        readonly #listeners = new Set<(hint: Hint) => void>();
        override watch(listener: (hint: Hint) => void): () => void {
          this.#listeners.add(listener);
          return super.watch(listener);
        }
        override commit(commit: Commit): CommitResult {
          const partitions = (commit.touches ?? []).map(({ partition }) => partition);
          if (partitions.length > 0) {
            queueMicrotask(() => {
              for (const listener of this.#listeners) listener({ partitions });
            });
          }
          return super.commit(commit);
        }
      },
    ),
  ],
  [
    'a close that drops what is under way',
    'close: lets commits under way end, and they are applied',
    (options) => {
      const storage = new InMemoryStorage(options);
      const whole = storage.commit.bind(storage);
      const commit = async (commit: Commit): Promise<CommitResult> => {
        await Promise.resolve();
        return whole(commit);
      };
      return Object.assign(storage, { commit });
    },
  ],
  [
    'a hint that is on its way when it is closed',
    'close: nobody hears afterwards of what was committed right before',
    open(
      class extends InMemoryStorage {
        readonly #listeners = new Set<(hint: Hint) => void>();
        override watch(listener: (hint: Hint) => void): () => void {
          this.#listeners.add(listener);
          return () => this.#listeners.delete(listener);
        }
        override commit(commit: Commit): CommitResult {
          const result = super.commit(commit);
          setImmediate(() => {
            for (const listener of this.#listeners) listener({});
          });
          return result;
        }
      },
    ),
  ],
  [
    'errors of its own making',
    'refusals: names that are empty, not well-formed or no strings, wherever they stand',
    open(
      class extends InMemoryStorage {
        override get(addresses: readonly Address[]): (StoredRecord | undefined)[] {
          try {
            return super.get(addresses);
          } catch (error) {
            throw error instanceof MeshError && error.code !== 'closed' ? new TypeError(error.message) : error;
          }
        }
      },
    ),
  ],
];

function open(Broken: new (options: { clock: Clock }) => Storage): OpenStorage {
  return (options) => new Broken(options);
}

function committing(change: (commit: Commit) => Commit): OpenStorage {
  return open(
    class extends InMemoryStorage {
      override commit(commit: Commit): CommitResult {
        return super.commit(change(commit));
      }
    },
  );
}

function answering(change: (result: CommitResult) => CommitResult): OpenStorage {
  return open(
    class extends InMemoryStorage {
      override commit(commit: Commit): CommitResult {
        return change(super.commit(commit));
      }
    },
  );
}

function withoutBounds({ checks, ...commit }: Commit): Commit {
  return {
    ...commit,
    ...(checks && {
      checks: Array.isArray(checks) ? checks.filter((check) => !check || !('fewerThan' in Object(check))) : checks,
    }),
  };
}

function withoutChecks({ checks: _, ...commit }: Commit): Commit {
  return commit;
}

function conflictAt(address: Address): CommitResult {
  return { committed: false, conflicts: [address] };
}

describe('the conformance cases', () => {
  it.each(MISTAKES)('catch %s', async (_, told, openBroken) => {
    const theme = told.slice(0, told.indexOf(':'));
    expect(await failures(openBroken, new RegExp(`^${theme}`))).toContain(told);
  });

  it('say what they expected and what they got', async () => {
    const [, , openBroken] = MISTAKES[0] ?? [];
    const [first] = storageConformance;
    const error = await first?.run(openBroken as OpenStorage).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(Error);
    expect((error as Error).message).toMatch(/^all keys: expected \[.*, got \[/);
  });

  // The wall clock is what this is about: a storage that takes no clock has to be waited for.
  it('are passed by a storage that lives by a clock of its own', async () => {
    expect(await failures(() => new InMemoryStorage(), /^(stamps|revisions|expiry|touches|deletes|takes|writes|hints)/)).toEqual(
      [],
    );
  });

  it('close what they opened, whatever happens', async () => {
    let opened = 0;
    let closed = 0;
    const count: OpenStorage = async (options) => {
      opened += 1;
      const storage = new InMemoryStorage(options);
      const close = storage.close.bind(storage);
      let done = false;
      const commit = (): never => {
        throw new Error('broken');
      };
      return Object.assign(storage, {
        commit,
        close: async () => {
          if (!done) closed += 1;
          done = true;
          await close();
        },
      });
    };
    const failed = await failures(count);
    expect(failed.length).toBeGreaterThan(storageConformance.length / 2);
    expect([opened, closed]).toEqual([storageConformance.length, storageConformance.length]);
  });

  it('leave nothing behind that keeps a process alive', async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const before = timers();
    await storageConformance.find(({ name }) => name.startsWith('expiry:'))?.run(() => new InMemoryStorage());
    expect(timers()).toBeLessThanOrEqual(before);
  });
});

describe('the persistence cases', () => {
  it('catch a storage that forgets, and pass one that does not', async () => {
    const forgetful: OpenStorage = (options) => new InMemoryStorage(options);
    for (const c of persistenceConformance) {
      await expect(c.run({ open: forgetful, reopen: forgetful }), c.name).rejects.toThrow();
    }
    for (const c of persistenceConformance) {
      let kept = new InMemoryStorage();
      // Memory that outlives its close, as a file does.
      const again: OpenStorage = () => Object.assign(Object.create(kept) as Storage, bound(kept), { close: async () => {} });
      await c.run({
        open: (options) => {
          kept = new InMemoryStorage(options);
          return again(options);
        },
        reopen: again,
      });
    }
  });
});

function bound(storage: InMemoryStorage): Partial<Storage> {
  return {
    get: (addresses) => storage.get(addresses),
    list: (partition, range) => storage.list(partition, range),
    commit: (commit) => storage.commit(commit),
    watch: (listener) => storage.watch(listener),
    now: () => storage.now(),
  };
}

it('a VirtualClock is what the cases hand out', async () => {
  let given: unknown;
  await storageConformance[0]?.run((options) => {
    given = options.clock;
    return new InMemoryStorage(options);
  });
  expect(given).toBeInstanceOf(VirtualClock);
});

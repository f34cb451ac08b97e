import { type Clock, holdProcess, sleep, systemClock } from '../kernel/clock.ts';
import { MeshError } from '../kernel/errors.ts';
import { generateId } from '../kernel/ids.ts';
import { compareKeys, keyAfter, STAMP_LENGTH, unleasedKey } from './keys.ts';
import type {
  Address,
  Commit,
  CommitResult,
  Committed,
  Conflicted,
  Durability,
  Hint,
  ListRange,
  MaybePromise,
  Put,
  Storage,
  StoredRecord,
  Unsubscribe,
} from './storage.ts';

const TOKENS = 'commit';
const TOKEN_TTL_MS = 3_600_000;
const UNKNOWN_ATTEMPTS = 10;
const TRANSIENT_ATTEMPTS = 3;
const FIRST_DELAY_MS = 10;

/**
 * The storage as the library uses it: what passes by itself is waited for, and no commit is left in doubt.
 *
 * - An error that the storage marks as transient (`details.transient`) gets three attempts with exponential back-off.
 * - A storage that can answer `commit_unknown` says so by `uncertain`. Then each commit also puts a token that must be
 *   absent, and after an unknown outcome is simply made again: a token that is there proves that it had been applied,
 *   and what it did is read from what it left. `commit_unknown` gets out only after ten attempts.
 *
 * Closing it ends this view and leaves `storage` open.
 */
export function steady(storage: Storage): Storage {
  return new SteadyStorage(storage);
}

class SteadyStorage implements Storage {
  readonly #storage: Storage;
  #closed = false;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  get durability(): Durability {
    return this.#storage.durability;
  }

  get clock(): Clock {
    return this.#storage.clock ?? systemClock;
  }

  get reliableHints(): boolean {
    return this.#storage.reliableHints ?? false;
  }

  now(): number {
    return this.#storage.now();
  }

  get(addresses: readonly Address[]): MaybePromise<(StoredRecord | undefined)[]> {
    return this.#attempt((storage) => storage.get(addresses));
  }

  list(partition: string, range?: ListRange): MaybePromise<StoredRecord[]> {
    return this.#attempt((storage) => storage.list(partition, range));
  }

  commit(commit: Commit): MaybePromise<CommitResult> {
    return this.#storage.uncertain ? this.#commitCertainly(commit) : this.#attempt((storage) => storage.commit(commit));
  }

  watch(listener: (hint: Hint) => void): Unsubscribe {
    this.#assertOpen();
    return this.#storage.watch(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #assertOpen(): void {
    if (this.#closed) throw new MeshError('closed', 'expected an open mesh, got a closed one');
  }

  /** Calls at once, and goes on asynchronously only when the answer is a promise or a transient failure. */
  #attempt<T>(call: (storage: Storage) => MaybePromise<T>, attempt = 1): MaybePromise<T> {
    this.#assertOpen();
    try {
      const answer = call(this.#storage);
      return answer instanceof Promise ? answer.catch((error: unknown) => this.#again(call, attempt, error)) : answer;
    } catch (error) {
      return this.#again(call, attempt, error);
    }
  }

  #again<T>(call: (storage: Storage) => MaybePromise<T>, attempt: number, error: unknown): Promise<T> {
    if (attempt === TRANSIENT_ATTEMPTS || !isTransient(error)) throw error;
    return this.#pause(attempt).then(() => this.#attempt(call, attempt + 1));
  }

  /** One token for all attempts: once one is in doubt, no later one may be applied besides it. */
  async #commitCertainly(commit: Commit): Promise<CommitResult> {
    this.#assertOpen();
    // To renew twice is to renew once, so touches alone need no token.
    const token = isTouchesOnly(commit) ? undefined : { partition: TOKENS, key: generateId('commit') };
    const tokened = token ? withToken(commit, token, this.now()) : commit;
    let inDoubt = false;
    for (let attempt = 1; ; attempt++) {
      try {
        const result = await this.#storage.commit(tokened);
        if (!token || result.committed) return result;
        // In doubt, a conflict that does not name the token is believed only when the token is not there.
        const wasApplied = names(result, token) || (inDoubt && (await this.get([token]))[0] !== undefined);
        return wasApplied ? await this.#outcome(commit, token) : result;
      } catch (error) {
        inDoubt ||= MeshError.is(error, 'commit_unknown');
        if (!inDoubt && (attempt === TRANSIENT_ATTEMPTS || !isTransient(error))) throw error;
        if (inDoubt && (attempt === UNKNOWN_ATTEMPTS || MeshError.is(error, 'closed'))) {
          throw new MeshError(
            'commit_unknown',
            `expected to learn the outcome of a commit, got no answer in ${attempt} attempts`,
          );
        }
        if (attempt > 1 || !inDoubt) await this.#pause(attempt);
      }
    }
  }

  /** What an applied commit had answered, if the answer had arrived. */
  async #outcome(commit: Commit, token: Address): Promise<Committed> {
    const [record] = await this.get([token]);
    if (!record) throw new MeshError('commit_unknown', 'expected the token of a commit that was applied, got none');
    const taken: StoredRecord[] = [];
    const wasPut = (key: string, partition: string): boolean =>
      (commit.puts ?? []).some((put) => put.partition === partition && isKeyOf(put, key));
    for (const to of new Set((commit.takes ?? []).map((take) => take.to))) {
      const moved = await this.#takenInto(to, record.revision);
      taken.push(...moved.filter(({ key }) => !wasPut(key, to)));
    }
    // The order in which they stood, unless they were taken before and stood by their deadlines.
    taken.sort((a, b) => compareKeys(unleasedKey(a.key), unleasedKey(b.key)));
    return { committed: true, revision: record.revision, at: record.value as number, taken };
  }

  /** What a take moved is of the revision of its commit. */
  async #takenInto(partition: string, revision: number): Promise<StoredRecord[]> {
    const taken: StoredRecord[] = [];
    let start = '';
    for (;;) {
      const page = await this.list(partition, { start });
      taken.push(...page.filter((record) => record.revision === revision));
      const last = page[page.length - 1];
      if (!last || page.length < 1000) return taken;
      start = keyAfter(last.key);
    }
  }

  /** Somebody may be waiting for the call that is tried again. */
  #pause(attempt: number): Promise<void> {
    return sleep(this.clock, FIRST_DELAY_MS * 2 ** (attempt - 1)).finally(holdProcess());
  }
}

/** What passes by itself. */
export function isTransient(error: unknown): boolean {
  return MeshError.is(error) && error.details['transient'] === true;
}

function isTouchesOnly({ deletes = [], takes = [], puts = [] }: Commit): boolean {
  return deletes.length + takes.length + puts.length === 0;
}

function withToken(commit: Commit, token: Address, now: number): Commit {
  return {
    ...commit,
    checks: [...(commit.checks ?? []), { ...token, revision: null }],
    puts: [...(commit.puts ?? []), { ...token, value: now, ttlMs: TOKEN_TTL_MS }],
  };
}

function names({ conflicts }: Conflicted, { partition, key }: Address): boolean {
  return conflicts.some((conflict) => conflict.partition === partition && conflict.key === key);
}

/** A stamped put has made its key from its prefix and twenty digits. */
function isKeyOf({ key, stamped }: Put, made: string): boolean {
  return stamped ? made.length === key.length + STAMP_LENGTH && made.startsWith(key) : made === key;
}

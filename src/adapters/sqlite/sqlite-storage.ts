import type { Clock } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import { checkAddresses, checkedCommit, checkList, LIMITS } from '../../storage/checked.ts';
import { GroupCommit } from '../../storage/group-commit.ts';
import { HintFan } from '../../storage/hint-fan.ts';
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
} from '../../storage/storage.ts';
import { type CommitPlan, planOf } from './commit-plan.ts';
import { CommitPoll } from './commit-poll.ts';
import type { Connection, SqliteDatabase } from './driver.ts';
import { runGroup } from './group-run.ts';
import { Known } from './known.ts';
import { adoptDatabase, type OpenDatabase, openFile } from './open-database.ts';
import { checkDatabase, checkPath, type OpenOptions, type SqliteStorageOptions, withDefaults } from './options.ts';
import { Patience } from './patience.ts';
import { Purge } from './purge.ts';
import { Reader } from './reader.ts';
import { meshErrorOf } from './sqlite-errors.ts';
import { ValueCache } from './value-cache.ts';

/**
 * A storage in one SQLite file, which any number of processes of one machine may share. Not for network disks.
 *
 * Reads answer at once. Commits that are made in the same moment go to the disk together. Waiting for another
 * process's lock never blocks the event loop.
 */
export class SqliteStorage implements Storage {
  readonly clock: Clock;
  readonly durability: Durability;
  /**
   * True when only a SQLite was found that loses commits when processes share a file (before 3.51.3, other than 3.50.7
   * and 3.44.6 and what follows them in their lines). Then no other process can open the file while this one has it.
   */
  readonly exclusive: boolean;
  /** Of the library in use, such as `3.53.0`. */
  readonly sqliteVersion: string;
  readonly #connection: Connection;
  readonly #patience: Patience;
  readonly #reader: Reader;
  readonly #hints = new HintFan();
  readonly #group: GroupCommit<CommitPlan, CommitResult>;
  readonly #poll: CommitPoll;
  #closing: Promise<void> | undefined;

  /**
   * Opens a file, and creates it with its directories where there is none. Needs `node:sqlite`, or the package
   * `@photostructure/sqlite` where Node has none that is safe to share a file with. What is refused stays as it is.
   *
   * @throws MeshError `unsupported` (no driver, another program's database, one of a newer release), `corrupt` (no
   * database, or a damaged one), `read_only`, `invalid_input`, `storage_full`, `unavailable` (locked for too long)
   */
  static async open(file: string | URL, options: SqliteStorageOptions = {}): Promise<SqliteStorage> {
    const complete = withDefaults(options);
    return new SqliteStorage(await openFile(checkPath(file), complete), complete);
  }

  /**
   * Takes over a database that is already open, of `node:sqlite`, `@photostructure/sqlite` or better-sqlite3. Its
   * settings become this storage's, and `close` closes it; one that is refused stays open. From now on write to its table
   * `record` by this storage only; other processes, and other connections, may use storages of their own.
   *
   * @throws MeshError as `open`
   */
  static async from(database: SqliteDatabase, options: SqliteStorageOptions = {}): Promise<SqliteStorage> {
    const complete = withDefaults(options);
    return new SqliteStorage(await adoptDatabase(checkDatabase(database), complete), complete);
  }

  private constructor({ connection, statements, sqliteVersion, exclusive, log }: OpenDatabase, options: OpenOptions) {
    const { clock, synchronous, busyTimeoutMs, cacheBytes } = options;
    this.clock = clock;
    this.durability = synchronous === 'full' ? 'os' : 'process';
    this.exclusive = exclusive;
    this.sqliteVersion = sqliteVersion;
    this.#connection = connection;
    this.#patience = new Patience(busyTimeoutMs);
    const cache = new ValueCache(cacheBytes);
    this.#reader = new Reader(statements, cache, clock);
    const known = new Known();
    const backend = {
      statements,
      clock,
      cache,
      known,
      hints: this.#hints,
      purge: new Purge(statements),
      patience: this.#patience,
    };
    this.#group = new GroupCommit({ send: (plans) => runGroup(backend, plans) });
    this.#poll = new CommitPoll({
      clock,
      log,
      read: () => Number(statements.dataVersion.get()?.[0]),
      changed: () => this.#hints.changed(),
    });
  }

  now(): number {
    return this.clock.now();
  }

  get(addresses: readonly Address[]): MaybePromise<(StoredRecord | undefined)[]> {
    this.#assertOpen();
    checkAddresses(addresses);
    if (addresses.length === 1) {
      const { partition, key } = addresses[0] as Address;
      return this.#patience.during(() => [this.#reader.one(partition, key)]);
    }
    const asked = addresses.map(({ partition, key }) => ({ partition, key }));
    return this.#patience.during(() => this.#reader.many(asked));
  }

  list(partition: string, range: ListRange = {}): MaybePromise<StoredRecord[]> {
    this.#assertOpen();
    checkList(partition, range);
    const { limit = LIMITS.page, reverse = false, values = true, ...keys } = range;
    return this.#patience.during(() => this.#reader.list({ partition, range: keys, limit, reverse, values }));
  }

  commit(commit: Commit): Promise<CommitResult> {
    this.#assertOpen();
    const plan = planOf(checkedCommit(commit));
    return this.#group.add(plan, plan.size);
  }

  watch(listener: (hint: Hint) => void): Unsubscribe {
    this.#assertOpen();
    const unsubscribe = this.#hints.add(listener);
    // No other process can commit to a file that is open for this one only.
    if (!this.exclusive) this.#poll.start();
    return () => {
      unsubscribe();
      if (!this.#hints.watched) this.#poll.stop();
    };
  }

  /** The last to close a file also brings its log into it: then the file alone holds everything. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#poll.stop();
    this.#hints.clear();
    this.#patience.end();
    await this.#group.close();
    try {
      this.#connection.close();
    } catch (error) {
      throw meshErrorOf(error, 'run');
    }
  }

  #assertOpen(): void {
    if (this.#closing) throw new MeshError('closed', 'expected an open storage, got a closed one');
  }
}

import type { Clock } from '../kernel/clock.ts';
import type { JsonValue } from '../kernel/json.ts';

/** Storage may answer at once or later, with a native promise; callers just `await`. */
export type MaybePromise<T> = T | Promise<T>;
/** Ends a watch. May be called again. */
export type Unsubscribe = () => void;

/** Names one record. */
export interface Address {
  readonly partition: string;
  /** The sort key, which orders the records of a partition by its UTF-8 bytes. */
  readonly key: string;
}

export interface StoredRecord extends Address {
  /** Deeply frozen. */
  readonly value: JsonValue;
  /** The commit that wrote the record. */
  readonly revision: number;
  /** Epoch milliseconds by the store's clock: from this instant on the record is never returned. Absent = for ever. */
  readonly expiresAt?: number;
}

/** Keys from `start` on and before `end`; each end is open when left out. */
export interface KeyRange {
  readonly start?: string;
  readonly end?: string;
}

export interface ListRange extends KeyRange {
  /** 1 … 1,000, which is the default. */
  readonly limit?: number;
  /** From the last key down. The range and its ends stay the same. */
  readonly reverse?: boolean;
  /** `false` answers `null` for every value and may be cheaper. */
  readonly values?: boolean;
}

/** Something that must hold of the state before the commit. An expired record counts as absent. */
export type Check = RevisionCheck | BoundCheck;

/** The record is of this revision; `null`: it is absent. */
export interface RevisionCheck extends Address {
  readonly revision: number | null;
}

/** Fewer than `fewerThan` records stand in the partition from `start` on. */
export interface BoundCheck {
  readonly partition: string;
  readonly start?: string;
  /** 1 … 100,000. */
  readonly fewerThan: number;
}

/** Removes one record if it is there, or the first `limit` records of a range. */
export type Delete = Address | RangeDelete;

export interface RangeDelete extends KeyRange {
  readonly partition: string;
  /** 1 … 1,000. */
  readonly limit: number;
}

/**
 * Moves the first records of a range into another partition, or back into the same one, and returns them. Values and
 * expiry stay; the revision becomes the commit's. With `leaseMs` the new sort key is led by a deadline, 16 digits of
 * the store's time and `>`; a record whose key is so led already has its deadline replaced, or without `leaseMs` removed.
 */
export interface Take extends KeyRange {
  readonly from: string;
  readonly to: string;
  /** 1 … 1,000. */
  readonly limit: number;
  /** 0 … 366 days. */
  readonly leaseMs?: number;
}

/** Renews the time to live of a record that is present in this revision; its value and revision stay. */
export interface Touch extends Address {
  readonly revision: number;
  /** 1 ms … 366 days. */
  readonly ttlMs: number;
}

export interface Put extends Address {
  /** Plain JSON of at most 72 levels. The store keeps `recordValue` of it, which returns what it has accepted before as it is. */
  readonly value: JsonValue;
  /** 1 ms … 366 days; absent: for ever, also where the record had an expiry. */
  readonly ttlMs?: number;
  /** Appends the commit's revision (16 digits) and this put's position in the commit (4 digits) to the sort key. */
  readonly stamped?: boolean;
}

/**
 * A change, applied whole or not at all: checks and touches are judged on the state before, then deletes, takes,
 * touches and puts are applied in this order. No address may be named by two writes.
 */
export interface Commit {
  readonly checks?: readonly Check[];
  readonly deletes?: readonly Delete[];
  readonly takes?: readonly Take[];
  readonly touches?: readonly Touch[];
  readonly puts?: readonly Put[];
}

/** What became of a commit. A lost race is an answer, not an error. */
export type CommitResult = Committed | Conflicted;

/** The commit was applied, whole. */
export interface Committed {
  readonly committed: true;
  /**
   * The number of this commit: larger than that of every commit acknowledged before it began, and never used again.
   * A commit that changes nothing, or renews touches only, spends none and answers the newest one.
   */
  readonly revision: number;
  /** The store's time at which it was applied. */
  readonly at: number;
  /** What the takes moved, in their order, at its new addresses. */
  readonly taken: readonly StoredRecord[];
}

/** The commit was not applied: nothing was changed. */
export interface Conflicted {
  readonly committed: false;
  /**
   * Every check and touch that failed, in their order; a bound by its partition and start. When none failed: the
   * addresses at which a take would have overwritten a record.
   */
  readonly conflicts: readonly Address[];
}

/** Which partitions changed; without `partitions`, any may have. */
export interface Hint {
  readonly partitions?: readonly string[];
}

/**
 * What survives an acknowledged commit: `memory`, nothing; `process`, the end of this process, however it ends;
 * `os`, also a crash of the machine.
 */
export type Durability = 'memory' | 'process' | 'os';

/**
 * The narrow waist: a store is a set of partitions, a partition is a list of records in the order of their sort keys.
 * Everything in this library is built on these members; whoever implements them, and passes the conformance cases of
 * `session-mesh/testing`, has a storage. `docs/writing-a-storage.md` says how.
 *
 * Every method may throw or reject with a MeshError: `invalid_input` and `limit_exceeded` before anything is done,
 * `closed` after `close`, `unavailable` when the store could not be reached or was busy for too long.
 */
export interface Storage {
  /** The records at the addresses, in the order asked, of one snapshot. At most 1,000. */
  get(addresses: readonly Address[]): MaybePromise<(StoredRecord | undefined)[]>;
  /** Records of one partition in key order, of one snapshot. */
  list(partition: string, range?: ListRange): MaybePromise<StoredRecord[]>;
  /**
   * Applies a commit whole, or reports a conflict and changes nothing. Reads that begin after the answer see it.
   * @throws MeshError `commit_unknown` when the store may or may not have applied it; `storage_full`, `read_only`,
   * `corrupt` when it has not.
   */
  commit(commit: Commit): MaybePromise<CommitResult>;
  /**
   * Calls back some time after a commit, of this process or another. Hints may be late, merged or lost, so they say
   * when to look and never what is true. Never called inside `commit`. Watching does not keep the process alive.
   */
  watch(listener: (hint: Hint) => void): Unsubscribe;
  /** Lets commits under way end and releases everything. May be called again. */
  close(): Promise<void>;
  /** The store's clock as this process knows it, in epoch milliseconds. */
  now(): number;
  readonly durability: Durability;
  /** The timers that belong to `now()`; left out, the system's. */
  readonly clock?: Clock;
  /** True when every commit of everybody is hinted to every watcher, soon: then the library need not poll. */
  readonly reliableHints?: boolean;
  /**
   * True when `commit` may answer `commit_unknown` in the ordinary run of things, as over a network: then the library puts
   * a token into each commit and looks it up. Without it such an answer goes to the caller as it is.
   */
  readonly uncertain?: boolean;
}

/** Goes on with an answer, at once when it is there at once. */
export function whenDone<T, U>(value: MaybePromise<T>, then: (value: T) => MaybePromise<U>): MaybePromise<U> {
  return value instanceof Promise ? value.then(then) : then(value);
}

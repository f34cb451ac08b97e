import { describe } from '../kernel/describe.ts';
import { MeshError } from '../kernel/errors.ts';
import { type JsonValue, jsonBytesAtMost, toJson, utf8Length } from '../kernel/json.ts';
import { Draft } from './draft.ts';
import { deadlineOf, LEASE_PREFIX_LENGTH } from './keys.ts';
import { OwnPut } from './own-put.ts';
import type { Address, Commit, Delete, KeyRange, ListRange, Put } from './storage.ts';

/** The limits of every storage, checked before any work is done. */
export const LIMITS = {
  /** Bytes of UTF-8 in a partition's name, and in a sort key besides the deadline of a take. */
  nameBytes: 1024,
  /** Bytes of JSON in a record's value: what users may store, and what the library adds to it. */
  valueBytes: 1024 * 1024 + 64 * 1024,
  commitBytes: 16 * 1024 * 1024,
  writes: 1000,
  checks: 1000,
  page: 1000,
  bound: 100_000,
  ttlMs: 366 * 86_400_000,
} as const;

const STAMP_BYTES = 20;

/** A commit with all its lists, of accepted values. */
export interface CheckedCommit extends Required<Commit> {
  /** An upper bound of the bytes of its values. */
  readonly bytesAtMost: number;
}

/**
 * What every storage does with a commit first: refuses what breaks the contract, before anything is touched. The puts
 * of the answer hold values that `toJson` has accepted; everything else is the commit itself.
 * @throws MeshError `invalid_input`, `limit_exceeded`
 */
export function checkedCommit(commit: Commit): CheckedCommit {
  if (commit instanceof Draft) return checkedDraft(commit);
  known(commit, 'commit', COMMIT_FIELDS);
  const { checks = [], deletes = [], takes = [], touches = [], puts = [] } = commit;
  for (const list of [checks, deletes, takes, touches, puts]) {
    if (!Array.isArray(list)) throw invalid('commit with lists of checks and writes', list);
  }
  const writes = deletes.length + takes.length + touches.length + puts.length;
  if (checks.length > LIMITS.checks) throw limit(`at most ${LIMITS.checks} checks in a commit`, checks.length);
  if (writes > LIMITS.writes) throw limit(`at most ${LIMITS.writes} writes in a commit`, writes);
  const written = new Written(deletes.length + touches.length + puts.length);
  for (const check of checks) {
    if (typeof check === 'object' && check !== null && 'fewerThan' in check) {
      known(check, 'check', BOUND_FIELDS);
      checkRange(check.partition, check);
      whole(check.fewerThan, 'fewerThan', 1, LIMITS.bound);
    } else {
      known(check, 'check', CHECK_FIELDS);
      checkAddress(check);
      if (check.revision !== null) whole(check.revision, 'revision', 0, Number.MAX_SAFE_INTEGER);
    }
  }
  for (const entry of deletes) checkDelete(entry, written);
  for (const take of takes) {
    known(take, 'take', TAKE_FIELDS);
    checkRange(take.from, take);
    checkName(take.to, 'partition');
    whole(take.limit, 'limit', 1, LIMITS.page);
    if (take.leaseMs !== undefined) whole(take.leaseMs, 'leaseMs', 0, LIMITS.ttlMs);
  }
  for (const touch of touches) {
    known(touch, 'touch', TOUCH_FIELDS);
    checkAddress(touch);
    whole(touch.revision, 'revision', 0, Number.MAX_SAFE_INTEGER);
    whole(touch.ttlMs, 'ttlMs', 1, LIMITS.ttlMs);
    written.add(touch.partition, touch.key);
  }
  let bytesAtMost = 0;
  // Bounds cost nothing; values are measured, each once, only when the sum of the bounds is over the limit.
  let measured = 0;
  let measuredBytes = 0;
  let accepted: Put[] | undefined;
  for (let position = 0; position < puts.length; position++) {
    const put = puts[position] as Put;
    checkPut(put, written);
    const known = boundOf(put);
    const value = known === undefined ? recordValue(put.value) : put.value;
    if (!Object.is(value, put.value)) {
      accepted ??= [...puts];
      accepted[position] = { ...put, value };
    }
    bytesAtMost += known ?? jsonBytesAtMost(value);
    if (bytesAtMost <= LIMITS.commitBytes) continue;
    for (; measured <= position; measured++) measuredBytes += jsonBytes(((accepted ?? puts)[measured] as Put).value);
    if (measuredBytes > LIMITS.commitBytes) throw limit(`at most ${LIMITS.commitBytes} bytes in a commit`, 'more');
    bytesAtMost = measuredBytes;
  }
  return { checks, deletes, takes, touches, puts: accepted ?? puts, bytesAtMost };
}

/** The library's own commits are well-formed; only what depends on their users is looked at: how much it is. */
function checkedDraft(draft: Draft): CheckedCommit {
  const { checks, deletes, takes, touches, puts } = draft;
  const writes = deletes.length + takes.length + touches.length + puts.length;
  if (checks.length > LIMITS.checks) throw limit(`at most ${LIMITS.checks} checks in a commit`, checks.length);
  if (writes > LIMITS.writes) throw limit(`at most ${LIMITS.writes} writes in a commit`, writes);
  let bytesAtMost = 0;
  for (let position = 0; position < puts.length; position++) {
    const put = puts[position] as Put;
    const known = boundOf(put);
    if (known !== undefined) {
      bytesAtMost += known;
      continue;
    }
    const value = recordValue(put.value);
    if (!Object.is(value, put.value)) puts[position] = { ...put, value };
    bytesAtMost += jsonBytesAtMost(value);
  }
  if (bytesAtMost > LIMITS.commitBytes) {
    let bytes = 0;
    for (const { value } of puts) bytes += jsonBytes(value);
    if (bytes > LIMITS.commitBytes) throw limit(`at most ${LIMITS.commitBytes} bytes in a commit`, 'more');
    bytesAtMost = bytes;
  }
  draft.bytesAtMost = bytesAtMost;
  return draft;
}

/** The bytes of a put that the library has made of what it had accepted, unless they may be too many for one. */
function boundOf(put: Put): number | undefined {
  const bytes = OwnPut.bytesOf(put);
  return bytes !== undefined && bytes <= LIMITS.valueBytes ? bytes : undefined;
}

/**
 * The value of a record: what users may store, 64 levels deep, and what the library puts around it. Accepted values are
 * returned as they are; others, as a store has them after `JSON.parse`, are checked, copied and frozen.
 * @throws MeshError `invalid_input`, `limit_exceeded`
 */
export function recordValue(value: unknown): JsonValue {
  return toJson(value, 'value', LIMITS.valueBytes, RECORD_ROOM);
}

const RECORD_ROOM = { levels: 8, parts: 4096 };

/** @throws MeshError `invalid_input`, `limit_exceeded` */
export function checkAddresses(addresses: readonly Address[]): void {
  if (!Array.isArray(addresses)) throw invalid('list of addresses', addresses);
  if (addresses.length > LIMITS.page) throw limit(`at most ${LIMITS.page} addresses`, addresses.length);
  for (const address of addresses) checkAddress(address);
}

/** @throws MeshError `invalid_input`, `limit_exceeded` */
export function checkList(partition: string, range: ListRange): void {
  known(range, 'range', LIST_FIELDS);
  checkRange(partition, range);
  if (range.limit !== undefined) whole(range.limit, 'limit', 1, LIMITS.page);
  for (const flag of [range.reverse, range.values]) {
    if (flag !== undefined && typeof flag !== 'boolean') throw invalid('true or false for reverse and values', flag);
  }
}

const COMMIT_FIELDS: Fields = { checks: 1, deletes: 1, takes: 1, touches: 1, puts: 1 };
const CHECK_FIELDS: Fields = { partition: 1, key: 1, revision: 1 };
const BOUND_FIELDS: Fields = { partition: 1, start: 1, fewerThan: 1 };
const ADDRESS_FIELDS: Fields = { partition: 1, key: 1 };
const RANGE_DELETE_FIELDS: Fields = { partition: 1, start: 1, end: 1, limit: 1 };
const TAKE_FIELDS: Fields = { from: 1, to: 1, start: 1, end: 1, limit: 1, leaseMs: 1 };
const TOUCH_FIELDS: Fields = { partition: 1, key: 1, revision: 1, ttlMs: 1 };
const PUT_FIELDS: Fields = { partition: 1, key: 1, value: 1, ttlMs: 1, stamped: 1 };
const LIST_FIELDS: Fields = { start: 1, end: 1, limit: 1, reverse: 1, values: 1 };

type Fields = Readonly<Record<string, 1>>;

/** Refuses what is no object, and a field that nobody would read. */
function known(value: object, what: string, fields: Fields): void {
  if (typeof value !== 'object' || value === null) throw invalid(`an object for a ${what}`, value);
  for (const field in value) {
    if (fields[field] !== 1) throw new MeshError('invalid_input', `expected a ${what} of known fields, got ${describe(field)}`);
  }
}

/** Addresses named by the writes of one commit. Most commits have few, for which no set is made. */
class Written {
  readonly #partitions: string[] = [];
  readonly #keys: string[] = [];
  readonly #set: Set<string> | undefined;

  constructor(size: number) {
    if (size > 8) this.#set = new Set();
  }

  add(partition: string, key: string): void {
    if (this.#set) {
      const address = `${partition}\0${key}`;
      if (this.#set.has(address)) throw this.#twice(key);
      this.#set.add(address);
      return;
    }
    for (let index = 0; index < this.#keys.length; index++) {
      if (this.#keys[index] === key && this.#partitions[index] === partition) throw this.#twice(key);
    }
    this.#partitions.push(partition);
    this.#keys.push(key);
  }

  #twice(key: string): MeshError {
    return new MeshError('invalid_input', `expected one write to each address of a commit, got two to ${describe(key)}`);
  }
}

function checkDelete(entry: Delete, written: Written): void {
  if (typeof entry === 'object' && entry !== null && 'key' in entry) {
    known(entry, 'delete', ADDRESS_FIELDS);
    checkAddress(entry);
    written.add(entry.partition, entry.key);
    return;
  }
  known(entry, 'delete', RANGE_DELETE_FIELDS);
  checkRange(entry.partition, entry);
  whole(entry.limit, 'limit', 1, LIMITS.page);
}

function checkPut(put: Put, written: Written): void {
  known(put, 'put', PUT_FIELDS);
  if (put.ttlMs !== undefined) whole(put.ttlMs, 'ttlMs', 1, LIMITS.ttlMs);
  if (!put.stamped) {
    if (put.stamped !== undefined && put.stamped !== false) throw invalid('true or false for stamped', put.stamped);
    checkAddress(put);
    written.add(put.partition, put.key);
    return;
  }
  if (put.stamped !== true) throw invalid('true or false for stamped', put.stamped);
  checkName(put.partition, 'partition');
  checkText(put.key, 'sort key', LIMITS.nameBytes - STAMP_BYTES);
}

function checkAddress(address: Address): void {
  if (typeof address !== 'object' || address === null) throw invalid('an address', address);
  checkName(address.partition, 'partition');
  checkName(address.key, 'sort key');
}

function checkRange(partition: string, { start, end }: KeyRange): void {
  checkName(partition, 'partition');
  // A range may begin right behind the longest leased key.
  if (start !== undefined) checkText(start, 'start', LIMITS.nameBytes + LEASE_PREFIX_LENGTH + 1);
  if (end !== undefined) checkText(end, 'end', LIMITS.nameBytes + LEASE_PREFIX_LENGTH + 1);
}

function checkName(name: string, what: 'partition' | 'sort key'): void {
  if (typeof name !== 'string' || name === '') throw invalid(`a ${what}, not empty`, name);
  const leased = what === 'sort key' && name.length * 3 > LIMITS.nameBytes && deadlineOf(name) !== undefined;
  checkText(name, what, LIMITS.nameBytes + (leased ? LEASE_PREFIX_LENGTH : 0));
}

/** Everything that is not plain text below the surrogates takes the slow way. */
const UNUSUAL = /[\0\uD800-\uFFFF]/;

function checkText(text: string, what: string, maxBytes: number): void {
  if (typeof text !== 'string') throw invalid(`a string for ${what}`, text);
  if (UNUSUAL.test(text)) {
    if (text.includes('\0')) throw invalid(`a ${what} without U+0000`, text);
    if (!text.isWellFormed()) throw invalid(`a ${what} of well-formed Unicode`, text);
  }
  if (text.length * 3 <= maxBytes) return;
  const bytes = text.length > maxBytes ? text.length : utf8Length(text);
  if (bytes > maxBytes) throw limit(`a ${what} of at most ${maxBytes} bytes`, bytes);
}

function whole(value: number, what: string, min: number, max: number): void {
  if (!Number.isInteger(value)) throw invalid(`a whole number for ${what}`, value);
  if (value < min || value > max) throw limit(`${what} between ${min} and ${max}`, value);
}

function jsonBytes(value: JsonValue): number {
  return utf8Length(JSON.stringify(value));
}

function invalid(expected: string, got: unknown): MeshError {
  return new MeshError('invalid_input', `expected ${expected}, got ${describe(got)}`);
}

function limit(expected: string, got: number | 'more'): MeshError {
  return new MeshError('limit_exceeded', `expected ${expected}, got ${got}`);
}

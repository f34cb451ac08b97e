import type { JsonValue } from '../../src/kernel/json.ts';
import type {
  Address,
  Check,
  Commit,
  CommitResult,
  Delete,
  KeyRange,
  ListRange,
  Put,
  StoredRecord,
  Take,
  Touch,
} from '../../src/storage/storage.ts';

interface Row extends Address {
  readonly bytes: Buffer;
  readonly value: JsonValue;
  readonly revision: number;
  readonly expiresAt: number;
}

/**
 * What the contract says, as plainly as it can be written and sharing nothing with the storages: one list of rows,
 * sorted whenever somebody looks, and copied whole before each commit.
 */
export class StorageModel {
  #rows: Row[] = [];
  #revision: number;

  constructor(revision: number) {
    this.#revision = revision;
  }

  get(addresses: readonly Address[], now: number): (StoredRecord | undefined)[] {
    return addresses.map((address) => {
      const row = find(live(this.#rows, now), address);
      return row && recordOf(row);
    });
  }

  list(partition: string, { limit = 1000, reverse = false, values = true, ...range }: ListRange, now: number): StoredRecord[] {
    const rows = inRange(live(this.#rows, now), partition, range);
    if (reverse) rows.reverse();
    return rows.slice(0, limit).map((row) => recordOf(values ? row : { ...row, value: null }));
  }

  /** All that is there. */
  all(now: number): StoredRecord[] {
    return live(this.#rows, now).map(recordOf);
  }

  commit(commit: Commit, now: number): CommitResult | 'invalid_input' {
    const { checks = [], deletes = [], takes = [], touches = [], puts = [] } = commit;
    if (namesTwice(commit)) return 'invalid_input';
    const before = live(this.#rows, now);
    const conflicts = [
      ...checks
        .filter((check) => !holds(before, check))
        .map((check) => ({ partition: check.partition, key: 'key' in check ? check.key : (check.start ?? '') })),
      ...touches
        .filter((touch) => find(before, touch)?.revision !== touch.revision)
        .map(({ partition, key }) => ({ partition, key })),
    ];
    if (conflicts.length > 0) return { committed: false, conflicts };
    const change = new Change(before, this.#revision + 1, now);
    for (const entry of deletes) change.delete(entry);
    for (const take of takes) change.take(take);
    if (change.collisions.length > 0) return { committed: false, conflicts: change.collisions };
    for (const touch of touches) change.touch(touch);
    for (const [position, put] of puts.entries()) change.put(put, position);
    this.#rows = change.rows;
    if (change.changed) this.#revision += 1;
    return { committed: true, revision: this.#revision, at: now, taken: change.taken };
  }
}

class Change {
  rows: Row[];
  changed = false;
  readonly taken: StoredRecord[] = [];
  readonly collisions: Address[] = [];
  readonly #revision: number;
  readonly #now: number;

  constructor(rows: readonly Row[], revision: number, now: number) {
    this.rows = [...rows];
    this.#revision = revision;
    this.#now = now;
  }

  delete(entry: Delete): void {
    if ('key' in entry) this.#remove(this.rows.filter((row) => isAt(row, entry)));
    else this.#remove(inRange(this.rows, entry.partition, entry).slice(0, entry.limit));
  }

  take({ from, to, limit, leaseMs, ...range }: Take): void {
    const rows = inRange(this.rows, from, range).slice(0, limit);
    this.#remove(rows);
    for (const { key: old, value, expiresAt } of rows) {
      const plain = /^\d{16}>(.+)$/s.exec(old)?.[1] ?? old;
      const key = leaseMs === undefined ? plain : `${String(this.#now + leaseMs).padStart(16, '0')}>${plain}`;
      const address = { partition: to, key };
      if (find(this.rows, address)) this.collisions.push(address);
      else this.taken.push(recordOf(this.#add(address, value, expiresAt)));
    }
  }

  touch({ ttlMs, ...touch }: Touch): void {
    this.rows = this.rows.map((row) =>
      isAt(row, touch) && row.revision === touch.revision ? { ...row, expiresAt: this.#now + ttlMs } : row,
    );
  }

  put({ partition, key, value, ttlMs, stamped }: Put, position: number): void {
    const stamp = String(this.#revision).padStart(16, '0') + String(position).padStart(4, '0');
    const address = { partition, key: stamped ? key + stamp : key };
    this.rows = this.rows.filter((row) => !isAt(row, address));
    this.#add(address, value, ttlMs === undefined ? Number.POSITIVE_INFINITY : this.#now + ttlMs);
  }

  #remove(rows: readonly Row[]): void {
    this.rows = this.rows.filter((row) => !rows.includes(row));
    if (rows.length > 0) this.changed = true;
  }

  #add({ partition, key }: Address, value: JsonValue, expiresAt: number): Row {
    const row = { partition, key, bytes: Buffer.from(key), value, revision: this.#revision, expiresAt };
    this.rows.push(row);
    this.changed = true;
    return row;
  }
}

function isAt(row: Row, { partition, key }: Address): boolean {
  return row.partition === partition && row.key === key;
}

function find(rows: readonly Row[], address: Address): Row | undefined {
  return rows.find((row) => isAt(row, address));
}

function live(rows: readonly Row[], now: number): Row[] {
  return rows.filter(({ expiresAt }) => now < expiresAt);
}

function inRange(rows: readonly Row[], partition: string, { start = '', end }: KeyRange): Row[] {
  const from = Buffer.from(start);
  const to = end === undefined ? undefined : Buffer.from(end);
  return rows
    .filter(
      (row) => row.partition === partition && Buffer.compare(row.bytes, from) >= 0 && (!to || Buffer.compare(row.bytes, to) < 0),
    )
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes));
}

function holds(rows: readonly Row[], check: Check): boolean {
  if ('key' in check) return (find(rows, check)?.revision ?? null) === check.revision;
  return inRange(rows, check.partition, check.start === undefined ? {} : { start: check.start }).length < check.fewerThan;
}

function namesTwice({ deletes = [], touches = [], puts = [] }: Commit): boolean {
  const named = [...deletes.filter((entry) => 'key' in entry), ...touches, ...puts.filter(({ stamped }) => !stamped)];
  const names = named.map(({ partition, key }) => JSON.stringify([partition, key]));
  return new Set(names).size < names.length;
}

function recordOf({ partition, key, value, revision, expiresAt }: Row): StoredRecord {
  return { partition, key, value, revision, ...(expiresAt !== Number.POSITIVE_INFINITY && { expiresAt }) };
}

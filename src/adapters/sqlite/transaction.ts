import { MeshError } from '../../kernel/errors.ts';
import { leasedKey, padded, stampedKey, unleasedKey } from '../../storage/keys.ts';
import type { Address, Check, CommitResult, Delete, StoredRecord, Take, Touch } from '../../storage/storage.ts';
import type { CommitPlan, PlannedPut } from './commit-plan.ts';
import type { Fact, Known } from './known.ts';
import { parsedValue, recordOf } from './records.ts';
import type { RecordRow, Statements } from './statements.ts';

const NOTHING = [null, null] as const;

/** Thrown when takes would have overwritten records: what their commit did so far is to be rolled back. */
export class Collision {
  readonly addresses: readonly Address[];

  constructor(addresses: readonly Address[]) {
    this.addresses = addresses;
  }
}

/** Applies commits, one after another, within a transaction that its owner has begun and will end. */
export class Transaction {
  /** The store's time for all of them. */
  readonly at: number;
  /** The partitions that were changed. */
  readonly partitions = new Set<string>();
  readonly #statements: Statements;
  readonly #known: Known;
  #spent = false;
  #touched = false;
  /** Of the commit that is being applied, once it has changed something. */
  #revision: number | undefined;
  #stamp = '';
  #lastChanged = '';

  constructor(statements: Statements, known: Known, at: number) {
    this.#statements = statements;
    this.#known = known;
    this.at = at;
    known.begin(Number(statements.dataVersion.get()?.[0]), at);
    statements.puts.clear();
  }

  /** Whether anything was written. */
  get dirty(): boolean {
    return this.#spent || this.#touched;
  }

  /** @throws Collision */
  applyAll(plans: readonly CommitPlan[]): CommitResult[] {
    return plans.map((plan) => this.#apply(plan));
  }

  /** Every check and touch that does not hold. */
  conflicts({ checks, touches }: CommitPlan): Address[] | undefined {
    let conflicts: Address[] | undefined;
    for (const check of checks) {
      if (this.#holds(check)) continue;
      (conflicts ??= []).push({ partition: check.partition, key: 'key' in check ? check.key : (check.start ?? '') });
    }
    for (const { partition, key, revision } of touches) {
      if (this.#revisionAt(partition, key) !== revision) (conflicts ??= []).push({ partition, key });
    }
    return conflicts;
  }

  /** The newest revision, as it is now. */
  newest(): number {
    this.#known.newest ??= this.#readNewest();
    return this.#known.newest;
  }

  /** Writes what waits to be written: the last puts, and once for all commits the revisions they spent. */
  finish(): void {
    this.#statements.puts.flush();
    if (this.#spent) this.#statements.setNewest.run(this.newest());
  }

  /**
   * All that a commit does. Its checks come before its writes, so a conflict has nothing to undo; only takes that
   * collide do.
   */
  #apply(plan: CommitPlan): CommitResult {
    const conflicts = this.conflicts(plan);
    if (conflicts) return { committed: false, conflicts };
    this.#revision = undefined;
    for (const entry of plan.deletes) this.#delete(entry);
    const taken: StoredRecord[] = [];
    if (plan.takes.length > 0) this.#takeAll(plan.takes, taken);
    for (const touch of plan.touches) this.#touch(touch);
    for (let position = 0; position < plan.puts.length; position++) this.#put(plan.puts[position] as PlannedPut, position);
    return { committed: true, revision: this.newest(), at: this.at, taken };
  }

  #readNewest(): number {
    const row = this.#statements.newest.get();
    if (row) return row[0] as number;
    throw new MeshError('corrupt', 'expected the record of the newest revision, got none');
  }

  #holds(check: Check): boolean {
    const { partition } = check;
    if ('key' in check) return this.#revisionAt(partition, check.key) === check.revision;
    const { start = '', fewerThan } = check;
    if (start === '' && this.#known.hasFewerThan(partition, fewerThan)) return true;
    this.#statements.puts.settle(partition);
    const [count] = this.#statements.count.get(partition, start, this.at, fewerThan) as readonly [number];
    if (count >= fewerThan) return false;
    if (start === '') this.#known.counted(partition, count);
    return true;
  }

  #revisionAt(partition: string, key: string): number | null {
    const { revision, expires } = this.#known.factOf(partition, key) ?? this.#find(partition, key);
    return expires === null || expires > this.at ? revision : null;
  }

  #find(partition: string, key: string): Fact {
    this.#statements.puts.settle(partition);
    const row = this.#statements.find.get(partition, key);
    const [revision, expires] = (row ?? NOTHING) as readonly [number | null, number | null];
    const fact = { revision, expires };
    this.#known.learn(partition, key, fact);
    return fact;
  }

  #delete(entry: Delete): void {
    const { partition } = entry;
    this.#statements.puts.settle(partition);
    if ('key' in entry) {
      if (Number(this.#statements.remove.run(partition, entry.key, this.at).changes) === 0) return;
      this.#known.removed(partition, entry.key);
    } else {
      const removed = this.#statements.removeFirst(partition, entry, this.at, entry.limit);
      if (removed === 0) return;
      this.#known.removedSome(partition, removed);
    }
    this.#change(partition);
  }

  #takeAll(takes: readonly Take[], taken: StoredRecord[]): void {
    const collisions: Address[] = [];
    for (const take of takes) this.#take(take, taken, collisions);
    if (collisions.length > 0) throw new Collision(collisions);
  }

  #take(take: Take, taken: StoredRecord[], collisions: Address[]): void {
    const { from, to, limit, leaseMs } = take;
    this.#statements.puts.settle(from);
    this.#statements.puts.settle(to);
    const rows = this.#statements.list(from, take, this.at, limit);
    if (rows.length === 0) return;
    const revision = this.#change(from);
    this.#change(to);
    // All leave before the first arrives, for they may go to each other's places; whatever stands between them has expired.
    const [[firstKey], [lastKey]] = [rows[0] as RecordRow, rows[rows.length - 1] as RecordRow];
    this.#statements.removeBetween.run(from, firstKey, lastKey);
    for (const [key] of rows) this.#known.removed(from, key);
    for (const [oldKey, , expires, text] of rows) {
      const key = leaseMs === undefined ? unleasedKey(oldKey) : leasedKey(oldKey, this.at + leaseMs);
      const { changes } = this.#statements.putNew.run(to, key, revision, expires, text, this.at);
      if (Number(changes) === 0) {
        collisions.push({ partition: to, key });
        continue;
      }
      this.#known.put(to, key, { revision, expires });
      // Whoever settles it checks it.
      this.#known.learn(to, key, { revision, expires });
      taken.push(recordOf(to, key, parsedValue(text), revision, expires));
    }
  }

  #touch({ partition, key, revision, ttlMs }: Touch): void {
    this.#statements.puts.settle(partition);
    // A delete or take of this commit may have removed it, and another have come to its place.
    const { changes } = this.#statements.touch.run(this.at + ttlMs, partition, key, revision);
    if (Number(changes) === 0) return;
    this.#known.touched(partition, key, this.at + ttlMs);
    this.#touched = true;
  }

  #put({ partition, key: given, ttlMs, stamped, text }: PlannedPut, position: number): void {
    const revision = this.#change(partition);
    const expires = ttlMs === undefined ? null : this.at + ttlMs;
    const key = stamped ? stampedKey(given, this.#stamp, position) : given;
    this.#statements.puts.add(partition, key, revision, expires, text);
    this.#known.put(partition, key, { revision, expires });
  }

  /** Notes a change to a partition, and answers the commit's revision, which its first change spends. */
  #change(partition: string): number {
    if (partition !== this.#lastChanged) {
      this.#lastChanged = partition;
      this.partitions.add(partition);
    }
    if (this.#revision === undefined) {
      this.#revision = this.newest() + 1;
      this.#known.newest = this.#revision;
      this.#stamp = padded(this.#revision);
      this.#spent = true;
    }
    return this.#revision;
  }
}

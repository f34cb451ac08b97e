import * as z from 'zod';
import { type Clock, systemClock } from '../kernel/clock.ts';
import { MeshError } from '../kernel/errors.ts';
import { clockPolicy, parse } from '../kernel/inputs.ts';
import { checkAddresses, checkedCommit, checkList, LIMITS } from './checked.ts';
import { ExpiryQueue } from './expiry-queue.ts';
import { HintFan } from './hint-fan.ts';
import { Change, type Entry, isLive, Partition, recordOf } from './in-memory-entries.ts';
import { leasedKey, orderOf, stampedKey, unleasedKey } from './keys.ts';
import type {
  Address,
  Check,
  Commit,
  CommitResult,
  Delete,
  Hint,
  ListRange,
  Put,
  Storage,
  StoredRecord,
  Take,
  Touch,
  Unsubscribe,
} from './storage.ts';

/** Options of an `InMemoryStorage`. */
export interface InMemoryStorageOptions {
  /** Default: the system's clock. */
  readonly clock?: Clock;
}

const OPTIONS = z.strictObject({ clock: clockPolicy.optional() });

/** How many expired records one commit removes for good. Until then they are only not seen. */
const REAPED_PER_COMMIT = 32;

/** Partitions that were emptied and may be used again soon, as queues are. Each takes some 300 bytes. */
const KEPT_EMPTY = 4096;

/**
 * The reference storage: everything in this process's memory, answered at once, gone with the object.
 * Made for tests and for meshes of one process, up to millions of records.
 */
export class InMemoryStorage implements Storage {
  readonly durability = 'memory';
  /** Whoever uses it is in this process. */
  readonly reliableHints = true;
  readonly clock: Clock;
  readonly #partitions = new Map<string, Partition>();
  /** Partitions that were emptied of late. */
  #empty: Partition[] = [];
  readonly #hints = new HintFan();
  readonly #expiry = new ExpiryQueue<Entry>();
  /** Entries in the expiry queue that were removed in the meantime. */
  #stale = 0;
  #revision = 0;
  #closed = false;

  /** @throws MeshError `invalid_input` */
  constructor(options: InMemoryStorageOptions = {}) {
    const { clock = systemClock } = parse(OPTIONS, options, 'options');
    this.clock = clock;
  }

  now(): number {
    return this.clock.now();
  }

  get(addresses: readonly Address[]): (StoredRecord | undefined)[] {
    this.#assertOpen();
    if (!Array.isArray(addresses) || addresses.length > LIMITS.page) checkAddresses(addresses);
    // A list that grows takes room for 17 with the first.
    const records = new Array<StoredRecord | undefined>(addresses.length);
    let now: number | undefined;
    for (let n = 0; n < addresses.length; n++) {
      const address = addresses[n] as Address;
      const entry = this.#find(address);
      // An address that leads to a record was checked when the record was put.
      if (!entry) checkAddresses([address]);
      else if (entry.expiresAt !== undefined) now ??= this.clock.now();
      records[n] = entry && isLive(entry, now ?? 0) ? recordOf(entry, entry.value) : undefined;
    }
    return records;
  }

  list(partition: string, range: ListRange = {}): StoredRecord[] {
    this.#assertOpen();
    checkList(partition, range);
    const { limit = LIMITS.page, reverse = false, values = true } = range;
    const entries = this.#partitions.get(partition)?.live(range, limit, this.clock.now(), reverse) ?? [];
    return entries.map((entry) => recordOf(entry, values ? entry.value : null));
  }

  commit(commit: Commit): CommitResult {
    this.#assertOpen();
    const { checks = [], deletes = [], takes = [], touches = [], puts } = checkedCommit(commit);
    const at = this.clock.now();
    const touched: Entry[] | undefined = touches.length > 0 ? [] : undefined;
    const conflicts = this.#conflicts(checks, touches, touched, at);
    if (conflicts) return { committed: false, conflicts };
    const change = new Change(this.#revision + 1, at, takes.length > 0, this.#hints.watched);
    for (const entry of deletes) this.#delete(entry, change);
    for (const take of takes) this.#take(take, change);
    if (change.collisions) return this.#undo(change, change.collisions);
    if (touched) this.#renew(touched, touches, change);
    for (let position = 0; position < puts.length; position++) this.#put(puts[position] as Put, position, change);
    if (change.changed) {
      this.#revision = change.revision;
      if (change.partitions) this.#hints.changed(change.partitions);
    }
    if (this.#expiry.size > 0) this.#reap(at);
    return { committed: true, revision: this.#revision, at, taken: change.taken };
  }

  watch(listener: (hint: Hint) => void): Unsubscribe {
    this.#assertOpen();
    return this.#hints.add(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#hints.clear();
    this.#partitions.clear();
    this.#expiry.clear();
  }

  #assertOpen(): void {
    if (this.#closed) throw new MeshError('closed', 'expected an open storage, got a closed one');
  }

  #find(address: Address): Entry | undefined {
    const key = address?.key;
    if (typeof key !== 'string') return undefined;
    return this.#partitions.get(address.partition)?.find(key);
  }

  /** What does not hold. The entries of touches that do are left in `touched`. */
  #conflicts(
    checks: readonly Check[],
    touches: readonly Touch[],
    touched: Entry[] | undefined,
    at: number,
  ): Address[] | undefined {
    let conflicts: Address[] | undefined;
    for (const check of checks) {
      if ('fewerThan' in check) {
        const { partition, start = '', fewerThan } = check;
        if (this.#countsTo(partition, start, fewerThan, at)) (conflicts ??= []).push({ partition, key: start });
      } else if (this.#revisionAt(check, at) !== check.revision) {
        (conflicts ??= []).push({ partition: check.partition, key: check.key });
      }
    }
    for (const touch of touches) {
      const entry = this.#find(touch);
      if (entry && entry.revision === touch.revision && isLive(entry, at)) touched?.push(entry);
      else (conflicts ??= []).push({ partition: touch.partition, key: touch.key });
    }
    return conflicts;
  }

  #revisionAt(address: Address, at: number): number | null {
    const entry = this.#find(address);
    return entry && isLive(entry, at) ? entry.revision : null;
  }

  #countsTo(name: string, start: string, enough: number, at: number): boolean {
    const partition = this.#partitions.get(name);
    if (!partition || partition.size < enough) return false;
    let count = 0;
    partition.visit({ start }, false, (entry) => {
      if (isLive(entry, at)) count += 1;
      return count < enough;
    });
    return count >= enough;
  }

  #renew(touched: readonly Entry[], touches: readonly Touch[], { at, removed }: Change): void {
    for (let n = 0; n < touched.length; n++) {
      const entry = touched[n] as Entry;
      // A delete or take of this commit may have removed it, and another may have come to its place.
      if (removed && entry.partition.get(entry.order) !== entry) continue;
      this.#expire(entry, at + (touches[n] as Touch).ttlMs);
    }
  }

  #delete(entry: Delete, change: Change): void {
    if ('key' in entry) {
      const found = this.#find(entry);
      if (found) this.#remove(found, change);
      return;
    }
    const found = this.#partitions.get(entry.partition)?.live(entry, entry.limit, change.at) ?? [];
    for (const each of found) this.#remove(each, change);
  }

  #take({ from, to, limit, leaseMs, ...range }: Take, change: Change): void {
    const found = this.#partitions.get(from)?.live(range, limit, change.at);
    if (!found || found.length === 0) return;
    for (const entry of found) this.#remove(entry, change);
    let target = this.#partition(to);
    for (const entry of found) {
      const key = leaseMs === undefined ? unleasedKey(entry.key) : leasedKey(entry.key, change.at + leaseMs);
      // A deadline before a key that is its own order makes another such key.
      const order = entry.key === entry.order ? key : orderOf(key);
      const isLast = target.endsBefore(order);
      const occupant = isLast ? undefined : target.get(order);
      if (occupant && isLive(occupant, change.at)) {
        (change.collisions ??= []).push({ partition: to, key });
        continue;
      }
      if (occupant) {
        this.#remove(occupant, change);
        // A partition that is empty may have gone with it.
        target = this.#partition(to);
      }
      const moved = target.insert(key, entry.value, change.revision, order, isLast);
      this.#added(moved, entry.expiresAt, change);
      change.taken.push(recordOf(moved, moved.value));
    }
  }

  #put({ partition, key: given, value, ttlMs, stamped }: Put, position: number, change: Change): void {
    const expiresAt = ttlMs === undefined ? undefined : change.at + ttlMs;
    const key = stamped ? stampedKey(given, change.stamp, position) : given;
    const kept = this.#partition(partition);
    const appended = stamped ? kept.append(given, key, value, change.revision) : undefined;
    // What stands behind everything else was not there before.
    const entry = appended || kept.endsBefore(kept.orderOf(key)) ? undefined : kept.find(key);
    if (entry) {
      entry.value = value;
      entry.revision = change.revision;
      this.#expire(entry, expiresAt);
      change.touched(partition);
    } else this.#added(appended ?? kept.insert(key, value, change.revision), expiresAt, change);
  }

  #partition(name: string): Partition {
    let partition = this.#partitions.get(name);
    if (!partition) {
      partition = new Partition(name);
      this.#partitions.set(name, partition);
    }
    return partition;
  }

  #added(entry: Entry, expiresAt: number | undefined, change: Change): void {
    this.#expire(entry, expiresAt);
    change.journal?.push({ entry, added: true });
    change.touched(entry.partition.name);
  }

  #remove(entry: Entry, change: Change): void {
    change.removed = true;
    this.#discard(entry);
    change.journal?.push({ entry, added: false });
    // To remove what has expired changes nothing that anybody could see.
    if (isLive(entry, change.at)) change.touched(entry.partition.name);
  }

  #discard(entry: Entry): void {
    entry.partition.delete(entry.order);
    if (entry.partition.size === 0) this.#emptied(entry.partition);
    if (entry.queued !== 'yes') return;
    entry.queued = 'stale';
    this.#stale += 1;
    if (this.#stale * 2 > this.#expiry.size + 1024) {
      this.#expiry.keep(({ queued }) => queued !== 'stale');
      this.#stale = 0;
    }
  }

  /** A queue is empty every now and then, so partitions go only when many have been emptied, and are still. */
  #emptied(partition: Partition): void {
    if (this.#empty.push(partition) < KEPT_EMPTY) return;
    for (const { name, size } of this.#empty) if (size === 0) this.#partitions.delete(name);
    this.#empty = [];
  }

  #expire(entry: Entry, expiresAt: number | undefined): void {
    entry.expiresAt = expiresAt;
    if (expiresAt === undefined || entry.queued === 'yes') return;
    entry.queued = 'yes';
    this.#expiry.add(expiresAt, entry);
  }

  /** Removes some of what has expired. An entry that was renewed meanwhile goes back to the queue with its new time. */
  #reap(at: number): void {
    for (let count = 0; count < REAPED_PER_COMMIT; count++) {
      const entry = this.#expiry.next(at);
      if (!entry) return;
      const { queued } = entry;
      entry.queued = 'no';
      if (queued === 'stale') this.#stale -= 1;
      else if (isLive(entry, at)) this.#expire(entry, entry.expiresAt);
      else this.#discard(entry);
    }
  }

  /** A take met a record where it wanted to put one: everything goes back to where it was, last step first. */
  #undo({ journal = [] }: Change, conflicts: readonly Address[]): CommitResult {
    for (const { entry, added } of journal.reverse()) {
      const { partition, key, value, revision, expiresAt } = entry;
      if (added) {
        const current = this.#find({ partition: partition.name, key });
        if (current) this.#discard(current);
        continue;
      }
      const restored = this.#partition(partition.name).insert(key, value, revision);
      this.#expire(restored, expiresAt);
    }
    return { committed: false, conflicts };
  }
}

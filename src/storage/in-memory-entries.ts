import type { JsonValue } from '../kernel/json.ts';
import { orderOf, padded } from './keys.ts';
import { SortedMap } from './sorted-map.ts';
import type { Address, KeyRange, StoredRecord } from './storage.ts';

/** The records of a partition in their order. */
export class Partition extends SortedMap<Entry> {
  readonly name: string;
  /** As long as each key is its own order, a key or an end of a range compares with them as it is. */
  #plain = true;
  /** All keys are stamps behind this prefix, so that the next one comes behind them all. Absent where there are others. */
  #stampedBehind: string | undefined;

  constructor(name: string) {
    super();
    this.name = name;
  }

  /** Adds a record where there is none of this key; `isLast`: behind all others. */
  insert(key: string, value: JsonValue, revision: number, order = orderOf(key), isLast = false): Entry {
    const isPlain = order === key;
    const entry = isPlain ? new Entry(this, key, value, revision) : new LiftedEntry(this, key, order, value, revision);
    if (!isPlain) this.#plain = false;
    this.#stampedBehind = undefined;
    this.add(entry, isLast);
    return entry;
  }

  /**
   * Adds what a commit has stamped, if it is known to come behind all that is there. Then the key is not looked at: it
   * stays the parts of which it was put together until somebody asks for it.
   */
  append(prefix: string, key: string, value: JsonValue, revision: number): Entry | undefined {
    if (this.#stampedBehind !== prefix) {
      if (this.size > 0 || orderOf(prefix) !== prefix) return undefined;
      this.#stampedBehind = prefix;
    }
    const entry = new Entry(this, key, value, revision);
    this.add(entry, true);
    return entry;
  }

  find(key: string): Entry | undefined {
    return this.get(this.orderOf(key));
  }

  /** What stands for this key, which may be that of no record, in comparisons with the records that are there. */
  orderOf(key: string): string {
    return this.#plain ? key : orderOf(key);
  }

  /** Up to `most` records of a range that have not expired at a time, in order or reverse. */
  live(range: KeyRange, most: number, at: number, reverse = false): readonly Entry[] {
    if (!reverse) {
      const first = this.first(range.start && this.orderOf(range.start), range.end && this.orderOf(range.end), most);
      // Nearly always: what has expired is removed soon.
      if (first.every((entry) => isLive(entry, at))) return first;
    }
    const found: Entry[] = [];
    this.visit(range, reverse, (entry) => {
      if (isLive(entry, at)) found.push(entry);
      return found.length < most;
    });
    return found;
  }

  /** Calls back with the entries of a range, in order or reverse, until one answers `false`. */
  visit({ start, end }: KeyRange, reverse: boolean, visit: (entry: Entry) => boolean): void {
    this.walk(start && this.orderOf(start), end && this.orderOf(end), reverse, visit);
  }
}

/** A record as it is kept. What callers get is made from it, so that a touch may change it in place. */
export class Entry {
  readonly partition: Partition;
  /** What it is compared by: of nearly all, the key itself. */
  readonly order: string;
  value: JsonValue;
  revision: number;
  /** Absent where it never does, which is told apart so that most entries need no number of their own for it. */
  expiresAt: number | undefined = undefined;
  /** Whether the expiry queue has it; `stale`: though it was removed. */
  queued: 'no' | 'yes' | 'stale' = 'no';

  constructor(partition: Partition, order: string, value: JsonValue, revision: number) {
    this.partition = partition;
    this.order = order;
    this.value = value;
    this.revision = revision;
  }

  get key(): string {
    return this.order;
  }
}

/** A record whose key JavaScript would put in another place than a store does. */
class LiftedEntry extends Entry {
  readonly #key: string;

  constructor(partition: Partition, key: string, order: string, value: JsonValue, revision: number) {
    super(partition, order, value, revision);
    this.#key = key;
  }

  override get key(): string {
    return this.#key;
  }
}

/** What a commit does while it is applied. With takes it also remembers enough to be undone. */
export class Change {
  readonly revision: number;
  readonly at: number;
  readonly taken: StoredRecord[];
  readonly journal: { readonly entry: Entry; readonly added: boolean }[] | undefined;
  collisions: Address[] | undefined;
  /** Whether it removed anything. */
  removed = false;
  /** Whether anybody could see a difference. */
  changed = false;
  /** Where, for whoever watches. */
  readonly partitions: string[] | undefined;
  #stamp: string | undefined;

  constructor(revision: number, at: number, takes: boolean, watched: boolean) {
    this.revision = revision;
    this.at = at;
    this.taken = takes ? [] : NOTHING_TAKEN;
    this.journal = takes ? [] : undefined;
    this.partitions = watched ? [] : undefined;
  }

  get stamp(): string {
    this.#stamp ??= padded(this.revision);
    return this.#stamp;
  }

  touched(partition: string): void {
    this.changed = true;
    const { partitions } = this;
    if (partitions && partitions[partitions.length - 1] !== partition) partitions.push(partition);
  }
}

const NOTHING_TAKEN: StoredRecord[] = [];
Object.freeze(NOTHING_TAKEN);

export function isLive({ expiresAt }: Entry, at: number): boolean {
  return expiresAt === undefined || expiresAt > at;
}

export function recordOf(entry: Entry, value: JsonValue): StoredRecord {
  const { partition, key, revision, expiresAt } = entry;
  if (expiresAt === undefined) return { partition: partition.name, key, value, revision };
  return { partition: partition.name, key, value, revision, expiresAt };
}

import type { JsonValue } from '../kernel/json.ts';
import { orderOf, padded } from './keys.ts';
import { SortedMap } from './sorted-map.ts';
import type { Address, KeyRange, StoredRecord } from './storage.ts';

/** The records of a partition in their order. */
export class Partition extends SortedMap<Entry> {
  readonly name: string;
  /** As long as each key is its own order, a key or an end of a range compares with them as it is. */
  #plain = true;

  constructor(name: string) {
    super();
    this.name = name;
  }

  override add(entry: Entry): void {
    if (entry.order !== entry.key) this.#plain = false;
    super.add(entry);
  }

  find(key: string): Entry | undefined {
    return this.get(this.orderOf(key));
  }

  /** What stands for this key, which may be that of no record, in comparisons with the records that are there. */
  orderOf(key: string): string {
    return this.#plain ? key : orderOf(key);
  }

  /** Calls back with the entries of a range, in order or reverse, until one answers `false`. */
  visit({ start, end }: KeyRange, reverse: boolean, visit: (entry: Entry) => boolean): void {
    this.walk(start && this.orderOf(start), end && this.orderOf(end), reverse, visit);
  }
}

/** A record as it is kept. What callers get is made from it, so that a touch may change it in place. */
export class Entry {
  readonly partition: Partition;
  readonly key: string;
  readonly order: string;
  value: JsonValue;
  revision: number;
  /** Absent where it never does, which is told apart so that most entries need no number of their own for it. */
  expiresAt: number | undefined = undefined;
  /** Whether the expiry queue has it; `stale`: though it was removed. */
  queued: 'no' | 'yes' | 'stale' = 'no';

  constructor(partition: Partition, key: string, value: JsonValue, revision: number) {
    this.partition = partition;
    this.key = key;
    this.order = orderOf(key);
    this.value = value;
    this.revision = revision;
  }
}

/** What a commit does while it is applied. With takes it also remembers enough to be undone. */
export class Change {
  readonly revision: number;
  readonly at: number;
  readonly taken: StoredRecord[] = [];
  readonly partitions: string[] = [];
  readonly journal: { readonly entry: Entry; readonly added: boolean }[] | undefined;
  collisions: Address[] | undefined;
  removed = false;
  #stamp: string | undefined;

  constructor(revision: number, at: number, undoable: boolean) {
    this.revision = revision;
    this.at = at;
    this.journal = undoable ? [] : undefined;
  }

  get stamp(): string {
    this.#stamp ??= padded(this.revision);
    return this.#stamp;
  }

  touched(partition: string): void {
    if (this.partitions[this.partitions.length - 1] !== partition) this.partitions.push(partition);
  }
}

export function isLive({ expiresAt }: Entry, at: number): boolean {
  return expiresAt === undefined || expiresAt > at;
}

export function recordOf(entry: Entry, value: JsonValue): StoredRecord {
  const { partition, key, revision, expiresAt } = entry;
  if (expiresAt === undefined) return { partition: partition.name, key, value, revision };
  return { partition: partition.name, key, value, revision, expiresAt };
}

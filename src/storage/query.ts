import { systemClock } from '../kernel/clock.ts';
import type { Collection, Versioned } from './collection.ts';
import { compareKeys, keyAfter } from './keys.ts';
import { type KeyRange, type ListRange, type MaybePromise, type Storage, type StoredRecord, whenDone } from './storage.ts';

/** The record has one of these values in this index. Several conditions must all hold. */
export interface Condition<Names extends string> {
  readonly index: Names;
  readonly anyOf: readonly string[];
}

interface Asked<Names extends string> {
  readonly where?: readonly Condition<Names>[];
  /** Only ids of this range. */
  readonly range?: KeyRange | undefined;
  /** 1 … 1,000. */
  readonly limit: number;
  /** The `next` of the page before. */
  readonly after?: string;
}

/** From what was found to what is asked for, in its order; `undefined` leaves one out. */
type Selected<Item> = MaybePromise<readonly (Item | undefined)[]>;

interface OfRecords<T, Item> {
  readonly select: (records: readonly Versioned<T>[]) => Selected<Item>;
}

/** For what is more than a record. */
interface OfMore<Item> {
  /** From records that were listed, where no index has led to them. */
  readonly selectListed: (records: readonly StoredRecord[]) => Selected<Item>;
  /** From ids that an index led to, what is read of them in one snapshot. It checks the conditions itself. */
  readonly selectIds: (ids: readonly string[]) => Selected<Item>;
}

export type Query<T, Names extends string, Item> = Asked<Names> & (OfRecords<T, Item> | OfMore<Item>);

/** Some items of a list, and where it goes on. */
export interface Page<Item> {
  readonly items: readonly Item[];
  /** Give it as `after` to go on; absent on the last page. */
  readonly next?: string;
}

/** A set of partitions whose sort keys are ids, and which together hold every record that can be found. */
type Driver = readonly string[];

/** The next part of a walk: what is found under each of its ids; `undefined` where that is nothing. */
interface Chunk<Item> {
  readonly length: number;
  readonly items: readonly (Item | undefined)[];
  idAt(n: number): string;
}
type Walk<Item> = (range: ListRange & { readonly limit: number }) => MaybePromise<Chunk<Item>>;

/** Up to this many entries of each index are counted to find the smallest. */
const COUNTED = 64;
/** Ids that are followed at once: three records of each fit into one read. */
const FOLLOWED_AT_ONCE = 333;
/** Records that are listed at once. After so many of a long scan the loop is yielded. */
const SCANNED_AT_ONCE = 1000;
const LONG_PAGE = 250;

/**
 * Finds records in the order of their ids. It walks the smallest index that a condition names, reads the records it leads
 * to, and checks every condition again on what it read: entry and record are of two snapshots. Without conditions it
 * walks the records themselves.
 */
export async function query<T, Names extends string, Item>(
  storage: Storage,
  collection: Collection<T, Names>,
  asked: Query<T, Names, Item>,
): Promise<Page<Item>> {
  const { where = [], range, limit, after } = asked;
  const nextTurn = (): Promise<void> => new Promise((resolve) => (storage.clock ?? systemClock).nextTurn(resolve));
  // Whoever goes through all in long pages holds up nobody either.
  if (after !== undefined && limit >= LONG_PAGE) await nextTurn();
  const driver = where.length < 2 ? driversOf(collection, where)[0] : await smallestDriver(storage, collection, where);
  const walk = driver
    ? walkIndex(storage, driver, followed(collection, where, asked))
    : walkRecords(storage, collection, listed(asked));
  const atOnce = driver ? FOLLOWED_AT_ONCE : SCANNED_AT_ONCE;
  let found: Item[] = [];
  let last = after;
  let lastFound = '';
  let scanned = 0;
  // One more than asked tells whether there is a next page.
  for (let wanted = Math.min(limit + 1, atOnce); ; ) {
    const next = walk({ ...range, ...(last !== undefined && { start: keyAfter(last) }), limit: wanted });
    const { length, items, idAt } = next instanceof Promise ? await next : next;
    const areAll = found.length === 0 && length > 0 && length <= limit && !items.includes(undefined);
    if (areAll) {
      // Nearly every page: the list that was made of it is the answer.
      found = items as Item[];
      lastFound = idAt(length - 1);
    }
    for (let n = areAll ? length : 0; n < length; n++) {
      const item = items[n];
      if (item === undefined) continue;
      if (found.length === limit) return { items: found, next: lastFound };
      found.push(item);
      lastFound = idAt(n);
    }
    if (length < wanted) return { items: found };
    last = idAt(length - 1);
    const before = scanned;
    scanned += length;
    // Where most are left out, a few more would hardly bring what is missing.
    wanted = found.length * 2 < scanned ? atOnce : Math.min(limit + 1 - found.length, atOnce);
    if (Math.floor(scanned / SCANNED_AT_ONCE) > Math.floor(before / SCANNED_AT_ONCE) && wanted > 1) await nextTurn();
  }
}

function driversOf<T, Names extends string>(collection: Collection<T, Names>, where: readonly Condition<Names>[]): Driver[] {
  return where.map(({ index, anyOf }) => [...new Set(anyOf)].map((value) => collection.indexPartition(index, value)));
}

async function smallestDriver<T, Names extends string>(
  storage: Storage,
  collection: Collection<T, Names>,
  where: readonly Condition<Names>[],
): Promise<Driver | undefined> {
  let smallest: Driver | undefined;
  let fewest = COUNTED;
  for (const driver of driversOf(collection, where)) {
    let entries = 0;
    for (const partition of driver) entries += (await storage.list(partition, { limit: COUNTED, values: false })).length;
    if (!smallest || entries < fewest) [smallest, fewest] = [driver, Math.min(entries, COUNTED)];
  }
  return smallest;
}

function walkIndex<Item>(storage: Storage, driver: Driver, find: OfMore<Item>['selectIds']): Walk<Item> {
  return (range) =>
    whenDone(nextIds(storage, driver, range), (ids) =>
      whenDone(find(ids), (items): Chunk<Item> => ({ length: ids.length, items, idAt: (n) => ids[n] as string })),
    );
}

/** What is listed is of one snapshot, so nothing has to be read again. */
function walkRecords<T, Names extends string, Item>(
  storage: Storage,
  collection: Collection<T, Names>,
  select: OfMore<Item>['selectListed'],
): Walk<Item> {
  return (range) =>
    whenDone(storage.list(collection.partition, range), (listed) =>
      whenDone(select(listed), (items): Chunk<Item> => {
        return { length: listed.length, items, idAt: (n) => (listed[n] as StoredRecord).key };
      }),
    );
}

function listed<T, Item>(asked: OfRecords<T, Item> | OfMore<Item>): OfMore<Item>['selectListed'] {
  if ('selectListed' in asked) return asked.selectListed;
  return (records) => asked.select(records.map(({ key, value, revision }) => ({ id: key, value: value as T, revision })));
}

function followed<T, Names extends string, Item>(
  collection: Collection<T, Names>,
  where: readonly Condition<Names>[],
  asked: OfRecords<T, Item> | OfMore<Item>,
): OfMore<Item>['selectIds'] {
  if ('selectIds' in asked) return asked.selectIds;
  return (ids) =>
    whenDone(collection.getMany(ids), (records) => {
      const meeting = records.filter((record) => record !== undefined && meets(collection, where, record.value));
      return whenDone(asked.select(meeting as Versioned<T>[]), (items) => {
        if (meeting.length === records.length) return items;
        let n = 0;
        return records.map((record) => (record !== undefined && record === meeting[n] ? items[n++] : undefined));
      });
    });
}

/** The next ids of all partitions of a driver together, in order and each once. */
function nextIds(
  storage: Storage,
  driver: Driver,
  range: ListRange & { readonly limit: number },
): MaybePromise<readonly string[]> {
  const [only] = driver;
  if (driver.length === 1 && only !== undefined) return whenDone(storage.list(only, { ...range, values: false }), keysOf);
  return mergedIds(storage, driver, range);
}

async function mergedIds(
  storage: Storage,
  driver: Driver,
  range: ListRange & { readonly limit: number },
): Promise<readonly string[]> {
  const ids = new Set<string>();
  // Each partition answers its first `limit` ids, so the first `limit` of all are among them.
  for (const partition of driver) for (const { key } of await storage.list(partition, { ...range, values: false })) ids.add(key);
  return [...ids].sort(compareKeys).slice(0, range.limit);
}

function keysOf(records: readonly StoredRecord[]): string[] {
  return records.map(({ key }) => key);
}

/** Whether a record meets all conditions. */
export function meets<T, Names extends string>(
  collection: Collection<T, Names>,
  where: readonly Condition<Names>[],
  record: T,
): boolean {
  return where.every(({ index, anyOf }) => collection.indexed(index, record).some((value) => anyOf.includes(value)));
}

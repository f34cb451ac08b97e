import { type JsonValue, jsonBytesAtMost, knownBytesAtMost, textBytesAtMost } from '../kernel/json.ts';
import { LIMITS } from '../storage/checked.ts';
import type { Versioned } from '../storage/collection.ts';
import type { Draft } from '../storage/draft.ts';
import { eventPut } from '../storage/events/event-reader.ts';
import { padded } from '../storage/keys.ts';
import { OwnPut } from '../storage/own-put.ts';
import { type EntryRecord, isTombstone, type TombstoneRecord, type VersionRecord, withoutValue } from './entry.ts';
import type { MemoryEvents } from './events.ts';
import { type Head, type Lapse, type MemoryStore, ownerName } from './memory-store.ts';

/** The kinds of due entries of shared memory. Their ids: the namespace, a line break, and what they are about. */
export const EXPIRY = 'memory';
export const OWNERS = 'memory-owner';

/** What a version takes besides its value, tags and metadata: names, numbers, the ids of a session and its incarnation. */
const VERSION_BYTES = 1024;
/** What an event takes besides the namespace and the key: names, numbers and the id of a session. */
const EVENT_BYTES = 512;

/** How soon after its end the entries of a session are removed. Until then they are not seen any more. */
const OWNER_CHECK_MS = 5000;
/** A long history is trimmed each time that such a part of it is too old, which until then nobody is told of. */
const TRIMMED_PART = 12;
/** Versions that go for each that comes, at most, so that a history that is to be shorter shrinks as it is written. */
const TRIMMED_PER_WRITE = 4;

/** The entry that counts: not one that is gone without having been removed. */
export function currentOf({ entry, lapse }: Head): EntryRecord | undefined {
  return lapse ? undefined : entry?.value;
}

/** The number of the next version. A lapse that nobody has told yet takes one, as it does when a sweep comes first. */
export function nextVersion({ entry, tombstone, lapse }: Head): number {
  const newest = entry?.value.version ?? tombstone?.value.version ?? 0;
  return newest + (lapse ? 2 : 1);
}

/** Stages a new version on top of the head. An entry that is gone without having been removed is told first. */
export function stageEntry(draft: Draft, store: MemoryStore, head: Head, next: EntryRecord): void {
  const { key, entry, tombstone, lapse, checks } = head;
  draft.checks.push(...checks);
  const bytes = bytesAtMost(next);
  if (entry) store.entries.replace(draft, entry, next, bytes);
  else {
    store.entries.create(draft, key, next, bytes);
    draft.checks.push({ ...store.tombstoneAddress(key), revision: tombstone?.revision ?? null });
    if (tombstone) draft.deletes.push(store.tombstoneAddress(key));
  }
  stageExpiry(draft, store, key, entry?.value.expiresAt, next.expiresAt);
  if (next.owner) draft.puts.push(store.engine.due.put(ownerCheckAt(next.at), OWNERS, dueId(store, ownerName(next.owner))));
  const before = entry?.value ?? tombstone?.value;
  if (before && lapse) {
    const removal: TombstoneRecord = { version: before.version + 1, at: next.at, deleted: true };
    stageHistory(draft, store, key, [withoutValue(before), removal], next);
    stageEvent(draft, store, lapse, key, removal);
  } else if (before) {
    stageHistory(draft, store, key, [before], next);
  }
  stageEvent(draft, store, 'memory_set', key, next);
}

/** Stages a tombstone in place of an entry, which leaves its version in history, without its value if it was gone. */
export function stageRemoval(
  draft: Draft,
  store: MemoryStore,
  { key, lapse, checks }: Head,
  entry: Versioned<EntryRecord>,
  { name, session }: { readonly name: Lapse; readonly session?: string | undefined },
): void {
  const { value } = entry;
  const at = store.engine.now();
  const removal: TombstoneRecord = { version: value.version + 1, ...(session !== undefined && { session }), at, deleted: true };
  draft.checks.push(...checks);
  store.entries.remove(draft, entry);
  draft.puts.push({ ...store.tombstoneAddress(key), value: removal as unknown as JsonValue });
  // The due entry that tells an expiry is removed by the due list.
  if (name === 'memory_deleted') stageExpiry(draft, store, key, value.expiresAt, undefined);
  stageHistory(draft, store, key, [lapse ? withoutValue(value) : value], removal);
  stageEvent(draft, store, name, key, removal);
}

/** One look for all entries that a session owns within a while, so that they do not cost a due entry each. */
export function ownerCheckAt(at: number): number {
  return Math.floor(at / OWNER_CHECK_MS) * OWNER_CHECK_MS + OWNER_CHECK_MS;
}

/** From the id of a due entry to the namespace and what it is about. */
export function splitDueId(id: string): { readonly namespace: string; readonly name: string } {
  const split = id.indexOf('\n');
  return { namespace: id.slice(0, split), name: id.slice(split + 1) };
}

function dueId({ namespace }: MemoryStore, name: string): string {
  return `${namespace}\n${name}`;
}

function stageExpiry(draft: Draft, store: MemoryStore, key: string, before: number | undefined, after: number | undefined): void {
  if (before === after) return;
  const { due } = store.engine;
  if (before !== undefined) draft.deletes.push(due.address(before, EXPIRY, dueId(store, key)));
  if (after !== undefined) draft.puts.push(due.put(after, EXPIRY, dueId(store, key)));
}

/** Versions go into history as a newer one comes, and the oldest out. The newest stands not there but at its own place. */
function stageHistory(
  draft: Draft,
  store: MemoryStore,
  key: string,
  before: readonly VersionRecord[],
  { version: newest }: VersionRecord,
): void {
  const partition = store.historyPartition(key);
  const oldest = newest + 1 - store.historyPerKey;
  for (const version of before) {
    if (version.version >= oldest)
      draft.puts.push(new OwnPut(partition, padded(version.version), version, bytesAtMost(version), false));
  }
  const every = Math.ceil(store.historyPerKey / TRIMMED_PART);
  const isTrimmed = Math.floor(newest / every) > Math.floor((newest - before.length) / every);
  const limit = Math.min(TRIMMED_PER_WRITE * every, LIMITS.page);
  if (oldest > 1 && isTrimmed) draft.deletes.push({ partition, end: padded(oldest), limit });
}

/** What was read from a file was accepted as a whole, and its parts were not. */
function bytesAtMost(version: VersionRecord): number {
  if (isTombstone(version)) return VERSION_BYTES;
  const { value, tags, metadata } = version;
  return knownBytesAtMost(version) ?? VERSION_BYTES + jsonBytesAtMost(value) + jsonBytesAtMost(tags) + jsonBytesAtMost(metadata);
}

function stageEvent(
  draft: Draft,
  { namespace, engine }: MemoryStore,
  name: keyof MemoryEvents,
  key: string,
  { version, session }: VersionRecord,
): void {
  const at = engine.now();
  const event = session === undefined ? { name, at, namespace, key, version } : { name, at, namespace, key, version, session };
  draft.puts.push(eventPut(event, EVENT_BYTES + textBytesAtMost(namespace) + textBytesAtMost(key)));
}

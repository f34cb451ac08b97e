import type { JsonObject, JsonValue } from '../kernel/json.ts';

export const MEMORY_TYPES = ['state', 'fact', 'decision', 'task', 'context', 'note', 'config'] as const;
/** What kind of thing an entry is. */
export type MemoryType = (typeof MEMORY_TYPES)[number];

/** One version of one key. */
export interface MemoryEntry<Value = JsonValue> {
  readonly key: string;
  readonly value: Value;
  /** 1 for the first version of the key; never restarts, also not after a delete. */
  readonly version: number;
  readonly type: MemoryType;
  readonly tags: readonly string[];
  /** Who wrote this version. */
  readonly session?: string;
  readonly at: number;
  /** From this millisecond on it is gone. */
  readonly expiresAt?: number;
  readonly metadata: JsonObject;
}

/** A version without a value: it says that the key was deleted or has expired, or its own value has expired since. */
export interface MemoryTombstone {
  readonly key: string;
  readonly version: number;
  readonly deleted: true;
  /** Who wrote this version; absent where nobody did. */
  readonly session?: string;
  readonly at: number;
}

/** The incarnation of a session with which an entry vanishes. */
export interface Owner {
  readonly session: string;
  readonly incarnation: string;
}

/** A version as it is stored; without the key, under which it stands. */
export interface EntryRecord {
  readonly value: JsonValue;
  readonly version: number;
  readonly type: MemoryType;
  readonly tags: readonly string[];
  readonly session?: string;
  readonly at: number;
  readonly expiresAt?: number;
  readonly metadata: JsonObject;
  readonly owner?: Owner;
}

/** What a caller gives a new version. */
export type Content = Pick<EntryRecord, 'value' | 'type' | 'tags' | 'metadata'>;

export interface TombstoneRecord {
  readonly version: number;
  readonly session?: string;
  readonly at: number;
  readonly deleted: true;
}

export type VersionRecord = EntryRecord | TombstoneRecord;

export function isExpired({ expiresAt }: EntryRecord, now: number): boolean {
  return expiresAt !== undefined && expiresAt <= now;
}

export function isTombstone(record: VersionRecord): record is TombstoneRecord {
  return 'deleted' in record;
}

/** What stays in the history of a version whose time is over. */
export function withoutValue({ version, session, at }: VersionRecord): TombstoneRecord {
  return { version, ...(session !== undefined && { session }), at, deleted: true };
}

/** An entry as a caller sees it. Named one by one, which takes half the time of a spread. */
export function entryOf(key: string, { value, version, type, tags, session, at, expiresAt, metadata }: EntryRecord): MemoryEntry {
  const entry: { -readonly [Name in keyof MemoryEntry]: MemoryEntry[Name] } = { key, value, version, type, tags, at, metadata };
  if (session !== undefined) entry.session = session;
  if (expiresAt !== undefined) entry.expiresAt = expiresAt;
  return Object.freeze(entry);
}

export function tombstoneOf(key: string, record: TombstoneRecord): MemoryTombstone {
  return Object.freeze({ key, ...record });
}

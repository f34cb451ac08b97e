import { keyAfter, prefixRange } from '../storage/keys.ts';
import { type Condition, type Page, query } from '../storage/query.ts';
import type { KeyRange } from '../storage/storage.ts';
import { type EntryRecord, entryOf, type MemoryEntry, type MemoryType } from './entry.ts';
import { globMatcher, literalPrefix } from './glob.ts';
import type { MemoryIndex, MemoryStore } from './memory-store.ts';

export interface EntrySearch {
  readonly where: readonly Condition<MemoryIndex>[];
  readonly pattern?: string | undefined;
  readonly type?: MemoryType | undefined;
  readonly limit: number;
  readonly after?: string | undefined;
}

/** Entries that are not gone, through the smallest index and within the range that the pattern begins with. */
export function searchEntries(
  store: MemoryStore,
  { where, pattern, type, limit, after }: EntrySearch,
): Promise<Page<MemoryEntry>> {
  const { entries } = store;
  const matches = pattern === undefined ? undefined : globMatcher(pattern);
  const fits = (key: string, entry: EntryRecord): boolean =>
    (type === undefined || entry.type === type) && (matches === undefined || matches(key));
  const meets = (entry: EntryRecord): boolean =>
    where.every(({ index, anyOf }) => entries.indexed(index, entry).some((value) => anyOf.includes(value)));
  return query(store.engine.storage, entries, {
    where,
    range: pattern === undefined ? {} : rangeOf(pattern),
    select: async (records) => {
      const fitting = records.filter(({ id, value }) => fits(id, value));
      if (fitting.length === 0) return [];
      const present = await store.present(fitting);
      const found = new Map<string, MemoryEntry>();
      fitting.forEach(({ id, value }, n) => {
        const entry = present[n];
        // What was read again may have become another.
        if (entry && (entry === value || (fits(id, entry) && meets(entry)))) found.set(id, entryOf(id, entry));
      });
      return records.map(({ id }) => found.get(id));
    },
    limit,
    ...(after !== undefined && { after }),
  });
}

function rangeOf(pattern: string): KeyRange {
  const prefix = literalPrefix(pattern);
  if (prefix === '') return {};
  return prefix === pattern ? { start: prefix, end: keyAfter(prefix) } : prefixRange(prefix);
}

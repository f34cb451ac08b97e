import { padded } from '../storage/keys.ts';
import {
  type EntryRecord,
  entryOf,
  isExpired,
  isTombstone,
  type MemoryEntry,
  type MemoryTombstone,
  type Owner,
  tombstoneOf,
  type VersionRecord,
  withoutValue,
} from './entry.ts';
import type { MemoryStore } from './memory-store.ts';

const PAGE = 1000;

/** The newest version and those before it, newest first, without a gap. One whose time is over is told without its value. */
export async function readHistory(store: MemoryStore, key: string, limit: number): Promise<(MemoryEntry | MemoryTombstone)[]> {
  const versions = await readVersions(store, key, Math.min(limit, store.historyPerKey));
  const owners = new Map<string, Owner>();
  for (const { owner } of versions as readonly Partial<EntryRecord>[]) if (owner) owners.set(owner.incarnation, owner);
  const over = owners.size === 0 ? [] : await store.areOver([...owners.values()]);
  const gone = new Set([...owners.keys()].filter((_, n) => over[n]));
  const now = store.engine.now();
  return versions.map((version) => {
    if (isTombstone(version)) return tombstoneOf(key, version);
    const isGone = isExpired(version, now) || (version.owner && gone.has(version.owner.incarnation));
    return isGone ? tombstoneOf(key, withoutValue(version)) : entryOf(key, version);
  });
}

async function readVersions(store: MemoryStore, key: string, wanted: number): Promise<VersionRecord[]> {
  const { storage } = store.engine;
  const records = await storage.get([store.entries.address(key), store.tombstoneAddress(key)]);
  const newest = (records[0] ?? records[1])?.value as unknown as VersionRecord | undefined;
  if (!newest) return [];
  const versions = [newest];
  let next = newest.version - 1;
  while (versions.length < wanted && next > 0) {
    // Ends at what was read: the version that has become the newest meanwhile may have moved those here.
    const range = { end: padded(next + 1), limit: Math.min(PAGE, wanted - versions.length), reverse: true };
    const page = await storage.list(store.historyPartition(key), range);
    for (const { value } of page) {
      const version = value as unknown as VersionRecord;
      // Whoever kept a shorter history for a while has left a gap, and nothing behind it is told.
      if (version.version !== next) return versions;
      versions.push(version);
      next -= 1;
    }
    if (page.length < range.limit) break;
  }
  return versions;
}

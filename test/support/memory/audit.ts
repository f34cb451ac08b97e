import type { EntryRecord, VersionRecord } from '../../../src/memory/entry.ts';
import { padded } from '../../../src/storage/keys.ts';
import type { StoredRecord } from '../../../src/storage/storage.ts';
import { type Observed, recordsOf } from './observed.ts';

interface Part {
  /** The partition of the entries that it belongs to. */
  readonly base: string;
  /** The kind of the partition: `''` for the entries themselves. */
  readonly kind: string;
  readonly value: string;
}

/** What a partition of shared memory is called after: no name of a namespace has `=`, and a kind has no dot. */
export function partOf(partition: string): Part | undefined {
  if (!/^memory(?=$|[>.])/.test(partition)) return undefined;
  const end = partition.indexOf('=');
  if (end < 0) return { base: partition, kind: '', value: '' };
  const dot = partition.lastIndexOf('.', end);
  return { base: partition.slice(0, dot), kind: partition.slice(dot + 1, end), value: partition.slice(end + 1) };
}

/**
 * Compares everything that shared memory has stored with what follows from the entries alone: indexes, due entries,
 * tombstones and histories. Answers what is wrong.
 */
export async function audit({ storage, partitions }: Observed, historyPerKey = 100): Promise<string[]> {
  const wrong: string[] = [];
  const parts = [...partitions].flatMap((partition) => {
    const part = partOf(partition);
    return part ? [{ partition, ...part }] : [];
  });
  const due = new Set((await recordsOf(storage, 'due')).map(({ key }) => key));
  const expected = new Set<string>();
  const actual = new Set<string>();
  for (const base of new Set(parts.map((part) => part.base))) {
    const namespace = base.slice('memory>'.length);
    const entries = await recordsOf(storage, base);
    const graves = await recordsOf(storage, `${base}.gone=`);
    for (const { key, value } of entries) {
      const { tags, session, owner, expiresAt } = value as unknown as EntryRecord;
      for (const tag of tags) expected.add(`${base}.tag=${tag} ${key}`);
      if (session !== undefined) expected.add(`${base}.session=${session} ${key}`);
      if (expiresAt !== undefined) expected.add(`due ${padded(expiresAt)}/memory/${namespace}\n${key}`);
      if (!owner) continue;
      const name = `${owner.session}>${owner.incarnation}`;
      expected.add(`${base}.owner=${name} ${key}`);
      if (![...due].some((id) => id.endsWith(`/memory-owner/${namespace}\n${name}`)))
        wrong.push(`nobody looks after ${name} of ${key}`);
    }
    for (const { key } of graves)
      if (entries.some((entry) => entry.key === key)) wrong.push(`${key} has an entry and a tombstone`);
    const newest = new Map([...entries, ...graves].map(({ key, value }) => [key, (value as unknown as VersionRecord).version]));
    for (const part of parts.filter((other) => other.base === base)) {
      const records = await recordsOf(storage, part.partition);
      if (['tag', 'session', 'owner'].includes(part.kind)) for (const { key } of records) actual.add(`${part.partition} ${key}`);
      if (part.kind === 'history') wrong.push(...historyFaults(part.value, records, newest.get(part.value), historyPerKey));
    }
  }
  for (const key of due) if (/^\d+\/memory\//.test(key)) actual.add(`due ${key}`);
  for (const entry of expected) if (!actual.has(entry)) wrong.push(`missing: ${entry}`);
  for (const entry of actual) if (!expected.has(entry)) wrong.push(`too much: ${entry}`);
  return wrong;
}

function historyFaults(
  key: string,
  records: readonly StoredRecord[],
  newest: number | undefined,
  historyPerKey: number,
): string[] {
  const versions = records.map(({ value }) => (value as unknown as VersionRecord).version);
  if (newest === undefined) return versions.length > 0 ? [`history of ${key}, which has no version`] : [];
  // A long history is trimmed now and then, by a twelfth: so much more may be there.
  const least = Math.min(newest, historyPerKey) - 1;
  const most = Math.min(newest - 1, least + Math.ceil(historyPerKey / 12) - 1);
  const length = Math.min(Math.max(versions.length, least), most);
  const wanted = Array.from({ length }, (_, n) => newest - length + n);
  const named = records.every(({ key: name, value }) => name === padded((value as unknown as VersionRecord).version));
  return named && String(versions) === String(wanted) ? [] : [`history of ${key}: expected ${wanted}, got ${versions}`];
}

/** Everything that is stored, for comparing before and after. */
export async function dump({ storage, partitions }: Observed): Promise<Record<string, StoredRecord[]>> {
  const stored: Record<string, StoredRecord[]> = {};
  for (const partition of [...partitions].sort()) {
    const records = await recordsOf(storage, partition);
    if (records.length > 0) stored[partition] = records;
  }
  return stored;
}

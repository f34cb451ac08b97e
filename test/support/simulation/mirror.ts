import type { InMemoryStorage } from '../../../src/storage/in-memory-storage.ts';
import { keyAfter } from '../../../src/storage/keys.ts';
import type { Storage, StoredRecord } from '../../../src/storage/storage.ts';

/** All that is stored, by partition; what an audit looks at is listed again only where something changed. */
export class Mirror {
  readonly raw: InMemoryStorage;
  readonly storage: Storage;
  readonly records = new Map<string, StoredRecord[]>();
  readonly partitions = new Set<string>();
  #changed = new Set<string>();

  constructor(raw: InMemoryStorage) {
    this.raw = raw;
    this.storage = {
      durability: raw.durability,
      clock: raw.clock,
      reliableHints: true,
      now: () => raw.now(),
      get: (addresses) => raw.get(addresses),
      list: (partition, range) => raw.list(partition, range),
      watch: (listener) => raw.watch(listener),
      close: () => raw.close(),
      commit: (commit) => {
        const result = raw.commit(commit);
        if (!result.committed) return result;
        for (const { partition } of commit.puts ?? []) this.#changed.add(partition);
        for (const { partition } of commit.deletes ?? []) this.#changed.add(partition);
        for (const { from, to } of commit.takes ?? []) this.#changed.add(from).add(to);
        return result;
      },
    };
  }

  at(partition: string): readonly StoredRecord[] {
    return this.records.get(partition) ?? [];
  }

  of(partition: string, key: string): StoredRecord | undefined {
    return this.raw.get([{ partition, key }])[0];
  }

  /** Answers which partitions have changed since the last time. What has expired by itself is dropped where it is used. */
  refresh(): ReadonlySet<string> {
    const changed = this.#changed;
    this.#changed = new Set();
    for (const partition of changed) {
      this.partitions.add(partition);
      // Nothing is changed in the log; it only grows.
      const known = partition === 'events' ? [...this.at(partition)] : [];
      for (;;) {
        const last = known[known.length - 1];
        const page = this.raw.list(partition, last ? { start: keyAfter(last.key) } : {});
        known.push(...page);
        if (page.length < 1000) break;
      }
      this.records.set(partition, known);
    }
    return changed;
  }
}

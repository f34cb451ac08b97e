import { LRUCache } from 'lru-cache';
import type { JsonValue } from '../../kernel/json.ts';

/** A value that was read or written, and the commit it is of. */
export interface CachedValue {
  readonly revision: number;
  readonly value: JsonValue;
}

/** What an entry costs besides its JSON. */
const ENTRY_BYTES = 200;
const SMALL_VALUE_BYTES = 1024;
const MOST_ENTRIES = 262_144;

/**
 * Values by address, each with the revision it belongs to, so that a record which did not change is not parsed again.
 * Whoever asks compares revisions: since one is never used twice, what is of the stored revision is what is stored.
 */
export class ValueCache {
  readonly #cache: LRUCache<string, CachedValue> | undefined;

  constructor(maxBytes: number) {
    if (maxBytes === 0) return;
    // Bounded in number too, for which the cache keeps arrays of fixed size and is twice as fast.
    const max = Math.min(Math.ceil(maxBytes / SMALL_VALUE_BYTES), MOST_ENTRIES);
    this.#cache = new LRUCache({ maxSize: maxBytes, max });
  }

  get(partition: string, key: string): CachedValue | undefined {
    return this.#cache?.get(`${partition}\0${key}`);
  }

  /** @param text the value's JSON */
  set(partition: string, key: string, revision: number, value: JsonValue, text: string): void {
    const size = ENTRY_BYTES + partition.length + key.length + text.length;
    this.#cache?.set(`${partition}\0${key}`, { revision, value }, { size });
  }

  /** The same, where an older value is kept: what nobody has read yet may never be read. */
  renew(partition: string, key: string, revision: number, value: JsonValue, text: string): void {
    if (this.#cache?.has(`${partition}\0${key}`)) this.set(partition, key, revision, value, text);
  }
}

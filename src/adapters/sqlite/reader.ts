import type { Clock } from '../../kernel/clock.ts';
import type { JsonValue } from '../../kernel/json.ts';
import type { Address, KeyRange, StoredRecord } from '../../storage/storage.ts';
import { parsedValue, recordOf } from './records.ts';
import type { Statements } from './statements.ts';
import type { ValueCache } from './value-cache.ts';

export interface ListQuery {
  readonly partition: string;
  readonly range: KeyRange;
  readonly limit: number;
  readonly reverse: boolean;
  readonly values: boolean;
}

/** Reads records, each call in one snapshot. Throws what the driver throws. */
export class Reader {
  readonly #statements: Statements;
  readonly #cache: ValueCache;
  readonly #clock: Clock;

  constructor(statements: Statements, cache: ValueCache, clock: Clock) {
    this.#statements = statements;
    this.#cache = cache;
    this.#clock = clock;
  }

  /** One record; a single statement is its own snapshot. */
  one(partition: string, key: string): StoredRecord | undefined {
    return this.#find(partition, key, this.#clock.now());
  }

  many(addresses: readonly Address[]): (StoredRecord | undefined)[] {
    this.#statements.beginRead.run();
    try {
      const now = this.#clock.now();
      return addresses.map(({ partition, key }) => this.#find(partition, key, now));
    } finally {
      this.#statements.abort();
    }
  }

  list({ partition, range, limit, reverse, values }: ListQuery): StoredRecord[] {
    const rows = this.#statements.list(partition, range, this.#clock.now(), limit, reverse, values);
    return rows.map(([key, revision, expires, text]) =>
      recordOf(partition, key, values ? this.#valueOf(partition, key, revision, text) : null, revision, expires),
    );
  }

  #find(partition: string, key: string, now: number): StoredRecord | undefined {
    const cached = this.#cache.get(partition, key);
    const row = this.#statements.read.get(cached?.revision ?? -1, partition, key);
    if (!row) return undefined;
    const [revision, expires, text] = row as readonly [number, number | null, string | null];
    if (expires !== null && expires <= now) return undefined;
    // SQLite leaves out the JSON of a value that is known.
    const value = cached && text === null ? cached.value : this.#parsed(partition, key, revision, text);
    return recordOf(partition, key, value, revision, expires);
  }

  #valueOf(partition: string, key: string, revision: number, text: string | null): JsonValue {
    const cached = this.#cache.get(partition, key);
    return cached?.revision === revision ? cached.value : this.#parsed(partition, key, revision, text);
  }

  #parsed(partition: string, key: string, revision: number, text: string | null): JsonValue {
    const value = parsedValue(text);
    this.#cache.set(partition, key, revision, value, text as string);
    return value;
  }
}

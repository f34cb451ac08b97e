import type { JsonValue } from '../../src/kernel/json.ts';
import type {
  Address,
  Check,
  Commit,
  Delete,
  KeyRange,
  ListRange,
  Put,
  StoredRecord,
  Take,
  Touch,
} from '../../src/storage/storage.ts';
import type { SeededRandom } from '../../src/testing/random.ts';

/** One step of a random history. Commits of one step are made at once. */
export type Operation =
  | { readonly commits: readonly Commit[] }
  | { readonly get: readonly Address[] }
  | { readonly list: string; readonly range: ListRange }
  | { readonly waitMs: number };

const PARTITIONS = ['p', 'q', 'pp', 'é', '__proto__'];
const KEYS = [
  'a',
  'b',
  'c',
  'ab',
  'a\u0001',
  '_',
  'é',
  '\ud7ff',
  '\ue000',
  '\uffff',
  '😀',
  '\u{10ffff}',
  '0000000000000005>a',
  '0000000000000005>',
];
const LEASES = [undefined, undefined, 0, 5, 50];

/** Makes operations that meet each other: few places, and mostly such as are taken. */
export class RandomOperations {
  readonly #random: SeededRandom;

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  /** @param records what is there now */
  next(records: readonly StoredRecord[], now: number): Operation {
    const draw = this.#random.below(100);
    if (draw < 12) return { waitMs: this.#wait(records, now) };
    if (draw < 22) return { get: this.#some(6, () => this.#address(records)) };
    if (draw < 40) return { list: this.#partition(), range: this.#listRange(records) };
    return { commits: [this.#commit(records), ...this.#some(this.#random.chance(0.3) ? 6 : 0, () => this.#commit(records))] };
  }

  /** Often to the very edge of an expiry. */
  #wait(records: readonly StoredRecord[], now: number): number {
    const edges = records.flatMap(({ expiresAt }) => (expiresAt === undefined ? [] : [expiresAt]));
    if (edges.length === 0 || this.#random.chance(0.3)) return this.#random.below(30);
    return Math.max(0, Math.min(...edges.slice(0, 3)) - now - 1 + this.#random.below(3));
  }

  #commit(records: readonly StoredRecord[]): Commit {
    const random = this.#random;
    // Partitions that grow long would be slow, and rarely more telling.
    const full = records.length > 60;
    return {
      ...(random.chance(0.3) && { checks: this.#some(3, () => this.#check(records)) }),
      ...(random.chance(full ? 0.8 : 0.2) && { deletes: this.#some(2, () => this.#delete(records)) }),
      ...(random.chance(0.25) && { takes: this.#some(2, () => this.#take(records)) }),
      ...(random.chance(0.15) && { touches: this.#some(2, () => this.#touch(records)) }),
      ...(random.chance(full ? 0.2 : 0.7) && { puts: this.#some(4, () => this.#put(records)) }),
    };
  }

  #check(records: readonly StoredRecord[]): Check {
    if (this.#random.chance(0.3)) {
      const start = this.#random.chance(0.5) ? { start: this.#key(records) } : {};
      return { partition: this.#partition(), ...start, fewerThan: 1 + this.#random.below(15) };
    }
    const record = this.#record(records);
    if (record && this.#random.chance(0.8)) return { partition: record.partition, key: record.key, revision: record.revision };
    return { ...this.#address(records), revision: this.#random.chance(0.7) ? null : this.#random.below(50) };
  }

  #delete(records: readonly StoredRecord[]): Delete {
    if (this.#random.chance(0.5)) return this.#address(records);
    return { partition: this.#partition(), ...this.#range(records), limit: 1 + this.#random.below(8) };
  }

  #take(records: readonly StoredRecord[]): Take {
    const leaseMs = this.#random.pick(LEASES);
    const range = this.#random.chance(0.5) ? {} : this.#range(records);
    return {
      from: this.#partition(),
      to: this.#partition(),
      ...range,
      limit: 1 + this.#random.below(4),
      ...(leaseMs !== undefined && { leaseMs }),
    };
  }

  #touch(records: readonly StoredRecord[]): Touch {
    const { partition, key, revision } = this.#record(records) ?? { ...this.#address(records), revision: 1 };
    // What a commit beside this one may be about to make, too.
    const meant = this.#random.chance(0.7) ? revision : this.#random.pick([revision + 1, this.#newest(records) + 1]);
    return { partition, key, revision: meant, ttlMs: this.#ttl() };
  }

  #put(records: readonly StoredRecord[]): Put {
    const put = { partition: this.#partition(), value: this.#value(), ...(this.#random.chance(0.4) && { ttlMs: this.#ttl() }) };
    if (this.#random.chance(0.3)) return { ...put, key: this.#random.pick(['', 'a', 'é', '😀']), stamped: true };
    return { ...put, key: this.#random.chance(0.05) ? this.#nextStamp(records) : this.#key(records) };
  }

  /** Where a stamped put will soon want to go. */
  #nextStamp(records: readonly StoredRecord[]): string {
    const revision = this.#newest(records) + 1 + this.#random.below(2);
    return `${String(revision).padStart(16, '0')}000${this.#random.below(3)}`;
  }

  #newest(records: readonly StoredRecord[]): number {
    return Math.max(0, ...records.map((record) => record.revision));
  }

  #ttl(): number {
    return 1 + this.#random.below(100);
  }

  #value(): JsonValue {
    const random = this.#random;
    return random.pick<() => JsonValue>([
      () => null,
      () => random.below(1000),
      () => random.next(),
      () => random.pick(KEYS),
      () => ({ n: random.below(10), list: [random.chance(0.5), { é: '😀' }] }),
      () => JSON.parse(`{"__proto__":${random.below(10)}}`) as JsonValue,
    ])();
  }

  #record(records: readonly StoredRecord[]): StoredRecord | undefined {
    return records.length > 0 ? this.#random.pick(records) : undefined;
  }

  #address(records: readonly StoredRecord[]): Address {
    const record = this.#record(records);
    if (record && this.#random.chance(0.7)) return { partition: record.partition, key: record.key };
    return { partition: this.#partition(), key: this.#random.pick(KEYS) };
  }

  #partition(): string {
    return this.#random.pick(PARTITIONS);
  }

  #key(records: readonly StoredRecord[]): string {
    return (this.#random.chance(0.3) && this.#record(records)?.key) || this.#random.pick(KEYS);
  }

  #range(records: readonly StoredRecord[]): KeyRange {
    return {
      ...(this.#random.chance(0.5) && { start: this.#key(records) }),
      ...(this.#random.chance(0.5) && { end: this.#key(records) }),
    };
  }

  #listRange(records: readonly StoredRecord[]): ListRange {
    return {
      ...this.#range(records),
      ...(this.#random.chance(0.5) && { limit: 1 + this.#random.below(6) }),
      ...(this.#random.chance(0.4) && { reverse: true }),
      ...(this.#random.chance(0.2) && { values: false }),
    };
  }

  #some<T>(most: number, make: () => T): T[] {
    return Array.from({ length: most === 0 ? 0 : 1 + this.#random.below(most) }, make);
  }
}

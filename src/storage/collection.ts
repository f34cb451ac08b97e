import { MeshError } from '../kernel/errors.ts';
import { acceptOwn } from '../kernel/json.ts';
import type { Draft } from './draft.ts';
import { OwnPut } from './own-put.ts';
import type { Address, MaybePromise, Storage } from './storage.ts';
import { whenDone } from './storage.ts';

/** A record as it was read: `revision` is what a change of it must check. */
export interface Versioned<T> {
  readonly id: string;
  readonly value: T;
  readonly revision: number;
}

/** From a record to the values under which an index finds it. */
export type Index<T> = (value: T) => readonly string[] | string | undefined;

export interface CollectionOptions<T, Names extends string> {
  readonly storage: Storage;
  /** The partition of the records, and the first part of the names of the index partitions. */
  readonly name: string;
  /** Only what is searched and seldom changes: each entry that comes or goes is a write. */
  readonly indexes?: Readonly<Record<Names, Index<T>>>;
}

/**
 * Records of one type, each under its id, with indexes that are written in the same commit and so are never behind.
 * Writes are staged into a draft, beside whatever else belongs to the change; reads check nothing of the type, since
 * only this collection writes its partition.
 */
export class Collection<T, Names extends string = never> {
  readonly #storage: Storage;
  readonly #name: string;
  readonly #indexes: readonly (readonly [Names, Index<T>])[];

  constructor({ storage, name, indexes }: CollectionOptions<T, Names>) {
    this.#storage = storage;
    this.#name = name;
    this.#indexes = Object.entries(indexes ?? {}) as unknown as [Names, Index<T>][];
  }

  get partition(): string {
    return this.#name;
  }

  address(id: string): Address {
    return { partition: this.#name, key: id };
  }

  /** The partition whose sort keys are the ids of the records with this value in this index. */
  indexPartition(index: Names, value: string): string {
    return `${this.#name}.${index}=${value}`;
  }

  /** The values under which a record is found in an index. */
  indexed(index: Names, record: T): readonly string[] {
    const entry = this.#indexes.find(([name]) => name === index);
    if (!entry) throw new MeshError('invalid_input', `expected an index of ${this.#name}, got ${index}`);
    return valuesOf(entry[1], record);
  }

  get(id: string): MaybePromise<Versioned<T> | undefined> {
    return whenDone(this.getMany([id]), ([record]) => record);
  }

  /** Of one snapshot, in the order asked. */
  getMany(ids: readonly string[]): MaybePromise<(Versioned<T> | undefined)[]> {
    return whenDone(this.#storage.get(ids.map((id) => this.address(id))), (records) =>
      records.map((record) => record && { id: record.key, value: record.value as T, revision: record.revision }),
    );
  }

  /**
   * Stages a new record; the commit conflicts if there is one of this id.
   * @param bytesAtMost what it takes as JSON, where that is known: then it is not walked
   */
  create(draft: Draft, id: string, value: T, bytesAtMost?: number): void {
    draft.checks.push({ partition: this.#name, key: id, revision: null });
    this.#put(draft, id, value, undefined, bytesAtMost);
  }

  /** Stages a new value, as `create`; the commit conflicts unless the record is still as it was read. */
  replace(draft: Draft, previous: Versioned<T>, value: T, bytesAtMost?: number): void {
    draft.checks.push({ partition: this.#name, key: previous.id, revision: previous.revision });
    this.#put(draft, previous.id, value, previous.value, bytesAtMost);
  }

  /** Stages the removal; the commit conflicts unless the record is still as it was read. */
  remove(draft: Draft, previous: Versioned<T>): void {
    draft.checks.push({ partition: this.#name, key: previous.id, revision: previous.revision });
    draft.deletes.push(this.address(previous.id));
    this.#index(draft, previous.id, undefined, previous.value);
  }

  #put(draft: Draft, id: string, value: T, previous: T | undefined, bytesAtMost: number | undefined): void {
    const partition = this.#name;
    // Records are made by this library, of accepted parts.
    if (bytesAtMost === undefined) draft.puts.push({ partition, key: id, value: acceptOwn(value as object) });
    else draft.puts.push(new OwnPut(partition, id, value as object, bytesAtMost, false));
    this.#index(draft, id, value, previous);
  }

  /** Only the entries that come or go are written. */
  #index(draft: Draft, id: string, next: T | undefined, previous: T | undefined): void {
    for (const [name, index] of this.#indexes) {
      const after = next === undefined ? NO_VALUES : valuesOf(index, next);
      const before = previous === undefined ? NO_VALUES : valuesOf(index, previous);
      if (after === before || (after.length === 1 && before.length === 1 && after[0] === before[0])) continue;
      for (const value of different(after)) {
        if (!before.includes(value)) draft.puts.push({ partition: this.indexPartition(name, value), key: id, value: null });
      }
      for (const value of different(before)) {
        if (!after.includes(value)) draft.deletes.push({ partition: this.indexPartition(name, value), key: id });
      }
    }
  }
}

const NO_VALUES: readonly string[] = [];

function different(values: readonly string[]): Iterable<string> {
  return values.length < 2 ? values : new Set(values);
}

function valuesOf<T>(index: Index<T>, record: T): readonly string[] {
  const values = index(record);
  if (values === undefined) return NO_VALUES;
  return typeof values === 'string' ? [values] : values;
}

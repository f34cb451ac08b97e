import type { Clock } from '../kernel/clock.ts';
import { MeshError } from '../kernel/errors.ts';
import { ID_PATTERN, parse } from '../kernel/inputs.ts';
import { OwnPut } from './own-put.ts';
import {
  type Address,
  type Check,
  type Commit,
  type CommitResult,
  type Delete,
  type Durability,
  type Hint,
  type ListRange,
  type MaybePromise,
  type Put,
  type Storage,
  type StoredRecord,
  type Take,
  type Touch,
  type Unsubscribe,
  whenDone,
} from './storage.ts';
import { storagePolicy } from './storage-policy.ts';

/** No name of a namespace can hold it, so `a` inside `b` never meets `ab`, nor anything outside. */
const SEPARATOR = '|';

/**
 * A part of a storage that sees nothing of the rest: a storage itself, whose partitions are those of `storage` whose
 * names begin with the namespace, which takes from the bytes that a name may have. Closing it ends this view and leaves
 * `storage` open.
 *
 * @param namespace by the rule of ids: a letter or digit, then letters, digits and `. _ : / @ + -`, at most 128
 * @throws MeshError `invalid_input`
 */
export function namespaced(storage: Storage, namespace: string): Storage {
  if (typeof namespace !== 'string' || !ID_PATTERN.test(namespace)) {
    throw new MeshError('invalid_input', 'expected a namespace by the rule of ids, got something else');
  }
  return new NamespacedStorage(parse(storagePolicy, storage, 'storage'), namespace + SEPARATOR);
}

class NamespacedStorage implements Storage {
  readonly #storage: Storage;
  readonly #prefix: string;
  readonly #watches = new Set<Unsubscribe>();
  readonly clock?: Clock;
  readonly uncertain: boolean;
  readonly reliableHints: boolean;
  #closed = false;

  constructor(storage: Storage, prefix: string) {
    this.#storage = storage;
    this.#prefix = prefix;
    if (storage.clock) this.clock = storage.clock;
    this.uncertain = storage.uncertain ?? false;
    this.reliableHints = storage.reliableHints ?? false;
  }

  get durability(): Durability {
    return this.#storage.durability;
  }

  now(): number {
    return this.#storage.now();
  }

  get(addresses: readonly Address[]): MaybePromise<(StoredRecord | undefined)[]> {
    this.#assertOpen();
    const records = this.#storage.get(Array.isArray(addresses) ? addresses.map((address) => this.#inside(address)) : addresses);
    return whenDone(records, (found) => found.map((record) => record && this.#outside(record)));
  }

  list(partition: string, range?: ListRange): MaybePromise<StoredRecord[]> {
    this.#assertOpen();
    const records = this.#storage.list(this.#name(partition), range);
    return whenDone(records, (found) => found.map((record) => this.#outside(record)));
  }

  commit(commit: Commit): MaybePromise<CommitResult> {
    this.#assertOpen();
    return whenDone(this.#storage.commit(this.#commitInside(commit)), (result) =>
      result.committed
        ? { ...result, taken: result.taken.map((record) => this.#outside(record)) }
        : { ...result, conflicts: result.conflicts.map((address) => this.#outside(address)) },
    );
  }

  watch(listener: (hint: Hint) => void): Unsubscribe {
    this.#assertOpen();
    const unsubscribe = this.#storage.watch((hint) => {
      if (!hint.partitions) return listener(hint);
      const partitions = hint.partitions.filter((name) => name.startsWith(this.#prefix));
      // What the listener returns goes on to the storage, which looks after a promise that rejects.
      if (partitions.length > 0) return listener({ partitions: partitions.map((name) => name.slice(this.#prefix.length)) });
    });
    this.#watches.add(unsubscribe);
    return () => {
      this.#watches.delete(unsubscribe);
      unsubscribe();
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const unsubscribe of this.#watches) unsubscribe();
    this.#watches.clear();
  }

  #assertOpen(): void {
    if (this.#closed) throw new MeshError('closed', 'expected an open storage, got a closed one');
  }

  /** A name that breaks the contract goes through as it is, for the storage to refuse. */
  #name(partition: string): string {
    return typeof partition === 'string' && partition !== '' ? this.#prefix + partition : partition;
  }

  #putInside(put: Put): Put {
    return put instanceof OwnPut ? put.in(this.#name(put.partition)) : this.#inside(put);
  }

  #inside<T extends { readonly partition: string }>(item: T): T {
    return typeof item === 'object' && item !== null ? { ...item, partition: this.#name(item.partition) } : item;
  }

  #outside<T extends { readonly partition: string }>(item: T): T {
    return { ...item, partition: item.partition.slice(this.#prefix.length) };
  }

  #commitInside(commit: Commit): Commit {
    if (typeof commit !== 'object' || commit === null) return commit;
    const { checks, deletes, takes, touches, puts, ...rest } = commit;
    const all = <T extends { readonly partition: string }>(items: readonly T[]): readonly T[] =>
      Array.isArray(items) ? items.map((item) => this.#inside(item)) : items;
    const takeInside = (take: Take): Take =>
      typeof take === 'object' && take !== null ? { ...take, from: this.#name(take.from), to: this.#name(take.to) } : take;
    return {
      ...rest,
      ...(checks !== undefined && { checks: all<Check>(checks) }),
      ...(deletes !== undefined && { deletes: all<Delete>(deletes) }),
      ...(takes !== undefined && { takes: Array.isArray(takes) ? takes.map(takeInside) : takes }),
      ...(touches !== undefined && { touches: all<Touch>(touches) }),
      ...(puts !== undefined && { puts: Array.isArray(puts) ? puts.map((put) => this.#putInside(put)) : puts }),
    };
  }
}

import { MeshError } from '../kernel/errors.ts';
import { isTerminal, type SessionSnapshot, stateOf } from '../registry/session.ts';
import { SessionStore } from '../registry/session-store.ts';
import { Collection, type Versioned } from '../storage/collection.ts';
import type { Draft } from '../storage/draft.ts';
import type { Engine } from '../storage/engine.ts';
import type { Address, Check, MaybePromise, StoredRecord } from '../storage/storage.ts';
import { type EntryRecord, isExpired, type Owner, type TombstoneRecord } from './entry.ts';

export type MemoryIndex = 'owner' | 'session' | 'tag';

/** What tells that an entry is gone. */
export type Lapse = 'memory_expired' | 'memory_deleted';

/** What there is of a key, of one snapshot: an entry, or the tombstone that remembers the number of its newest version. */
export interface Head {
  readonly key: string;
  readonly entry: Versioned<EntryRecord> | undefined;
  readonly tombstone: Versioned<TombstoneRecord> | undefined;
  /** The entry is gone, and nobody has removed it yet. */
  readonly lapse?: Lapse;
  /** What must still hold in the commit of a change, or the entry has gone meanwhile. */
  readonly checks: readonly Check[];
}

/**
 * The records of one namespace: the newest entry of each key with its indexes, older versions in a partition of each
 * key, and tombstones apart from the entries, so that a search walks over nothing that is gone.
 */
export class MemoryStore {
  readonly engine: Engine;
  /** `''` at the root, else the names from the root down, joined by `>`, which no name has. */
  readonly namespace: string;
  readonly historyPerKey: number;
  readonly sessions: SessionStore;
  readonly entries: Collection<EntryRecord, MemoryIndex>;
  readonly #partition: string;
  readonly #tombstones: string;

  constructor(engine: Engine, namespace: string, historyPerKey: number) {
    this.engine = engine;
    this.namespace = namespace;
    this.historyPerKey = historyPerKey;
    this.sessions = new SessionStore(engine);
    this.#partition = namespace === '' ? 'memory' : `memory>${namespace}`;
    // No namespace has `=`, so none is called like this.
    this.#tombstones = `${this.#partition}.gone=`;
    this.entries = new Collection<EntryRecord, MemoryIndex>({
      storage: engine.storage,
      name: this.#partition,
      indexes: {
        owner: ({ owner }) => owner && ownerName(owner),
        session: ({ session }) => session,
        tag: ({ tags }) => tags,
      },
    });
  }

  tombstoneAddress(key: string): Address {
    return { partition: this.#tombstones, key };
  }

  historyPartition(key: string): string {
    return `${this.#partition}.history=${key}`;
  }

  head(key: string): MaybePromise<Head> {
    const records = this.engine.storage.get([this.entries.address(key), this.tombstoneAddress(key)]);
    return records instanceof Promise
      ? records.then(([entry, tombstone]) => this.#headOf(key, entry, tombstone))
      : this.#headOf(key, records[0], records[1]);
  }

  /** The newest entry of a key, unless it is gone. */
  current(key: string): MaybePromise<EntryRecord | undefined> {
    const records = this.engine.storage.get([this.entries.address(key)]);
    return records instanceof Promise ? records.then(([record]) => this.#settled(record)) : this.#settled(records[0]);
  }

  /**
   * Of entries that were read, those that are not gone. What seems gone is read once more: something else may have taken
   * its place before it went, and then the key was never without a value.
   */
  async present(found: readonly Versioned<EntryRecord>[]): Promise<(EntryRecord | undefined)[]> {
    const owned = found.flatMap(({ value }) => (value.owner ? [value.owner.session] : []));
    const ids = [...new Set(owned)];
    const sessions = ids.length === 0 ? [] : await this.sessions.readMany(ids);
    const now = this.engine.now();
    const isGone = ({ value }: Versioned<EntryRecord>): boolean =>
      isExpired(value, now) || (value.owner !== undefined && isOver(value.owner, sessions[ids.indexOf(value.owner.session)]));
    const present = found.map((record) => (isGone(record) ? undefined : record.value));
    const doubtful = [...present.keys()].filter((n) => !present[n]);
    if (doubtful.length === 0) return present;
    const again = await this.entries.getMany(doubtful.map((n) => (found[n] as Versioned<EntryRecord>).id));
    const changed = doubtful.filter((n, k) => again[k] && again[k].revision !== found[n]?.revision);
    if (changed.length === 0) return present;
    const settled = await this.present(changed.map((n) => again[doubtful.indexOf(n)] as Versioned<EntryRecord>));
    changed.forEach((n, k) => {
      present[n] = settled[k];
    });
    return present;
  }

  /** Which of these incarnations are over, in the order asked. */
  async areOver(owners: readonly Owner[]): Promise<boolean[]> {
    const sessions = await this.sessions.readMany(owners.map(({ session }) => session));
    return owners.map((owner, n) => isOver(owner, sessions[n]));
  }

  /**
   * Stages that a session is there, for an entry that is to vanish with it.
   * @throws MeshError `not_found`, `not_alive`
   */
  async stageOwner(draft: Draft, session: string): Promise<Owner> {
    const snapshot = await this.sessions.require(session);
    const state = stateOf(snapshot);
    if (isTerminal(state)) throw new MeshError('not_alive', `expected session ${session} not to be over, got ${state}`);
    draft.checks.push(...this.#standing(snapshot));
    return { session, incarnation: snapshot.record.incarnation };
  }

  #headOf(key: string, record: StoredRecord | undefined, grave: StoredRecord | undefined): MaybePromise<Head> {
    const tombstone = grave && versioned<TombstoneRecord>(grave);
    if (!record) return { key, entry: undefined, tombstone, checks: NO_CHECKS };
    const entry = versioned<EntryRecord>(record);
    if (isExpired(entry.value, this.engine.now())) return { key, entry, tombstone, lapse: 'memory_expired', checks: NO_CHECKS };
    const { owner } = entry.value;
    return owner ? this.#ownedHead(key, entry, owner) : { key, entry, tombstone, checks: NO_CHECKS };
  }

  async #ownedHead(key: string, entry: Versioned<EntryRecord>, owner: Owner): Promise<Head> {
    const session = await this.sessions.read(owner.session);
    if (!session || isOver(owner, session))
      return { key, entry, tombstone: undefined, lapse: 'memory_deleted', checks: NO_CHECKS };
    return { key, entry, tombstone: undefined, checks: this.#standing(session) };
  }

  #settled(record: StoredRecord | undefined): MaybePromise<EntryRecord | undefined> {
    if (!record) return undefined;
    const found = versioned<EntryRecord>(record);
    const { value } = found;
    if (!value.owner && (value.expiresAt === undefined || !isExpired(value, this.engine.now()))) return value;
    return this.present([found]).then(([only]) => only);
  }

  /** A session as it was read has not ended, been killed or replaced while these hold. */
  #standing({ id, revision, lease }: SessionSnapshot): Check[] {
    return [{ ...this.sessions.collection.address(id), revision }, this.sessions.leaseCheck(id, lease?.revision ?? null)];
  }
}

const NO_CHECKS: readonly Check[] = [];

/** What the index of owners calls one; no id has `>`. */
export function ownerName({ session, incarnation }: Owner): string {
  return `${session}>${incarnation}`;
}

function versioned<T>({ key, value, revision }: StoredRecord): Versioned<T> {
  return { id: key, value: value as unknown as T, revision };
}

function isOver({ incarnation }: Owner, snapshot: SessionSnapshot | undefined): boolean {
  return !snapshot || snapshot.record.incarnation !== incarnation || isTerminal(stateOf(snapshot));
}

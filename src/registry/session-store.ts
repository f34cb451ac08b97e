import { MeshError } from '../kernel/errors.ts';
import { type JsonObject, type JsonValue, jsonBytesAtMost } from '../kernel/json.ts';
import { Collection } from '../storage/collection.ts';
import type { Draft } from '../storage/draft.ts';
import type { Engine } from '../storage/engine.ts';
import { compareKeys, keyAfter } from '../storage/keys.ts';
import { type Address, type MaybePromise, type RevisionCheck, type StoredRecord, whenDone } from '../storage/storage.ts';
import { Aftermath } from './aftermath.ts';
import type { RegistryEvents } from './events.ts';
import { LEASE_EXTRA_MS, type Lease, type LeaseRecord, type SessionRecord, type SessionSnapshot } from './session.ts';

export const LEASES = 'leases';
export const SIGHTINGS = 'sightings';

export type SessionIndex = 'capability' | 'group' | 'parent' | 'type' | 'user';

type EventFields<Name extends keyof RegistryEvents> = Omit<RegistryEvents[Name], 'name' | 'at' | 'cursor' | 'session' | 'epoch'>;

/** Sessions that are changed in one commit, unless they are large; the loop is yielded between commits. */
const AT_ONCE = 50;
const BYTES_AT_ONCE = 4 * 1024 * 1024;
/** Three records of each: no more fit into one read. */
const READ_AT_ONCE = 333;

/**
 * The records of a session and how a change of them is staged: the record with its indexes, the lease (the fence, with a
 * store ttl), the sighting that outlives the lease and whose place the result takes, and the place on a watch list.
 */
export class SessionStore {
  readonly engine: Engine;
  readonly collection: Collection<SessionRecord, SessionIndex>;
  readonly aftermath: Aftermath;

  constructor(engine: Engine) {
    this.engine = engine;
    this.aftermath = new Aftermath(engine);
    this.collection = new Collection<SessionRecord, SessionIndex>({
      storage: engine.storage,
      name: 'sessions',
      indexes: {
        capability: ({ capabilities }) => capabilities,
        group: ({ groups }) => groups,
        parent: ({ parentId }) => parentId,
        type: ({ agent }) => agent.type,
        user: ({ user }) => user,
      },
    });
  }

  leaseAddress(id: string): Address {
    return { partition: LEASES, key: id };
  }

  sightingAddress(id: string): Address {
    return { partition: SIGHTINGS, key: id };
  }

  watchAddress(watch: string, id: string): Address {
    return { partition: `watch.${watch}`, key: id };
  }

  read(id: string): MaybePromise<SessionSnapshot | undefined> {
    const records = this.engine.storage.get([this.collection.address(id), this.leaseAddress(id), this.sightingAddress(id)]);
    return whenDone(records, ([record, lease, sighting]) => snapshotOf(id, record, lease, sighting));
  }

  /** @throws MeshError `not_found` */
  async require(id: string): Promise<SessionSnapshot> {
    const found = await this.read(id);
    if (!found) throw new MeshError('not_found', `expected a known session, got ${id}`, { details: { session: id } });
    return found;
  }

  /** The leases that have not expired, of up to 1,000 sessions, in the order asked. */
  leases(ids: readonly string[]): MaybePromise<(LeaseRecord | undefined)[]> {
    return whenDone(this.engine.storage.get(ids.map((id) => this.leaseAddress(id))), (records) =>
      records.map((record) => record && leaseOf(record)),
    );
  }

  /** Of one snapshot each, in the order asked; up to 333 of one and the same. */
  readMany(ids: readonly string[]): MaybePromise<(SessionSnapshot | undefined)[]> {
    if (ids.length > READ_AT_ONCE) return this.#readInParts(ids);
    const addresses: Address[] = [];
    for (const id of ids) addresses.push(this.collection.address(id), this.leaseAddress(id), this.sightingAddress(id));
    return whenDone(this.engine.storage.get(addresses), (records) =>
      ids.map((id, n) => snapshotOf(id, records[3 * n], records[3 * n + 1], records[3 * n + 2])),
    );
  }

  async #readInParts(ids: readonly string[]): Promise<(SessionSnapshot | undefined)[]> {
    const snapshots: (SessionSnapshot | undefined)[] = [];
    for (let start = 0; start < ids.length; start += READ_AT_ONCE) {
      for (const snapshot of await this.readMany(ids.slice(start, start + READ_AT_ONCE))) snapshots.push(snapshot);
    }
    return snapshots;
  }

  /** Those that are alive, of one snapshot: up to 500. Their leases tell when they were seen last, so no sighting is read. */
  readAlive(ids: readonly string[]): MaybePromise<(SessionSnapshot | undefined)[]> {
    const addresses: Address[] = [];
    for (const id of ids) addresses.push(this.collection.address(id), this.leaseAddress(id));
    return whenDone(this.engine.storage.get(addresses), (records) =>
      ids.map((id, n) => {
        const record = records[2 * n];
        return record && aliveSnapshot(id, record.value as unknown as SessionRecord, record.revision, records[2 * n + 1]);
      }),
    );
  }

  /**
   * What up to 1,000 records tell that were listed one after the other. Their leases stand in the same order. A record and
   * a lease that do not prove together that the session is alive are read again, with the sighting and of one snapshot.
   */
  select<T>(
    listed: readonly StoredRecord[],
    ofAlive: (id: string, record: SessionRecord, seenAt: number) => T,
    ofOther: (snapshot: SessionSnapshot) => T,
  ): MaybePromise<(T | undefined)[]> {
    const first = listed[0];
    const last = listed[listed.length - 1];
    if (!first || !last) return [];
    return whenDone(this.engine.storage.list(LEASES, { start: first.key, end: keyAfter(last.key) }), (leases) => {
      const doubtful: number[] = [];
      const selected = new Array<T | undefined>(listed.length);
      let next = 0;
      for (let n = 0; n < listed.length; n++) {
        const { key, value } = listed[n] as StoredRecord;
        const record = value as unknown as SessionRecord;
        let found = leases[next];
        while (found && found.key !== key && compareKeys(found.key, key) < 0) found = leases[++next];
        const lease = found?.key === key ? leaseOf(found) : undefined;
        if (lease) next += 1;
        if (lease && isProof(record, lease)) selected[n] = ofAlive(key, record, renewedAt(record, lease));
        else {
          doubtful.push(n);
          selected[n] = undefined;
        }
      }
      if (doubtful.length === 0) return selected;
      return whenDone(this.readMany(doubtful.map((n) => (listed[n] as StoredRecord).key)), (again) => {
        again.forEach((snapshot, k) => {
          if (snapshot) selected[doubtful[k] as number] = ofOther(snapshot);
        });
        return selected;
      });
    });
  }

  /** The ids of all children, whatever has become of them. */
  async childrenOf(id: string): Promise<string[]> {
    const children: string[] = [];
    const partition = this.collection.indexPartition('parent', id);
    let start = '';
    for (;;) {
      const page = await this.engine.storage.list(partition, { start, values: false });
      for (const { key } of page) children.push(key);
      const last = page[page.length - 1];
      if (!last || page.length < 1000) return children;
      start = keyAfter(last.key);
    }
  }

  /** Stages a new lease in place of whatever lease there is; a sighting goes with it. */
  putLease(draft: Draft, id: string, record: SessionRecord, lease: Lease): void {
    draft.puts.push(
      { ...this.leaseAddress(id), value: { ...lease }, ttlMs: record.ttlMs + LEASE_EXTRA_MS },
      { ...this.sightingAddress(id), value: record.ttlMs + record.retentionMs, ttlMs: record.ttlMs + record.retentionMs },
    );
  }

  /** For whoever goes through many sessions: lets everything else have its turn. */
  nextTurn(): Promise<void> {
    return new Promise((resolve) => this.engine.clock.nextTurn(resolve));
  }

  /** The check that proves the lease is there and of this put. */
  leaseCheck(id: string, revision: number | null): RevisionCheck {
    return { partition: LEASES, key: id, revision };
  }

  event<Name extends keyof RegistryEvents>(draft: Draft, name: Name, id: string, epoch: number, fields: EventFields<Name>): void {
    draft.puts.push(this.engine.log.put(name, { session: id, epoch, ...(fields as unknown as JsonObject) }));
  }
}

/** Parts which are changed in one commit each: it must fit, and must not hold up the event loop. */
export function inParts(snapshots: readonly SessionSnapshot[]): SessionSnapshot[][] {
  const parts: SessionSnapshot[][] = [];
  let part: SessionSnapshot[] = [];
  let bytes = 0;
  for (const snapshot of snapshots) {
    const more = jsonBytesAtMost(snapshot.record as unknown as JsonValue);
    if (part.length === AT_ONCE || bytes + more > BYTES_AT_ONCE || part.length === 0) {
      part = [];
      parts.push(part);
      bytes = 0;
    }
    part.push(snapshot);
    bytes += more;
  }
  return parts;
}

/** From the records of a session, as they stand in one snapshot. */
export function snapshotOf(
  id: string,
  record: StoredRecord | undefined,
  lease: StoredRecord | undefined,
  sighting: StoredRecord | undefined,
): SessionSnapshot | undefined {
  if (!record) return undefined;
  const value = record.value as unknown as SessionRecord;
  const { revision } = record;
  // Nobody asks any more when it was seen, so what is there is its result, for which the record may have no room.
  if (value.ending && sighting) {
    const ending = { ...value.ending, result: sighting.value };
    return { id, record: { ...value, ending }, revision, lease: lease && leaseOf(lease), seenAt: undefined };
  }
  const seenAt = sighting && (sighting.expiresAt as number) - (sighting.value as number);
  return { id, record: value, revision, lease: lease && leaseOf(lease), seenAt };
}

function aliveSnapshot(
  id: string,
  record: SessionRecord,
  revision: number,
  found: StoredRecord | undefined,
): SessionSnapshot | undefined {
  const lease = found && leaseOf(found);
  if (!lease || !isProof(record, lease)) return undefined;
  return { id, record, revision, lease, seenAt: renewedAt(record, lease) };
}

/** Whether record and lease prove that the session is alive: whatever stops or ends it changes or removes the lease. */
function isProof(record: SessionRecord, { value }: LeaseRecord): boolean {
  return value.incarnation === record.incarnation && !value.final && !record.stopping && !record.ending;
}

/** The sighting is renewed together with the lease, and says no more. */
function renewedAt({ ttlMs }: SessionRecord, { expiresAt }: LeaseRecord): number {
  return expiresAt - LEASE_EXTRA_MS - ttlMs;
}

/** A record of the leases always expires. */
function leaseOf(found: StoredRecord): LeaseRecord {
  return found as unknown as LeaseRecord;
}

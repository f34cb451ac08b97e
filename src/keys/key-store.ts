import { MeshError } from '../kernel/errors.ts';
import type { JsonObject } from '../kernel/json.ts';
import type { SessionSnapshot } from '../registry/session.ts';
import { SessionStore, snapshotOf as sessionOf } from '../registry/session-store.ts';
import { LIMITS } from '../storage/checked.ts';
import { Collection, type Versioned } from '../storage/collection.ts';
import { Draft } from '../storage/draft.ts';
import type { Engine } from '../storage/engine.ts';
import { type Address, type MaybePromise, type StoredRecord, whenDone } from '../storage/storage.ts';
import { type ApiKey, apiKeyOf, type KeyRecord } from './api-key.ts';
import type { KeyEvents } from './events.ts';

export type KeyIndex = 'parent' | 'session';

/** A key with everything on which it depends, of one snapshot. */
export interface KeySnapshot {
  readonly key: StoredRecord;
  readonly ancestors: readonly (StoredRecord | undefined)[];
  readonly session: SessionSnapshot | undefined;
}

/** Nobody loses this often in a row while others move on. */
const ATTEMPTS = 1000;
/** A key as its owner sees it is read from two records more. */
const VIEWED_AT_ONCE = LIMITS.page / 2;
const NONE: readonly never[] = [];

/** The records of a key: what it is, how often it was used (with `maxUses` only), and when it was used last. */
export class KeyStore {
  readonly engine: Engine;
  readonly keys: Collection<KeyRecord, KeyIndex>;
  readonly sessions: SessionStore;

  constructor(engine: Engine) {
    this.engine = engine;
    this.sessions = new SessionStore(engine);
    this.keys = new Collection<KeyRecord, KeyIndex>({
      storage: engine.storage,
      name: 'keys',
      indexes: { parent: ({ ancestors }) => ancestors[0], session: ({ session }) => session },
    });
  }

  usesAddress(id: string): Address {
    return { partition: 'keys.uses', key: id };
  }

  lastUseAddress(id: string): Address {
    return { partition: 'keys.last-use', key: id };
  }

  /** Where everything is on which a key depends, the key first: it never changes. */
  snapshotAddresses(id: string, { ancestors, session }: KeyRecord): readonly Address[] {
    const addresses = [id, ...ancestors].map((key) => this.keys.address(key));
    if (session === undefined) return addresses;
    const { collection } = this.sessions;
    return [
      ...addresses,
      collection.address(session),
      this.sessions.leaseAddress(session),
      this.sessions.sightingAddress(session),
    ];
  }

  /** From what stands at the `snapshotAddresses`. */
  snapshotOf(records: readonly (StoredRecord | undefined)[]): KeySnapshot | undefined {
    const [key] = records;
    if (!key) return undefined;
    if (records.length === 1) return { key, ancestors: NONE, session: undefined };
    const { ancestors, session } = recordOf(key);
    const last = 1 + ancestors.length;
    return {
      key,
      ancestors: records.slice(1, last),
      session: session === undefined ? undefined : sessionOf(session, records[last], records[last + 1], records[last + 2]),
    };
  }

  /**
   * Reads a key, changes it and writes it until no other change came in between. `change` gets a draft for whatever else
   * belongs to the commit, and answers `undefined` to leave the key as it is.
   * @returns the key after the change; `undefined` when it was left as it is
   * @throws MeshError `not_found`, and whatever `change` throws
   */
  async change(
    id: string,
    change: (current: KeyRecord, draft: Draft) => MaybePromise<KeyRecord | undefined>,
  ): Promise<ApiKey | undefined> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      // All that the answer needs is read before the commit: after it nothing may fail any more.
      const [key, uses, lastUse] = await this.engine.storage.get([
        this.keys.address(id),
        this.usesAddress(id),
        this.lastUseAddress(id),
      ]);
      if (!key) throw notFound();
      const draft = new Draft();
      const next = await change(recordOf(key), draft);
      if (!next) return undefined;
      this.keys.replace(draft, { id, value: recordOf(key), revision: key.revision }, next);
      if ((await this.engine.commit(draft)).committed) return apiKeyOf(id, next, numberOf(uses), numberOf(lastUse));
    }
    throw new MeshError('conflict', `expected a change of a key to pass, got ${ATTEMPTS} conflicts`);
  }

  /** As the owner sees them. */
  async views(records: readonly Versioned<KeyRecord>[]): Promise<ApiKey[]> {
    const views: ApiKey[] = [];
    for (let start = 0; start < records.length; start += VIEWED_AT_ONCE) {
      views.push(...(await this.#views(records.slice(start, start + VIEWED_AT_ONCE))));
    }
    return views;
  }

  #views(records: readonly Versioned<KeyRecord>[]): MaybePromise<ApiKey[]> {
    const addresses = records.flatMap(({ id }) => [this.usesAddress(id), this.lastUseAddress(id)]);
    return whenDone(this.engine.storage.get(addresses), (found) =>
      records.map(({ id, value }, n) => apiKeyOf(id, value, numberOf(found[2 * n]), numberOf(found[2 * n + 1]))),
    );
  }

  event(draft: Draft, name: keyof KeyEvents, key: string, { session, ancestors }: KeyRecord): void {
    const [parent] = ancestors;
    const fields: JsonObject = {
      key,
      ...(session !== undefined && { session }),
      ...(name === 'key_issued' && parent !== undefined && { parent }),
    };
    draft.puts.push(this.engine.log.put(name, fields));
  }
}

/** Only the collection of keys writes their partition. */
export function recordOf({ value }: StoredRecord): KeyRecord {
  return value as unknown as KeyRecord;
}

function numberOf(record: StoredRecord | undefined): number | undefined {
  return record?.value as number | undefined;
}

/** Without what was given: somebody may have given a token for an id. */
function notFound(): MeshError {
  return new MeshError('not_found', 'expected the id of a known key, got another one');
}

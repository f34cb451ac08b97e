import type { Versioned } from '../storage/collection.ts';
import { Draft } from '../storage/draft.ts';
import type { DueEntry, DueOutcome } from '../storage/due.ts';
import type { MaybePromise, Put } from '../storage/storage.ts';
import type { KeyRecord } from './api-key.ts';
import type { KeyStore } from './key-store.ts';

const REMOVAL = 'key';
/** How long a key that is over stays to be seen. */
const KEPT_MS = 7 * 86_400_000;
/** The data of an entry at which the key goes; at any other it is looked at. */
const OVER = 'over';

/**
 * Removes keys that have been over for seven days. When a key is revoked, expires or is used up is known by who writes
 * it. When it ends with its session or with an ancestor nobody writes anything, so such a key is looked at every seven
 * days, and goes seven days after it was found over.
 */
export class Removal {
  readonly #store: KeyStore;

  constructor(store: KeyStore) {
    this.#store = store;
  }

  /** @param isOver whether a key is refused for good, whoever shows its token */
  start(isOver: (id: string) => MaybePromise<boolean>): void {
    this.#store.engine.due.handle(REMOVAL, (entry) => this.#look(entry, isOver));
  }

  /** For the commit of a new key. */
  first(id: string, { createdAt, expiresAt, ancestors, session }: KeyRecord): Put[] {
    const isOnItsOwn = ancestors.length === 0 && session === undefined;
    if (expiresAt !== undefined && (isOnItsOwn || expiresAt - createdAt <= KEPT_MS)) return [this.last(id, expiresAt)];
    return isOnItsOwn ? [] : [this.#store.engine.due.put(createdAt + KEPT_MS, REMOVAL, id)];
  }

  /** For the commit with which a key is over, or of which it is known when it will be. */
  last(id: string, overAt: number): Put {
    return this.#store.engine.due.put(overAt + KEPT_MS, REMOVAL, id, OVER);
  }

  async #look({ at, id, data }: DueEntry, isOver: (id: string) => MaybePromise<boolean>): Promise<DueOutcome> {
    const key = await this.#store.keys.get(id);
    if (!key) return {};
    if (data === OVER) return this.#stage(key, at);
    const now = this.#store.engine.now();
    return (await isOver(id)) ? { puts: [this.last(id, now)] } : { moveTo: now + KEPT_MS };
  }

  #stage(key: Versioned<KeyRecord>, at: number): Draft {
    const { id, value } = key;
    const { due } = this.#store.engine;
    const draft = new Draft();
    this.#store.keys.remove(draft, key);
    draft.deletes.push(this.#store.usesAddress(id), this.#store.lastUseAddress(id));
    // A key that was over before it expired also has the entry of its expiry; the one that led here goes by itself.
    const { expiresAt } = value;
    if (expiresAt !== undefined && expiresAt + KEPT_MS !== at) draft.deletes.push(due.address(expiresAt + KEPT_MS, REMOVAL, id));
    return draft;
  }
}

import { Draft } from '../storage/draft.ts';
import type { DueOutcome } from '../storage/due.ts';
import type { Engine } from '../storage/engine.ts';
import { keyAfter } from '../storage/keys.ts';
import { MemoryStore } from './memory-store.ts';
import { EXPIRY, OWNERS, ownerCheckAt, splitDueId, stageRemoval } from './staging.ts';

const REMOVED_AT_ONCE = 100;
/** What one look removes at most of an owner's; the next sweep goes on. */
const REMOVED_AT_MOST = 1000;

/** Removes what has expired or belonged to a session that is over, and tells it: for all namespaces of a mesh. */
export class Expiries {
  static readonly #known = new WeakSet<Engine>();
  readonly #engine: Engine;
  readonly #historyPerKey: number;

  private constructor(engine: Engine, historyPerKey: number) {
    this.#engine = engine;
    this.#historyPerKey = historyPerKey;
    engine.due.handle(EXPIRY, ({ id, at }) => this.#expire(id, at));
    engine.due.handle(OWNERS, ({ id }) => this.#checkOwner(id));
  }

  /** Once for each engine. */
  static on(engine: Engine, historyPerKey: number): void {
    if (Expiries.#known.has(engine)) return;
    Expiries.#known.add(engine);
    new Expiries(engine, historyPerKey);
  }

  async #expire(id: string, at: number): Promise<DueOutcome> {
    const { store, name: key } = this.#locate(id);
    const head = await store.head(key);
    if (head.entry?.value.expiresAt !== at) return {};
    const draft = new Draft();
    // The list has found it due, so it is, even if the host's clock was set back since.
    stageRemoval(draft, store, { ...head, lapse: 'memory_expired', checks: [] }, head.entry, { name: 'memory_expired' });
    return draft;
  }

  async #checkOwner(id: string): Promise<DueOutcome> {
    const { store, name } = this.#locate(id);
    const split = name.indexOf('>');
    const owner = { session: name.slice(0, split), incarnation: name.slice(split + 1) };
    const partition = store.entries.indexPartition('owner', name);
    const { storage, clock } = this.#engine;
    const [isOver] = await store.areOver([owner]);
    let start = '';
    for (let removed = 0; removed < REMOVED_AT_MOST; removed += REMOVED_AT_ONCE) {
      const owned = await storage.list(partition, { start, limit: isOver ? REMOVED_AT_ONCE : 1, values: false });
      const last = owned[owned.length - 1];
      if (!last && start === '') return {};
      if (!isOver) return { moveTo: ownerCheckAt(this.#engine.now()) };
      if (!last) break;
      await Promise.all(owned.map(({ key }) => this.#removeOwned(store, key)));
      start = keyAfter(last.key);
      await new Promise<void>((resolve) => clock.nextTurn(resolve));
    }
    // The next sweep goes on, or finds that nothing is left.
    return { moveTo: this.#engine.now() + 1 };
  }

  async #removeOwned(store: MemoryStore, key: string): Promise<void> {
    const head = await store.head(key);
    // What has expired as well is told by its own due entry.
    if (!head.entry || head.lapse !== 'memory_deleted') return;
    const draft = new Draft();
    stageRemoval(draft, store, head, head.entry, { name: 'memory_deleted' });
    await this.#engine.commit(draft);
  }

  #locate(id: string): { readonly store: MemoryStore; readonly name: string } {
    const { namespace, name } = splitDueId(id);
    return { store: new MemoryStore(this.#engine, namespace, this.#historyPerKey), name };
  }
}

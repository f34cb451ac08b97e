import { Draft } from '../storage/draft.ts';
import type { DueOutcome } from '../storage/due.ts';
import { RETENTION, stageEnd, stageKilled, stageRemoval } from './endings.ts';
import { stateOf } from './session.ts';
import type { SessionStore } from './session-store.ts';

/** How long to wait with the removal of a session that still has children. */
const CHILDREN_MS = 60_000;

/** Removes sessions whose retention is over, and first ends those that were offline until then. */
export class Retention {
  readonly #store: SessionStore;

  constructor(store: SessionStore) {
    this.#store = store;
    store.engine.due.handle(RETENTION, (entry) => this.#look(entry.id));
  }

  async #look(id: string): Promise<DueOutcome> {
    const store = this.#store;
    const snapshot = await store.read(id);
    if (!snapshot) return {};
    const now = store.engine.now();
    const state = stateOf(snapshot);
    const { record } = snapshot;
    if (state === 'alive' || state === 'stopping') return {};
    const over = record.ending
      ? record.ending.at + record.retentionMs
      : (snapshot.seenAt ?? 0) + record.ttlMs + record.retentionMs;
    if (now < over) return { moveTo: over };
    const children = await store.engine.storage.list(store.collection.indexPartition('parent', id), { limit: 1, values: false });
    if (children.length > 0 && record.ending) return { moveTo: now + CHILDREN_MS };
    const draft = new Draft();
    draft.checks.push(store.leaseCheck(id, null));
    if (children.length === 0) await stageRemoval(draft, store, snapshot);
    // Its children keep its record, and not itself: for every reader it has ended.
    else if (record.stopping) stageKilled(draft, store, snapshot, { ...record.stopping, graceful: false });
    else stageEnd(draft, store, snapshot, {});
    return draft;
  }
}

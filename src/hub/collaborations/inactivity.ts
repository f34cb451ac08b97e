import { MeshError } from '../../kernel/errors.ts';
import type { Versioned } from '../../storage/collection.ts';
import { Draft } from '../../storage/draft.ts';
import type { DueEntry, DueOutcome } from '../../storage/due.ts';
import type { ContextRecord, Ending } from './collaboration-record.ts';
import { type CollaborationStore, type Found, LOOK, RETENTION_MS, unknown } from './collaboration-store.ts';
import type { CollaborationTasks } from './collaboration-tasks.ts';

/**
 * Ends collaborations in which nothing happens any more. Everybody who looks judges by the last activity, to the
 * millisecond, and records an end before telling it, so that nothing which comes later undoes it. Where nobody looks, a
 * sweep does, which in the end also removes the records.
 */
export class Inactivity {
  readonly #store: CollaborationStore;
  readonly #tasks: CollaborationTasks;

  constructor(store: CollaborationStore, tasks: CollaborationTasks) {
    this.#store = store;
    this.#tasks = tasks;
    store.engine.due.handle(LOOK, (entry) => this.#look(entry));
  }

  /** How it has ended by this time. Costs a read only when the record itself looks overdue, and a commit when it is. */
  async endingOf(found: Found, at: number): Promise<Ending | undefined> {
    for (let current: Found | undefined = found; current; current = await this.#store.collection.get(found.id)) {
      const { ending, timeoutMs, activeAt } = current.value;
      if (ending || timeoutMs === undefined || at < activeAt + timeoutMs) return ending;
      const context = await this.#store.context(found.id);
      const changedAt = context?.value.at ?? activeAt;
      if (at < changedAt + timeoutMs) return undefined;
      const deadline = Math.max(activeAt, changedAt, await this.#workedAt(found.id)) + timeoutMs;
      if (at < deadline) return undefined;
      const draft = new Draft();
      this.#stageTimeout(draft, current, context, deadline);
      // Somebody may have ended it, or changed it in time, meanwhile.
      if ((await this.#store.engine.commit(draft)).committed) return timeout(deadline);
    }
    throw unknown(found.id);
  }

  /** @throws MeshError `conflict` when it has ended, with `details.state` */
  async assertActive(found: Found, at: number): Promise<void> {
    const ending = await this.endingOf(found, at);
    if (!ending) return;
    throw new MeshError('conflict', `expected collaboration ${found.id} to be active, got ${ending.state}`, {
      details: { collaboration: found.id, state: ending.state },
    });
  }

  async #look({ id, at }: DueEntry): Promise<DueOutcome> {
    const store = this.#store;
    const found = await store.collection.get(id);
    if (!found) return {};
    const { ending, timeoutMs, activeAt } = found.value;
    const draft = new Draft();
    if (ending) {
      // A look that was planned while it was active; the end has planned its own.
      if (at < ending.at + RETENTION_MS) return {};
      store.stageRemoval(draft, found);
      return draft;
    }
    if (timeoutMs === undefined) return {};
    const context = await store.context(id);
    const workedAt = await this.#workedAt(id);
    const deadline = Math.max(activeAt, context?.value.at ?? 0, workedAt) + timeoutMs;
    const now = store.engine.now();
    if (now < deadline) {
      if (workedAt > activeAt) store.collection.replace(draft, found, { ...found.value, activeAt: workedAt });
      store.stageLook(draft, id, Math.max(deadline, at + 1), Math.max(now, at));
      return draft;
    }
    this.#stageTimeout(draft, found, context, deadline);
    return draft;
  }

  #stageTimeout(draft: Draft, found: Found, context: Versioned<ContextRecord> | undefined, deadline: number): void {
    this.#store.stageEnding(draft, found, timeout(deadline), {});
    // Whoever changes the context meanwhile does not change the record.
    draft.checks.push({ ...this.#store.contextAddress(found.id), revision: context?.revision ?? null });
  }

  async #workedAt(id: string): Promise<number> {
    let last = 0;
    for await (const { updatedAt } of this.#tasks.of(id)) last = Math.max(last, updatedAt);
    return last;
  }
}

function timeout(at: number): Ending {
  return { state: 'terminated', at, reason: 'timeout', timedOut: true };
}

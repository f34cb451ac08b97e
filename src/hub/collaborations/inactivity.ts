import { MeshError } from '../../kernel/errors.ts';
import { Draft } from '../../storage/draft.ts';
import type { DueEntry, DueOutcome } from '../../storage/due.ts';
import type { Ending } from './collaboration-record.ts';
import { type CollaborationStore, type Found, LOOK, RETENTION_MS } from './collaboration-store.ts';
import type { CollaborationTasks } from './collaboration-tasks.ts';

/**
 * Ends collaborations in which nothing happens any more. Every read judges by the last activity, so an overdue one is
 * terminated for everybody at that millisecond; a sweep then records it, and its event, and in the end removes the records.
 */
export class Inactivity {
  readonly #store: CollaborationStore;
  readonly #tasks: CollaborationTasks;

  constructor(store: CollaborationStore, tasks: CollaborationTasks) {
    this.#store = store;
    this.#tasks = tasks;
    store.engine.due.handle(LOOK, (entry) => this.#look(entry));
  }

  /** How it has ended by this time, recorded or not. Costs a read only when the record itself looks overdue. */
  async endingOf({ id, value }: Found, at: number): Promise<Ending | undefined> {
    const { ending, timeoutMs, activeAt } = value;
    if (ending || timeoutMs === undefined || at < activeAt + timeoutMs) return ending;
    const changedAt = (await this.#store.context(id))?.value.at ?? activeAt;
    if (at < changedAt + timeoutMs) return undefined;
    const deadline = Math.max(activeAt, changedAt, await this.#workedAt(id)) + timeoutMs;
    return at < deadline ? undefined : timeout(deadline);
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
    store.stageEnding(draft, found, timeout(deadline), {});
    // Whoever changes the context meanwhile does not change the record.
    draft.checks.push({ ...store.contextAddress(id), revision: context?.revision ?? null });
    return draft;
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

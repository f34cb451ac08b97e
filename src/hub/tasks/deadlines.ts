import { Draft } from '../../storage/draft.ts';
import type { DueEntry, DueOutcome } from '../../storage/due.ts';
import { isOver, isOverdue } from './task.ts';
import type { TaskStore } from './task-store.ts';
import { BACKOFF, DEADLINE, stageQueued, stageTimedOut } from './transitions.ts';

/** What becomes of tasks with time: those not done by their deadline fail, back-offs end, those that are over go. */
export class Deadlines {
  readonly #store: TaskStore;

  constructor(store: TaskStore) {
    this.#store = store;
    store.engine.due.handle(DEADLINE, (entry) => this.#look(entry));
    store.engine.due.handle(BACKOFF, (entry) => this.#queue(entry));
  }

  /** One entry for a task's whole life: at its deadline, then at the end of its retention. */
  async #look({ id }: DueEntry): Promise<DueOutcome> {
    const { engine, tasks } = this.#store;
    const task = await tasks.get(id);
    if (!task) return {};
    const { deadline, endedAt = deadline, retainMs } = task.value;
    const draft = new Draft();
    if (!isOver(task.value)) {
      if (!isOverdue(task.value, engine.now())) return { moveTo: deadline };
      stageTimedOut(draft, this.#store, task);
      draft.puts.push(engine.due.put(engine.now() + retainMs, DEADLINE, id));
      return draft;
    }
    if (engine.now() < endedAt + retainMs) return { moveTo: endedAt + retainMs };
    tasks.remove(draft, task);
    draft.deletes.push(this.#store.allParts(id));
    return draft;
  }

  async #queue({ id, at }: DueEntry): Promise<DueOutcome> {
    const task = await this.#store.tasks.get(id);
    const place = task?.value.place;
    if (!task || place?.in !== 'backoff' || place.until !== at) return {};
    const draft = new Draft();
    // The due list removes the entry by which it waited.
    stageQueued(draft, this.#store, task, { isTaken: true });
    return draft;
  }
}

import { abortedBy, holdProcess } from '../../kernel/clock.ts';
import { MeshError, type MeshErrorCode } from '../../kernel/errors.ts';
import type { JsonValue } from '../../kernel/json.ts';
import type { Versioned } from '../../storage/collection.ts';
import type { StoredEvent } from '../../storage/events/event-reader.ts';
import { setHubAlarm } from '../alarm.ts';
import type { DeathWatch } from './death-watch.ts';
import { taskTopic } from './events.ts';
import { isOver, type ResultOptions, type TaskRecord } from './task.ts';
import type { TaskStore } from './task-store.ts';
import { withDeadline } from './transitions.ts';

/** With these a task is over. What else happens to it is not waited for. */
const ENDS: ReadonlySet<string> = new Set(['task_completed', 'task_failed', 'task_canceled', 'task_rejected']);
const isEnd = ({ name }: StoredEvent): boolean => ENDS.has(name);

/** Waits for tasks to be over. */
export class Results {
  readonly #store: TaskStore;
  readonly #deaths: DeathWatch;

  constructor(store: TaskStore, deaths: DeathWatch) {
    this.#store = store;
    this.#deaths = deaths;
  }

  /** @throws MeshError as `Task.result` */
  async of(id: string, { signal, timeoutMs }: ResultOptions): Promise<JsonValue> {
    const { core, engine } = this.#store;
    const until = timeoutMs === undefined ? undefined : engine.now() + timeoutMs;
    const release = holdProcess();
    let leave = (): void => {};
    try {
      leave = this.#deaths.enter();
      for (;;) {
        const alarm = setHubAlarm(core, { topics: [taskTopic(id)], concerns: isEnd, signals: [signal], at: until });
        try {
          if (signal?.aborted) throw abortedBy(signal);
          core.assertOpen();
          await engine.log.ready();
          const task = await withDeadline(this.#store, await this.#store.require(id));
          if (!task) continue;
          if (isOver(task.value)) return await this.#outcome(task);
          if (until !== undefined && engine.now() >= until) throw notYet(task, timeoutMs ?? 0);
          const late = setHubAlarm(core, { topics: [], at: task.value.deadline });
          await Promise.race([alarm.ring, late.ring]);
          late.cancel();
        } finally {
          alarm.cancel();
        }
      }
    } finally {
      leave();
      release();
    }
  }

  async #outcome(task: Versioned<TaskRecord>): Promise<JsonValue> {
    const loaded = await this.#store.load(task);
    if (!loaded)
      throw new MeshError('not_found', `expected a task that is kept, got one that was removed`, { details: { task: task.id } });
    const { output } = loaded.task.value;
    if (task.value.state === 'completed' && output) return loaded.contentOf(output);
    throw failureOf(task);
  }
}

/** The error that says why a task which is over was not completed. */
function failureOf({ id, value }: Versioned<TaskRecord>): MeshError {
  const { state, reason = 'error', message = '', attempt } = value;
  const code: MeshErrorCode =
    reason === 'timed_out' ? 'timed_out' : state === 'canceled' || state === 'rejected' ? `task_${state}` : 'task_failed';
  return new MeshError(code, `expected task ${id} to be completed, got ${state}: ${message}`, {
    details: { task: id, state, reason, message, attempt },
  });
}

function notYet({ id, value }: Versioned<TaskRecord>, timeoutMs: number): MeshError {
  return new MeshError('timed_out', `expected task ${id} to be over within ${timeoutMs} ms, got ${value.state}`, {
    details: { task: id, state: value.state, reason: 'timed_out' },
  });
}

import { parse } from '../../kernel/inputs.ts';
import type { JsonValue } from '../../kernel/json.ts';
import { type Condition, type Page, query } from '../../storage/query.ts';
import { isOver, queueOf, TASK_STATES, type Task, type TaskRecord, type TaskState } from './task.ts';
import { LIST_TASKS, type ListTasksOptions } from './task-inputs.ts';
import { sessionOf, type TaskIndex, type TaskStore } from './task-store.ts';
import { type ResultOf, viewOf } from './task-view.ts';
import { withDeadline } from './transitions.ts';

const PAGE = 1000;
/** Results are read at once, and each may be large. */
const DIGESTS_AT_ONCE = 100;
/** A load beyond this is as good as any. */
const COUNTED = 100;

/** Tasks that meet all conditions, in the order of their ids. */
export async function findTasks(store: TaskStore, options: ListTasksOptions, resultOf: ResultOf): Promise<Page<Task>> {
  const { session, state, type, collaborationId, limit, after } = parse(LIST_TASKS, options, 'options');
  const where: Condition<TaskIndex>[] = [];
  if (session !== undefined) where.push({ index: 'session', anyOf: [session] });
  if (collaborationId !== undefined) where.push({ index: 'collaboration', anyOf: [collaborationId] });
  const fits = (record: TaskRecord): boolean =>
    (type === undefined || record.type === type) &&
    (state === undefined || (state === 'open' ? !isOver(record) : record.state === state));
  return query(store.engine.storage, store.tasks, {
    where,
    select: (records) =>
      Promise.all(
        records.map(async (record) => {
          const task = await withDeadline(store, record);
          const loaded = task && fits(task.value) ? await store.load(task) : undefined;
          return loaded && fits(loaded.task.value) ? viewOf(loaded, resultOf) : undefined;
        }),
      ),
    limit,
    ...(after !== undefined && { after }),
  });
}

/** How many tasks there are in each state. */
export async function countTasks(store: TaskStore): Promise<Record<TaskState, number>> {
  const counts = Object.fromEntries(TASK_STATES.map((state) => [state, 0])) as Record<TaskState, number>;
  for (let after: string | undefined; ; ) {
    const page: Page<TaskState> = await query(store.engine.storage, store.tasks, {
      select: (records) => records.map(({ value }) => value.state),
      limit: PAGE,
      ...(after !== undefined && { after }),
    });
    for (const state of page.items) counts[state] += 1;
    after = page.next;
    if (after === undefined) return counts;
  }
}

/** How many open tasks each session has claimed or in its own queue, up to a hundred of each. */
export async function loadOf(store: TaskStore, ids: readonly string[]): Promise<number[]> {
  const { storage } = store.engine;
  const loads: number[] = [];
  for (const session of ids) {
    const claimed = await storage.list(store.tasks.indexPartition('worker', session), { limit: COUNTED, values: false });
    const queued = await storage.list(store.queuePartition(queueOf({ session })), { limit: COUNTED, values: false });
    loads.push(claimed.length + queued.length);
  }
  return loads;
}

/** A task as those count it who look at many. */
export interface TaskDigest {
  readonly id: string;
  readonly type: string;
  readonly state: TaskState;
  readonly step?: string | undefined;
  readonly session?: string | undefined;
  readonly result?: JsonValue | undefined;
  readonly reason?: string | undefined;
  readonly updatedAt: number;
}

/** All tasks of a collaboration. */
export async function* tasksOf(store: TaskStore, collaboration: string): AsyncGenerator<TaskDigest, void, undefined> {
  for (let after: string | undefined; ; ) {
    const page: Page<TaskDigest> = await query(store.engine.storage, store.tasks, {
      where: [{ index: 'collaboration', anyOf: [collaboration] }],
      select: (records) =>
        Promise.all(
          records.map(async (record) => {
            const loaded = await store.load((await withDeadline(store, record)) ?? record);
            if (!loaded) return undefined;
            const { type, state, step, worker, to, output, reason, message, updatedAt, deadline } = loaded.task.value;
            return {
              id: record.id,
              type,
              state,
              step,
              session: worker ?? sessionOf(to),
              result: output && loaded.contentOf(output),
              reason: isOver({ state }) && state !== 'completed' ? (message ?? reason) : undefined,
              // Behind its deadline nothing happens to a task but that somebody notes it.
              updatedAt: Math.min(updatedAt, deadline),
            };
          }),
        ),
      limit: DIGESTS_AT_ONCE,
      ...(after !== undefined && { after }),
    });
    yield* page.items;
    after = page.next;
    if (after === undefined) return;
  }
}

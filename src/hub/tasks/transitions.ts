import type { JsonValue } from '../../kernel/json.ts';
import type { Versioned } from '../../storage/collection.ts';
import { Draft } from '../../storage/draft.ts';
import { priorityDigit } from '../priority.ts';
import type { TaskReason } from './events.ts';
import { backoffMs, type Claim, isOverdue, type Place, queueOf, type TaskRecord, type TaskTarget } from './task.ts';
import { type QueueEntry, sessionOf, type TaskStore } from './task-store.ts';

/** The kinds of due entries of tasks: the deadline, and later the removal; the end of a back-off. */
export const DEADLINE = 'task';
export const BACKOFF = 'retry';

/** Where a task is to wait. */
export type Waits = 'queue' | 'offer' | { readonly until: number };

/** How its place is left: `taken`, when whoever stages it has removed it from there. */
interface Leaving {
  readonly isTaken?: boolean;
}

/** Why and in whose words a task ends, or an attempt fails. */
export interface Failure {
  readonly reason: TaskReason;
  readonly message: string;
}

/** Stages where a task waits; its record is to say so. */
export function stagePlace(draft: Draft, store: TaskStore, id: string, record: TaskRecord, waits: Waits): Place {
  if (waits === 'offer') return { in: 'offer' };
  if (waits !== 'queue') {
    draft.puts.push(store.engine.due.put(waits.until, BACKOFF, id));
    return { in: 'backoff', until: waits.until };
  }
  const entry: QueueEntry = { task: id, type: record.type };
  const partition = store.queuePartition(queueOf(record.to as TaskTarget));
  const put = { partition, key: priorityDigit(record.priority), value: { ...entry }, stamped: true };
  return { in: 'queue', position: draft.puts.push(put) - 1 };
}

/** Stages that a session works on it. */
export function stageClaim(
  draft: Draft,
  store: TaskStore,
  current: Versioned<TaskRecord>,
  by: Omit<Claim, 'number'>,
  leaving: Leaving = {},
): TaskRecord {
  const { attempt, claims } = current.value;
  const { session, incarnation, stint, holder } = by;
  const next = stageNext(
    draft,
    store,
    current,
    {
      ...open(current),
      state: 'working',
      attempt: attempt + 1,
      claims: claims + 1,
      claim: { session, incarnation, stint, number: claims + 1, holder },
      worker: session,
    },
    undefined,
    leaving,
  );
  store.event(draft, 'task_claimed', current.id, next, { session });
  return next;
}

export function stageCompleted(draft: Draft, store: TaskStore, current: Versioned<TaskRecord>, output: JsonValue): TaskRecord {
  const { reason: _reason, message: _message, ...rest } = open(current);
  const { held, parts } = store.hold(draft, current.id, output, rest.parts);
  const next = stageNext(draft, store, current, {
    ...rest,
    state: 'completed',
    output: held,
    parts,
    endedAt: store.engine.now(),
  });
  store.event(draft, 'task_completed', current.id, next, concerned(current));
  return next;
}

/** Stages that nothing more becomes of a task, and that it was not completed. */
export function stageOver(
  draft: Draft,
  store: TaskStore,
  current: Versioned<TaskRecord>,
  state: 'failed' | 'canceled' | 'rejected',
  {
    reason,
    message,
    by,
    isTaken,
    changes,
  }: Failure & Leaving & { readonly by?: string | undefined; readonly changes?: Pick<TaskRecord, 'offer'> | undefined },
): TaskRecord {
  const ended = { ...open(current), ...changes, state, reason, message, endedAt: store.engine.now() };
  const next = stageNext(draft, store, current, ended, undefined, { isTaken: isTaken === true });
  const fields = concerned(current);
  if (state === 'canceled') store.event(draft, 'task_canceled', current.id, next, { ...fields, ...(by !== undefined && { by }) });
  else store.event(draft, `task_${state}`, current.id, next, { ...fields, reason });
  return next;
}

/** Stages that an attempt has failed: another follows, after its back-off or at once, or the task fails. */
export function stageFailed(
  draft: Draft,
  store: TaskStore,
  current: Versioned<TaskRecord>,
  { reason, message, atOnce = false }: Failure & { readonly atOnce?: boolean },
): TaskRecord {
  const { attempt, retry } = current.value;
  if (attempt > retry.maxRetries) return stageOver(draft, store, current, 'failed', { reason, message });
  const waitMs = atOnce ? 0 : backoffMs(retry, attempt);
  const waits = waitMs === 0 ? 'queue' : { until: store.engine.now() + waitMs };
  const next = stageNext(draft, store, current, { ...open(current), state: 'submitted', reason, message }, waits);
  store.event(draft, 'task_retried', current.id, next, { ...concerned(current), reason, ...queued(next) });
  return next;
}

/** Stages that a claimed task goes back into its queue as if it had not been claimed. */
export function stageReturned(draft: Draft, store: TaskStore, current: Versioned<TaskRecord>): TaskRecord {
  const rest = open(current);
  const next = stageNext(draft, store, current, { ...rest, state: 'submitted', attempt: rest.attempt - 1 }, 'queue');
  store.event(draft, 'task_updated', current.id, next, { change: 'returned', ...concerned(current), ...queued(next) });
  return next;
}

/** Stages that a task whose back-off is over waits in its queue. */
export function stageQueued(draft: Draft, store: TaskStore, current: Versioned<TaskRecord>, leaving: Leaving): TaskRecord {
  const next = stageNext(draft, store, current, { ...open(current), state: 'submitted' }, 'queue', leaving);
  store.event(draft, 'task_updated', current.id, next, { change: 'queued', ...concerned(next), ...queued(next) });
  return next;
}

/** Stages that somebody else is to do it, with a context from whoever gives it on. Attempts begin anew, the deadline stays. */
export function stageHandoff(
  draft: Draft,
  store: TaskStore,
  current: Versioned<TaskRecord>,
  { to, by, context }: { readonly to: TaskTarget; readonly by: string; readonly context: JsonValue | undefined },
): TaskRecord {
  const { reason: _reason, message: _message, ...rest } = open(current);
  let { parts } = rest;
  let held = rest.context;
  if (context !== undefined) {
    store.drop(draft, current.id, held);
    ({ held, parts } = store.hold(draft, current.id, context, parts));
  }
  const given = { ...rest, to, state: 'submitted' as const, attempt: 0, parts, ...(held && { context: held }) };
  const next = stageNext(draft, store, current, given, 'queue');
  store.event(draft, 'task_handed_off', current.id, next, { by, ...concerned(current), ...queued(next) });
  return next;
}

/** Stages a change of a task that stays where it is: with who claimed it, or on offer. */
export function stageKept(draft: Draft, store: TaskStore, current: Versioned<TaskRecord>, next: TaskRecord): TaskRecord {
  const record = { ...next, updatedAt: store.engine.now() };
  store.tasks.replace(draft, current, record);
  return record;
}

/** Stages the next record in place of the current one, and where it waits in place of where it waited. */
export function stageNext(
  draft: Draft,
  store: TaskStore,
  current: Versioned<TaskRecord>,
  next: TaskRecord,
  waits?: Waits,
  { isTaken = false }: Leaving = {},
): TaskRecord {
  if (!isTaken) unplace(draft, store, current);
  const place = waits && stagePlace(draft, store, current.id, next, waits);
  const record = { ...next, updatedAt: store.engine.now(), ...(place && { place }) };
  store.tasks.replace(draft, current, record);
  return record;
}

/** A task whose time is over as it is recorded then; any other as it is. */
export async function withDeadline(
  store: TaskStore,
  task: Versioned<TaskRecord> | undefined,
): Promise<Versioned<TaskRecord> | undefined> {
  for (let current = task; ; ) {
    if (!current || !isOverdue(current.value, store.engine.now())) return current;
    const draft = new Draft();
    const value = stageTimedOut(draft, store, current);
    const result = await store.engine.commit(draft);
    if (result.committed) return { id: current.id, value, revision: result.revision };
    current = await store.tasks.get(current.id);
  }
}

export function stageTimedOut(draft: Draft, store: TaskStore, current: Versioned<TaskRecord>, leaving: Leaving = {}): TaskRecord {
  const { deadline, createdAt } = current.value;
  const message = `not done within ${deadline - createdAt} ms`;
  return stageOver(draft, store, current, 'failed', { reason: 'timed_out', message, ...leaving });
}

/** Whom an event about a task concerns: who works on it, else whom it is addressed to, else who worked on it last. */
export function concerned(task: TaskRecord | Versioned<TaskRecord>): { session?: string } {
  const { claim, to, worker } = 'value' in task ? task.value : task;
  const session = claim?.session ?? sessionOf(to) ?? worker;
  return session === undefined ? {} : { session };
}

/** In which queue it waits. */
export function queued({ place, to }: TaskRecord): { queue?: string } {
  return place?.in === 'queue' && to ? { queue: queueOf(to) } : {};
}

function unplace(draft: Draft, store: TaskStore, current: Versioned<TaskRecord>): void {
  const { place } = current.value;
  const inQueue = store.queuePlace(current);
  if (inQueue) draft.deletes.push(inQueue);
  if (place?.in === 'backoff') draft.deletes.push(store.engine.due.address(place.until, BACKOFF, current.id));
}

/** The record without where it waits and who has claimed it. */
function open({ value }: Versioned<TaskRecord>): TaskRecord {
  const { place: _place, claim: _claim, ...rest } = value;
  return rest;
}

import { isOver, queueOf, type TaskRecord } from '../../../src/hub/tasks/task.ts';
import type { LoggedEvent } from '../../../src/storage/events/event-reader.ts';
import { padded, stampedKey, unleasedKey } from '../../../src/storage/keys.ts';
import type { StoredRecord } from '../../../src/storage/storage.ts';

/** All records of the partitions that tasks have to do with, by partition. */
export type Snapshot = ReadonlyMap<string, readonly StoredRecord[]>;

const DIGITS = { critical: 0, high: 1, medium: 2, low: 3 };
const ENDS = ['task_completed', 'task_failed', 'task_canceled', 'task_rejected'];

/** Whether an audit wants to see a partition. */
export function isOfTasks(partition: string): boolean {
  return /^(tasks|queue\/|reserved\/|workers$|due$|events$)/.test(partition);
}

/** What is wrong with everything that is stored about tasks, at any instant. */
export function auditTasks(stored: Snapshot): string[] {
  const wrong: string[] = [];
  const at = (partition: string): readonly StoredRecord[] => stored.get(partition) ?? [];
  const queued = new Map<string, number>();
  for (const [partition, records] of stored) {
    if (!/^(queue|reserved)\//.test(partition)) continue;
    for (const { key, value } of records) {
      const { task } = value as { task: string };
      const name = `${task} ${unleasedKey(key)}`;
      queued.set(name, (queued.get(name) ?? 0) + 1);
      if (partition.startsWith('reserved/') && !at('workers').some((marker) => `reserved/${marker.key}` === partition))
        wrong.push(`nobody looks after ${partition}`);
    }
  }
  const due = new Map<string, number>();
  for (const { key } of at('due')) {
    const [time, kind, ...id] = key.split('/');
    const name = kind === 'retry' ? `${kind} ${id.join('/')} ${Number(time)}` : `${kind} ${id.join('/')}`;
    due.set(name, (due.get(name) ?? 0) + 1);
  }
  const backingOff = new Set<string>();
  const indexes = new Set<string>();
  const matched = new Set<string>();
  for (const { key: id, value, revision } of at('tasks')) {
    const task = value as unknown as TaskRecord;
    for (const entry of indexesOf(id, task)) indexes.add(entry);
    if (due.get(`task ${id}`) !== 1) wrong.push(`${id} has ${due.get(`task ${id}`) ?? 0} entries for its deadline`);
    const { state, place, claim, to, attempt, retry } = task;
    if (attempt > 1 + retry.maxRetries) wrong.push(`${id} has begun ${attempt} attempts of ${1 + retry.maxRetries}`);
    const shouldBe = isOver(task) ? 'nowhere' : state === 'submitted' ? 'waiting' : 'claimed';
    const is = place && claim ? 'both' : place ? 'waiting' : claim ? 'claimed' : 'nowhere';
    if (is !== shouldBe) wrong.push(`${id}, which is ${state}, is ${is}`);
    if (claim && !at('workers').some((marker) => marker.key === `${claim.session}>${claim.incarnation}`))
      wrong.push(`nobody looks after ${claim.session}, which has ${id}`);
    if (place?.in === 'backoff') {
      backingOff.add(`retry ${id} ${place.until}`);
      if (due.get(`retry ${id} ${place.until}`) !== 1) wrong.push(`${id} waits for nothing`);
    }
    if (place?.in === 'queue') {
      const name = `${id} ${stampedKey(String(DIGITS[task.priority]), padded(revision), place.position)}`;
      matched.add(name);
      if (!to || queued.get(name) !== 1) wrong.push(`${id} is in ${queued.get(name) ?? 0} queues`);
      else if (!/^reserved/.test(whereIs(stored, name)) && whereIs(stored, name) !== `queue/${queueOf(to)}`)
        wrong.push(`${id} is in ${whereIs(stored, name)}`);
    }
  }
  for (const [partition, records] of stored) {
    if (partition.startsWith('queue/')) {
      for (const { key, value } of records) {
        const name = `${(value as { task: string }).task} ${key}`;
        if (!matched.has(name)) wrong.push(`${partition} has ${name}, which is not there`);
      }
    }
    if (!partition.startsWith('tasks.') || partition === 'tasks.parts') continue;
    for (const { key } of records) if (!indexes.delete(`${partition} ${key}`)) wrong.push(`${partition} has ${key}`);
  }
  for (const name of due.keys()) if (name.startsWith('retry ') && !backingOff.has(name)) wrong.push(`nobody waits for ${name}`);
  for (const entry of indexes) wrong.push(`missing: ${entry}`);
  for (const { key } of at('workers')) if (!due.get(`worker ${key}`)) wrong.push(`nobody looks at ${key}`);
  return [...wrong, ...auditStory(at('events'))];
}

/** What the events tell: each task ends once, after which nothing happens, and is begun no more often than it may. */
function auditStory(events: readonly StoredRecord[]): string[] {
  const wrong: string[] = [];
  const ended = new Set<unknown>();
  const claimed = new Set<unknown>();
  for (const { value } of events) {
    const { name, task, change } = value as unknown as LoggedEvent;
    if (!name.startsWith('task_')) continue;
    if (ended.has(task)) wrong.push(`${name} of ${String(task)}, which was over`);
    if (ENDS.includes(name)) ended.add(task);
    if (name === 'task_claimed') {
      if (claimed.has(task)) wrong.push(`${String(task)} was claimed twice`);
      claimed.add(task);
    } else if (['task_retried', 'task_handed_off'].includes(name) || change === 'returned') claimed.delete(task);
  }
  return wrong;
}

function indexesOf(id: string, task: TaskRecord): string[] {
  const { from, to, worker, claim, place, offer, collaborationId } = task;
  const sessions = new Set([from]);
  if (to && 'session' in to) sessions.add(to.session);
  if (worker !== undefined) sessions.add(worker);
  for (const asked of offer?.asked ?? []) sessions.add(asked);
  const waiting = new Set<string>();
  if (place?.in === 'backoff' && to && 'session' in to) waiting.add(to.session);
  if (place?.in === 'offer') for (const asked of offer?.asked ?? []) if (!offer?.declined.includes(asked)) waiting.add(asked);
  return [
    ...[...sessions].map((session) => `tasks.session=${session} ${id}`),
    ...[...waiting].map((session) => `tasks.waiting=${session} ${id}`),
    ...(claim ? [`tasks.worker=${claim.session} ${id}`] : []),
    ...(collaborationId === undefined ? [] : [`tasks.collaboration=${collaborationId} ${id}`]),
  ];
}

function whereIs(stored: Snapshot, name: string): string {
  for (const [partition, records] of stored) {
    if (!/^(queue|reserved)\//.test(partition)) continue;
    if (records.some(({ key, value }) => `${(value as { task: string }).task} ${unleasedKey(key)}` === name)) return partition;
  }
  return 'nowhere';
}

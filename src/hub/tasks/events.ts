import type { LoggedEvent, StoredEvent } from '../../storage/events/event-reader.ts';

interface TaskEvent extends LoggedEvent {
  readonly task: string;
  /** Who delegated or offered it. */
  readonly from: string;
  /** Whom it concerns: who works on it, or else the session that it is addressed to, or else who worked on it last. */
  readonly session?: string;
  /** How many attempts had been started. */
  readonly attempt: number;
  readonly collaboration?: string;
  readonly step?: string;
  /** The queue in which it now waits: `s=` and a session, or `c=` and a capability. */
  readonly queue?: string;
}

/** Why an attempt, or the task, was not completed. `error`: what the worker says; it stands in the task. */
export type TaskReason = 'error' | 'worker_lost' | 'not_alive' | 'timed_out' | 'canceled' | 'rejected' | 'declined';

/** What the hub tells about tasks. Ids and codes only, never what a task is about. */
export type TaskEvents = {
  task_delegated: TaskEvent;
  /** `asked`: how many sessions may accept it. */
  task_offered: TaskEvent & { readonly asked: number };
  task_claimed: TaskEvent & { readonly session: string };
  /**
   * `accepted`, `declined`: an offer; `queued`: its back-off is over; `returned`: a worker gave it back, which uses no
   * attempt; `question`, `input`: it waits for input, or got it.
   */
  task_updated: TaskEvent & {
    readonly change: 'accepted' | 'declined' | 'queued' | 'returned' | 'progress' | 'question' | 'input';
  };
  /** An attempt failed, and another will follow: at once (`queue`), or after its back-off. */
  task_retried: TaskEvent & { readonly reason: TaskReason };
  task_completed: TaskEvent;
  task_failed: TaskEvent & { readonly reason: TaskReason };
  task_canceled: TaskEvent & { readonly by?: string };
  task_rejected: TaskEvent & { readonly reason: TaskReason };
  /** `by` gave it on; `queue` says to whom. */
  task_handed_off: TaskEvent & { readonly by: string };
};

export const TASK_EVENTS: readonly (keyof TaskEvents)[] = [
  'task_delegated',
  'task_offered',
  'task_claimed',
  'task_updated',
  'task_retried',
  'task_completed',
  'task_failed',
  'task_canceled',
  'task_rejected',
  'task_handed_off',
];

/** The topic of everybody who waits for something to happen to a task. */
export function taskTopic(id: string): string {
  return `task/${id}`;
}

/** The topic of everybody who waits for work in a queue. */
export function queueTopic(queue: string): string {
  return `queue/${queue}`;
}

/** The topic of those who work for a session, of whatever happens to what they work on. */
export function workTopic(session: string): string {
  return `work/${session}`;
}

export function topicsOf({ task, queue, session }: StoredEvent): string[] {
  const topics = [taskTopic(String(task))];
  if (queue !== undefined) topics.push(queueTopic(String(queue)));
  if (session !== undefined) topics.push(workTopic(String(session)));
  return topics;
}

import type { JsonObject, JsonValue } from '../../kernel/json.ts';
import type { SessionSnapshot } from '../../registry/session.ts';
import type { Priority } from '../priority.ts';
import type { TaskReason } from './events.ts';

/**
 * `submitted`: it waits for a worker, for the end of a back-off, or for an offer to be accepted; `working` and
 * `input_required`: a session has claimed it. The others are final.
 */
export type TaskState = 'submitted' | 'working' | 'input_required' | 'completed' | 'failed' | 'canceled' | 'rejected';

export const TASK_STATES = [
  'submitted',
  'working',
  'input_required',
  'completed',
  'failed',
  'canceled',
  'rejected',
] as const satisfies readonly TaskState[];

/** Who is to do it: one session, or any that works for a capability. */
export type TaskTarget = { readonly session: string } | { readonly capability: string };

/** Whom an offer asks: one session, or all that were in a group or had a capability when it was made. */
export type OfferTarget = TaskTarget | { readonly group: string };

/** How often, and after what time, a task is tried again. */
export interface RetryPolicy {
  /** Attempts after the first one: 0 … 1,000. Default 3. */
  readonly maxRetries: number;
  /** Before retry n the task waits `delayMs` × n, or × 2ⁿ⁻¹. Default `exponential`. */
  readonly backoff: 'linear' | 'exponential';
  /** Default 1,000. */
  readonly delayMs: number;
}

/** How far a worker has come, as it says. */
export interface TaskProgress {
  readonly percent?: number;
  readonly message?: string;
  readonly data?: JsonValue;
  readonly at: number;
}

/** How `task.result` waits. */
export interface ResultOptions {
  /** How long to wait: 0 … 2,147,483,647. Default: until the task is over, which its own deadline bounds. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Work that one session gave to another, as it was when it was read. Frozen. */
export interface Task<Payload = JsonValue> {
  readonly id: string;
  readonly type: string;
  readonly title?: string;
  readonly state: TaskState;
  readonly from: string;
  /** Absent while it is offered. */
  readonly to?: TaskTarget;
  readonly priority: Priority;
  readonly payload: Payload;
  /** What whoever handed it off gave along. */
  readonly context?: JsonValue;
  readonly headers?: JsonObject;
  readonly collaborationId?: string;
  readonly step?: string;
  /** Attempts that were started and not given back; a handoff begins anew. */
  readonly attempt: number;
  readonly retry: RetryPolicy;
  /** The session that works on it, or did so last. */
  readonly worker?: string;
  readonly offer?: { readonly to: OfferTarget; readonly asked: readonly string[]; readonly declined: readonly string[] };
  readonly progress?: TaskProgress;
  /** What the worker asked last, and what it was answered. */
  readonly question?: JsonValue;
  readonly input?: JsonValue;
  /** What the worker made of it; `null` when it answered nothing. */
  readonly output?: JsonValue;
  /** Why the last attempt failed, or the task did not complete. */
  readonly reason?: TaskReason;
  /** The same in words: the worker's error, or what somebody gave as the reason. */
  readonly message?: string;
  readonly createdAt: number;
  readonly updatedAt: number;
  /** When it fails with `timed_out`, unless it is over before. */
  readonly deadline: number;
  readonly endedAt?: number;
  /**
   * Waits for the output, also in another process than the one that delegated it.
   * @throws MeshError `task_failed`, `task_canceled`, `task_rejected`, `timed_out` (`details.state` tells whether the
   * task, which is `failed` then, or only the wait); `details.reason` says why. `not_found` once it has been removed,
   * `aborted`, `closed`
   */
  result<Output = JsonValue>(options?: ResultOptions): Promise<Output>;
}

/** A value in the record, or, when it is large, in a record of its own, so that it is not written again at each change. */
export type Held = { readonly value: JsonValue } | { readonly part: number };

/** Whose attempt it is. Over when the session's lease is, or belongs to another incarnation or stint. */
export interface Claim {
  readonly session: string;
  readonly incarnation: string;
  readonly stint: number;
  /** Counts the claims of the task, so that no two of them are the same. */
  readonly number: number;
  /** In whose hands it was to be, so that a claim is known again whose commit had no answer. */
  readonly holder: string;
}

/** Where a submitted task waits. Its place in a queue is found from the revision of the commit that put it there. */
export type Place =
  | { readonly in: 'queue'; readonly position: number }
  | { readonly in: 'backoff'; readonly until: number }
  | { readonly in: 'offer' };

export interface Offer {
  readonly to: OfferTarget;
  readonly asked: readonly string[];
  readonly declined: readonly string[];
}

/** A task as it is stored. */
export interface TaskRecord {
  readonly type: string;
  readonly title?: string;
  readonly from: string;
  readonly to?: TaskTarget;
  readonly priority: Priority;
  readonly payload: Held;
  readonly context?: Held;
  readonly headers?: JsonObject;
  readonly collaborationId?: string;
  readonly step?: string;
  readonly retry: RetryPolicy;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly deadline: number;
  /** How long it stays once it is over. */
  readonly retainMs: number;
  readonly state: TaskState;
  readonly attempt: number;
  /** How often it was claimed. */
  readonly claims: number;
  readonly place?: Place;
  readonly claim?: Claim;
  readonly worker?: string;
  readonly offer?: Offer;
  readonly progress?: { readonly percent?: number; readonly message?: string; readonly data?: Held; readonly at: number };
  /** How many questions were asked. */
  readonly questions: number;
  readonly question?: Held;
  readonly input?: Held;
  readonly output?: Held;
  readonly reason?: TaskReason;
  readonly message?: string;
  readonly endedAt?: number;
  /** How many values were put into records of their own. */
  readonly parts: number;
}

/** Nothing more becomes of it. */
export function isOver({ state }: { readonly state: TaskState }): boolean {
  return state === 'completed' || state === 'failed' || state === 'canceled' || state === 'rejected';
}

/** It is open, and its time is not. Whoever sees it first records it. */
export function isOverdue(record: TaskRecord, now: number): boolean {
  return !isOver(record) && now >= record.deadline;
}

/** Whether a session as it was read is still the one that made a claim. */
export function isCurrent(claim: Claim, snapshot: SessionSnapshot | undefined): boolean {
  const lease = snapshot?.lease?.value;
  return (
    lease !== undefined &&
    snapshot?.record.incarnation === claim.incarnation &&
    lease.incarnation === claim.incarnation &&
    (lease.stint ?? 0) === claim.stint
  );
}

/** How long the next attempt waits after this one has failed. */
export function backoffMs({ backoff, delayMs }: RetryPolicy, attempt: number): number {
  return Math.min(delayMs * (backoff === 'linear' ? attempt : 2 ** (attempt - 1)), MAX_BACKOFF_MS);
}

/** Longer than any task may take. */
const MAX_BACKOFF_MS = 2 ** 31;

export function queueOf(to: TaskTarget): string {
  return 'session' in to ? `s=${to.session}` : `c=${to.capability}`;
}

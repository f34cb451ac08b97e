import * as z from 'zod';
import { MAX_TIMER_MS } from '../../kernel/clock.ts';
import {
  abortSignal,
  firstOf,
  id,
  line,
  MAX_TTL_MS,
  MIN_TTL_MS,
  names,
  plainArray,
  policy,
  text,
  wholeNumber,
} from '../../kernel/inputs.ts';
import { name, type SessionRef, sessionRef } from '../../registry/session-inputs.ts';
import { PRIORITIES, type Priority } from '../priority.ts';
import { type OfferTarget, type ResultOptions, type RetryPolicy, TASK_STATES, type TaskState, type TaskTarget } from './task.ts';

const TITLE_BYTES = 1024;
const REASON_BYTES = 1024;
const TYPE_BYTES = 256;
const MAX_RETRIES = 1000;
const PAGE = 1000;

/** A session by id or handle, or any that works for a capability. */
export type DelegateTarget = SessionRef | { readonly session: SessionRef } | { readonly capability: string };
/** The same, or all that are in a group. */
export type OfferedTo = DelegateTarget | { readonly group: string };

const SESSION = z.strictObject({ session: sessionRef });
const CAPABILITY = z.strictObject({ capability: name });
const GROUP = z.strictObject({ group: name });

const target = firstOf<DelegateTarget>('a session, { session } or { capability }', sessionRef, SESSION, CAPABILITY);
const offered = firstOf<OfferedTo>('a session, { session }, { capability } or { group }', sessionRef, SESSION, CAPABILITY, GROUP);

/** Says who is meant by an id or a handle. */
interface Names {
  nameOf(session: SessionRef): string;
}

/**
 * What a target names, without the handle.
 * @throws MeshError `invalid_input` for the handle of another mesh
 */
export function targetOf(to: DelegateTarget, names: Names): TaskTarget;
export function targetOf(to: OfferedTo, names: Names): OfferTarget;
export function targetOf(to: OfferedTo, names: Names): OfferTarget {
  if (typeof to === 'string') return { session: to };
  if ('capability' in to) return { capability: to.capability };
  if ('group' in to) return { group: to.group };
  return { session: names.nameOf('session' in to ? to.session : to) };
}

/** What is to be done. */
export interface TaskContent {
  /** Who delegates: an id, or a handle, which is fenced. Must exist. */
  readonly from: SessionRef;
  /** What kind of work it is, by which workers choose: one line of at most 256 bytes. */
  readonly type: string;
  /** One line of at most 1 KiB. */
  readonly title?: string | undefined;
  /** Any JSON of at most 1 MiB. Default `null`. */
  readonly payload?: unknown;
  /** Default `medium`. */
  readonly priority?: Priority | undefined;
  /** From now until it is over, however often it is tried: 0 … 2,147,483,647. Default 300,000. */
  readonly timeoutMs?: number | undefined;
  /** What is left out has its default: 3 retries, exponential from 1 s. */
  readonly retry?: { readonly [Name in keyof RetryPolicy]?: RetryPolicy[Name] | undefined } | undefined;
  /** How long it is kept once it is over, and at least until its deadline: 1 s … 30 days. Default 7 days. */
  readonly retainMs?: number | undefined;
  /** Marks the task as one of a collaboration. Not looked up here: `collaboration.delegate` also checks that both are there. */
  readonly collaborationId?: string | undefined;
  /** The step of the collaboration that it belongs to. */
  readonly step?: string | undefined;
  /** For whoever carries it further, such as `traceparent`: at most 16 KiB of JSON. */
  readonly headers?: unknown;
  /** Given again by the same delegator within 24 hours, the first task is what is answered; `already_exists` once that is removed. */
  readonly idempotencyKey?: string | undefined;
}

/** What `hub.delegate` is told. */
export interface DelegateOptions extends TaskContent {
  /** One session, which must exist and not have ended; or any worker for a capability. */
  readonly to: DelegateTarget;
}

/** What `hub.offer` is told. */
export interface OfferOptions extends TaskContent {
  /** Whom to ask: one session, or all that are alive now and have the capability or are in the group, at most 64. */
  readonly to: OfferedTo;
}

const CONTENT = {
  from: sessionRef,
  type: line(TYPE_BYTES),
  title: line(TITLE_BYTES).optional(),
  payload: z.unknown().optional(),
  priority: z.enum(PRIORITIES).default('medium'),
  timeoutMs: wholeNumber(0, MAX_TIMER_MS).default(300_000),
  retry: z
    .strictObject({
      maxRetries: wholeNumber(0, MAX_RETRIES).default(3),
      backoff: z.enum(['linear', 'exponential']).default('exponential'),
      delayMs: wholeNumber(0, MAX_TIMER_MS).default(1000),
    })
    .default({ maxRetries: 3, backoff: 'exponential', delayMs: 1000 }),
  retainMs: wholeNumber(MIN_TTL_MS, MAX_TTL_MS).default(7 * 86_400_000),
  collaborationId: id.optional(),
  step: line(TYPE_BYTES).optional(),
  headers: z.unknown().optional(),
  idempotencyKey: line(256).optional(),
};

export const DELEGATE = z.strictObject({ to: target, ...CONTENT });
export const OFFER = z.strictObject({ to: offered, ...CONTENT });
/** What both accept, accepted. */
export type Content = z.output<typeof OFFER>;

export const TASK_ID = id;

/** Who acts on a task. */
export interface ActOptions {
  /** Who acts: an id, or a handle, which is fenced. */
  readonly by: SessionRef;
}
/** Who acts on a task, and why. */
export interface ReasonOptions extends ActOptions {
  /** At most 1 KiB. */
  readonly reason?: string | undefined;
}

const reason = text(REASON_BYTES);
export const ACT = z.strictObject({ by: sessionRef });
export const DECLINE = z.strictObject({ by: sessionRef, reason: reason.default('declined') });
export const CANCEL = z.strictObject({ by: sessionRef.optional(), reason: reason.default('canceled') });
export const COMPLETE = z.strictObject({ by: sessionRef, result: z.unknown().optional() });
export const FAIL = z.strictObject({ by: sessionRef, reason: reason.default('failed') });
export const INPUT = z.strictObject({ by: sessionRef, input: z.unknown() });
export const HANDOFF = z.strictObject({ by: sessionRef, to: target, context: z.unknown().optional() });
export const HANDOFF_TO = HANDOFF.omit({ by: true });
export const REASON = reason;

/** What `hub.cancel` is told. */
export interface CancelOptions {
  /** Who cancels: an id, or a handle, which is fenced. */
  readonly by?: SessionRef | undefined;
  /** At most 1 KiB. Default `canceled`. */
  readonly reason?: string | undefined;
}
/** What `hub.complete` is told. */
export interface CompleteTaskOptions extends ActOptions {
  /** Any JSON of at most 1 MiB. Default `null`. */
  readonly result?: unknown;
}
/** What `hub.provideInput` is told. */
export interface ProvideInputOptions extends ActOptions {
  /** Any JSON of at most 1 MiB. */
  readonly input: unknown;
}
/** What `hub.handoff` is told. */
export interface HandoffOptions extends ActOptions {
  readonly to: DelegateTarget;
  /** Any JSON of at most 1 MiB. Default: that of the last handoff stays. */
  readonly context?: unknown;
}

/** How far a worker has come. */
export interface ProgressUpdate {
  /** 0 … 100. */
  readonly percent?: number | undefined;
  /** At most 1 KiB. */
  readonly message?: string | undefined;
  /** Any JSON of at most 1 MiB. */
  readonly data?: unknown;
}

const isPercent = (value: unknown): value is number => typeof value === 'number' && value >= 0 && value <= 100;
export const PROGRESS = z.strictObject({
  percent: policy(isPercent, 'a number between 0 and 100').optional(),
  message: reason.optional(),
  data: z.unknown().optional(),
});

/** Which tasks. */
export interface WorkChoice {
  /** Works for these. Default: the capabilities with which the session is registered. */
  readonly capabilities?: readonly string[] | undefined;
  /** Takes tasks of these types only, at most 64. Default: of all. */
  readonly types?: readonly string[] | undefined;
}

/** How `hub.work` works. */
export interface WorkOptions extends WorkChoice {
  /** How many tasks at a time: 1 … 1,000. Default 1. */
  readonly concurrency?: number | undefined;
  /** Ends the work as `stop()` does. */
  readonly signal?: AbortSignal | undefined;
}

/** What `hub.claim` is told. */
export interface ClaimOptions extends WorkChoice {
  /** 1 … 50. Default 1. */
  readonly limit?: number | undefined;
}

const typeName = line(TYPE_BYTES);
const types: z.ZodType<readonly string[]> = z.unknown().transform((value, { issues }) => {
  const copy = plainArray(value, 64) ?? [];
  if (copy.length > 0 && copy.every((type) => typeName.safeParse(type).success)) return copy as readonly string[];
  issues.push({ code: 'custom', message: 'an array of 1 to 64 types', input: value });
  return z.NEVER;
});
const CHOICE = { capabilities: names.optional(), types: types.optional() };

export const WORK = z.strictObject({
  ...CHOICE,
  concurrency: wholeNumber(1, 1000).default(1),
  signal: abortSignal.optional(),
});
export const CLAIM = z.strictObject({ ...CHOICE, limit: wholeNumber(1, 50).default(1) });
export const STOP = z.strictObject({ graceMs: wholeNumber(0, MAX_TIMER_MS).optional() });
export const WAIT = z.strictObject({ signal: abortSignal.optional() });

/** Conditions and paging of `hub.tasks`. */
export interface ListTasksOptions {
  /** Delegated by, addressed or offered to, or worked on by this session. */
  readonly session?: string | undefined;
  /** `open`: not over yet. */
  readonly state?: TaskState | 'open' | undefined;
  readonly type?: string | undefined;
  readonly collaborationId?: string | undefined;
  /** 1 … 1,000. Default 100. */
  readonly limit?: number | undefined;
  /** The `next` of the page before. */
  readonly after?: string | undefined;
}

export const LIST_TASKS = z.strictObject({
  session: id.optional(),
  state: z.enum([...TASK_STATES, 'open']).optional(),
  type: typeName.optional(),
  collaborationId: id.optional(),
  limit: wholeNumber(1, PAGE).default(100),
  after: id.optional(),
});

export const RESULT: z.ZodType<ResultOptions> = z.strictObject({
  timeoutMs: wholeNumber(0, MAX_TIMER_MS).optional(),
  signal: abortSignal.optional(),
});

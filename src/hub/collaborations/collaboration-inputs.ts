import * as z from 'zod';
import { MeshError } from '../../kernel/errors.ts';
import { callback, id, jsonValue, line, parse, policy, text, wholeNumber } from '../../kernel/inputs.ts';
import { toJson } from '../../kernel/json.ts';
import { type SessionRef, sessionRef } from '../../registry/session-inputs.ts';
import { LIMITS } from '../../storage/checked.ts';
import type { CollaborationState, Outcome } from './collaboration-record.ts';
import type { DelegateInCollaborationOptions } from './collaboration-tasks.ts';

const NAME_BYTES = 128;
const TEXT_BYTES = 1024;
/** Beside artifacts of 1 MiB, so much still fits into a record. */
const SUMMARY_BYTES = 32 * 1024;
const OUTCOME_ROOM = { levels: 1, parts: 4 };
const PAGE = 1000;
const MAX_SUMMARIZED = 10_000;

export const STEP_NAME = line(NAME_BYTES);

/** What `collaboration.join` is told. */
export interface JoinOptions {
  /** Who joins: an id, also of a session that is not registered yet, or a handle, which is fenced. */
  readonly session: SessionRef;
  /** At most 128 bytes. Default: that of its invitation, else `participant`. */
  readonly role?: string | undefined;
}

export const JOIN: z.ZodType<JoinOptions> = z.strictObject({ session: sessionRef, role: line(NAME_BYTES).optional() });

/** What `collaboration.leave` is told. */
export interface LeaveOptions {
  /** Who leaves: an id, or a handle, which is fenced. */
  readonly session: SessionRef;
}

export const LEAVE: z.ZodType<LeaveOptions> = z.strictObject({ session: sessionRef });

/** What `collaboration.completeStep` is told. */
export interface CompleteStepOptions {
  /** The participant that has done it: an id, or a handle, which is fenced. */
  readonly by: SessionRef;
  /** What came of it: any JSON of at most 1 MiB. */
  readonly output?: unknown;
}

export const COMPLETE_STEP: z.ZodType<CompleteStepOptions> = z.strictObject({ by: sessionRef, output: z.unknown().optional() });

/** What `collaboration.updateContext` is told besides the change. */
export interface UpdateContextOptions {
  /** Who changes it: an id, or a handle, which is fenced. */
  readonly by?: SessionRef | undefined;
}

export const CHANGE = callback<(context: never) => unknown>();
export const UPDATE_CONTEXT: z.ZodType<UpdateContextOptions> = z.strictObject({ by: sessionRef.optional() });

/** What `collaboration.complete` is told. */
export interface CompleteOptions {
  /** Who completes it: an id, or a handle, which is fenced. */
  readonly by?: SessionRef | undefined;
  /** At most 32 KiB. */
  readonly summary?: string | undefined;
  /** What was made: any JSON of at most 1 MiB. */
  readonly artifacts?: unknown;
}

const COMPLETE = z.strictObject({
  by: sessionRef.optional(),
  summary: text(SUMMARY_BYTES).optional(),
  artifacts: z.unknown().optional(),
});

/** What `collaboration.terminate` is told. */
export interface TerminateOptions {
  /** Who terminates it: an id, or a handle, which is fenced. */
  readonly by?: SessionRef | undefined;
  /** At most 1 KiB. Default `terminated`. */
  readonly reason?: string | undefined;
  /** Any JSON of at most 1 MiB. */
  readonly details?: unknown;
}

const TERMINATE = z.strictObject({
  by: sessionRef.optional(),
  reason: text(TEXT_BYTES).default('terminated'),
  details: z.unknown().optional(),
});

/** An ending as it is asked for. */
export interface EndingRequest {
  readonly state: 'completed' | 'terminated';
  readonly by: SessionRef | undefined;
  readonly reason?: string;
  readonly outcome: Outcome;
}

/** @throws MeshError `invalid_input`, `limit_exceeded` */
export function acceptCompletion(options: unknown): EndingRequest {
  const { by, summary, artifacts } = parse(COMPLETE, options, 'options');
  const outcome = {
    ...(summary !== undefined && { summary }),
    ...(artifacts !== undefined && { artifacts: jsonValue(artifacts, 'options.artifacts') }),
  };
  return { state: 'completed', by, outcome: outcomeOf(outcome) };
}

/** @throws MeshError `invalid_input`, `limit_exceeded` */
export function acceptTermination(options: unknown): EndingRequest {
  const { by, reason, details } = parse(TERMINATE, options, 'options');
  const outcome = details === undefined ? {} : { details: jsonValue(details, 'options.details') };
  return { state: 'terminated', by, reason, outcome: outcomeOf(outcome) };
}

/** Conditions and paging of `hub.collaborations`. */
export interface ListCollaborationsOptions {
  /** Default: any. */
  readonly state?: CollaborationState | undefined;
  /** Who takes part: as initiator, invited or joined. */
  readonly session?: string | undefined;
  /** 1 … 1,000. Default 100. */
  readonly limit?: number | undefined;
  /** The `next` of the page before. */
  readonly after?: string | undefined;
}

export const LIST_COLLABORATIONS = z.strictObject({
  state: z.enum(['active', 'completed', 'terminated']).optional(),
  session: id.optional(),
  limit: wholeNumber(1, PAGE).default(100),
  after: id.optional(),
});

const isAbsent = (value: unknown): value is undefined => value === undefined;

/** Only that it names no collaboration; what else there is the tasks look at. */
export const DELEGATE_INSIDE = z.looseObject({
  collaborationId: policy(isAbsent, 'left out').optional(),
}) as unknown as z.ZodType<DelegateInCollaborationOptions>;

/** What `collaboration.summary` is told. */
export interface SummaryOptions {
  /** How many tasks are told one by one, with their results: 0 … 10,000. Default 1,000. All are counted. */
  readonly limit?: number | undefined;
}

export const SUMMARY = z.strictObject({ limit: wholeNumber(0, MAX_SUMMARIZED).default(1000) });

export const COLLABORATION_ID = id;

export function idOf(ref: SessionRef): string {
  return typeof ref === 'string' ? ref : ref.id;
}

export function tooMany(maxParticipants: number, got: number): MeshError {
  return new MeshError('limit_exceeded', `expected at most ${maxParticipants} participants, got ${got}`, {
    details: { maxParticipants },
  });
}

function outcomeOf(outcome: Outcome): Outcome {
  // Text may take six times its bytes as JSON, so the whole is measured.
  return toJson(outcome, 'options', LIMITS.valueBytes, OUTCOME_ROOM) as Outcome;
}

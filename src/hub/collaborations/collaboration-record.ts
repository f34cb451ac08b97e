import type { JsonObject, JsonValue } from '../../kernel/json.ts';
import type { Step } from './steps.ts';

/** `active` until it is completed or terminated, once, whoever comes first. */
export type CollaborationState = 'active' | 'completed' | 'terminated';

/** A session that takes part, with its role. */
export interface Participant {
  readonly session: string;
  readonly role: string;
  /** When it joined; absent of who was invited and is active without having joined. */
  readonly joinedAt?: number;
}

/**
 * Whether a participant can act, computed at every read: `invited` before a session of its id is registered, `active`
 * from then on, `gone` once that session has ended or was killed.
 */
export type ParticipantState = 'invited' | 'active' | 'gone';

/** How a collaboration ended. */
export interface Ending {
  readonly state: 'completed' | 'terminated';
  readonly at: number;
  readonly by?: string;
  /** Why it was terminated; `timeout` when nothing had happened for too long. */
  readonly reason?: string;
  /** Nobody did it. */
  readonly timedOut?: true;
}

/** What came of it: the summary and artifacts of a completion, the details of a termination. */
export interface Outcome {
  readonly summary?: string;
  readonly artifacts?: JsonValue;
  readonly details?: JsonValue;
}

/** A collaboration as it is stored, but for what may be large: context, step outputs and outcome have their own records. */
export interface CollaborationRecord {
  readonly initiator: string;
  /** The initiator too, as the first. */
  readonly participants: readonly Participant[];
  readonly maxParticipants: number;
  readonly timeoutMs?: number;
  readonly steps: readonly Step[];
  readonly metadata: JsonObject;
  readonly createdAt: number;
  /** The last change of this record, or the last transition of its tasks that a sweep has noted. */
  readonly activeAt: number;
  readonly ending?: Ending;
}

/** The shared context as it is stored. */
export interface ContextRecord {
  readonly value: JsonObject;
  /** 1 for what it was created with. */
  readonly version: number;
  readonly at: number;
}

/** A collaboration as lists show it. */
export interface CollaborationInfo {
  readonly id: string;
  readonly state: CollaborationState;
  readonly initiator: string;
  /** The initiator too, as the first. */
  readonly participants: readonly Participant[];
  readonly maxParticipants: number;
  /** After so long without activity it is terminated. */
  readonly timeoutMs?: number;
  readonly steps: readonly Step[];
  readonly metadata: JsonObject;
  readonly createdAt: number;
  readonly endedAt?: number;
  readonly endedBy?: string;
  /** Why it was terminated. */
  readonly reason?: string;
}

/** The same with what only it alone is asked for. */
export interface CollaborationDetails extends CollaborationInfo, Outcome {
  readonly participants: readonly (Participant & { readonly state: ParticipantState })[];
}

export function infoOf(id: string, record: CollaborationRecord, ending: Ending | undefined): CollaborationInfo {
  const { initiator, participants, maxParticipants, timeoutMs, steps, metadata, createdAt } = record;
  return {
    id,
    state: ending?.state ?? 'active',
    initiator,
    participants,
    maxParticipants,
    ...(timeoutMs !== undefined && { timeoutMs }),
    steps,
    metadata,
    createdAt,
    ...(ending && { endedAt: ending.at }),
    ...(ending?.by !== undefined && { endedBy: ending.by }),
    ...(ending?.reason !== undefined && { reason: ending.reason }),
  };
}

export function participantOf({ participants }: CollaborationRecord, session: string): Participant | undefined {
  return participants.find((participant) => participant.session === session);
}

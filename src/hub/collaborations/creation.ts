import * as z from 'zod';
import { MAX_TIMER_MS } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import { id, jsonObject, MIN_TTL_MS, parse, policy, text, wholeNumber } from '../../kernel/inputs.ts';
import { type JsonObject, toJson } from '../../kernel/json.ts';
import type { Fence } from '../../registry/fence.ts';
import { type SessionRef, sessionRef } from '../../registry/session-inputs.ts';
import { JOIN, STEP_NAME, tooMany } from './collaboration-inputs.ts';
import type { Participant } from './collaboration-record.ts';
import { checkSteps, type Step } from './steps.ts';

/** Each participant has an index entry, and all must fit into one commit. */
const MAX_PARTICIPANTS = 500;
const MAX_STEPS = 100;
const DESCRIPTION_BYTES = 1024;
/** Together with participants and whatever comes later they stay within one record. */
const STEPS_BYTES = 256 * 1024;
const METADATA_BYTES = 64 * 1024;

const uniqueOf = (item: z.ZodType<string>, what: string): z.ZodType<string[]> =>
  policy(
    (value): value is string[] =>
      Array.isArray(value) &&
      value.length <= MAX_STEPS &&
      value.every((name) => item.safeParse(name).success) &&
      new Set(value).size === value.length,
    `an array of at most ${MAX_STEPS} different ${what}`,
  );

/** Looked at before its items are, which may be many. */
const listOf = <T>(item: z.ZodType<T>, atMost: number) =>
  policy((value): value is unknown[] => Array.isArray(value) && value.length <= atMost, `an array of at most ${atMost}`).pipe(
    z.array(item),
  );

/** Who is invited to a new collaboration. */
export interface ParticipantInput {
  /** Need not be registered yet. */
  readonly session: SessionRef;
  /** At most 128 bytes. Default `participant`. */
  readonly role?: string | undefined;
}

/** A step of a new collaboration. */
export interface StepInput {
  /** At most 128 bytes, different from that of every other step. */
  readonly name: string;
  /** Who may complete it. Default: any active participant. */
  readonly requires?: readonly string[] | undefined;
  /** The steps that must be completed before it, wherever they stand in the list. */
  readonly after?: readonly string[] | undefined;
  /** At most 1 KiB. */
  readonly description?: string | undefined;
}

/** What `hub.createCollaboration` is told. */
export interface CreateCollaborationOptions {
  /** Default: `collab_` and 21 random letters or digits. */
  readonly id?: string | undefined;
  /** A registered session. It is a participant too, with the role `initiator` unless `participants` gives it another. */
  readonly initiator: SessionRef;
  /** Who is invited besides the initiator. */
  readonly participants?: readonly ParticipantInput[] | undefined;
  /** 1 … 500, the initiator included. Default 100. */
  readonly maxParticipants?: number | undefined;
  /** After so long without activity it is terminated: 1 s … 2,147,483,647 ms. Default: never. */
  readonly timeoutMs?: number | undefined;
  /** At most 100, and 256 KiB together. */
  readonly steps?: readonly StepInput[] | undefined;
  /** What the shared context is at first: an object of at most 1 MiB. Default empty. */
  readonly context?: unknown;
  /** An object of at most 64 KiB, which never changes. Default empty. */
  readonly metadata?: unknown;
}

const STEP = z.strictObject({
  name: STEP_NAME,
  requires: uniqueOf(id, 'ids of sessions').default([]),
  after: uniqueOf(STEP_NAME, 'names of steps').default([]),
  description: text(DESCRIPTION_BYTES).optional(),
});

const CREATE = z.strictObject({
  id: id.optional(),
  initiator: sessionRef,
  participants: listOf(JOIN, MAX_PARTICIPANTS).default([]),
  maxParticipants: wholeNumber(1, MAX_PARTICIPANTS).default(100),
  timeoutMs: wholeNumber(MIN_TTL_MS, MAX_TIMER_MS).optional(),
  steps: listOf(STEP, MAX_STEPS).default([]),
  context: z.unknown().optional(),
  metadata: z.unknown().optional(),
});

/** A new collaboration, accepted: what is in it is the library's own. */
export interface Creation {
  readonly id: string | undefined;
  readonly initiator: SessionRef;
  readonly participants: readonly Participant[];
  readonly maxParticipants: number;
  readonly timeoutMs: number | undefined;
  readonly steps: readonly Step[];
  readonly context: JsonObject;
  readonly metadata: JsonObject;
}

/** @throws MeshError `invalid_input`, `limit_exceeded` */
export function acceptCreation(options: unknown, fence: Fence): Creation {
  const given = parse(CREATE, options, 'options');
  const { id, initiator, maxParticipants, timeoutMs } = given;
  const participants = membersOf(fence.nameOf(initiator), given.participants, fence);
  if (participants.length > maxParticipants) throw tooMany(maxParticipants, participants.length);
  const steps = toJson(given.steps.map(stepOf), 'options.steps', STEPS_BYTES) as unknown as readonly Step[];
  checkSteps(steps, new Set(participants.map(({ session }) => session)));
  const { context = {}, metadata = {} } = given;
  jsonObject(metadata, 'options.metadata');
  return {
    id,
    initiator,
    participants,
    maxParticipants,
    timeoutMs,
    steps,
    context: jsonObject(context, 'options.context'),
    metadata: toJson(metadata, 'options.metadata', METADATA_BYTES) as JsonObject,
  };
}

/** The initiator first, then the others in the order given. */
function membersOf(initiator: string, invited: readonly ParticipantInput[], fence: Fence): Participant[] {
  const members = new Map([[initiator, { session: initiator, role: 'initiator' }]]);
  const seen = new Set<string>();
  invited.forEach(({ session, role: given }, n) => {
    const id = fence.nameOf(session);
    const role = given ?? (id === initiator ? 'initiator' : 'participant');
    if (seen.has(id)) {
      throw new MeshError('invalid_input', `expected every participant once, got ${id} again`, {
        details: { path: `options.participants.${n}.session` },
      });
    }
    seen.add(id);
    members.set(id, { session: id, role });
  });
  return [...members.values()];
}

function stepOf({ name, requires, after, description }: z.output<typeof STEP>): Step {
  return { name, requires, after, ...(description !== undefined && { description }) };
}

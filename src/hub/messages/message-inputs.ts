import * as z from 'zod';
import { MAX_TIMER_MS } from '../../kernel/clock.ts';
import {
  abortSignal,
  firstOf,
  ID_PATTERN,
  id,
  line,
  MAX_TTL_MS,
  MIN_TTL_MS,
  parse,
  policy,
  text,
  wholeNumber,
} from '../../kernel/inputs.ts';
import { name, type SessionRef, sessionRef } from '../../registry/session-inputs.ts';
import { PRIORITIES, type Priority } from '../priority.ts';
import { MESSAGE_TYPES, type MessageType, placeOf } from './message.ts';

const SUBJECT_BYTES = 1024;
export const BODY_BYTES = 1024 * 1024;
const REASON_BYTES = 1024;
const THREAD_BYTES = 192;

/** A message by its id, or as it was received. */
export type MessageRef = string | { readonly id: string };

/** Ids are opaque: any that could be one is looked for, and not found. */
const isMessageId = (value: unknown): value is string =>
  placeOf(value) !== undefined || (typeof value === 'string' && ID_PATTERN.test(value));

function idOf(value: unknown): unknown {
  try {
    return typeof value === 'object' && value !== null ? (value as { readonly id?: unknown }).id : value;
  } catch {
    // An accessor or a proxy that throws.
    return undefined;
  }
}

const messageRef = policy((value): value is MessageRef => isMessageId(idOf(value)), 'a message or its id');

/** @throws MeshError `invalid_input` */
export function messageIdFrom(ref: unknown, what: string): string {
  const id = idOf(ref);
  return placeOf(id) ? (id as string) : (idOf(parse(messageRef, ref, what)) as string);
}

const priority = z.enum(PRIORITIES);
const type = z.enum(MESSAGE_TYPES);
/** The cursor of a page of messages: the stamp behind which it goes on. */
const stamp = policy((value): value is string => typeof value === 'string' && /^\d{20}$/.test(value), 'the next of a page');
const timeoutMs = wholeNumber(0, MAX_TIMER_MS);
const limit = wholeNumber(1, 1000).default(100);

/** What a message says. */
export interface MessageContent {
  /** One line of at most 1 KiB. */
  readonly subject?: string | undefined;
  /** At most 1 MiB, together with `data`. */
  readonly body?: string | undefined;
  /** Any JSON. */
  readonly data?: unknown;
  /** Default `medium`. */
  readonly priority?: Priority | undefined;
  /** For whoever carries it further, such as `traceparent`: at most 16 KiB of JSON. */
  readonly headers?: unknown;
}

const CONTENT = {
  subject: line(SUBJECT_BYTES).optional(),
  body: text(BODY_BYTES).optional(),
  data: z.unknown().optional(),
  priority: priority.default('medium'),
  headers: z.unknown().optional(),
};

/** A session by id or handle, all of a group that are alive, or exactly one specialist: alive, the least loaded. */
export type SendTarget = SessionRef | { readonly group: string } | { readonly capability: string };

interface Posting extends MessageContent {
  /** Who sends: an id, or a handle, which is fenced. */
  readonly from: SessionRef;
  /** Default `notification`; of `broadcast`, `broadcast`. */
  readonly type?: MessageType | undefined;
  /** Given again by the same sender within 24 hours, the first message is what is answered; `already_exists` once that is removed. */
  readonly idempotencyKey?: string | undefined;
  /** How long it may wait: 1 s … 30 days. Default: until the retention of the mailbox is over. */
  readonly ttlMs?: number | undefined;
  /** The conversation it belongs to: the id of a message in it, or a name. Default: it begins one. */
  readonly threadId?: string | undefined;
}

/** What `hub.send` is told. */
export interface SendOptions extends Posting {
  readonly to: SendTarget;
  /** Refuses a recipient that is offline instead of keeping the message for it. */
  readonly requireAlive?: boolean | undefined;
}

const POSTING = {
  from: sessionRef,
  type: type.optional(),
  idempotencyKey: line(256).optional(),
  ttlMs: wholeNumber(MIN_TTL_MS, MAX_TTL_MS).optional(),
  threadId: line(THREAD_BYTES).optional(),
  ...CONTENT,
};

const GROUP = z.strictObject({ group: name });
const CAPABILITY = z.strictObject({ capability: name });

const target = firstOf<SendTarget>('a session, { group } or { capability }', sessionRef, GROUP, CAPABILITY);

export const SEND = z.strictObject({ to: target, requireAlive: z.boolean().default(false), ...POSTING });

/** What `hub.broadcast` is told. */
export type BroadcastOptions = Posting;
export const BROADCAST = z.strictObject(POSTING);

/** What `hub.request` is told. */
export interface RequestOptions extends MessageContent {
  readonly from: SessionRef;
  readonly to: SessionRef;
  readonly threadId?: string | undefined;
  /** How long to wait for the answer, after which nobody gets the request any more: 1 … 2,147,483,647. Default 30,000. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export const REQUEST_TIMEOUT_MS = 30_000;

export const REQUEST = z.strictObject({
  from: sessionRef,
  to: sessionRef,
  threadId: line(THREAD_BYTES).optional(),
  timeoutMs: wholeNumber(1, MAX_TIMER_MS).default(REQUEST_TIMEOUT_MS),
  signal: abortSignal.optional(),
  ...CONTENT,
});

/** What `hub.reply` is told. */
export interface ReplyOptions extends MessageContent {
  readonly from: SessionRef;
  /** Default `response`. */
  readonly type?: MessageType | undefined;
  readonly idempotencyKey?: string | undefined;
}

export const REPLY = z.strictObject({
  from: sessionRef,
  type: type.default('response'),
  idempotencyKey: line(256).optional(),
  ...CONTENT,
});

/** What `hub.ping` is told. */
export interface PingOptions {
  readonly from: SessionRef;
  readonly to: SessionRef;
  /** 1 … 2,147,483,647. Default 5,000. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export const PING = z.strictObject({
  from: sessionRef,
  to: sessionRef,
  timeoutMs: wholeNumber(1, MAX_TIMER_MS).default(5000),
  signal: abortSignal.optional(),
});

/** How an inbox claims. */
export interface InboxOptions {
  /** How long a claim lasts unless it is extended: 1 s … 30 days. Default: the hub's, 30 s. */
  readonly visibilityMs?: number | undefined;
  /** Ends what waits on this inbox. */
  readonly signal?: AbortSignal | undefined;
}

export const INBOX = z.strictObject({
  visibilityMs: wholeNumber(MIN_TTL_MS, MAX_TTL_MS).optional(),
  signal: abortSignal.optional(),
});

/** What `inbox.receive` is told. */
export interface ReceiveOptions {
  /** 1 … 1,000. Default 1. */
  readonly limit?: number | undefined;
  /** How long to wait for the first one; 0, the default, looks once. */
  readonly timeoutMs?: number | undefined;
  /** Only messages of these types. */
  readonly types?: readonly MessageType[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

const types = z.array(type).min(1).max(MESSAGE_TYPES.length);

export const RECEIVE = z.strictObject({
  limit: wholeNumber(1, 1000).default(1),
  timeoutMs: timeoutMs.default(0),
  types: types.optional(),
  signal: abortSignal.optional(),
});

/** How `inbox.handle` hands out messages. */
export interface HandleOptions {
  /** How many at the same time: 1 … 1,000. Default 1. */
  readonly concurrency?: number | undefined;
  /** Only messages of these types; others stay for other consumers. */
  readonly types?: readonly MessageType[] | undefined;
  /** Stops the consumer. */
  readonly signal?: AbortSignal | undefined;
}

export const HANDLE = z.strictObject({
  concurrency: wholeNumber(1, 1000).default(1),
  types: types.optional(),
  signal: abortSignal.optional(),
});

export const NAK = z.strictObject({ delayMs: wholeNumber(0, MAX_TTL_MS).default(0), reason: text(REASON_BYTES).optional() });
export const REASON = text(REASON_BYTES).default('terminated');
export const EXTEND_MS = wholeNumber(1, MAX_TTL_MS);

/** Conditions and paging of `hub.messages`. */
export interface MessagesOptions {
  /** Whose mailbox. */
  readonly session: string;
  readonly type?: MessageType | undefined;
  readonly from?: string | undefined;
  /** `true`: only what that session has not settled; `false`: only what it has. */
  readonly unread?: boolean | undefined;
  /** Whether messages to groups and to all count. Default true. */
  readonly includeBroadcasts?: boolean | undefined;
  /** 1 … 1,000. Default 100. */
  readonly limit?: number | undefined;
  /** The `next` of the page before. */
  readonly after?: string | undefined;
}

export const MESSAGES = z.strictObject({
  session: id,
  type: type.optional(),
  from: id.optional(),
  unread: z.boolean().optional(),
  includeBroadcasts: z.boolean().default(true),
  limit,
  after: stamp.optional(),
});

/** Conditions and paging of `hub.deadLetters`. */
export interface DeadLettersOptions {
  /** Default: those of all sessions. */
  readonly session?: string | undefined;
  /** 1 … 1,000. Default 100. */
  readonly limit?: number | undefined;
  /** The `next` of the page before. */
  readonly after?: string | undefined;
}

export const DEAD_LETTERS = z.strictObject({
  session: id.optional(),
  limit,
  after: policy(
    (value): value is string => typeof value === 'string' && placeOf(value) !== undefined,
    'the next of a page',
  ).optional(),
});

/** What `hub.redrive` is told. */
export interface RedriveOptions {
  /** Whose copy, of a message to many. */
  readonly session?: string | undefined;
}

export const REDRIVE = z.strictObject({ session: id.optional() });

/** What `hub.purge` is told. */
export interface PurgeOptions {
  /** Only messages of these types. Default: all. */
  readonly types?: readonly MessageType[] | undefined;
}

export const PURGE = z.strictObject({ types: types.optional() });

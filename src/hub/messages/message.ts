import { MeshError } from '../../kernel/errors.ts';
import { ID_PATTERN } from '../../kernel/inputs.ts';
import { type JsonObject, type JsonValue, jsonBytesAtMost, textBytesAtMost } from '../../kernel/json.ts';
import { STAMP_LENGTH } from '../../storage/keys.ts';
import { NamesOf } from '../names-of.ts';
import type { Priority } from '../priority.ts';

export const MESSAGE_TYPES = [
  'ping',
  'request',
  'response',
  'broadcast',
  'notification',
  'task_offer',
  'task_accept',
  'sync',
  'handoff',
] as const;

/** What kind of note a message is. */
export type MessageType = (typeof MESSAGE_TYPES)[number];

/** Whom a message was addressed to: a session, a group, any one specialist, or `*`: everybody. */
export type MessageTarget = string | { readonly group: string } | { readonly capability: string };

/** A typed note from one session to others. */
export interface Message {
  /** Opaque, at most 192 characters. The copies of a broadcast share it. */
  readonly id: string;
  readonly from: string;
  readonly to: MessageTarget;
  readonly type: MessageType;
  readonly subject?: string;
  readonly body?: string;
  readonly data?: JsonValue;
  readonly priority: Priority;
  /** The conversation it belongs to: the id of its first message, or a name of the sender's choice. */
  readonly threadId: string;
  /** The message that it answers. */
  readonly replyTo?: string;
  readonly headers?: JsonObject;
  readonly at: number;
  /** From this millisecond on nobody gets it any more. */
  readonly expiresAt?: number;
}

/**
 * What has become of a message in a mailbox: `ready` and `claimed` are open; `acked`, `dead`, `expired` and `purged` are
 * how it ends.
 */
export type MessageState = 'ready' | 'claimed' | 'acked' | 'dead' | 'expired' | 'purged';

/** A message as it is stored. */
export interface MessageRecord extends Omit<Message, 'id' | 'threadId'> {
  /** Absent where the message begins a conversation. */
  readonly threadId?: string;
  /** Of a request whose sender waits for the answer: under this name it is told. */
  readonly waiter?: string;
  /** The answer to such a request: it was never queued. */
  readonly settled?: true;
}

/** In a mailbox, where the message of many recipients is stored elsewhere: its stamp, or its position in the same commit. */
export interface SharedRecord {
  readonly shared: string | number;
  readonly at: number;
  readonly priority: Priority;
  readonly expiresAt?: number;
}

export type MailRecord = MessageRecord | SharedRecord;

/** The mailbox in which messages of many recipients are stored once. No session is called like this. */
export const SHARED = '*';
const SEPARATOR = '!';
const STAMP = /^\d+$/;

/** Where a message is, and what it is called: its mailbox and its stamp. */
export interface MessagePlace {
  readonly mailbox: string;
  readonly stamp: string;
}

const PREFIXES = new NamesOf('', SEPARATOR);

export function messageIdOf({ mailbox, stamp }: MessagePlace): string {
  return PREFIXES.of(mailbox) + stamp;
}

/** What leads the ids of the messages of a mailbox. */
export function messageIdPrefix(mailbox: string): string {
  return PREFIXES.of(mailbox);
}

export function placeOf(id: unknown): MessagePlace | undefined {
  if (typeof id !== 'string') return undefined;
  const split = id.length - STAMP_LENGTH - 1;
  if (split < 1 || id[split] !== SEPARATOR) return undefined;
  const mailbox = id.slice(0, split);
  const stamp = id.slice(split + 1);
  return STAMP.test(stamp) && (mailbox === SHARED || ID_PATTERN.test(mailbox)) ? { mailbox, stamp } : undefined;
}

export function unknownMessage(id: string): MeshError {
  return new MeshError('not_found', 'expected a message that is kept, got none of this id', { details: { message: id } });
}

/** How many bytes of JSON a message takes at most, of which the parts were checked one by one. */
export function mailBytesAtMost(mail: MailRecord): number {
  if (isShared(mail)) return MAIL_BYTES;
  const { subject, body, threadId, data, headers } = mail;
  const texts = textBytesAtMost(subject) + textBytesAtMost(body) + textBytesAtMost(threadId);
  return MAIL_BYTES + texts + valueBytesAtMost(data) + valueBytesAtMost(headers);
}

function valueBytesAtMost(value: JsonValue | undefined): number {
  return value === undefined ? 0 : jsonBytesAtMost(value);
}

/** What a message takes besides its texts and data: names, numbers, and up to six ids. */
const MAIL_BYTES = 1536;

export function isShared(record: MailRecord): record is SharedRecord {
  return 'shared' in record;
}

/** Nobody gets a message at or after its expiry. The time is asked for only where it matters: few messages expire. */
export function isExpired({ expiresAt }: { readonly expiresAt?: number }, clock: { now(): number }): boolean {
  return expiresAt !== undefined && clock.now() >= expiresAt;
}

/** What callers see of a stored message, frozen. By hand, since to spread a frozen object takes as long as to send one. */
export function viewOf(id: string, record: MessageRecord): Message {
  const { from, to, type, subject, body, data, priority, threadId = id, replyTo, headers, at, expiresAt } = record;
  let view: { -readonly [Field in keyof Message]: Message[Field] };
  if (subject !== undefined && body !== undefined && data !== undefined) {
    // As in `messageRecord`.
    view = { id, from, to, type, priority, threadId, at, subject, body, data };
  } else {
    view = { id, from, to, type, priority, threadId, at };
    if (subject !== undefined) view.subject = subject;
    if (body !== undefined) view.body = body;
    if (data !== undefined) view.data = data;
  }
  if (replyTo !== undefined) view.replyTo = replyTo;
  if (headers !== undefined) view.headers = headers;
  if (expiresAt !== undefined) view.expiresAt = expiresAt;
  return Object.freeze(view);
}

import { MeshError } from '../../kernel/errors.ts';
import { ID_PATTERN } from '../../kernel/inputs.ts';
import type { JsonObject, JsonValue } from '../../kernel/json.ts';
import { STAMP_LENGTH } from '../../storage/keys.ts';
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
const MESSAGE_ID = new RegExp(`^(.{1,128})${SEPARATOR}(\\d{${STAMP_LENGTH}})$`);

/** Where a message is, and what it is called: its mailbox and its stamp. */
export interface MessagePlace {
  readonly mailbox: string;
  readonly stamp: string;
}

export function messageIdOf({ mailbox, stamp }: MessagePlace): string {
  return mailbox + SEPARATOR + stamp;
}

/** What leads the ids of the messages of a mailbox. */
export function messageIdPrefix(mailbox: string): string {
  return mailbox + SEPARATOR;
}

export function placeOf(id: unknown): MessagePlace | undefined {
  const match = typeof id === 'string' ? MESSAGE_ID.exec(id) : null;
  const [, mailbox, stamp] = match ?? [];
  if (mailbox === undefined || stamp === undefined || (mailbox !== SHARED && !ID_PATTERN.test(mailbox))) return undefined;
  return { mailbox, stamp };
}

export function unknownMessage(id: string): MeshError {
  return new MeshError('not_found', 'expected a message that is kept, got none of this id', { details: { message: id } });
}

export function isShared(record: MailRecord): record is SharedRecord {
  return 'shared' in record;
}

/** Nobody gets a message at or after its expiry. */
export function isExpired({ expiresAt }: { readonly expiresAt?: number }, now: number): boolean {
  return expiresAt !== undefined && now >= expiresAt;
}

export function viewOf(id: string, record: MessageRecord): Message {
  const threadId = record.threadId ?? id;
  if (record.waiter === undefined) return { id, ...record, threadId };
  const { waiter: _waiter, settled: _settled, ...shown } = record;
  return { id, ...shown, threadId };
}

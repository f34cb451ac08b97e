import type { JsonValue } from '../../kernel/json.ts';
import { eventPut, type LoggedEvent, listedField, type StoredEvent, stampedField } from '../../storage/events/event-reader.ts';
import type { Put } from '../../storage/storage.ts';
import { NamesOf } from '../names-of.ts';
import { type MessageRecord, type MessageTarget, type MessageType, messageIdPrefix } from './message.ts';

/** What an event takes besides its texts, which are ids of characters that JSON leaves as they are. */
const EVENT_BYTES = 256;
const ID_BYTES = 160;
/** Most messages are the first put of their commit, and so name it alike. */
const FIRST_TO = new NamesOf(stampedField('message', '', 0), messageIdPrefix(''));

/** The put of `message_sent`, of a message to one session that the same commit puts at this position. */
export function sentEventPut(
  at: number,
  session: string,
  { from, type, replyTo, waiter, settled }: MessageRecord,
  position: number,
): Put {
  const stamped = position === 0 ? FIRST_TO.of(session) : stampedField('message', messageIdPrefix(session), position);
  const event: Record<string, JsonValue> & StoredEvent = { name: 'message_sent', at, from, session, type, stamped };
  if (replyTo !== undefined) event['replyTo'] = replyTo;
  if (settled && waiter !== undefined) event['waiter'] = waiter;
  return eventPut(event, EVENT_BYTES + 5 * ID_BYTES);
}

/** The put of `message_acked`. */
export function ackedEventPut(at: number, session: string, messages: readonly string[]): Put {
  const listed = listedField('messages', messages);
  return eventPut({ name: 'message_acked', at, session, listed }, EVENT_BYTES + ID_BYTES * (1 + messages.length));
}

/** What the hub tells about messages. Ids only, never what a message says. */
export type MessageEvents = {
  /** `session` is the recipient; a message to many has `to` and the number of `recipients` instead. */
  message_sent: LoggedEvent & {
    readonly message: string;
    readonly from: string;
    readonly type: MessageType;
    readonly session?: string;
    readonly to?: MessageTarget;
    readonly recipients?: number;
    readonly replyTo?: string;
    /** The request that it answers, by the id of its wait. */
    readonly waiter?: string;
  };
  /** A part of the recipients of a message to very many has got it. */
  message_delivered: LoggedEvent & {
    readonly message: string;
    readonly from: string;
    readonly type: MessageType;
    readonly to: MessageTarget;
    readonly recipients: number;
  };
  /** Settled by their recipient: all that were settled together. */
  message_acked: LoggedEvent & { readonly session: string; readonly messages: readonly string[] };
  /** Given back by their recipient, to be delivered again. */
  message_released: LoggedEvent & { readonly session: string; readonly messages: readonly string[] };
  message_expired: LoggedEvent & { readonly session: string; readonly messages: readonly string[] };
  /** They are in the dead letters: given up after too many deliveries, by their recipient, or with it. */
  message_dead: LoggedEvent & { readonly session: string; readonly messages: readonly string[]; readonly reason: DeadReason };
  /** Removed before anybody settled them: on request, or at the end of the retention. */
  message_purged: LoggedEvent & { readonly session: string; readonly messages: readonly string[] };
  /** Back from the dead letters. */
  message_redriven: LoggedEvent & { readonly session: string; readonly messages: readonly string[] };
  ping_sent: LoggedEvent & { readonly ping: string; readonly from: string; readonly session: string };
  ping_answered: LoggedEvent & { readonly ping: string; readonly session: string };
};

/** `session_over`: its recipient ended or was killed. */
export type DeadReason = 'max_deliveries' | 'terminated' | 'session_over';

export const MESSAGE_EVENTS: readonly (keyof MessageEvents)[] = [
  'message_sent',
  'message_delivered',
  'message_acked',
  'message_released',
  'message_expired',
  'message_dead',
  'message_purged',
  'message_redriven',
  'ping_sent',
  'ping_answered',
];

/** The topic of everybody who waits for mail of a session. */
export function mailboxTopic(session: string): string {
  return MAILBOXES.of(session);
}

const MAILBOXES = new NamesOf('mailbox/');

/** The topic of everybody who waits for mail, whosever: a message to many may be for each of them. */
export const ANY_MAILBOX = 'mailbox/*';

/** The topic of those who wait for answers to requests, all of a process together. */
export const ANSWERS = 'waiter/*';

/** The topic of whoever waits for the answer to a ping. */
export function pingTopic(ping: string): string {
  return `ping/${ping}`;
}

/** The topic of everybody who holds sessions. */
export const ANY_PING = 'ping/*';

/** Says which waiters an event about messages wakes. */
export function topicsOf(event: StoredEvent): readonly string[] {
  const { session, waiter, ping } = event;
  switch (event.name) {
    case 'message_sent':
      if (session === undefined) return [ANY_MAILBOX];
      return waiter === undefined ? [mailboxTopic(String(session))] : [mailboxTopic(String(session)), ANSWERS];
    case 'message_delivered':
      return [ANY_MAILBOX];
    case 'message_released':
    case 'message_redriven':
      return [mailboxTopic(String(session))];
    case 'ping_sent':
      return [ANY_PING];
    case 'ping_answered':
      return [pingTopic(String(ping))];
    default:
      return [];
  }
}

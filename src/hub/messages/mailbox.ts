import type { JsonValue } from '../../kernel/json.ts';
import { padded, stampBehind, stampedKey } from '../../storage/keys.ts';
import type { Address, Put, StoredRecord } from '../../storage/storage.ts';
import { NamesOf } from '../names-of.ts';
import { type Priority, priorityDigit } from '../priority.ts';
import type { MailRecord } from './message.ts';

/**
 * The names of everything in a mailbox. A message stands in `mail` under its stamp; as long as it is to be delivered, a
 * reference stands in `ready` or `claimed`, put right behind it in the same commit, so that each is found from the other.
 */

const MAIL = new NamesOf('mail/');
const READY = new NamesOf('ready/');
const CLAIMED = new NamesOf('claimed/');
export const MARKERS = 'mailboxes';
export const DEAD = 'dead';

export function mailPartition(mailbox: string): string {
  return MAIL.of(mailbox);
}

export function readyPartition(session: string): string {
  return READY.of(session);
}

export function claimedPartition(session: string): string {
  return CLAIMED.of(session);
}

/** Says of a message that is neither open nor dead nor acked what became of it. */
export function fateAddress(session: string, stamp: string): Address {
  return { partition: `fates/${session}`, key: stamp };
}

export function markerAddress(session: string): Address {
  return { partition: MARKERS, key: session };
}

export function mailAddress(mailbox: string, stamp: string): Address {
  return { partition: mailPartition(mailbox), key: stamp };
}

export function deadAddress(session: string, stamp: string): Address {
  return { partition: DEAD, key: `${session}!${stamp}` };
}

/** How far from the message's own put its others are in the commit that sent it. */
const REFERENCE_OFFSET = 1;
export function stampAt(revision: number, position: number): string {
  return stampedKey('', padded(revision), position);
}

/** Where the reference to a message of this priority is, while it waits. */
export function readyAddress(session: string, stamp: string, priority: Priority): Address {
  return { partition: readyPartition(session), key: priorityDigit(priority) + stampBehind(stamp, REFERENCE_OFFSET) };
}

/** The stamp of the message to which a reference, ready or claimed, belongs. */
export function stampOfReference(key: string): string {
  return stampBehind(key, -REFERENCE_OFFSET);
}

/** How a delivery went before: so often without success, and why the last time. */
export interface Tally {
  readonly deliveries: number;
  readonly error?: string;
  /** It waits on purpose, and was counted already. */
  readonly delayed?: true;
}

/** A reference's value: just the number, unless there is more to say. */
export function tallyValue({ deliveries, error, delayed }: Tally): JsonValue {
  if (error === undefined && !delayed) return deliveries;
  return { deliveries, ...(error !== undefined && { error }), ...(delayed && { delayed }) };
}

const FIRST: Tally = Object.freeze({ deliveries: 0 });

export function tallyOf(value: JsonValue): Tally {
  if (value === 0) return FIRST;
  return typeof value === 'number' ? { deliveries: value } : (value as unknown as Tally);
}

export function mailOf(record: StoredRecord): MailRecord {
  return record.value as unknown as MailRecord;
}

/** What makes a message wait for its recipient: to be put right behind it. */
export function readyPut(session: string, priority: Priority): Put {
  return { partition: readyPartition(session), key: priorityDigit(priority), value: 0, stamped: true };
}

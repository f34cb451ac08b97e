import { acceptOwn } from '../../kernel/json.ts';
import type { Draft } from '../../storage/draft.ts';
import type { Engine } from '../../storage/engine.ts';
import { STAMP_LENGTH, stampBehind } from '../../storage/keys.ts';
import { OwnPut } from '../../storage/own-put.ts';
import type { Address, Delete, KeyRange, StoredRecord } from '../../storage/storage.ts';
import { mailPartition, readyPut } from './mailbox.ts';
import { isShared, type MailRecord, type MessagePlace, mailBytesAtMost } from './message.ts';

/** The due entries of messages that expire. */
export const MAIL_DUE = 'mail';
const DUE_OFFSET = 2;

/**
 * Stages a message into a mailbox, `queued` for delivery or just kept. Behind the message stand its reference, its due
 * entry if it expires, and its place in a thread, in this order. Answers the position of the message.
 */
export function stageMail(draft: Draft, { due }: Engine, mailbox: string, record: MailRecord, queued: boolean): number {
  const position = draft.puts.length;
  draft.puts.push(new OwnPut(mailPartition(mailbox), '', record, mailBytesAtMost(record), true));
  if (queued) {
    draft.puts.push(readyPut(mailbox, record.priority));
    if (record.expiresAt !== undefined) draft.puts.push(due.putStamped(record.expiresAt, MAIL_DUE, `${mailbox}!`));
  }
  if (!isShared(record) && record.threadId !== undefined) {
    const back = draft.puts.length - position;
    draft.puts.push({ partition: THREADS, key: threadPrefix(record.threadId), value: acceptOwn([mailbox, back]), stamped: true });
  }
  return position;
}

/** Where the due entry of a message that expires is, as long as it is to be delivered. */
export function expiryAddress({ due }: Engine, session: string, stamp: string, expiresAt: number): Address {
  return due.address(expiresAt, MAIL_DUE, `${session}!${stampBehind(stamp, DUE_OFFSET)}`);
}

/** The message that a due entry is about. */
export function expiringPlace(dueId: string): MessagePlace {
  const split = dueId.lastIndexOf('!');
  return { mailbox: dueId.slice(0, split), stamp: stampBehind(dueId.slice(split + 1), -DUE_OFFSET) };
}

/** All conversations, each a range: the thread, a mark, the stamp. */
export const THREADS = 'threads';

function threadPrefix(threadId: string): string {
  return `${threadId}>`;
}

/** Where the entries of a thread stand. */
export function threadRange(threadId: string): KeyRange {
  const prefix = threadPrefix(threadId);
  // Digits follow the mark; another thread may be called like this one and more.
  return { start: `${prefix}0`, end: `${prefix}:` };
}

/** Those entries of a range that are of this thread, and not of one whose name begins like an entry of it. */
export function ofThread(threadId: string, records: readonly StoredRecord[]): StoredRecord[] {
  const length = threadPrefix(threadId).length + STAMP_LENGTH;
  return records.filter(({ key }) => key.length === length);
}

/** The message that an entry of a thread leads to. */
export function threadPlace({ key, value }: StoredRecord): MessagePlace {
  const [mailbox, back] = value as [string, number];
  return { mailbox, stamp: stampBehind(key, -back) };
}

/** The place of a message in its thread, to be removed with it. */
export function threadDelete(stamp: string, record: MailRecord, queued: boolean): Delete | undefined {
  if (isShared(record) || record.threadId === undefined) return undefined;
  const back = !queued ? 1 : record.expiresAt === undefined ? 2 : 3;
  return { partition: THREADS, key: threadPrefix(record.threadId) + stampBehind(stamp, back) };
}

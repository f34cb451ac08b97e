import type { JsonValue } from '../../kernel/json.ts';
import type { Draft } from '../../storage/draft.ts';
import type { Engine } from '../../storage/engine.ts';
import { ackedEventPut, type DeadReason } from './events.ts';
import { deadAddress, fateAddress, type Tally } from './mailbox.ts';
import { isExpired, type Message, messageIdOf } from './message.ts';
import { expiryAddress } from './post.ts';

/** A message that its recipient has not settled: where its copy is, and what it says as far as it is kept. */
export interface Open {
  readonly session: string;
  readonly stamp: string;
  readonly message: Message | undefined;
  /** What it is called, where the message itself is gone. */
  readonly id?: string | undefined;
  readonly tally?: Tally;
}

/** A message that was given up, in the dead letters. */
export interface DeadRecord {
  readonly message: string;
  readonly reason: DeadReason;
  readonly deliveries: number;
  readonly error?: string;
  readonly at: number;
}

/**
 * What the end of messages stages besides the removal of their references, all of one mailbox and told in one event: a
 * note of what became of them where it is not that they were acked, and their due entries. Those past their expiry have
 * expired, whatever else was to become of them.
 */
export function stageAcked(draft: Draft, engine: Engine, session: string, given: readonly Open[]): void {
  const settled = stageLate(draft, engine, session, given);
  if (settled.length === 0) return;
  stageUndue(draft, engine, settled);
  draft.puts.push(ackedEventPut(engine.now(), session, idsOf(settled)));
}

/** @param isDue the due entry is being handled, and goes by itself */
export function stageExpired(draft: Draft, engine: Engine, session: string, expired: readonly Open[], isDue = false): void {
  if (!isDue) stageUndue(draft, engine, expired);
  for (const { stamp } of expired) draft.puts.push({ ...fateAddress(session, stamp), value: 'expired' });
  draft.puts.push(engine.log.put('message_expired', { session, messages: idsOf(expired) }));
}

/**
 * Answers how many were purged.
 * @param isRemoved the messages go as well, so nothing is to be noted of them
 */
export function stagePurged(draft: Draft, engine: Engine, session: string, given: readonly Open[], isRemoved = false): number {
  const purged = stageLate(draft, engine, session, given, isRemoved);
  if (purged.length === 0) return 0;
  stageUndue(draft, engine, purged);
  if (!isRemoved) for (const { stamp } of purged) draft.puts.push({ ...fateAddress(session, stamp), value: 'purged' });
  draft.puts.push(engine.log.put('message_purged', { session, messages: idsOf(purged) }));
  return purged.length;
}

/** Atomically into the dead letters, with the count and the last error. */
export function stageDead(draft: Draft, engine: Engine, session: string, reason: DeadReason, given: readonly Open[]): void {
  const dying = stageLate(draft, engine, session, given);
  if (dying.length === 0) return;
  stageUndue(draft, engine, dying);
  const at = engine.now();
  for (const open of dying) {
    const { stamp, tally } = open;
    const dead: DeadRecord = {
      message: idOf(open),
      reason,
      deliveries: tally?.deliveries ?? 0,
      ...(tally?.error !== undefined && { error: tally.error }),
      at,
    };
    draft.puts.push({ ...deadAddress(session, stamp), value: dead as unknown as JsonValue });
  }
  draft.puts.push(engine.log.put('message_dead', { session, messages: idsOf(dying), reason }));
}

/** Stages the end of those that nobody could get any more, and answers the others. */
function stageLate(draft: Draft, engine: Engine, session: string, given: readonly Open[], isRemoved = false): readonly Open[] {
  const isLate = ({ message }: Open): boolean => message !== undefined && isExpired(message, engine);
  if (!given.some(isLate)) return given;
  const late = given.filter(isLate);
  stageUndue(draft, engine, late);
  if (!isRemoved) for (const { stamp } of late) draft.puts.push({ ...fateAddress(session, stamp), value: 'expired' });
  draft.puts.push(engine.log.put('message_expired', { session, messages: idsOf(late) }));
  return given.filter((open) => !late.includes(open));
}

function stageUndue(draft: Draft, engine: Engine, settled: readonly Open[]): void {
  for (const { session, stamp, message } of settled) {
    if (message?.expiresAt !== undefined) draft.deletes.push(expiryAddress(engine, session, stamp, message.expiresAt));
  }
}

function idsOf(settled: readonly Open[]): string[] {
  return settled.map(idOf);
}

function idOf({ session, stamp, message, id }: Open): string {
  return message?.id ?? id ?? messageIdOf({ mailbox: session, stamp });
}

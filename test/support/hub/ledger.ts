import { claimedPartition, mailOf, readyPartition, stampOfReference } from '../../../src/hub/messages/mailbox.ts';
import { isShared, type MessageState } from '../../../src/hub/messages/message.ts';
import { EventReader } from '../../../src/storage/events/event-reader.ts';
import { stampedKey } from '../../../src/storage/keys.ts';
import type { Storage } from '../../../src/storage/storage.ts';
import { recordsOf } from '../memory/observed.ts';

/** One copy of a message in one mailbox, as the ledger has it: by what callers were told, and nothing else. */
interface Copy {
  readonly session: string;
  readonly id: string;
  readonly expiresAt: number | undefined;
  /** What a caller was told that it did to it, last. */
  state: 'sent' | 'acked' | 'dead' | 'purged' | 'unknown';
}

type Counts = Record<MessageState, number>;

const none = (): Counts => ({ ready: 0, claimed: 0, acked: 0, dead: 0, expired: 0, purged: 0 });

/**
 * What was sent and what became of it, kept beside the hub: from acknowledged calls. `audit` reads the raw records of the
 * storage, not through the hub, and compares.
 */
export class Ledger {
  readonly #storage: Storage;
  readonly #copies = new Map<string, Copy>();
  readonly #final = new Map<string, MessageState>();
  readonly #told = new Map<string, MessageState>();
  #cursor = '';

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  get size(): number {
    return this.#copies.size;
  }

  sent(session: string, id: string, expiresAt: number | undefined): void {
    const name = `${session}>${id}`;
    // An idempotency key may answer the first message again.
    if (!this.#copies.has(name)) this.#copies.set(name, { session, id, expiresAt, state: 'sent' });
  }

  done(session: string, id: string, state: Copy['state']): void {
    const copy = this.#copies.get(`${session}>${id}`);
    if (!copy) throw new Error(`${id} was given to ${session}, to whom nobody sent it`);
    copy.state = state;
  }

  redriven(session: string, id: string): void {
    this.#final.delete(`${session}>${id}`);
    this.done(session, id, 'sent');
  }

  /** Everything that was sent is in exactly one state, for each mailbox and in all. */
  async audit(sessions: readonly string[], now: number): Promise<Counts> {
    const total = none();
    await this.#listen();
    const dead = new Set((await recordsOf(this.#storage, 'dead')).map(({ key }) => key));
    for (const session of sessions) {
      const counts = await this.#auditOne(session, now, dead);
      for (const [state, count] of Object.entries(counts)) total[state as MessageState] += count;
    }
    const sum = Object.values(total).reduce((all, count) => all + count, 0);
    mustBe(sum === this.#copies.size, () => `${this.#copies.size} sent = ${JSON.stringify(total)}`);
    return total;
  }

  async #auditOne(session: string, now: number, dead: ReadonlySet<string>): Promise<Counts> {
    const counts = none();
    const mail = await recordsOf(this.#storage, `mail/${session}`);
    const ready = (await recordsOf(this.#storage, readyPartition(session))).map(({ key }) => stampOfReference(key));
    const claimed = (await recordsOf(this.#storage, claimedPartition(session))).map(({ key }) => stampOfReference(key));
    const fates = new Map((await recordsOf(this.#storage, `fates/${session}`)).map(({ key, value }) => [key, value]));
    const open = [...ready, ...claimed];
    mustBe(new Set(open).size === open.length, () => `${session}: nothing is open twice`);
    const known = new Set(mail.map(({ key }) => key));
    for (const stamp of open) mustBe(known.has(stamp), () => `${session}: a reference leads to a message`);
    const ids = new Set<string>();
    for (const record of mail) {
      const { key: stamp } = record;
      const message = mailOf(record);
      const shared = isShared(message) ? message.shared : undefined;
      const at = typeof shared === 'number' ? stampedKey('', String(record.revision).padStart(16, '0'), shared) : shared;
      const id = at === undefined ? `${session}!${stamp}` : `*!${at}`;
      mustBe(!ids.has(id), () => `${session} has ${id} once`);
      ids.add(id);
      const found: MessageState[] = [];
      if (ready.includes(stamp)) found.push('ready');
      if (claimed.includes(stamp)) found.push('claimed');
      if (dead.has(`${session}!${stamp}`)) found.push('dead');
      if (fates.has(stamp)) found.push(fates.get(stamp) as MessageState);
      mustBe(found.length <= 1, () => `${session}: ${id} is not ${found.join(' and ')}`);
      const [recorded = 'acked'] = found;
      const isOpen = recorded === 'ready' || recorded === 'claimed';
      const state = isOpen && message.expiresAt !== undefined && now >= message.expiresAt ? 'expired' : recorded;
      this.#compare(session, id, state, recorded);
      counts[state] += 1;
    }
    for (const copy of this.#copies.values()) {
      if (copy.session === session) mustBe(ids.has(copy.id), () => `${copy.id} is kept in ${session}`);
    }
    return counts;
  }

  #compare(session: string, id: string, state: MessageState, recorded: MessageState): void {
    const name = `${session}>${id}`;
    const copy = this.#copies.get(name);
    if (!copy) throw new Error(`${name} was sent by nobody`);
    // What a caller was told is true, and stays so.
    if (copy.state !== 'sent' && copy.state !== 'unknown')
      mustBe(state === copy.state, () => `${name}: ${copy.state}, not ${state}`);
    const before = this.#final.get(name);
    mustBe(before === undefined || state === before, () => `${name} ended once: ${before}, not ${state}`);
    if (state !== 'ready' && state !== 'claimed') this.#final.set(name, state);
    // Nobody is told of an end that did not come, and every end is told.
    const expected = recorded === 'ready' || recorded === 'claimed' ? undefined : recorded;
    const told = this.#told.get(name);
    mustBe(told === expected, () => `${name} is ${recorded}, not ${told} as was told`);
    mustBe(state !== 'acked' || copy.state !== 'sent', () => `${name} was acked by nobody`);
  }

  /** How each message ended by the events, where it did. */
  async #listen(): Promise<void> {
    const told = this.#told;
    const reader = new EventReader(this.#storage);
    for (let page = await reader.read(this.#cursor); page.length > 0; page = await reader.read(this.#cursor)) {
      for (const { name, session, messages, cursor } of page) {
        this.#cursor = cursor;
        const state = /^message_(acked|expired|dead|purged)$/.exec(name)?.[1] as MessageState | undefined;
        if (!state && name !== 'message_redriven') continue;
        for (const id of messages as readonly string[]) {
          const key = `${session}>${id}`;
          mustBe(state ? !told.has(key) : told.get(key) === 'dead', () => `${key} is ${name} once`);
          if (state) told.set(key, state);
          else told.delete(key);
        }
      }
    }
  }
}

/** `expect` takes too long for so many. */
function mustBe(holds: boolean, what: () => string): void {
  if (!holds) throw new Error(`expected ${what()}`);
}

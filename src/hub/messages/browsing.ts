import { keyAfter } from '../../storage/keys.ts';
import { pagesOf } from '../../storage/pages.ts';
import type { Page } from '../../storage/query.ts';
import type { StoredRecord } from '../../storage/storage.ts';
import type { HubCore } from '../hub-core.ts';
import type { Bodies } from './bodies.ts';
import {
  claimedPartition,
  deadAddress,
  fateAddress,
  mailAddress,
  mailOf,
  mailPartition,
  readyAddress,
  stampOfReference,
} from './mailbox.ts';
import { isExpired, isShared, type Message, type MessageState, type MessageType, placeOf, unknownMessage } from './message.ts';
import { ofThread, THREADS, threadPlace, threadRange } from './post.ts';
import type { References } from './references.ts';

/** A message as it stands in a mailbox. */
export interface MailboxMessage extends Message {
  readonly state: MessageState;
  /** Its recipient has not settled it. */
  readonly unread: boolean;
}

export interface Filter {
  readonly session: string;
  readonly type?: MessageType | undefined;
  readonly from?: string | undefined;
  readonly unread?: boolean | undefined;
  readonly includeBroadcasts: boolean;
  readonly limit: number;
  readonly after?: string | undefined;
}

const CHUNK = 250;

/** Looks at messages without claiming them. */
export class Browsing {
  readonly #core: HubCore;
  readonly #bodies: Bodies;
  readonly #references: References;

  constructor(core: HubCore, bodies: Bodies, references: References) {
    this.#core = core;
    this.#bodies = bodies;
    this.#references = references;
  }

  async get(id: string): Promise<Message | undefined> {
    const place = placeOf(id);
    const [message] = place ? await this.#bodies.read([place]) : [];
    return message;
  }

  /** Of one mailbox, in the order in which they were sent. */
  async messages(filter: Filter): Promise<Page<MailboxMessage>> {
    return filter.unread === true ? this.#unread(filter) : this.#all(filter);
  }

  /**
   * The whole conversation to which a message belongs, in the order in which it was held.
   * @throws MeshError `not_found`
   */
  async conversation(id: string): Promise<Message[]> {
    const member = await this.get(id);
    if (!member) throw unknownMessage(id);
    const { threadId } = member;
    const found = new Map<string, Message>([[member.id, member]]);
    const root = placeOf(threadId);
    const [first] = root ? await this.#bodies.read([root]) : [];
    if (first) found.set(first.id, first);
    for await (const page of pagesOf(this.#core.engine.storage, THREADS, threadRange(threadId))) {
      const messages = await this.#bodies.read(ofThread(threadId, page).map(threadPlace));
      for (const message of messages) if (message) found.set(message.id, message);
    }
    return [...found.values()].sort((a, b) => (stampOf(a) < stampOf(b) ? -1 : 1));
  }

  /** What is not settled stands in the references, however long the mail before it. */
  async #unread(filter: Filter): Promise<Page<MailboxMessage>> {
    const { session, limit, after = '' } = filter;
    const items: { readonly stamp: string; readonly message: MailboxMessage }[] = [];
    let [from, wanted] = [after, Math.min(limit + 1, CHUNK)];
    for (;;) {
      const { stamps, states, through } = await this.#references.openAfter(session, from, wanted);
      for (let start = 0; start < stamps.length && items.length <= limit; start += CHUNK) {
        const part = stamps.slice(start, start + CHUNK);
        const records = await this.#core.engine.storage.get(part.map((stamp) => mailAddress(session, stamp)));
        const kept = records.filter((record): record is StoredRecord => record !== undefined);
        await this.#collect(items, kept, filter, (stamp) => states.get(stamp) ?? 'ready');
      }
      if (through === undefined || items.length > limit) return pageOf(items, limit);
      [from, wanted] = [through, CHUNK];
      await this.#core.nextTurn();
    }
  }

  async #all(filter: Filter): Promise<Page<MailboxMessage>> {
    const { session, limit, after } = filter;
    const items: { readonly stamp: string; readonly message: MailboxMessage }[] = [];
    let [start, wanted] = [after === undefined ? '' : keyAfter(after), Math.min(limit + 1, CHUNK)];
    for (;;) {
      const page = await this.#core.engine.storage.list(mailPartition(session), { start, limit: wanted });
      const states = await this.#statesOf(session, page);
      await this.#collect(items, page, filter, (stamp) => states.get(stamp) ?? 'acked');
      const last = page[page.length - 1];
      if (!last || page.length < wanted || items.length > limit) return pageOf(items, limit);
      // Where the filter leaves some out, a few more would hardly bring what is missing.
      [start, wanted] = [keyAfter(last.key), CHUNK];
      await this.#core.nextTurn();
    }
  }

  async #collect(
    items: { readonly stamp: string; readonly message: MailboxMessage }[],
    records: readonly StoredRecord[],
    { session, type, from, unread, includeBroadcasts }: Filter,
    stateOf: (stamp: string) => MessageState,
  ): Promise<void> {
    const kept = includeBroadcasts ? records : records.filter((record) => !isShared(mailOf(record)));
    const messages = await this.#bodies.of(kept, session);
    kept.forEach(({ key: stamp }, n) => {
      const message = messages[n];
      if (!message || (type !== undefined && message.type !== type) || (from !== undefined && message.from !== from)) return;
      const stored = stateOf(stamp);
      const isOpen = stored === 'ready' || stored === 'claimed';
      // Past its expiry it counts as expired, recorded or not.
      const state = isOpen && isExpired(message, this.#core.engine) ? 'expired' : stored;
      const isUnread = state === 'ready' || state === 'claimed';
      if (unread !== undefined && unread !== isUnread) return;
      items.push({ stamp, message: Object.freeze({ ...message, state, unread: isUnread }) });
    });
  }

  /** What became of messages that were read from a mailbox; those that are not in the answer were acked. */
  async #statesOf(session: string, page: readonly StoredRecord[]): Promise<Map<string, MessageState>> {
    const { storage } = this.#core.engine;
    const states = new Map<string, MessageState>();
    const look = async (): Promise<void> => {
      const found = await storage.get(
        page.flatMap((record) => [
          readyAddress(session, record.key, mailOf(record).priority),
          deadAddress(session, record.key),
          fateAddress(session, record.key),
        ]),
      );
      page.forEach(({ key }, n) => {
        const [ready, dead, fate] = found.slice(3 * n, 3 * n + 3);
        if (ready) states.set(key, 'ready');
        else if (dead) states.set(key, 'dead');
        else if (fate) states.set(key, fate.value as MessageState);
      });
    };
    await look();
    const claimed = await this.#references.all(claimedPartition(session));
    for (const { key } of claimed) states.set(stampOfReference(key), 'claimed');
    // What was put back or given up between the two reads is found now.
    if (page.some(({ key }) => !states.has(key))) await look();
    return states;
  }
}

function stampOf({ id }: Message): string {
  return placeOf(id)?.stamp ?? '';
}

function pageOf(
  items: readonly { readonly stamp: string; readonly message: MailboxMessage }[],
  limit: number,
): Page<MailboxMessage> {
  const page = items.slice(0, limit);
  const last = page[page.length - 1];
  return { items: page.map(({ message }) => message), ...(items.length > limit && last && { next: last.stamp }) };
}

import { MeshError } from '../../kernel/errors.ts';
import { keyAfter, prefixRange } from '../../storage/keys.ts';
import { pagesOf } from '../../storage/pages.ts';
import type { Page } from '../../storage/query.ts';
import type { StoredRecord } from '../../storage/storage.ts';
import type { HubCore } from '../hub-core.ts';
import type { Bodies } from './bodies.ts';
import type { DeadReason } from './events.ts';
import { DEAD, deadAddress, readyAddress } from './mailbox.ts';
import { isExpired, type Message, type MessagePlace, placeOf, SHARED, unknownMessage } from './message.ts';
import type { DeadRecord } from './outcomes.ts';
import { expiryAddress } from './post.ts';
import { assertReachable, type Routes } from './routes.ts';
import type { Sending } from './sending.ts';

/** A message that nobody gets any more, unless it is sent to its mailbox again. */
export interface DeadLetter {
  readonly message: Message;
  /** Whose mail it was. */
  readonly session: string;
  readonly reason: DeadReason;
  /** How often it was delivered. */
  readonly deliveries: number;
  /** What the last handler said. */
  readonly error?: string;
  readonly at: number;
}

const PAGE = 1000;

/** Messages that were given up: listed, and put back on request. */
export class DeadLetters {
  readonly #core: HubCore;
  readonly #bodies: Bodies;
  readonly #routes: Routes;
  readonly #sending: Sending;

  constructor(core: HubCore, bodies: Bodies, routes: Routes, sending: Sending) {
    this.#core = core;
    this.#bodies = bodies;
    this.#routes = routes;
    this.#sending = sending;
  }

  async list(session: string | undefined, limit: number, after: string | undefined): Promise<Page<DeadLetter>> {
    const range = session === undefined ? {} : prefixRange(`${session}!`);
    const start = after === undefined ? range : { ...range, start: keyAfter(after) };
    const found = await this.#core.engine.storage.list(DEAD, { ...start, limit: Math.min(limit + 1, PAGE) });
    const page = found.slice(0, limit);
    const messages = await this.#bodies.read(page.map(({ key }) => placeOf(key) as MessagePlace));
    const items = page.flatMap((record, n) => {
      const message = messages[n];
      return message ? [letterOf(record, message)] : [];
    });
    const isMore = found.length > limit || (limit === PAGE && found.length === PAGE);
    return { items, ...(isMore && { next: (page[page.length - 1] as StoredRecord).key }) };
  }

  /**
   * Puts a dead letter back into its mailbox, as if it had never been delivered.
   * @throws MeshError `not_found`, `not_alive` (its recipient is over), `mailbox_full`, `conflict` (it has expired)
   */
  async redrive(id: string, session: string | undefined): Promise<void> {
    const { engine } = this.#core;
    const key = await this.#find(id, session);
    const place = placeOf(key) as MessagePlace;
    let isAgain = false;
    await this.#core.write(undefined, async (draft) => {
      if (isAgain) {
        this.#routes.forget(place.mailbox);
        await this.#sending.assertRoom(place.mailbox);
      }
      isAgain = true;
      const address = { partition: DEAD, key };
      const [dead] = await engine.storage.get([address]);
      const [message] = await this.#bodies.read([place]);
      if (!dead || !message) throw unknownMessage(id);
      const standing = await this.#routes.standing(place.mailbox);
      assertReachable(standing, false);
      if (isExpired(message, engine)) {
        throw new MeshError('conflict', 'expected a message that somebody can still get, got one that has expired', {
          details: { message: id },
        });
      }
      this.#routes.stageRecipient(draft, standing);
      this.#sending.stageBound(draft, place.mailbox);
      draft.checks.push({ ...address, revision: dead.revision });
      draft.deletes.push(address);
      draft.puts.push(
        { ...readyAddress(place.mailbox, place.stamp, message.priority), value: 0 },
        engine.log.put('message_redriven', { session: place.mailbox, messages: [message.id] }),
      );
      if (message.expiresAt !== undefined) {
        draft.puts.push({ ...expiryAddress(engine, place.mailbox, place.stamp, message.expiresAt), value: null });
      }
    });
  }

  async #find(id: string, session: string | undefined): Promise<string> {
    const place = placeOf(id);
    if (!place) throw unknownMessage(id);
    if (place.mailbox !== SHARED) return deadAddress(place.mailbox, place.stamp).key;
    if (session === undefined) {
      throw new MeshError('invalid_input', 'expected options.session, since this message went to many, got none', {
        details: { path: 'options.session' },
      });
    }
    for await (const page of pagesOf(this.#core.engine.storage, DEAD, prefixRange(`${session}!`))) {
      const found = page.find(({ value }) => (value as unknown as DeadRecord).message === id);
      if (found) return found.key;
    }
    throw unknownMessage(id);
  }
}

function letterOf({ key, value }: StoredRecord, message: Message): DeadLetter {
  const { reason, deliveries, error, at } = value as unknown as DeadRecord;
  const session = (placeOf(key) as MessagePlace).mailbox;
  return { message, session, reason, deliveries, ...(error !== undefined && { error }), at };
}

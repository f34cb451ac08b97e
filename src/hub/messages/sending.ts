import { MeshError } from '../../kernel/errors.ts';
import type { SessionState } from '../../registry/session.ts';
import { Draft } from '../../storage/draft.ts';
import { pagesOf } from '../../storage/pages.ts';
import type { Address, CommitResult, Committed, MaybePromise } from '../../storage/storage.ts';
import type { Actor, HubCore } from '../hub-core.ts';
import { sentEventPut } from './events.ts';
import { readyPartition, stampAt } from './mailbox.ts';
import { type Message, type MessageRecord, messageIdOf, viewOf } from './message.ts';
import type { Once } from './once.ts';
import { stageMail } from './post.ts';
import { assertNotOver, assertReachable, type Routes, type Standing } from './routes.ts';

/** What became of a send. */
export interface SendResult {
  readonly message: Message;
  /** Who got it and how they were: the first 100 of many. */
  readonly recipients: readonly { readonly session: string; readonly state: SessionState }[];
  /** How many there are. */
  readonly total: number;
}

/** A message on its way to one mailbox. */
export interface Outgoing {
  readonly actor: Actor;
  readonly session: string;
  readonly record: MessageRecord;
  /** Whether it waits in the mailbox; if not, it is just kept. */
  readonly queued: boolean;
  readonly requireAlive?: boolean;
  readonly idempotencyKey?: string | undefined;
  /** Stages what belongs to the same commit. */
  readonly also?: ((draft: Draft) => Promise<void>) | undefined;
}

const ATTEMPTS = 1000;

/** Puts messages into mailboxes, one recipient at a time: again after each conflict, with what is true then. */
export class Sending {
  readonly #core: HubCore;
  readonly #routes: Routes;
  readonly #once: Once;
  readonly #mailboxLimit: number;
  /**
   * By recipient, the one message that is on its way while not everything is known for it: others wait, so that they
   * neither overtake it nor all find out the same. Then they go in the order in which they were begun.
   */
  readonly #first = new Map<string, Promise<void>>();

  constructor(core: HubCore, routes: Routes, once: Once, mailboxLimit: number) {
    this.#core = core;
    this.#routes = routes;
    this.#once = once;
    this.#mailboxLimit = mailboxLimit;
  }

  /**
   * @throws MeshError `not_found`, `not_alive`, `mailbox_full`, `already_exists` (another message of this idempotency
   * key), and `not_alive` or `lease_lost` for a handle
   */
  post(outgoing: Outgoing): Promise<SendResult> {
    const { actor, session } = outgoing;
    const isFree = !this.#first.has(session) && this.#routes.isKnown(actor, session);
    return isFree ? this.#post(outgoing) : this.#postInTurn(outgoing);
  }

  async #postInTurn(outgoing: Outgoing): Promise<SendResult> {
    const { actor, session } = outgoing;
    for (let first = this.#first.get(session); first; first = this.#first.get(session)) await first;
    if (this.#routes.isKnown(actor, session)) return this.#post(outgoing);
    let done = (): void => {};
    const first = new Promise<void>((resolve) => {
      done = resolve;
    });
    this.#first.set(session, first);
    try {
      return await this.#post(outgoing);
    } finally {
      this.#first.delete(session);
      done();
    }
  }

  async #post(outgoing: Outgoing): Promise<SendResult> {
    const { actor, session, record, idempotencyKey } = outgoing;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (actor.tenure?.end) throw actor.tenure.end;
      if (outgoing.requireAlive) this.#routes.forgetOffline(session);
      const known = this.#routes.standing(session);
      const standing = known instanceof Promise ? await known : known;
      const draft = new Draft();
      const staging = this.#stage(draft, outgoing, standing);
      const position = staging instanceof Promise ? await staging : staging;
      if (outgoing.also) await outgoing.also(draft);
      const answer = this.#core.engine.commit(draft);
      const result = answer instanceof Promise ? await answer : answer;
      if (result.committed) return this.#sent(outgoing, standing, result, position);
      const repeated = idempotencyKey === undefined ? undefined : await this.#once.find(actor.id, idempotencyKey, record);
      if (repeated) {
        const [first = session] = repeated.first.recipients;
        this.#routes.forget(first);
        const [now] = await this.#routes.standings([first]);
        return { message: repeated.message, recipients: [{ session: first, state: now?.state ?? 'ended' }], total: 1 };
      }
      await this.learn(result, actor, [session]);
    }
    throw new MeshError('conflict', `expected a message to be sent, got ${ATTEMPTS} conflicts`);
  }

  /**
   * Stages who sends: a handle must hold its lease; an id must not be that of a session that is over.
   * @throws MeshError `not_found`, `not_alive`
   */
  stageSender(draft: Draft, { id, tenure }: Actor): MaybePromise<void> {
    if (tenure) {
      draft.checks.push(this.#core.sessions.leaseCheck(id, tenure.leaseRevision));
      return undefined;
    }
    const known = this.#routes.standing(id);
    const stage = (standing: Standing): void => {
      assertNotOver(standing);
      draft.checks.push(...standing.checks);
    };
    return known instanceof Promise ? known.then(stage) : stage(known);
  }

  /** Stages that a mailbox takes one more. */
  stageBound(draft: Draft, session: string): void {
    draft.checks.push({ partition: readyPartition(session), fewerThan: this.#mailboxLimit });
  }

  /**
   * After a conflict: forgets what was known, lets a handle learn why, and finds out whether a mailbox is full.
   * @throws MeshError `mailbox_full`, and `not_alive` or `lease_lost` for a handle
   */
  async learn({ conflicts }: Exclude<CommitResult, Committed>, actor: Actor, sessions: readonly string[]): Promise<void> {
    this.#routes.forget(actor.id);
    for (const session of sessions) this.#routes.forget(session);
    if (actor.tenure && conflicts.some((address) => this.#isLease(address, actor.id))) await this.#core.fence.read(actor.tenure);
    for (const session of sessions) {
      const isBound = conflicts.some(({ partition }) => partition === readyPartition(session));
      if (isBound) await this.assertRoom(session);
    }
  }

  /** @throws MeshError `mailbox_full` */
  async assertRoom(session: string): Promise<void> {
    if (!(await this.isFull(session))) return;
    throw new MeshError(
      'mailbox_full',
      `expected fewer than ${this.#mailboxLimit} messages waiting for ${session}, got as many`,
      {
        details: { session, limit: this.#mailboxLimit },
      },
    );
  }

  async isFull(session: string): Promise<boolean> {
    let found = 0;
    for await (const page of pagesOf(this.#core.engine.storage, readyPartition(session), { values: false })) {
      found += page.length;
      if (found >= this.#mailboxLimit) return true;
    }
    return false;
  }

  #stage(draft: Draft, outgoing: Outgoing, standing: Standing): MaybePromise<number> {
    const { actor, session, record, queued, requireAlive = false, idempotencyKey } = outgoing;
    assertReachable(standing, requireAlive);
    this.#routes.stageRecipient(draft, standing);
    if (queued) this.stageBound(draft, session);
    const position = stageMail(draft, this.#core.engine, session, record, queued);
    draft.puts.push(sentEventPut(this.#core.engine.now(), session, record, position));
    if (idempotencyKey !== undefined) {
      this.#once.stage(draft, actor.id, idempotencyKey, { mailbox: session, position, recipients: [session], total: 1 });
    }
    // A session may write to itself; its lease is checked already, then.
    const sender = actor.id === session && !actor.tenure ? undefined : this.stageSender(draft, actor);
    const talk = (): MaybePromise<void> => this.#routes.stageTalk(draft, actor.id, standing);
    const staged = sender instanceof Promise ? sender.then(talk) : talk();
    return staged instanceof Promise ? staged.then(() => position) : position;
  }

  #sent({ session, record }: Outgoing, { state, marker }: Standing, { revision }: Committed, position: number): SendResult {
    // The marker that was put with it is known from the next read on.
    if (marker === null) this.#routes.forget(session);
    const id = messageIdOf({ mailbox: session, stamp: stampAt(revision, position) });
    return { message: viewOf(id, record), recipients: [{ session, state }], total: 1 };
  }

  #isLease({ partition, key }: Address, id: string): boolean {
    const lease = this.#core.sessions.leaseAddress(id);
    return partition === lease.partition && key === lease.key;
  }
}

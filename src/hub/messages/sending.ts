import { MeshError } from '../../kernel/errors.ts';
import type { SessionState } from '../../registry/session.ts';
import { Draft } from '../../storage/draft.ts';
import { pagesOf } from '../../storage/pages.ts';
import {
  type Address,
  type Check,
  type CommitResult,
  type Committed,
  type Conflicted,
  type MaybePromise,
  whenDone,
} from '../../storage/storage.ts';
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
  /** Told in the turn in which the commit is known. */
  readonly committed?: ((message: Message) => void) | undefined;
  /** Stages what belongs to the same commit. */
  readonly also?: ((draft: Draft) => MaybePromise<void>) | undefined;
}

const ATTEMPTS = 1000;
const NO_CHECKS: readonly Check[] = [];

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
   * At once where everything is known and the storage answers at once.
   * @throws MeshError `not_found`, `not_alive`, `mailbox_full`, `already_exists` (another message of this idempotency
   * key), and `not_alive` or `lease_lost` for a handle
   */
  post(outgoing: Outgoing): MaybePromise<SendResult> {
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

  #post(outgoing: Outgoing): MaybePromise<SendResult> {
    const sent = this.#try(outgoing);
    if (sent instanceof Promise) return sent.then((result) => result ?? this.#postAgain(outgoing));
    return sent ?? this.#postAgain(outgoing);
  }

  async #postAgain(outgoing: Outgoing): Promise<SendResult> {
    for (let attempt = 1; attempt < ATTEMPTS; attempt++) {
      const sent = await this.#try(outgoing);
      if (sent) return sent;
    }
    throw new MeshError('conflict', `expected a message to be sent, got ${ATTEMPTS} conflicts`);
  }

  /** Nothing after a conflict, by which what was known has become known better. */
  #try(outgoing: Outgoing): MaybePromise<SendResult | undefined> {
    const { actor, session, requireAlive } = outgoing;
    if (actor.tenure?.end) throw actor.tenure.end;
    if (requireAlive) this.#routes.forgetOffline(session);
    const standing = this.#routes.standing(session);
    if (standing instanceof Promise) return standing.then((known) => this.#stageAndCommit(outgoing, known));
    return this.#stageAndCommit(outgoing, standing);
  }

  #stageAndCommit(outgoing: Outgoing, standing: Standing): MaybePromise<SendResult | undefined> {
    assertReachable(standing, outgoing.requireAlive ?? false);
    const { actor, session } = outgoing;
    // A session may write to itself; its lease is checked already, then.
    const sender = !actor.tenure && actor.id === session ? NO_CHECKS : this.#senderChecks(actor);
    if (sender instanceof Promise) return sender.then((checks) => this.#commitUnder(checks, outgoing, standing));
    return this.#commitUnder(sender, outgoing, standing);
  }

  #commitUnder(sender: readonly Check[], outgoing: Outgoing, standing: Standing): MaybePromise<SendResult | undefined> {
    const draft = new Draft({ checks: this.#checks(outgoing, standing, sender) });
    const staged = this.#stage(draft, outgoing, standing);
    if (staged instanceof Promise) return staged.then((position) => this.#commit(outgoing, standing, draft, position));
    return this.#commit(outgoing, standing, draft, staged);
  }

  #commit(outgoing: Outgoing, standing: Standing, draft: Draft, position: number): MaybePromise<SendResult | undefined> {
    const answer = this.#core.engine.commit(draft);
    if (answer instanceof Promise) return answer.then((result) => this.#answer(outgoing, standing, result, position));
    return this.#answer(outgoing, standing, answer, position);
  }

  #answer(outgoing: Outgoing, standing: Standing, result: CommitResult, position: number): MaybePromise<SendResult | undefined> {
    return result.committed ? this.#sent(outgoing, standing, result, position) : this.#refused(outgoing, result);
  }

  async #refused(outgoing: Outgoing, result: Conflicted): Promise<SendResult | undefined> {
    const { actor, session, record, idempotencyKey } = outgoing;
    const repeated = idempotencyKey === undefined ? undefined : await this.#once.find(actor.id, idempotencyKey, record);
    if (!repeated) {
      await this.learn(result, actor, [session]);
      return undefined;
    }
    const [first = session] = repeated.first.recipients;
    this.#routes.forget(first);
    const [now] = await this.#routes.standings([first]);
    return { message: repeated.message, recipients: [{ session: first, state: now?.state ?? 'ended' }], total: 1 };
  }

  /**
   * Stages who sends: a handle must hold its lease; an id must not be that of a session that is over.
   * @throws MeshError `not_found`, `not_alive`
   */
  stageSender(draft: Draft, actor: Actor): MaybePromise<void> {
    return whenDone(this.#senderChecks(actor), (checks) => void draft.checks.push(...checks));
  }

  /** Stages that a mailbox takes one more. */
  stageBound(draft: Draft, session: string): void {
    draft.checks.push(this.#bound(session));
  }

  /**
   * After a conflict: forgets what was known, lets a handle learn why, and finds out whether a mailbox is full.
   * @throws MeshError `mailbox_full`, and `not_alive` or `lease_lost` for a handle
   */
  async learn({ conflicts }: Conflicted, actor: Actor, sessions: readonly string[]): Promise<void> {
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

  #senderChecks({ id, tenure }: Actor): MaybePromise<readonly Check[]> {
    if (tenure) return [this.#core.sessions.leaseCheck(id, tenure.leaseRevision)];
    return whenDone(this.#routes.standing(id), (standing) => {
      assertNotOver(standing);
      return standing.checks;
    });
  }

  /** What must hold of the recipient, its mailbox and the sender. */
  #checks({ session, queued }: Outgoing, { checks, markerCheck }: Standing, sender: readonly Check[]): Check[] {
    const [lease] = checks;
    const [own] = sender;
    // Nearly always: a list that is made with its items has room for just those.
    if (queued && lease && own && checks.length + sender.length === 2) return [lease, markerCheck, this.#bound(session), own];
    return [...checks, markerCheck, ...(queued ? [this.#bound(session)] : []), ...sender];
  }

  /** That a mailbox takes one more. */
  #bound(session: string): Check {
    return { partition: readyPartition(session), fewerThan: this.#mailboxLimit };
  }

  /** Answers the position of the message. */
  #stage(draft: Draft, outgoing: Outgoing, standing: Standing): MaybePromise<number> {
    const { actor, session, record, queued, idempotencyKey, also } = outgoing;
    const { engine } = this.#core;
    if (standing.marker === null) this.#routes.stageMarker(draft, session);
    const position = stageMail(draft, engine, session, record, queued);
    draft.puts.push(sentEventPut(engine.now(), session, record, position));
    if (idempotencyKey !== undefined) {
      this.#once.stage(draft, actor.id, idempotencyKey, { mailbox: session, position, recipients: [session], total: 1 });
    }
    if (!also && this.#routes.isTalking(actor.id, standing)) return position;
    const staged = whenDone(this.#routes.stageTalk(draft, actor.id, standing), () => also?.(draft));
    return whenDone(staged, () => position);
  }

  #sent(
    { session, record, committed }: Outgoing,
    { marker, recipients }: Standing,
    { revision }: Committed,
    position: number,
  ): SendResult {
    // The marker that was put with it is known from the next read on.
    if (marker === null) this.#routes.forget(session);
    const id = messageIdOf({ mailbox: session, stamp: stampAt(revision, position) });
    const message = viewOf(id, record);
    committed?.(message);
    return { message, recipients, total: 1 };
  }

  #isLease({ partition, key }: Address, id: string): boolean {
    const lease = this.#core.sessions.leaseAddress(id);
    return partition === lease.partition && key === lease.key;
  }
}

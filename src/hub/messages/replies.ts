import type { Draft } from '../../storage/draft.ts';
import { type MaybePromise, whenDone } from '../../storage/storage.ts';
import type { Actor, HubCore } from '../hub-core.ts';
import { type AcceptedContent, messageRecord } from './accept-message.ts';
import type { Bodies, StoredMessage } from './bodies.ts';
import type { Claim } from './claims.ts';
import type { FanOut } from './fan-out.ts';
import { type MessageRecord, placeOf, unknownMessage, viewOf } from './message.ts';
import type { Held, OpenClaims } from './open-claims.ts';
import { stageAcked } from './outcomes.ts';
import type { References } from './references.ts';
import type { Requests } from './requests.ts';
import type { Outgoing, Sending, SendResult } from './sending.ts';

export interface Reply {
  readonly actor: Actor;
  readonly type: MessageRecord['type'];
  readonly content: AcceptedContent;
  readonly idempotencyKey?: string | undefined;
}

/** Answers: to the sender, in the same conversation, and in one commit with the settlement of what is answered. */
export class Replies {
  readonly #core: HubCore;
  readonly #bodies: Bodies;
  readonly #references: References;
  readonly #sending: Sending;
  readonly #fanOut: FanOut;
  readonly #requests: Requests;
  readonly #open: OpenClaims;

  constructor(
    core: HubCore,
    bodies: Bodies,
    references: References,
    sending: Sending,
    fanOut: FanOut,
    requests: Requests,
    open: OpenClaims,
  ) {
    this.#core = core;
    this.#bodies = bodies;
    this.#references = references;
    this.#sending = sending;
    this.#fanOut = fanOut;
    this.#requests = requests;
    this.#open = open;
  }

  /** @throws MeshError `not_found` (the message), and as `Sending.post` */
  reply(messageId: string, reply: Reply): MaybePromise<SendResult> {
    const place = placeOf(messageId);
    const found = place && this.#bodies.record(place);
    return found instanceof Promise
      ? found.then((answered) => this.#answer(messageId, answered, reply))
      : this.#answer(messageId, found, reply);
  }

  #answer(
    messageId: string,
    answered: StoredMessage | undefined,
    { actor, type, content, idempotencyKey }: Reply,
  ): MaybePromise<SendResult> {
    if (!answered) throw unknownMessage(messageId);
    const { id, record } = answered;
    const { waiter } = record;
    const answer = messageRecord({ from: actor.id, to: record.from, type, at: this.#core.engine.now() }, content);
    answer.threadId = record.threadId ?? id;
    answer.replyTo = id;
    if (waiter !== undefined) {
      answer.waiter = waiter;
      answer.settled = true;
    }
    let held: Held | undefined;
    const hold = (found: Held | undefined): void => {
      if (held) held.claim.replies -= 1;
      if (found) found.claim.replies += 1;
      held = found;
    };
    let tries = 0;
    let settles = false;
    const outgoing: Outgoing = {
      actor,
      session: record.from,
      record: answer,
      // Whoever waits in a request gets the answer there, and not once more by its mailbox.
      queued: waiter === undefined,
      idempotencyKey,
      also: (draft) => {
        hold(this.#open.find(actor.id, id));
        tries += 1;
        return whenDone(this.#stageSettled(draft, actor.id, answered, held?.claim, tries > 1), (isSettled) => {
          settles = isSettled;
        });
      },
      committed: (message) => {
        if (held) held.claim.answered = true;
        held?.holder.forget(held.claim);
        if (waiter !== undefined && settles) this.#requests.answered(waiter, record.from, message);
      },
    };
    const sending = idempotencyKey === undefined ? this.#post(outgoing) : this.#postOnce(outgoing, idempotencyKey);
    if (sending instanceof Promise) return sending.finally(() => hold(undefined));
    hold(undefined);
    return sending;
  }

  #post(outgoing: Outgoing): MaybePromise<SendResult> {
    try {
      return this.#sending.post(outgoing);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #postOnce(outgoing: Outgoing, key: string): Promise<SendResult> {
    return (await this.#fanOut.repeated(outgoing.actor, outgoing.record, key)) ?? this.#sending.post(outgoing);
  }

  /**
   * What is answered is settled, whether it was claimed or still waited: answers whether it was. A claim is checked by the
   * commit, and read only once that has failed.
   */
  #stageSettled(
    draft: Draft,
    session: string,
    answered: StoredMessage,
    claim: Claim | undefined,
    isDoubtful: boolean,
  ): MaybePromise<boolean> {
    if (!claim) return this.#stageReference(draft, session, answered);
    if (!isDoubtful) return this.#stageClaim(draft, session, claim);
    return whenDone(this.#core.engine.storage.get([claim.address]), ([mine]) =>
      mine?.revision === claim.revision
        ? this.#stageClaim(draft, session, claim)
        : this.#stageReference(draft, session, answered),
    );
  }

  #stageClaim(draft: Draft, session: string, claim: Claim): boolean {
    const { address, revision } = claim;
    draft.checks.push({ partition: address.partition, key: address.key, revision });
    draft.deletes.push(address);
    stageAcked(draft, this.#core.engine, session, [claim]);
    return true;
  }

  async #stageReference(draft: Draft, session: string, { id, record }: StoredMessage): Promise<boolean> {
    const place = placeOf(id);
    const found = place && (await this.#references.find(session, place));
    if (!found) return false;
    const { partition, key, revision } = found.record;
    draft.checks.push({ partition, key, revision });
    draft.deletes.push({ partition, key });
    stageAcked(draft, this.#core.engine, session, [{ session, stamp: found.stamp, message: viewOf(id, record) }]);
    return true;
  }
}

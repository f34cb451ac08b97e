import type { Draft } from '../../storage/draft.ts';
import type { Actor, HubCore } from '../hub-core.ts';
import { type AcceptedContent, messageRecord } from './accept-message.ts';
import type { Bodies } from './bodies.ts';
import type { Claim } from './claims.ts';
import type { FanOut } from './fan-out.ts';
import { type MessageRecord, placeOf, unknownMessage, viewOf } from './message.ts';
import type { OpenClaims } from './open-claims.ts';
import { stageAcked } from './outcomes.ts';
import type { References } from './references.ts';
import type { Sending, SendResult } from './sending.ts';

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
  readonly #open: OpenClaims;

  constructor(core: HubCore, bodies: Bodies, references: References, sending: Sending, fanOut: FanOut, open: OpenClaims) {
    this.#core = core;
    this.#bodies = bodies;
    this.#references = references;
    this.#sending = sending;
    this.#fanOut = fanOut;
    this.#open = open;
  }

  /** @throws MeshError `not_found` (the message), and as `Sending.post` */
  async reply(messageId: string, { actor, type, content, idempotencyKey }: Reply): Promise<SendResult> {
    const place = placeOf(messageId);
    const answered = place && (await this.#bodies.record(place));
    if (!place || !answered) throw unknownMessage(messageId);
    const { id, record } = answered;
    const { waiter } = record;
    const answer = messageRecord({ from: actor.id, to: record.from, type, at: this.#core.engine.now() }, content);
    answer.threadId = record.threadId ?? id;
    answer.replyTo = id;
    if (waiter !== undefined) {
      answer.waiter = waiter;
      answer.settled = true;
    }
    const again = idempotencyKey === undefined ? undefined : await this.#fanOut.repeated(actor, answer, idempotencyKey);
    if (again) return again;
    let claim: Claim | undefined;
    const result = await this.#sending.post({
      actor,
      session: record.from,
      record: answer,
      // Whoever waits in a request gets the answer there, and not once more by its mailbox.
      queued: waiter === undefined,
      idempotencyKey,
      also: async (draft) => {
        claim = this.#open.find(actor.id, id);
        await this.#stageSettled(draft, actor.id, id, record, claim);
      },
    });
    if (claim) claim.answered = true;
    return result;
  }

  /** What is answered is settled, whether it was claimed or still waited. */
  async #stageSettled(draft: Draft, session: string, id: string, record: MessageRecord, claim: Claim | undefined): Promise<void> {
    const { engine } = this.#core;
    const message = viewOf(id, record);
    const [mine] = claim ? await engine.storage.get([claim.address]) : [];
    if (claim && mine?.revision === claim.revision) {
      draft.checks.push({ ...claim.address, revision: claim.revision });
      draft.deletes.push(claim.address);
      return stageAcked(draft, engine, session, [{ session, stamp: claim.stamp, message }]);
    }
    const place = placeOf(id);
    const found = place && (await this.#references.find(session, place));
    if (!found) return;
    const { partition, key, revision } = found.record;
    draft.checks.push({ partition, key, revision });
    draft.deletes.push({ partition, key });
    stageAcked(draft, engine, session, [{ session, stamp: found.stamp, message }]);
  }
}

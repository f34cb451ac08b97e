import { abortedBy } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import { stateOf } from '../../registry/session.ts';
import type { Actor, HubCore } from '../hub-core.ts';
import { type AcceptedContent, messageRecord } from './accept-message.ts';
import { AnswerWaits } from './answer-waits.ts';
import type { Bodies } from './bodies.ts';
import { type Message, placeOf } from './message.ts';
import { ofThread, THREADS, threadPlace, threadRange } from './post.ts';
import type { Routes } from './routes.ts';
import type { Sending } from './sending.ts';

export interface Request {
  readonly actor: Actor;
  readonly session: string;
  readonly content: AcceptedContent;
  readonly threadId?: string | undefined;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

const LOOKED_AT = 100;

/** Requests: a message whose sender waits for the answer, once: by the answer, the timeout, an abort, or the target's end. */
export class Requests {
  readonly #core: HubCore;
  readonly #bodies: Bodies;
  readonly #routes: Routes;
  readonly #sending: Sending;
  readonly #waits: AnswerWaits;

  constructor(core: HubCore, bodies: Bodies, routes: Routes, sending: Sending) {
    this.#core = core;
    this.#bodies = bodies;
    this.#routes = routes;
    this.#sending = sending;
    this.#waits = new AnswerWaits(core);
  }

  /** @throws MeshError `not_found`, `not_alive`, `mailbox_full`, `timed_out`, `aborted`, `closed` */
  async request({ actor, session, content, threadId, timeoutMs, signal }: Request): Promise<Message> {
    if (signal?.aborted) throw abortedBy(signal);
    const { engine } = this.#core;
    const at = engine.now();
    const until = at + timeoutMs;
    const wait = this.#waits.begin({ from: actor.id, session, until, signal });
    const record = messageRecord({ from: actor.id, to: session, type: 'request', at }, content);
    if (threadId !== undefined) record.threadId = threadId;
    record.expiresAt = until;
    record.waiter = wait.waiter;
    try {
      const sending = this.#sending.post({ actor, session, record, queued: true, requireAlive: true });
      const { message } = sending instanceof Promise ? await sending : sending;
      // As it was known to the send: another one of the same id will not answer it.
      const target = this.#routes.remembered(session) ?? (await this.#routes.standings([session]))[0];
      for (;;) {
        const { answer } = wait;
        if (answer !== undefined) return typeof answer === 'string' ? await this.#read(answer) : answer;
        if (signal?.aborted) throw abortedBy(signal);
        this.#core.assertOpen();
        const isGone = wait.isDoubtful() && !(await this.#isThere(session, target?.incarnation));
        if (isGone || engine.now() >= until) {
          return (
            (await this.#find(message)) ?? Promise.reject(isGone ? gone(message, session) : late(message, session, timeoutMs))
          );
        }
        await wait.next();
      }
    } finally {
      this.#waits.end(wait);
    }
  }

  /**
   * Tells a request of this process the answer that has settled it, committed a moment ago, which so does not have to be
   * heard of by its event. Who answers what it was not asked settles nothing.
   */
  answered(waiter: string, from: string, answer: Message): void {
    this.#waits.find(waiter, from)?.tell(answer);
  }

  async #isThere(session: string, incarnation: string | undefined): Promise<boolean> {
    const snapshot = await this.#core.sessions.read(session);
    const state = snapshot && stateOf(snapshot);
    return (state === 'alive' || state === 'stopping') && snapshot?.record.incarnation === incarnation;
  }

  async #read(id: string): Promise<Message> {
    const place = placeOf(id);
    const [message] = place ? await this.#bodies.read([place]) : [];
    if (message) return message;
    throw new MeshError('not_found', 'expected the answer to be kept, got it removed', { details: { message: id } });
  }

  /** The answer may have come right before the end, its event not yet. */
  async #find({ id, threadId }: Message): Promise<Message | undefined> {
    const range = { ...threadRange(threadId), reverse: true, limit: LOOKED_AT };
    const listed = await this.#core.engine.storage.list(THREADS, range);
    const found = await this.#bodies.read(ofThread(threadId, listed).map(threadPlace));
    return found.reverse().find((message) => message?.replyTo === id);
  }
}

function gone({ id }: Message, session: string): MeshError {
  return new MeshError('not_alive', `expected session ${session} to answer, got its end`, { details: { session, message: id } });
}

function late({ id }: Message, session: string, timeoutMs: number): MeshError {
  const message = `expected an answer of ${session} within ${timeoutMs} ms, got none`;
  return new MeshError('timed_out', message, { details: { session, message: id } });
}

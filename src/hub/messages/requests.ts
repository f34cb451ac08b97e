import { abortedBy, holdProcess } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import { onAbort } from '../../kernel/on-abort.ts';
import { sessionTopic } from '../../registry/events.ts';
import { stateOf } from '../../registry/session.ts';
import { isOfOneCommit } from '../../storage/keys.ts';
import type { Actor, HubCore } from '../hub-core.ts';
import { type AcceptedContent, messageRecord } from './accept-message.ts';
import type { Bodies } from './bodies.ts';
import { waiterTopic } from './events.ts';
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

/** After these the target may not answer any more. */
const DECISIVE: ReadonlySet<string> = new Set([
  'session_offline',
  'session_ended',
  'agent_killed',
  'session_removed',
  'session_created',
]);
const LOOKED_AT = 100;

/** Requests: a message whose sender waits for the answer, once: by the answer, the timeout, an abort, or the target's end. */
export class Requests {
  readonly #core: HubCore;
  readonly #bodies: Bodies;
  readonly #routes: Routes;
  readonly #sending: Sending;
  /** Of this process. */
  readonly #waits = new Map<string, Wait>();

  constructor(core: HubCore, bodies: Bodies, routes: Routes, sending: Sending) {
    this.#core = core;
    this.#bodies = bodies;
    this.#routes = routes;
    this.#sending = sending;
  }

  /** @throws MeshError `not_found`, `not_alive`, `mailbox_full`, `timed_out`, `aborted`, `closed` */
  async request({ actor, session, content, threadId, timeoutMs, signal }: Request): Promise<Message> {
    if (signal?.aborted) throw abortedBy(signal);
    const { engine } = this.#core;
    const waiter = engine.generateId('waiter');
    const at = engine.now();
    const until = at + timeoutMs;
    const record = messageRecord({ from: actor.id, to: session, type: 'request', at }, content);
    if (threadId !== undefined) record.threadId = threadId;
    record.expiresAt = until;
    record.waiter = waiter;
    const wait = new Wait(this.#core, waiter, session, until, signal);
    this.#waits.set(waiter, wait);
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
      this.#waits.delete(waiter);
      wait.end();
    }
  }

  /**
   * Tells a request of this process its answer, which was committed a moment ago and so does not have to be heard of by
   * its event; unless it is not the first in the conversation, or that is not known at once.
   */
  answered(waiter: string, answer: Message): void {
    const wait = this.#waits.get(waiter);
    if (!wait) return;
    try {
      const first = this.#core.engine.storage.list(THREADS, { ...threadRange(answer.threadId), limit: 1, values: false });
      if (first instanceof Promise) first.catch(() => {});
      else if (first[0] && isOfOneCommit(first[0].key, answer.id)) wait.tell(answer);
    } catch {
      // Its event tells it.
    }
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

/** What one request waits for. It listens before the request is sent, so that no answer goes unheard. */
class Wait {
  /** Or its id, where only its event was heard of. */
  answer: Message | string | undefined;
  readonly #stop: () => void;
  #doubtful = false;
  #hasNews = false;
  #wake = (): void => {};

  constructor(core: HubCore, waiter: string, session: string, until: number, signal: AbortSignal | undefined) {
    const { log, clock } = core.engine;
    const news = (): void => this.#news();
    const stops = [
      log.wakeOn(waiterTopic(waiter), (event) => {
        this.tell(String(event['message']));
      }),
      log.wakeOn(sessionTopic(session), (event) => {
        if (!DECISIVE.has(event.name)) return;
        this.#doubtful = true;
        news();
      }),
      core.onClose(news),
      onAbort(signal, news),
    ];
    const timer = clock.setTimeout(news, Math.max(0, until - core.engine.now()));
    const release = holdProcess();
    this.#stop = () => {
      for (const stop of stops) stop();
      clock.clearTimeout(timer);
      release();
    };
  }

  tell(answer: Message | string): void {
    this.answer ??= answer;
    this.#news();
  }

  #news(): void {
    this.#hasNews = true;
    this.#wake();
  }

  /** Whether something has happened to the target since this was asked. */
  isDoubtful(): boolean {
    const isDoubtful = this.#doubtful;
    this.#doubtful = false;
    return isDoubtful;
  }

  async next(): Promise<void> {
    if (!this.#hasNews) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#hasNews = false;
  }

  end(): void {
    this.#stop();
  }
}

function gone({ id }: Message, session: string): MeshError {
  return new MeshError('not_alive', `expected session ${session} to answer, got its end`, { details: { session, message: id } });
}

function late({ id }: Message, session: string, timeoutMs: number): MeshError {
  const message = `expected an answer of ${session} within ${timeoutMs} ms, got none`;
  return new MeshError('timed_out', message, { details: { session, message: id } });
}

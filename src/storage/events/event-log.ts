import * as z from 'zod';
import { Bag, type Waiting } from '../../kernel/bag.ts';
import { abortedBy, type Clock, holdProcess } from '../../kernel/clock.ts';
import { abortSignal, parse, policy } from '../../kernel/inputs.ts';
import { acceptOwn, type JsonObject } from '../../kernel/json.ts';
import { onAbort } from '../../kernel/on-abort.ts';
import type { ReportError } from '../../kernel/report.ts';
import type { MaybePromise, Put, Storage, Unsubscribe } from '../storage.ts';
import { EventFollower, type Wake, type WakeTopics } from './event-follower.ts';
import { EVENTS, EventReader, type LoggedEvent } from './event-reader.ts';

/** From where `events` follows, and until when. */
export interface FollowOptions {
  /** The cursor of the last event already seen; `''`: everything the log still has. Default: only what comes from now on. */
  readonly after?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface EventLogOptions {
  readonly storage: Storage;
  readonly clock: Clock;
  readonly report: ReportError;
  /** How often to look without a hint, in milliseconds. */
  readonly pollIntervalMs: number;
}

const CURSOR = /^\d{20}$/;
const isCursor = (value: unknown): value is string => value === '' || (typeof value === 'string' && CURSOR.test(value));
const FOLLOW = z.strictObject({ after: policy(isCursor, 'the cursor of an event').optional(), signal: abortSignal.optional() });

/**
 * All events of a mesh in one order: a stamped partition. A change and its event are one commit, so none is lost or
 * invented, and every process reads the same sequence.
 */
export class EventLog {
  readonly reader: EventReader;
  readonly #storage: Storage;
  readonly #follower: EventFollower;
  readonly #onClose = new Bag<Waiting>();

  constructor({ storage, clock, report, pollIntervalMs }: EventLogOptions) {
    this.#storage = storage;
    this.reader = new EventReader(storage);
    const ended = (): void => this.close();
    this.#follower = new EventFollower({ reader: this.reader, storage, clock, report, pollIntervalMs, ended });
  }

  /**
   * The put of an event, for the commit of the change that it tells.
   * @param stamped a `stampedField`
   */
  put(name: string, fields: JsonObject, stamped?: string): Put {
    const at = this.#storage.now();
    const value = acceptOwn(stamped ? { name, at, ...fields, stamped } : { name, at, ...fields });
    return { partition: EVENTS, key: '', value, stamped: true };
  }

  /**
   * Replays what comes behind `after` and then follows, until the signal aborts (which ends the loop with `aborted`) or
   * the loop is left or the log is closed, which ends it too. Waiting for the next event keeps the process alive.
   * @throws MeshError `invalid_input`, `not_found` for a cursor older than the log, `aborted`
   */
  follow(options: FollowOptions = {}): AsyncGenerator<LoggedEvent, void, undefined> {
    const { after, signal } = parse(FOLLOW, options, 'options');
    // Taken now and not at the first step, so that nothing committed in between is missed.
    const begin = after === undefined ? this.reader.tail() : after;
    if (begin instanceof Promise) begin.catch(() => {});
    return this.#follow(begin, signal);
  }

  /** Calls back with every event, or every one of these names, that is committed from now on. The listener must not throw. */
  subscribe(listener: (event: LoggedEvent) => void, names?: ReadonlySet<string>): Unsubscribe {
    return this.#follower.subscribe(listener, names);
  }

  /** Says which waiters an event of this name concerns. */
  defineTopics(name: string, topics: WakeTopics): void {
    this.#follower.topics.set(name, topics);
  }

  /** Calls back with every event from now on that names this topic, and with no other. */
  wakeOn(topic: string, wake: Wake): Unsubscribe {
    return this.#follower.wakeOn(topic, wake);
  }

  /** Calls back once when the log is closed: for who waits, and would not hear of it otherwise. */
  onClose(wake: () => void): Unsubscribe {
    const waiting = this.#onClose.add({ wake, place: -1 });
    return () => void this.#onClose.delete(waiting);
  }

  /** Resolves once whoever began to listen before this call will hear of every commit made after it. */
  ready(): MaybePromise<void> {
    return this.#follower.ready();
  }

  /** Resolves when every event committed before this call has reached the listeners of this log. */
  async settled(): Promise<void> {
    await this.#follower.reach(await this.reader.tail());
  }

  get closed(): boolean {
    return this.#follower.closed;
  }

  /** @throws MeshError `closed` */
  assertOpen(): void {
    this.#follower.assertOpen();
  }

  close(): void {
    this.#follower.close();
    for (const { wake } of this.#onClose.take()) wake();
  }

  async *#follow(begin: MaybePromise<string>, signal: AbortSignal | undefined): AsyncGenerator<LoggedEvent, void, undefined> {
    let cursor = await begin;
    while (!this.#follower.closed) {
      if (signal?.aborted) throw abortedBy(signal);
      const news = this.#follower.next();
      try {
        await this.ready();
        const page = await this.reader.read(cursor);
        await this.reader.assertKept(cursor);
        for (const event of page) {
          if (signal?.aborted) throw abortedBy(signal);
          cursor = event.cursor;
          yield event;
        }
        if (page.length === 0 && !(await held(news.promise, signal))) return;
      } catch (error) {
        if (this.#follower.closed && !signal?.aborted) return;
        throw error;
      } finally {
        news.cancel();
      }
    }
  }
}

/** Waits on behalf of a user: the process stays alive, and an abort ends the wait. */
function held(promise: Promise<boolean>, signal: AbortSignal | undefined): Promise<boolean> {
  const release = holdProcess();
  return new Promise<boolean>((resolve, reject) => {
    // It may have aborted while the log was read.
    if (signal?.aborted) return reject(abortedBy(signal));
    const forget = onAbort(signal, () => {
      if (signal) reject(abortedBy(signal));
    });
    promise.then(resolve, reject).finally(forget);
  }).finally(release);
}

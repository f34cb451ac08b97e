import { Bag, type Waiting } from '../../kernel/bag.ts';
import type { Clock, Timer } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import type { ReportError } from '../../kernel/report.ts';
import type { Hint, MaybePromise, Storage, StoredRecord, Unsubscribe } from '../storage.ts';
import { EVENT_PAGE, EVENTS, type EventReader, eventOf, type LoggedEvent, type StoredEvent } from './event-reader.ts';

/** Names the waiters that an event concerns. It must not need what the commit has stamped. */
export type WakeTopics = (event: StoredEvent) => readonly string[];

/** Hears an event as it is stored; of its record, `eventOf` makes the whole. It must not throw. */
export type Wake = (event: StoredEvent, record: StoredRecord) => void;

const NOBODY: readonly Waiting<Parameters<Wake>>[] = [];

interface Listening {
  /** What was committed before the listener came is not for it. */
  after: string;
  /** The events that it hears of; left out, all. */
  readonly names: ReadonlySet<string> | undefined;
}

/** A wait for what comes next, which may be called off. */
export interface News {
  /** True: there is something new; false: nothing will come any more. */
  readonly promise: Promise<boolean>;
  cancel(): void;
}

export interface EventFollowerOptions {
  readonly reader: EventReader;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly report: ReportError;
  readonly pollIntervalMs: number;
  /** Called when somebody else has closed the storage: nothing will come any more. */
  readonly ended: () => void;
}

/** The log keeps its events for much longer than this. */
const LONG_MS = 600_000;
/** Every cursor is digits. */
const BEHIND_ALL = '~';

/**
 * Follows the tail of the event log for everybody in this process who listens or waits: one read after a hint, or after
 * the poll interval without one, however many waiters there are. It follows only while there are any.
 */
export class EventFollower {
  readonly topics = new Map<string, WakeTopics>();
  readonly #reader: EventReader;
  readonly #storage: Storage;
  readonly #clock: Clock;
  readonly #report: ReportError;
  readonly #pollIntervalMs: number;
  readonly #ended: () => void;
  readonly #listeners = new Map<(event: LoggedEvent) => void, Listening>();
  readonly #wakers = new Map<string, Bag<Waiting<Parameters<Wake>>>>();
  readonly #news = new Bag<Waiting<[boolean]>>();
  #reached: { readonly cursor: string; resolve(): void }[] = [];
  /** The last event that was passed on; unknown until the tail was read for the first time. */
  #cursor: string | undefined;
  #starting: Promise<void> | undefined;
  /** Whether anybody listens or waits. */
  #following = false;
  #unwatch: Unsubscribe | undefined;
  #timer: Timer | undefined;
  #scheduled = false;
  #draining = false;
  /** Something happened during the read that is under way. */
  #again = false;
  #failing = false;
  #readAt = 0;
  #closed = false;

  constructor({ reader, storage, clock, report, pollIntervalMs, ended }: EventFollowerOptions) {
    this.#reader = reader;
    this.#storage = storage;
    this.#clock = clock;
    this.#report = report;
    this.#pollIntervalMs = pollIntervalMs;
    this.#ended = ended;
  }

  subscribe(listener: (event: LoggedEvent) => void, names?: ReadonlySet<string>): Unsubscribe {
    this.assertOpen();
    const listening: Listening = { after: '', names };
    this.#listeners.set(listener, listening);
    if (this.#following) this.#join(listening);
    else this.#start();
    return () => {
      this.#listeners.delete(listener);
      this.#stopIfIdle();
    };
  }

  wakeOn(topic: string, wake: Wake): Unsubscribe {
    this.assertOpen();
    const known = this.#wakers.get(topic);
    const wakers = known ?? new Bag();
    if (!known) this.#wakers.set(topic, wakers);
    const waiting = wakers.add({ wake, place: -1 });
    this.#start();
    return () => {
      wakers.delete(waiting);
      if (wakers.size === 0 && this.#wakers.get(topic) === wakers) this.#wakers.delete(topic);
      this.#stopIfIdle();
    };
  }

  /** Resolves when there is something new in the log. */
  next(): News {
    let resolve = (_isNew: boolean): void => {};
    const promise = new Promise<boolean>((onResolve) => {
      resolve = onResolve;
    });
    const waiting = { wake: resolve, place: -1 };
    if (this.#closed) resolve(false);
    else {
      this.#news.add(waiting);
      this.#start();
    }
    const cancel = (): void => {
      this.#news.delete(waiting);
      this.#stopIfIdle();
    };
    return { promise, cancel };
  }

  get closed(): boolean {
    return this.#closed;
  }

  assertOpen(): void {
    if (this.#closed) throw new MeshError('closed', 'expected an open mesh, got a closed one');
  }

  ready(): MaybePromise<void> {
    return this.#starting;
  }

  /** Resolves when everything up to this cursor was passed on, at once if nobody listens. */
  async reach(cursor: string): Promise<void> {
    await this.#starting;
    if (this.#closed || !this.#following || (this.#cursor !== undefined && this.#cursor >= cursor)) return;
    await new Promise<void>((resolve) => {
      this.#reached.push({ cursor, resolve });
      this.#soon();
    });
  }

  close(): void {
    this.#closed = true;
    this.#listeners.clear();
    this.#wakers.clear();
    for (const { wake } of this.#news.take()) wake(false);
    this.#stop();
  }

  #start(): void {
    if (this.#following) return;
    this.#watch();
    this.#following = true;
    this.#readAt = this.#clock.now();
    if (!this.#storage.reliableHints) this.#poll();
    try {
      const tail = this.#reader.tail();
      if (typeof tail === 'string') {
        this.#cursor = tail;
        return;
      }
      this.#startWhen(
        tail.then(
          (cursor) => {
            this.#cursor ??= cursor;
          },
          (error: unknown) => this.#failed(error),
        ),
      );
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Nothing is passed on, and nothing committed by whoever asks, before this is known. */
  #startWhen(known: Promise<void>): void {
    const starting = Promise.all([this.#starting, known]).then(() => {
      if (this.#starting === starting) this.#starting = undefined;
    });
    this.#starting = starting;
  }

  /** A listener that joins others: what is in the log by now is not for it, nor what others are being told just now. */
  #join(listening: Listening): void {
    const begin = (tail: string): void => {
      const cursor = this.#cursor ?? '';
      listening.after = tail > cursor ? tail : cursor;
    };
    try {
      const tail = this.#reader.tail();
      if (typeof tail === 'string') return begin(tail);
      listening.after = BEHIND_ALL;
      // Whoever follows reports what can't be read, at the next read.
      this.#startWhen(tail.then(begin, () => begin('')));
    } catch {
      begin('');
    }
  }

  #stopIfIdle(): void {
    if (this.#listeners.size === 0 && this.#wakers.size === 0 && this.#news.size === 0) this.#stop();
  }

  #watch(): void {
    this.#unwatch ??= this.#storage.watch((hint) => this.#onHint(hint));
  }

  #endWatch(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
  }

  #stop(): void {
    this.#following = false;
    this.#endWatch();
    if (this.#timer) this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#cursor = undefined;
    for (const { resolve } of this.#reached) resolve();
    this.#reached = [];
  }

  #onHint({ partitions }: Hint): void {
    if (!partitions || partitions.includes(EVENTS)) this.#soon();
  }

  #poll(): void {
    if (!this.#following) return;
    this.#timer = this.#clock.setTimeout(() => {
      this.#soon();
      this.#poll();
    }, this.#pollIntervalMs);
  }

  /** One read for everything that is committed in this turn of the event loop. */
  #soon(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // Until then no hint says more. The others are from stores that watch by a timer of their own.
    if (this.#storage.reliableHints) this.#endWatch();
    this.#clock.nextTurn(() => {
      this.#scheduled = false;
      void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    if (!this.#following) return;
    this.#again = this.#draining;
    if (this.#draining) return;
    this.#draining = true;
    try {
      this.#watch();
      await this.#starting;
      this.#cursor ??= await this.#reader.tail();
      const before = this.#cursor;
      const page = await this.#reader.records(before);
      const readAt = this.#clock.now();
      // Whoever is that far behind may have missed what was trimmed.
      if (page.length === EVENT_PAGE || Math.abs(readAt - this.#readAt) >= LONG_MS) await this.#reader.assertKept(before);
      this.#readAt = readAt;
      if (page.length === EVENT_PAGE) this.#soon();
      // Who has joined meanwhile may be about to learn from where on it hears.
      while (this.#starting) await this.#starting;
      let last = before;
      for (const record of page) {
        this.#pass(record, last);
        last = record.key;
      }
      this.#failing = false;
      this.#settle();
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#draining = false;
      if (this.#again) this.#soon();
      this.#again = false;
    }
  }

  /** @param last what was passed on before this, unless somebody has begun anew meanwhile */
  #pass(record: StoredRecord, last: string): void {
    const cursor = record.key;
    // Two that are the same are compared at once; others would first have to be put together.
    if (this.#cursor === undefined || (this.#cursor !== last && cursor <= this.#cursor)) return;
    this.#cursor = cursor;
    const stored = record.value as StoredEvent;
    // Most events concern nobody in this process, and are not made for nobody.
    let event: LoggedEvent | undefined;
    // Who joins meanwhile comes after this one, and who leaves is passed over.
    for (const [listener, { after, names }] of this.#listeners) {
      if ((after !== '' && cursor <= after) || (names && !names.has(stored.name))) continue;
      event ??= eventOf(record);
      listener(event);
    }
    if (this.#wakers.size > 0) {
      for (const topic of this.topics.get(stored.name)?.(stored) ?? []) {
        for (const { wake } of this.#wakers.get(topic)?.all() ?? NOBODY) wake(stored, record);
      }
    }
    if (this.#news.size > 0) for (const { wake } of this.#news.take()) wake(true);
  }

  #settle(): void {
    const cursor = this.#cursor ?? '';
    const waiting = this.#reached;
    this.#reached = [];
    for (const waiter of waiting) {
      if (waiter.cursor <= cursor) waiter.resolve();
      else this.#reached.push(waiter);
    }
    if (this.#reached.length > 0) this.#soon();
  }

  /** A store that can't be read is tried again at the next poll, and reported once. */
  #failed(error: unknown): void {
    if (this.#closed) return this.#stop();
    if (MeshError.is(error, 'closed')) return this.#ended();
    if (MeshError.is(error, 'not_found')) this.#cursor = undefined;
    if (!this.#failing) this.#report(error);
    this.#failing = true;
    if (this.#storage.reliableHints) this.#retry();
  }

  #retry(): void {
    if (this.#timer) this.#clock.clearTimeout(this.#timer);
    this.#timer = this.#clock.setTimeout(() => this.#soon(), this.#pollIntervalMs);
  }
}

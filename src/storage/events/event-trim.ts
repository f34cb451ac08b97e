import type { Clock } from '../../kernel/clock.ts';
import { keyAfter, REVISION_DIGITS } from '../keys.ts';
import type { Storage } from '../storage.ts';
import { EVENT_PAGE, EVENTS, EventReader, TRIMMED } from './event-reader.ts';

export interface EventTrimOptions {
  readonly storage: Storage;
  readonly clock: Clock;
  /** How many events stay, give or take a thousand. */
  readonly maxEvents: number;
  /** Older events go; absent: age does not matter. */
  readonly maxAgeMs?: number;
}

/**
 * Keeps the event log short, from its old end. Counting a long log costs a walk over it, so this remembers every
 * thousandth cursor and later walks only what was added since.
 */
export class EventTrim {
  readonly #storage: Storage;
  readonly #clock: Clock;
  readonly #reader: EventReader;
  readonly #maxEvents: number;
  readonly #maxAgeMs: number | undefined;
  #marks: string[] = [];
  /** The newest revision that was in the log at the last run. */
  #ranAt = 0;

  constructor({ storage, clock, maxEvents, maxAgeMs }: EventTrimOptions) {
    this.#storage = storage;
    this.#clock = clock;
    this.#reader = new EventReader(storage);
    this.#maxEvents = maxEvents;
    this.#maxAgeMs = maxAgeMs;
  }

  /** Whether so much has happened since the last run that there may be twice as many events as are to stay. */
  async hasGrown(): Promise<boolean> {
    return (await this.#newest()) - this.#ranAt >= this.#maxEvents;
  }

  async run(): Promise<void> {
    this.#ranAt = await this.#newest();
    await this.#count();
    const surplus = this.#marks.length - Math.ceil(this.#maxEvents / EVENT_PAGE);
    if (surplus > 0) {
      await this.#removeUpTo(this.#marks[surplus - 1] as string);
      this.#marks = this.#marks.slice(surplus);
    }
    if (this.#maxAgeMs !== undefined) await this.#removeOlderThan(this.#storage.now() - this.#maxAgeMs);
  }

  async #newest(): Promise<number> {
    return Number((await this.#reader.tail()).slice(0, REVISION_DIGITS));
  }

  async #count(): Promise<void> {
    for (;;) {
      const last = this.#marks[this.#marks.length - 1];
      const start = last === undefined ? {} : { start: keyAfter(last) };
      const page = await this.#storage.list(EVENTS, { ...start, limit: EVENT_PAGE, values: false });
      if (page.length < EVENT_PAGE) return;
      this.#marks.push((page[EVENT_PAGE - 1] as { key: string }).key);
      await this.#breathe();
    }
  }

  async #removeOlderThan(time: number): Promise<void> {
    for (;;) {
      const page = await this.#reader.read('');
      const kept = page.findIndex((event) => event.at >= time);
      const old = kept < 0 ? page[page.length - 1] : page[kept - 1];
      if (!old) return;
      await this.#removeUpTo(old.cursor);
      this.#marks = this.#marks.filter((mark) => mark > old.cursor);
      await this.#breathe();
    }
  }

  /** The cursor that says so is moved in the same commit as the first removal, so no reader can miss that it missed something. */
  async #removeUpTo(cursor: string): Promise<void> {
    const end = keyAfter(cursor);
    for (;;) {
      const [trimmed] = await this.#storage.get([TRIMMED]);
      const behind = !trimmed || (trimmed.value as string) < cursor;
      const result = await this.#storage.commit({
        checks: [{ ...TRIMMED, revision: trimmed?.revision ?? null }],
        deletes: [{ partition: EVENTS, end, limit: EVENT_PAGE }],
        puts: behind ? [{ ...TRIMMED, value: cursor }] : [],
      });
      if (!result.committed) continue;
      const left = await this.#storage.list(EVENTS, { end, limit: 1, values: false });
      if (left.length === 0) return;
      await this.#breathe();
    }
  }

  /** A long trim must not hold up the event loop. */
  #breathe(): Promise<void> {
    return new Promise((resolve) => this.#clock.nextTurn(resolve));
  }
}

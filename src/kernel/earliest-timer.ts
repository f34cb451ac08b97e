import type { Clock, Timer } from './clock.ts';

/** Times and the timers that wait for them. */
interface Timekeeper {
  readonly clock: Clock;
  now(): number;
}

/** One timer for the earliest of several times, which fires once and is then to be told the next. */
export class EarliestTimer {
  readonly #keeper: Timekeeper;
  readonly #ring: () => void;
  #timer: Timer | undefined;
  #at = Number.POSITIVE_INFINITY;

  constructor(keeper: Timekeeper, ring: () => void) {
    this.#keeper = keeper;
    this.#ring = ring;
  }

  /** Has it ring at this time, or before. */
  ringBy(time: number): void {
    const now = this.#keeper.now();
    // A time that is over although the timer has not fired is one of before the clock was set.
    if (time >= this.#at && this.#at > now) return;
    const at = Math.min(time, this.#at);
    this.clear();
    this.#at = at;
    this.#timer = this.#keeper.clock.setTimeout(this.#fire, Math.max(0, at - now));
  }

  clear(): void {
    if (this.#timer) this.#keeper.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#at = Number.POSITIVE_INFINITY;
  }

  readonly #fire = (): void => {
    this.#timer = undefined;
    this.#at = Number.POSITIVE_INFINITY;
    this.#ring();
  };
}

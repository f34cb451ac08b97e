import type { Clock, Timer } from '../../kernel/clock.ts';
import { LogWatch } from './log-watch.ts';

export interface CommitPollOptions {
  readonly clock: Clock;
  /** A number that changes when another connection has committed. May throw. */
  readonly read: () => number;
  /** Called after another connection has committed. */
  readonly changed: () => void;
  /** The write-ahead log's path. */
  readonly log: string;
}

/** The log is written before its new end is published, so a look at once would be too early. */
const WOKEN_MS = 1;
const BUSY_MS = 5;
const IDLE_MS = 100;
const BACK_OFF = 1.25;

/**
 * Notices what other processes commit: looks every 5 ms while they do, and less and less often, down to every 100 ms,
 * while they don't. Only then it also watches the log, which wakes it early; this process's own commits are written
 * there too, and are not to pay for it while there are many.
 */
export class CommitPoll {
  readonly #clock: Clock;
  readonly #read: () => number;
  readonly #changed: () => void;
  readonly #logWatch: LogWatch;
  #timer: Timer | undefined;
  #intervalMs = BUSY_MS;
  #seen: number | undefined;

  constructor({ clock, read, changed, log }: CommitPollOptions) {
    this.#clock = clock;
    this.#read = read;
    this.#changed = changed;
    this.#logWatch = new LogWatch(log, () => this.#wake());
  }

  /** What is committed from now on is noticed. Its timers do not keep the process alive. */
  start(): void {
    if (this.#timer) return;
    this.#intervalMs = BUSY_MS;
    this.#seen = this.#look();
    this.#wait();
  }

  stop(): void {
    if (!this.#timer) return;
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#logWatch.stop();
  }

  #wait(): void {
    this.#timer = this.#clock.setTimeout(() => this.#poll(), this.#intervalMs);
  }

  #wake(): void {
    if (!this.#timer) return;
    this.#clock.clearTimeout(this.#timer);
    this.#intervalMs = WOKEN_MS;
    this.#wait();
  }

  #poll(): void {
    const version = this.#look();
    const isNew = version !== this.#seen;
    this.#seen = version;
    this.#intervalMs = isNew ? BUSY_MS : Math.min(this.#intervalMs * BACK_OFF, IDLE_MS);
    this.#wait();
    if (this.#intervalMs < IDLE_MS) this.#logWatch.stop();
    else this.#logWatch.start();
    if (isNew) this.#changed();
  }

  /** A look that fails counts as a change: to look once too often is harmless. */
  #look(): number | undefined {
    try {
      return this.#read();
    } catch {
      return undefined;
    }
  }
}

import type { Clock, Timer } from '../kernel/clock.ts';
import type { ReportError } from '../kernel/report.ts';
import type { MaybePromise, Storage, Unsubscribe } from './storage.ts';

export interface SweeperOptions {
  readonly storage: Storage;
  readonly clock: Clock;
  readonly report: ReportError;
  readonly intervalMs: number;
  /** When there will be something to do although nothing changes; `undefined`: never. */
  readonly next: () => MaybePromise<number | undefined>;
  readonly chores: readonly (() => Promise<unknown>)[];
}

/**
 * Does its chores every interval, without keeping the process alive. Where the store hints every change it rests while
 * nothing changes and nothing comes due: it watches then, and while it works, and not while it waits for an interval to
 * pass. After this process has stalled it waits one more interval: what looks overdue then may only be its own late work.
 */
export class Sweeper {
  readonly #options: SweeperOptions;
  #unwatch: Unsubscribe | undefined;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  /** Since the chores were begun. */
  #changed = false;
  #resting = false;
  #closed = false;

  constructor(options: SweeperOptions) {
    this.#options = options;
  }

  start(): void {
    this.#wait(this.#options.intervalMs);
  }

  /** Lets the run under way end. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#unwatchNow();
    this.#stopTimer();
    await this.#running;
  }

  #watch(): void {
    const { storage } = this.#options;
    if (storage.reliableHints) this.#unwatch ??= storage.watch(() => this.#onChange());
  }

  #unwatchNow(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
  }

  #onChange(): void {
    this.#changed = true;
    this.#unwatchNow();
    if (!this.#resting) return;
    this.#resting = false;
    this.#wait(this.#options.intervalMs);
  }

  #wait(ms: number): void {
    this.#stopTimer();
    const { clock, intervalMs } = this.#options;
    const dueAt = clock.now() + ms;
    this.#timer = clock.setTimeout(() => {
      this.#timer = undefined;
      this.#resting = false;
      if (clock.now() - dueAt >= intervalMs) return this.#wait(intervalMs);
      this.#running = this.#run();
    }, ms);
  }

  #stopTimer(): void {
    if (this.#timer) this.#options.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #run(): Promise<void> {
    this.#changed = false;
    await this.#attempt(async () => this.#watch());
    for (const chore of this.#options.chores) {
      await this.#attempt(chore);
    }
    const next = await this.#attempt(async () => this.#options.next());
    this.#running = undefined;
    if (this.#closed) return;
    const { clock, intervalMs } = this.#options;
    if (this.#changed || !this.#unwatch) return this.#wait(intervalMs);
    this.#resting = true;
    // The clock cuts what is too long for a timer; then this is just one sweep more.
    this.#wait(Math.max(intervalMs, (next ?? Number.MAX_SAFE_INTEGER) - clock.now()));
  }

  async #attempt<T>(chore: () => Promise<T>): Promise<T | undefined> {
    if (this.#closed) return undefined;
    try {
      return await chore();
    } catch (error) {
      // What failed is left to do.
      this.#changed = true;
      if (!this.#closed) this.#options.report(error);
      return undefined;
    }
  }
}

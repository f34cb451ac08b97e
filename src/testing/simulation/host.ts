import { type Clock, systemClock, type Timer } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import { systemRandom } from '../../kernel/random.ts';
import type {
  Address,
  Commit,
  CommitResult,
  Durability,
  Hint,
  ListRange,
  MaybePromise,
  Storage,
  StoredRecord,
  Unsubscribe,
} from '../../storage/storage.ts';

export interface HostOptions {
  readonly storage: Storage;
  /** Waits until this process may go on. Default: at once. */
  readonly turn?: (() => Promise<void>) | undefined;
  /** Hears of a crash that was to come at some later await point. */
  readonly onCrash?: (() => void) | undefined;
  /** Default: the storage's clock's. */
  readonly random?: (() => number) | undefined;
}

/**
 * What a process stands on: the storage and the clock as it sees them. It can be frozen, as by a stalled event loop or
 * SIGSTOP, and it can crash: then no call is answered, no timer fires and no hint arrives, so nothing that runs on it
 * acts any more.
 */
export class Host implements Storage {
  readonly clock: Clock;
  readonly #options: HostOptions;
  /** What was to be called while it was frozen or dead, by timer or by something of its own. */
  readonly #late = new Map<object, () => void>();
  /** Calls that are never answered, until somebody clears up. */
  readonly #unanswered = new Set<(error: MeshError) => void>();
  #isFrozen = false;
  #isDead = false;
  #isDismissed = false;
  #awaitsLeft = Number.POSITIVE_INFINITY;

  constructor(options: HostOptions) {
    this.#options = options;
    const clock = options.storage.clock ?? systemClock;
    this.clock = {
      now: () => clock.now(),
      setTimeout: (callback, ms) => {
        const timer: Timer = clock.setTimeout(() => this.#whenAwake(callback, timer), ms);
        return timer;
      },
      clearTimeout: (timer) => {
        this.#late.delete(timer);
        clock.clearTimeout(timer);
      },
      nextTurn: (callback) => clock.nextTurn(() => this.#whenAwake(callback)),
      random: options.random ?? clock.random ?? systemRandom,
    };
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  get durability(): Durability {
    return this.#options.storage.durability;
  }

  get reliableHints(): boolean {
    return this.#options.storage.reliableHints === true;
  }

  get uncertain(): boolean {
    return this.#options.storage.uncertain === true;
  }

  now(): number {
    return this.#options.storage.now();
  }

  get(addresses: readonly Address[]): Promise<(StoredRecord | undefined)[]> {
    return this.#call(() => this.#options.storage.get(addresses));
  }

  list(partition: string, range?: ListRange): Promise<StoredRecord[]> {
    return this.#call(() => this.#options.storage.list(partition, range));
  }

  commit(commit: Commit): Promise<CommitResult> {
    return this.#call(() => this.#options.storage.commit(commit));
  }

  watch(listener: (hint: Hint) => void): Unsubscribe {
    return this.#options.storage.watch((hint) => {
      if (!this.#isDead) this.#whenAwake(() => listener(hint));
    });
  }

  /** The storage belongs to all processes. */
  async close(): Promise<void> {}

  /** Crashes at the n-th await point from here: before a call has reached the storage, or before its answer is back. */
  crashAfter(awaits: number): void {
    this.#awaitsLeft = awaits;
  }

  crash(): void {
    if (this.#isDead) return;
    this.#isDead = true;
    this.#options.onCrash?.();
  }

  freeze(): void {
    this.#isFrozen = true;
  }

  thaw(): void {
    this.#isFrozen = false;
    if (!this.#isDead) this.#callLate();
  }

  /** Refuses the calls of the dead and ends its waits, so that nothing stays open when nobody is interested any more. */
  dismiss(): void {
    this.crash();
    this.#isDismissed = true;
    for (const reject of this.#unanswered) reject(dead());
    this.#unanswered.clear();
    this.#callLate();
  }

  async #call<T>(run: () => MaybePromise<T>): Promise<T> {
    await this.#pass();
    try {
      return await run();
    } finally {
      await this.#pass();
    }
  }

  async #pass(): Promise<void> {
    if (!this.#isDead) await this.#options.turn?.();
    if (this.#isFrozen && !this.#isDead) await this.#orDismissed((resolve) => this.#whenAwake(resolve));
    this.#awaitsLeft -= 1;
    if (this.#awaitsLeft <= 0) this.crash();
    if (!this.#isDead) return;
    if (this.#isDismissed) throw dead();
    await this.#orDismissed(() => {});
  }

  #orDismissed(wait: (resolve: () => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#unanswered.add(reject);
      wait(() => {
        this.#unanswered.delete(reject);
        resolve();
      });
    });
  }

  #whenAwake(callback: () => void, key: object = {}): void {
    if (this.#isDismissed || !(this.#isFrozen || this.#isDead)) callback();
    else this.#late.set(key, callback);
  }

  #callLate(): void {
    for (const [key, callback] of this.#late) {
      this.#late.delete(key);
      callback();
    }
  }
}

function dead(): MeshError {
  return new MeshError('closed', 'expected a living process, got a dead one');
}

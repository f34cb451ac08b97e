import { holdProcess, sleep, systemClock } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import { jitter } from '../../kernel/random.ts';
import type { MaybePromise } from '../../storage/storage.ts';
import { isBusy, meshErrorOf, type Step } from './sqlite-errors.ts';

/** A writer is done within a fraction of a millisecond, so the first attempts follow closely. */
const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 20;
const GROWTH = 1.3;
/** Once the storage is to be closed. */
const LAST_MS = 200;

/** How long a storage waits for a lock. */
export class Patience {
  readonly #timeoutMs: number;
  #endsAt = Number.POSITIVE_INFINITY;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /** From now on nobody waits for long, also who waits already: the storage is to be closed. */
  end(): void {
    this.#endsAt = systemClock.now() + LAST_MS;
  }

  #leftMs(began: number): number {
    const now = systemClock.now();
    return Math.min(this.#timeoutMs - (now - began), this.#endsAt - now);
  }

  /**
   * Makes an attempt, and as long as the database is locked makes it again, waiting without blocking the event loop.
   * Locks are held in real time, so the waiting is by the system's clock whatever clock the storage goes by.
   *
   * @throws MeshError `unavailable` when the database was still locked in the end, or as the attempt's failure means
   */
  during<T>(attempt: () => T, step: Step = 'run'): MaybePromise<T> {
    try {
      return attempt();
    } catch (error) {
      if (!isBusy(error)) throw meshErrorOf(error, step);
      return this.#again(attempt, step);
    }
  }

  async #again<T>(attempt: () => T, step: Step): Promise<T> {
    const began = systemClock.now();
    let pauseMs = FIRST_PAUSE_MS;
    for (;;) {
      const leftMs = this.#leftMs(began);
      if (leftMs <= 0) throw locked(systemClock.now() - began);
      await pause(Math.min(jitter(pauseMs), leftMs));
      pauseMs = Math.min(pauseMs * GROWTH, LONGEST_PAUSE_MS);
      try {
        return attempt();
      } catch (error) {
        if (!isBusy(error)) throw meshErrorOf(error, step);
      }
    }
  }
}

function locked(ms: number): MeshError {
  return new MeshError('unavailable', `expected the database to be free within ${ms} ms, got it locked`);
}

/** Waits in real time for a caller who waits too: so the process stays. */
export async function pause(ms: number): Promise<void> {
  const release = holdProcess();
  try {
    await sleep(systemClock, ms);
  } finally {
    release();
  }
}

import { holdProcess, sleep, systemClock } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import { jitter } from '../../kernel/random.ts';
import type { MaybePromise } from '../../storage/storage.ts';
import { isBusy, meshErrorOf, type Step } from './sqlite-errors.ts';

/** A writer is done within a fraction of a millisecond, so the first attempts follow closely. */
const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 20;
const GROWTH = 1.3;

/**
 * Makes an attempt, and as long as the database is locked makes it again, waiting without blocking the event loop.
 * Locks are held in real time, so the waiting is by the system's clock whatever clock the storage goes by.
 *
 * @throws MeshError `unavailable` when the database was still locked after `timeoutMs`, or as the attempt's failure means
 */
export function patiently<T>(attempt: () => T, timeoutMs: number, step: Step = 'run'): MaybePromise<T> {
  try {
    return attempt();
  } catch (error) {
    if (!isBusy(error)) throw meshErrorOf(error, step);
    return again(attempt, timeoutMs, step);
  }
}

async function again<T>(attempt: () => T, timeoutMs: number, step: Step): Promise<T> {
  const began = systemClock.now();
  let pauseMs = FIRST_PAUSE_MS;
  for (;;) {
    const leftMs = timeoutMs - (systemClock.now() - began);
    if (leftMs <= 0) throw new MeshError('unavailable', `expected the database to be free within ${timeoutMs} ms, got it locked`);
    await pause(Math.min(jitter(pauseMs), leftMs));
    pauseMs = Math.min(pauseMs * GROWTH, LONGEST_PAUSE_MS);
    try {
      return attempt();
    } catch (error) {
      if (!isBusy(error)) throw meshErrorOf(error, step);
    }
  }
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

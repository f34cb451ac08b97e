import { MeshError } from './errors.ts';
import { onAbort } from './on-abort.ts';

/** The longest delay a timer can have; a longer one would fire at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** What a clock hands out for a pending timer; only the clock that made it knows what it is. */
export type Timer = object;

/**
 * Time as the library sees it: one clock belongs to each storage, and everything on that storage waits by it.
 * Timers never keep the process alive.
 */
export interface Clock {
  /** Epoch milliseconds, an integer. */
  now(): number;
  /** Calls back once, `ms` from now. A delay above `MAX_TIMER_MS` is cut to it, so whoever waits for a date looks again. */
  setTimeout(callback: () => void, ms: number): Timer;
  /** Does nothing for a timer that has fired. */
  clearTimeout(timer: Timer): void;
  /** Calls back in the next turn of the event loop, after everything that is already due in this one. */
  nextTurn(callback: () => void): void;
  /** Numbers in [0, 1) by which those who collided step apart. Left out, the system's. */
  readonly random?: () => number;
}

/** The host's clock and timers. */
export const systemClock: Clock = {
  now: () => Date.now(),
  setTimeout(callback, ms) {
    const timer: unknown = setTimeout(callback, Math.min(ms, MAX_TIMER_MS));
    return unref(timer);
  },
  clearTimeout(timer) {
    clearTimeout((timer as { id?: number }).id ?? (timer as ReturnType<typeof setTimeout>));
  },
  nextTurn(callback) {
    if (typeof setImmediate === 'function') setImmediate(callback);
    else setTimeout(callback, 0);
  },
};

/** Node's timers are objects that can let the process end; a browser's are numbers, boxed here to fit `Timer`. */
function unref(timer: unknown): Timer {
  if (typeof timer !== 'object' || timer === null) return { id: timer };
  (timer as { unref?: () => void }).unref?.();
  return timer;
}

/**
 * Waits `ms` by the clock.
 * @throws MeshError `aborted` when the signal aborts first.
 */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(abortedBy(signal));
    const timer = clock.setTimeout(() => {
      forget();
      resolve();
    }, ms);
    const forget = onAbort(signal, () => {
      clock.clearTimeout(timer);
      if (signal) reject(abortedBy(signal));
    });
  });
}

/** The error of a wait that its caller called off. */
export function abortedBy(signal: AbortSignal): MeshError {
  return new MeshError('aborted', 'expected the wait to end by itself, got an abort', { cause: signal.reason });
}

/**
 * Keeps the process alive until released: for calls that a user waits in, since no timer of ours does.
 * Returns the release, which may be called more than once.
 */
export function holdProcess(): () => void {
  holders += 1;
  anchor ??= setInterval(() => {}, MAX_TIMER_MS);
  let held = true;
  return () => {
    if (!held) return;
    held = false;
    holders -= 1;
    if (holders > 0) return;
    clearInterval(anchor);
    anchor = undefined;
  };
}

let holders = 0;
let anchor: ReturnType<typeof setInterval> | undefined;

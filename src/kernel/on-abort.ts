import { Bag, type Waiting } from './bag.ts';

const NOTHING = (): void => {};

interface Listening {
  readonly callbacks: Bag<Waiting>;
  readonly listener: () => void;
}

const bySignal = new WeakMap<AbortSignal, Listening>();

/**
 * Calls back when a signal aborts, once, and answers how to call that off. A signal gets one listener however many wait for
 * it: hosts take more than ten for a leak and say so. One that has aborted already calls nobody.
 */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  if (!signal) return NOTHING;
  const known = bySignal.get(signal) ?? listening(signal);
  const { callbacks, listener } = known;
  const waiting = callbacks.add({ wake: callback, place: -1 });
  return () => {
    if (!callbacks.delete(waiting) || callbacks.size > 0) return;
    signal.removeEventListener('abort', listener);
    if (bySignal.get(signal) === known) bySignal.delete(signal);
  };
}

function listening(signal: AbortSignal): Listening {
  const callbacks = new Bag<Waiting>();
  const listener = (): void => {
    bySignal.delete(signal);
    // One that is called off meanwhile is not called.
    for (const waiting of callbacks.all()) if (callbacks.has(waiting)) waiting.wake();
  };
  const known = { callbacks, listener };
  bySignal.set(signal, known);
  signal.addEventListener('abort', listener, { once: true });
  return known;
}

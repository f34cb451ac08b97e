interface Waiting {
  readonly callbacks: Set<() => void>;
  readonly listener: () => void;
}

const bySignal = new WeakMap<AbortSignal, Waiting>();

/**
 * Calls back when a signal aborts, once, and answers how to call that off. A signal gets one listener however many wait for
 * it: hosts take more than ten for a leak and say so. One that has aborted already calls nobody.
 */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  if (!signal) return () => {};
  const waiting = bySignal.get(signal) ?? listening(signal);
  const { callbacks, listener } = waiting;
  callbacks.add(callback);
  return () => {
    if (!callbacks.delete(callback) || callbacks.size > 0) return;
    signal.removeEventListener('abort', listener);
    if (bySignal.get(signal) === waiting) bySignal.delete(signal);
  };
}

function listening(signal: AbortSignal): Waiting {
  const callbacks = new Set<() => void>();
  const listener = (): void => {
    bySignal.delete(signal);
    // The set itself: one that is called off meanwhile is not called.
    for (const callback of callbacks) callback();
  };
  const waiting = { callbacks, listener };
  bySignal.set(signal, waiting);
  signal.addEventListener('abort', listener, { once: true });
  return waiting;
}

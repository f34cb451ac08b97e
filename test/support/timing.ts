import type { VirtualClock } from '../../src/testing/virtual-clock.ts';

/** Advances the clock, in small steps, until a promise is settled. */
export async function passUntil<T>(clock: VirtualClock, promise: Promise<T>, stepMs = 100, atMostMs = 120_000): Promise<T> {
  const settled = watched(promise);
  await clock.settle();
  for (let passed = 0; !settled(); passed += stepMs) {
    if (passed > atMostMs) throw new Error(`expected the promise to settle within ${atMostMs} ms, got none`);
    await clock.advance(stepMs);
  }
  return promise;
}

/** Whether a promise is settled by now, without letting time pass. */
export async function isSettled(clock: VirtualClock, promise: Promise<unknown>): Promise<boolean> {
  const settled = watched(promise);
  await clock.settle();
  return settled();
}

/** A promise and what settles it. */
export function deferred<T = void>(): { readonly promise: Promise<T>; resolve(value: T): void; reject(error: unknown): void } {
  let resolve = (_value: T): void => {};
  let reject = (_error: unknown): void => {};
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

function watched(promise: Promise<unknown>): () => boolean {
  let settled = false;
  const done = (): void => {
    settled = true;
  };
  promise.then(done, done);
  return () => settled;
}

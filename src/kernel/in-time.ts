import { type Clock, holdProcess } from './clock.ts';

/**
 * How long a mesh that is closed waits for each step, whatever its storage does: two seconds for all. What can't be given
 * back by then comes back by itself.
 */
export const CLOSING_MS = { uses: 300, claims: 600, leases: 500, sweep: 200, storage: 300 } as const;

/**
 * Waits for work, but no longer than `ms`; what it throws after that concerns nobody. Answers whether it was done. The
 * process stays meanwhile.
 */
export async function inTime(clock: Clock, work: Promise<unknown>, ms: number): Promise<boolean> {
  let tooLate = (_isDone: boolean): void => {};
  const late = new Promise<boolean>((resolve) => {
    tooLate = resolve;
  });
  const timer = clock.setTimeout(() => tooLate(false), ms);
  const release = holdProcess();
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clock.clearTimeout(timer);
    release();
  }
}

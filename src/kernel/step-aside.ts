import type { Clock } from './clock.ts';
import { systemRandom } from './random.ts';

/** Who has lost no more often than this tries again at once. */
const ATTEMPTS_AT_ONCE = 4;
const MAX_TURNS = 32;

/**
 * For the next attempt at something that others were faster with: lets a random number of loop turns pass, so that those
 * who collided do not collide again in step.
 */
export async function stepAside(clock: Clock, attempt: number): Promise<void> {
  if (attempt <= ATTEMPTS_AT_ONCE) return;
  const { random = systemRandom } = clock;
  const turns = 1 + Math.floor(random() * Math.min(attempt, MAX_TURNS));
  for (let turn = 0; turn < turns; turn++) await new Promise<void>((resolve) => clock.nextTurn(resolve));
}

import { SeededRandom } from '../random.ts';
import type { Rates } from './options.ts';

/** What one step of a run does, before time passes. */
export type Deed =
  | { readonly kind: 'act'; readonly action: string }
  | { readonly kind: 'crash'; readonly afterAwaits: number; readonly backAfterMs: number }
  | { readonly kind: 'freeze'; readonly forMs: number }
  | { readonly kind: 'clock'; readonly byMs: number };

/** Each step draws from a seed of its own, so that the others stay as they are when one is left out. */
export interface Step {
  readonly index: number;
  readonly process: number;
  readonly deed: Deed;
  readonly passMs: number;
  readonly seed: number;
}

export interface PlanOptions {
  readonly seed: number;
  readonly processes: number;
  readonly steps: number;
  readonly stepMs: number;
  readonly rates: Rates;
  /** The names of the actions and how often each is to be chosen. */
  readonly weights: readonly (readonly [name: string, weight: number])[];
}

const CRASH_WITHIN_AWAITS = 40;
const BACK_WITHIN_MS = 10_000;
const STALL_MS = 3000;
const PAUSE_MS = 60_000;

/** Everything that is to happen, drawn from the seed before anything does. */
export function planOf(options: PlanOptions): Step[] {
  const random = new SeededRandom(options.seed);
  return Array.from({ length: options.steps }, (_, index) => ({
    index,
    process: random.below(options.processes),
    deed: drawDeed(random, options),
    passMs: drawPass(random, options.stepMs),
    seed: random.below(2 ** 32),
  }));
}

function drawDeed(random: SeededRandom, { rates, weights }: PlanOptions): Deed {
  let draw = random.next();
  const happens = (rate: number): boolean => {
    draw -= rate;
    return draw < 0;
  };
  const first = random.next();
  const second = random.next();
  if (happens(rates.crashRate)) {
    const afterAwaits = 1 + Math.floor(first * CRASH_WITHIN_AWAITS);
    return { kind: 'crash', afterAwaits, backAfterMs: Math.floor(second * BACK_WITHIN_MS) };
  }
  if (happens(rates.stallRate)) return { kind: 'freeze', forMs: 1 + Math.floor(first * STALL_MS) };
  if (happens(rates.pauseRate)) return { kind: 'freeze', forMs: STALL_MS + Math.floor(first * (PAUSE_MS - STALL_MS)) };
  if (happens(rates.clockStepRate)) return { kind: 'clock', byMs: Math.floor((first - 0.5) * 2 * rates.clockStepMs) };
  let chosen = second * weights.reduce((sum, [, weight]) => sum + weight, 0);
  const named = weights.find(([, weight]) => (chosen -= weight) < 0) ?? weights[weights.length - 1];
  return { kind: 'act', action: named?.[0] ?? '' };
}

/** Mostly next to nothing, so that things happen at the same time. */
function drawPass(random: SeededRandom, stepMs: number): number {
  const draw = random.next();
  const share = random.next();
  if (draw < 0.6) return Math.floor(share * Math.min(20, stepMs));
  return Math.floor(share * stepMs * (draw < 0.95 ? 1 : 10));
}

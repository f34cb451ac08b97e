import type { Clock } from '../../kernel/clock.ts';
import type { SeededRandom } from '../random.ts';

/**
 * Lets one go on at a time of all who wait for their turn, in an order drawn from a seed: so what processes do at the same
 * time is interleaved in every way that seeds can think of, and in the same way each time for the same seed.
 */
export class Turns {
  readonly #clock: Clock;
  readonly #waiting: (() => void)[] = [];
  #random: SeededRandom;
  #isRunning = false;

  constructor(clock: Clock, random: SeededRandom) {
    this.#clock = clock;
    this.#random = random;
  }

  reseed(random: SeededRandom): void {
    this.#random = random;
  }

  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      if (this.#isRunning) return;
      this.#isRunning = true;
      this.#clock.nextTurn(this.#run);
    });
  }

  readonly #run = (): void => {
    const [chosen] = this.#waiting.splice(this.#random.below(this.#waiting.length), 1);
    chosen?.();
    // What it leads to comes in microtasks, and may be the next to be chosen.
    this.#clock.nextTurn(() => {
      if (this.#waiting.length > 0) this.#run();
      else this.#isRunning = false;
    });
  };
}

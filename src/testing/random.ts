import { describe } from '../kernel/describe.ts';
import { MeshError } from '../kernel/errors.ts';

/**
 * Numbers that look random and are the same for the same seed: the algorithm sfc32 of Chris Doty-Humphrey's PractRand.
 * For faults and simulations, never for secrets.
 */
export class SeededRandom {
  #a: number;
  #b: number;
  #c = 0;
  #counter = 1;

  /**
   * @param seed a whole number, negative ones too
   * @throws MeshError `invalid_input`
   */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed)) throw invalid('a whole number for seed', seed);
    this.#a = seed | 0;
    this.#b = Math.floor(seed / 2 ** 32) | 0;
    // So that seeds beside each other do not begin alike.
    for (let round = 0; round < 15; round++) this.next();
  }

  /** A number in [0, 1). */
  next(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return (sum >>> 0) / 2 ** 32;
  }

  /**
   * A whole number from 0 on and below `n`, which is at most 2³².
   * @throws MeshError `invalid_input`
   */
  below(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) throw invalid('a whole number between 1 and 4294967296', n);
    return Math.floor(this.next() * n);
  }

  /** True with probability `p`; never for 0, always for 1. */
  chance(p: number): boolean {
    return this.next() < p;
  }

  /**
   * One item of a list that is not empty.
   * @throws MeshError `invalid_input`
   */
  pick<T>(list: readonly T[]): T {
    if (list.length === 0) throw new MeshError('invalid_input', 'expected a list to pick from, got an empty one');
    return list[this.below(list.length)] as T;
  }
}

function invalid(expected: string, got: unknown): MeshError {
  return new MeshError('invalid_input', `expected ${expected}, got ${describe(got)}`);
}

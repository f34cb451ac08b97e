import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../src/testing/random.ts';

const list = (seed: number, count = 20): number[] => {
  const random = new SeededRandom(seed);
  return Array.from({ length: count }, () => random.next());
};

describe('SeededRandom', () => {
  it('gives the same numbers for the same seed', () => {
    for (const seed of [0, 1, -1, 42, 2 ** 40, Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER])
      expect(list(seed)).toEqual(list(seed));
  });

  it('gives these numbers, today and in a year', () => {
    const random = new SeededRandom(42);
    expect(Array.from({ length: 6 }, () => random.below(1000))).toEqual([701, 922, 360, 940, 315, 878]);
  });

  it('begins otherwise for every seed', () => {
    const seeds = [...Array.from({ length: 2000 }, (_, seed) => seed - 1000), 2 ** 32, 2 ** 33, 2 ** 52];
    expect(new Set(seeds.map((seed) => list(seed, 1)[0])).size).toBe(seeds.length);
  });

  it('gives numbers from 0 on and below 1, evenly', () => {
    const counts = new Array<number>(10).fill(0);
    const numbers = list(7, 100_000);
    expect(numbers.filter((number) => number < 0 || number >= 1)).toEqual([]);
    for (const number of numbers) {
      const decile = Math.floor(number * 10);
      counts[decile] = (counts[decile] ?? 0) + 1;
    }
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500);
  });

  it('draws below a number, by chance, and from a list', () => {
    const random = new SeededRandom(5);
    const drawn = Array.from({ length: 1000 }, () => random.below(3));
    expect([...new Set(drawn)].sort()).toEqual([0, 1, 2]);
    expect(Array.from({ length: 100 }, () => random.chance(0))).not.toContain(true);
    expect(Array.from({ length: 100 }, () => random.chance(1))).not.toContain(false);
    const share = Array.from({ length: 10_000 }, () => random.chance(0.3)).filter(Boolean).length;
    expect(Math.abs(share - 3000)).toBeLessThan(200);
    expect(['a', 'b']).toContain(random.pick(['a', 'b']));
    expect(random.below(1)).toBe(0);
  });

  it('refuses what it cannot draw from', () => {
    const random = new SeededRandom(1);
    const invalid = expect.objectContaining({ code: 'invalid_input' });
    for (const bad of [0, -1, 1.5, Number.NaN, 2 ** 33]) expect(() => random.below(bad)).toThrow(invalid);
    expect(() => random.pick([])).toThrow(invalid);
    for (const bad of [1.5, Number.NaN, '1', undefined, 2 ** 60]) expect(() => new SeededRandom(bad as number)).toThrow(invalid);
  });
});

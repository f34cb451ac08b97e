import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SortedMap } from '../../src/storage/sorted-map.ts';
import { SeededRandom } from '../../src/testing/random.ts';

interface Entry {
  readonly order: string;
}

/** A map beside the simplest thing that does the same: an array that is sorted. */
class Pair {
  readonly map = new SortedMap<Entry>();
  readonly array: Entry[] = [];

  add(order: string): void {
    if (this.#indexOf(order) >= 0) return;
    const entry = { order };
    this.map.add(entry);
    this.array.splice(this.#lowerBound(order), 0, entry);
  }

  delete(order: string): void {
    const index = this.#indexOf(order);
    expect(this.map.delete(order)).toBe(index >= 0);
    if (index >= 0) this.array.splice(index, 1);
  }

  agreeOn(order: string): void {
    const index = this.#indexOf(order);
    expect(this.map.get(order)).toBe(index < 0 ? undefined : this.array[index]);
    expect(this.map.size).toBe(this.array.length);
  }

  agreeOnRange(start: string | undefined, end: string | undefined, limit = Number.POSITIVE_INFINITY): void {
    const from = start === undefined ? 0 : this.#lowerBound(start);
    const to = end === undefined ? this.array.length : this.#lowerBound(end);
    const inside = this.array.slice(from, Math.max(from, to));
    expectSame(
      this.map.first(start, end, limit).map(({ order }) => order),
      inside.slice(0, limit).map(({ order }) => order),
    );
    expectSame(
      walked(this.map, start, end, false, limit),
      inside.slice(0, limit).map(({ order }) => order),
    );
    expectSame(
      walked(this.map, start, end, true, limit),
      inside
        .reverse()
        .slice(0, limit)
        .map(({ order }) => order),
    );
  }

  #indexOf(order: string): number {
    const index = this.#lowerBound(order);
    return this.array[index]?.order === order ? index : -1;
  }

  #lowerBound(order: string): number {
    let low = 0;
    let high = this.array.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.array[middle] as Entry).order < order) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function walked(
  map: SortedMap<Entry>,
  start: string | undefined,
  end: string | undefined,
  reverse: boolean,
  limit: number,
): string[] {
  const found: string[] = [];
  map.walk(start, end, reverse, ({ order }) => {
    found.push(order);
    return found.length < limit;
  });
  return found;
}

/** As `toEqual`, which takes seconds for lists of this length. */
function expectSame(got: readonly string[], expected: readonly string[]): void {
  expect([got.length, got.findIndex((order, index) => order !== expected[index])]).toEqual([expected.length, -1]);
}

const order = fc.integer({ min: 0, max: 60 }).map((number) => String.fromCharCode(33 + number));

describe('SortedMap', () => {
  it('does what a sorted array does', () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ add: order }) },
      { weight: 2, arbitrary: fc.record({ delete: order }) },
      { weight: 1, arbitrary: fc.record({ get: order }) },
      {
        weight: 1,
        arbitrary: fc.record({
          start: fc.option(order, { nil: undefined }),
          end: fc.option(order, { nil: undefined }),
          limit: fc.nat(5),
        }),
      },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const pair = new Pair();
        for (const step of steps) {
          if ('add' in step) pair.add(step.add);
          else if ('delete' in step) pair.delete(step.delete);
          else if ('get' in step) pair.agreeOn(step.get);
          else pair.agreeOnRange(step.start, step.end, step.limit + 1);
        }
        pair.agreeOnRange(undefined, undefined);
      }),
      { numRuns: 500 },
    );
  });

  it('is empty at first, and again after everything was deleted', () => {
    const pair = new Pair();
    pair.agreeOnRange(undefined, undefined);
    pair.agreeOnRange('a', 'b');
    pair.delete('a');
    for (let round = 0; round < 3; round++) {
      for (let count = 0; count < 1200; count++) pair.add(String(count).padStart(5, '0'));
      for (let count = 0; count < 1200; count++) pair.delete(String((count * 7) % 1200).padStart(5, '0'));
      expect(pair.map.size).toBe(0);
      pair.agreeOnRange(undefined, undefined);
    }
  });

  it.each<[string, (index: number, count: number) => number]>([
    ['in order', (index) => index],
    ['from the end', (index, count) => count - index],
    ['in any order', (index, count) => (index * 7919) % count],
    ['in two runs that meet', (index, count) => (index % 2 ? index : count - index)],
  ])('holds 100,000 entries that came %s', (_, place) => {
    const count = 100_000;
    const random = new SeededRandom(1);
    const map = new SortedMap<Entry>();
    const name = (number: number): string => String(number).padStart(6, '0');
    const orders = [...new Set(Array.from({ length: count }, (_, index) => name(place(index, count))))];
    for (const order of orders) map.add({ order });
    expect(map.size).toBe(orders.length);
    const sorted = [...orders].sort();
    expectSame(walked(map, undefined, undefined, false, Number.POSITIVE_INFINITY), sorted);
    expectSame(walked(map, undefined, undefined, true, Number.POSITIVE_INFINITY), [...sorted].reverse());
    for (let round = 0; round < 500; round++) {
      const [from, to] = [random.below(sorted.length), random.below(sorted.length)];
      const last = from < to ? sorted.slice(Math.max(from, to - 10), to).reverse() : [];
      expect(walked(map, sorted[from], sorted[to], false, 10)).toEqual(sorted.slice(from, Math.min(to, from + 10)));
      expect(walked(map, sorted[from], sorted[to], true, 10)).toEqual(last);
      expect(map.get(sorted[from] ?? '')?.order).toBe(sorted[from]);
    }
    // From the front as queues are read, from the back, and from everywhere.
    const third = Math.floor(sorted.length / 3);
    const doomed = [
      ...sorted.slice(0, third),
      ...sorted.slice(-third).reverse(),
      ...sorted.slice(third, -third).filter((_, index) => index % 3),
    ];
    expect(doomed.filter((order) => !map.delete(order))).toEqual([]);
    const gone = new Set(doomed);
    const left = sorted.filter((order) => !gone.has(order));
    expect(map.size).toBe(left.length);
    expectSame(walked(map, undefined, undefined, false, Number.POSITIVE_INFINITY), left);
    for (const order of doomed.slice(0, 1000)) expect([map.get(order), map.delete(order)]).toEqual([undefined, false]);
  });

  it('agrees with a sorted array through 50,000 random steps at thousands of entries', () => {
    const random = new SeededRandom(2);
    const pair = new Pair();
    const place = (): string => String(random.below(20_000)).padStart(5, '0');
    for (let step = 0; step < 50_000; step++) {
      // It grows for a while and shrinks for a while.
      if (random.chance(step % 20_000 < 12_000 ? 0.7 : 0.3)) pair.add(place());
      else pair.delete(place());
      if (step % 50 === 0) pair.agreeOn(place());
      if (step % 500 === 0) pair.agreeOnRange(place(), place(), 1 + random.below(2000));
    }
    pair.agreeOnRange(undefined, undefined);
  });

  it('agrees with a sorted array while reads make it hash itself, part by part', () => {
    const random = new SeededRandom(3);
    const pair = new Pair();
    const place = (): string => String(random.below(6000)).padStart(5, '0');
    for (let count = 0; count < 3000; count++) pair.add(place());
    // The hash is begun after twice as many reads as there are entries, and is whole a dozen reads later.
    for (let step = 0; step < 20_000; step++) {
      if (step % 5 === 0) pair.add(place());
      if (step % 7 === 0) pair.delete(place());
      pair.agreeOn(place());
    }
    pair.agreeOnRange(undefined, undefined);
  });

  it.each([0, 20_000])('agrees with a sorted array that is read in order while it changes, %i reads before', (reads) => {
    const random = new SeededRandom(4);
    const pair = new Pair();
    const name = (number: number): string => String(number).padStart(5, '0');
    for (let number = 0; number < 6000; number++) pair.add(name(number));
    for (let count = 0; count < reads; count++) pair.agreeOn(name(random.below(6000)));
    for (let round = 0; round < 400; round++) {
      // A run of reads, and behind its start, in it and before it something goes or comes.
      const start = random.below(6000);
      for (let next = start; next < start + 40; next++) {
        pair.agreeOn(name(next));
        if (random.chance(0.2)) pair.delete(name(next + 1));
        if (random.chance(0.1)) pair.add(name(next + 1));
        for (let count = 0; count < 3; count++) pair.delete(name(random.below(6000)));
      }
      if (round % 100 === 99) for (let number = 0; number < 6000; number += 2) pair.add(name(number));
    }
    pair.agreeOnRange(undefined, undefined);
  });

  it('finds nothing where an entry was before its chunk went into another', () => {
    const pair = new Pair();
    const name = (number: number): string => String(number).padStart(5, '0');
    for (let number = 0; number < 600; number++) pair.add(name(number));
    pair.agreeOn(name(550));
    for (let number = 0; number < 500; number++) pair.delete(name(number));
    pair.delete(name(551));
    pair.agreeOn(name(551));
    pair.agreeOn(name(552));
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ExpiryQueue } from '../../src/storage/expiry-queue.ts';

/** Takes out everything that is due. */
function drain(queue: ExpiryQueue<number>, now: number): number[] {
  const items: number[] = [];
  for (let item = queue.next(now); item !== undefined; item = queue.next(now)) items.push(item);
  return items;
}

describe('ExpiryQueue', () => {
  it('gives out what is due, the earliest first', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(50)), fc.nat(50), (times, now) => {
        const queue = new ExpiryQueue<number>();
        for (const at of times) queue.add(at, at);
        expect(drain(queue, now)).toEqual(times.filter((at) => at <= now).sort((a, b) => a - b));
        expect(queue.size).toBe(times.filter((at) => at > now).length);
        expect(drain(queue, 50)).toEqual(times.filter((at) => at > now).sort((a, b) => a - b));
      }),
    );
  });

  it('gives out an item at its time, and not before', () => {
    const queue = new ExpiryQueue<string>();
    queue.add(10, 'a');
    expect(queue.next(9)).toBeUndefined();
    expect(queue.next(10)).toBe('a');
    expect(queue.next(10)).toBeUndefined();
  });

  it('keeps what is wanted in order, whatever is taken out of its middle', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(100), fc.boolean()), { maxLength: 30 }), (items) => {
        const queue = new ExpiryQueue<{ at: number; wanted: boolean }>();
        for (const [at, wanted] of items) queue.add(at, { at, wanted });
        queue.keep(({ wanted }) => wanted);
        const drained: number[] = [];
        for (let item = queue.next(100); item; item = queue.next(100)) drained.push(item.at);
        expect(drained).toEqual(items.flatMap(([at, wanted]) => (wanted ? [at] : [])).sort((a, b) => a - b));
      }),
      { numRuns: 1000 },
    );
  });

  it('keeps what is wanted, in order, between additions and removals', () => {
    const step = fc.oneof(
      fc.record({ add: fc.nat(100) }),
      fc.record({ until: fc.nat(100) }),
      fc.record({ divisor: fc.integer({ min: 2, max: 5 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const queue = new ExpiryQueue<number>();
        let expected: number[] = [];
        for (const step of steps) {
          if ('add' in step) {
            queue.add(step.add, step.add);
            expected.push(step.add);
          } else if ('until' in step) {
            expect(drain(queue, step.until)).toEqual(expected.filter((at) => at <= step.until).sort((a, b) => a - b));
            expected = expected.filter((at) => at > step.until);
          } else {
            queue.keep((at) => at % step.divisor !== 0);
            expected = expected.filter((at) => at % step.divisor !== 0);
          }
          expect(queue.size).toBe(expected.length);
        }
        expect(drain(queue, 100)).toEqual(expected.sort((a, b) => a - b));
      }),
    );
  });

  it('is empty after it was cleared', () => {
    const queue = new ExpiryQueue<number>();
    for (let at = 0; at < 100; at++) queue.add(at, at);
    queue.clear();
    expect([queue.size, queue.next(1000)]).toEqual([0, undefined]);
  });
});

import { describe, expect, it } from 'vitest';
import { Bag, type Placed } from '../../src/kernel/bag.ts';

interface Item extends Placed {
  readonly n: number;
}

const items = (count: number): Item[] => Array.from({ length: count }, (_, n) => ({ n, place: -1 }));

describe('a bag', () => {
  it('has what was added and not removed, in this order', () => {
    const bag = new Bag<Item>();
    const all = items(5);
    for (const item of all) expect(bag.add(item)).toBe(item);
    expect(all.filter(({ n }) => n % 2 === 1).map((item) => bag.delete(item))).toEqual([true, true]);
    expect(bag.all().map(({ n }) => n)).toEqual([0, 2, 4]);
    expect(all.map((item) => bag.has(item))).toEqual([true, false, true, false, true]);
    expect([bag.size, bag.delete(all[1] as Item), bag.size]).toEqual([3, false, 3]);
    bag.add(all[1] as Item);
    expect(bag.all().map(({ n }) => n)).toEqual([0, 2, 4, 1]);
  });

  it('has nothing of what is in another', () => {
    const [one, other] = [new Bag<Item>(), new Bag<Item>()];
    const [a, b] = items(2) as [Item, Item];
    one.add(a);
    other.add(b);
    expect([one.has(b), one.delete(b), other.has(b)]).toEqual([false, false, true]);
  });

  it('answers what it had once it is emptied', () => {
    const bag = new Bag<Item>();
    const all = items(3);
    for (const item of all) bag.add(item);
    bag.delete(all[0] as Item);
    expect(bag.take().map(({ n }) => n)).toEqual([1, 2]);
    expect([bag.size, bag.all(), all.some((item) => bag.has(item))]).toEqual([0, [], false]);
    bag.add(all[2] as Item);
    expect(bag.all().map(({ n }) => n)).toEqual([2]);
  });

  it('keeps its order when very many have come and gone', () => {
    const bag = new Bag<Item>();
    const all = items(20_000);
    const kept: number[] = [];
    all.forEach((item, at) => {
      bag.add(item);
      const before = all[at - 7];
      if (before && before.n % 100 !== 0) bag.delete(before);
      else if (before) kept.push(before.n);
    });
    const last = all.slice(-7).map(({ n }) => n);
    expect(bag.all().map(({ n }) => n)).toEqual([...kept, ...last]);
    for (const item of bag.all()) expect(bag.delete(item)).toBe(true);
    expect(bag.size).toBe(0);
  });
});

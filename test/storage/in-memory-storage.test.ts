import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { toJson } from '../../src/kernel/json.ts';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';
import { SeededRandom } from '../../src/testing/random.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';

describe('InMemoryStorage', () => {
  it('answers at once', () => {
    const storage = new InMemoryStorage();
    expect(storage.commit({ puts: [{ partition: 'p', key: 'k', value: 1 }] })).toMatchObject({ committed: true, revision: 1 });
    expect(storage.get([{ partition: 'p', key: 'k' }])).toMatchObject([{ value: 1 }]);
    expect(storage.list('p')).toHaveLength(1);
    expect(storage.durability).toBe('memory');
  });

  it('keeps and hands out the very value that was accepted', () => {
    const storage = new InMemoryStorage();
    const value = toJson({ list: [1] }, 'value', 100);
    storage.commit({ puts: [{ partition: 'p', key: 'k', value }] });
    expect(storage.get([{ partition: 'p', key: 'k' }])[0]?.value).toBe(value);
    expect(storage.list('p')[0]?.value).toBe(value);
  });

  it('goes by the system\u2019s clock unless it is given one', () => {
    const before = Date.now();
    const { clock } = new InMemoryStorage();
    expect(clock.now()).toBeGreaterThanOrEqual(before);
    const virtual = new VirtualClock();
    const storage = new InMemoryStorage({ clock: virtual });
    expect([storage.clock, storage.now()]).toEqual([virtual, virtual.now()]);
  });

  it('sets no timer', async () => {
    const clock = new VirtualClock();
    const storage = new InMemoryStorage({ clock });
    storage.watch(() => {});
    storage.commit({ puts: [{ partition: 'p', key: 'k', value: 1, ttlMs: 1000 }] });
    await clock.settle();
    expect(clock.pending).toBe(0);
  });

  it('gives two storages nothing in common', () => {
    const [one, other] = [new InMemoryStorage(), new InMemoryStorage()];
    one.commit({ puts: [{ partition: 'p', key: 'k', value: 1 }] });
    expect(other.list('p')).toEqual([]);
  });

  it('holds a million records of one partition, and adds and removes in its middle as fast as elsewhere', () => {
    const storage = new InMemoryStorage();
    const count = 1_000_000;
    const name = (number: number): string => String(number * 2).padStart(8, '0');
    for (let from = 0; from < count; from += 1000) {
      storage.commit({
        puts: Array.from({ length: 1000 }, (_, index) => ({ partition: 'p', key: name(from + index), value: null })),
      });
    }
    const random = new SeededRandom(3);
    const before = process.cpuUsage();
    for (let round = 0; round < 10_000; round++) {
      const middle = name(Math.floor(count / 2) + random.below(1000));
      storage.commit({ puts: [{ partition: 'p', key: `${middle}+`, value: null }] });
      storage.commit({ deletes: [{ partition: 'p', key: middle }] });
      expect(storage.list('p', { start: middle, limit: 1 })[0]?.key).toBe(`${middle}+`);
    }
    // A plain array would move half a million entries each time, which takes minutes.
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(20_000);
  });
});

describe('what has expired in memory', () => {
  const churn = async (storage: InMemoryStorage, clock: VirtualClock, rounds: number): Promise<void> => {
    for (let round = 0; round < rounds; round++) {
      for (let commit = 0; commit < 20; commit++) {
        storage.commit({
          puts: [{ partition: `p${commit}`, key: 'k', value: { text: 'x'.repeat(200) }, ttlMs: 50, stamped: true }],
        });
      }
      clock.set(clock.now() + 10);
    }
  };

  it('is given back while commits go on', async () => {
    const clock = new VirtualClock();
    const storage = new InMemoryStorage({ clock });
    await churn(storage, clock, 500);
    const before = heapUsed();
    await churn(storage, clock, 5_000);
    // 100,000 records of more than 300 bytes would be 30 MB.
    expect(heapUsed() - before).toBeLessThan(5_000_000);
  });

  it('is given back although it was renewed, replaced, deleted or taken before', async () => {
    const clock = new VirtualClock();
    const storage = new InMemoryStorage({ clock });
    const life = (rounds: number): void => {
      for (let round = 0; round < rounds; round++) {
        const key = `k${round}`;
        const { revision } = storage.commit({ puts: [{ partition: 'p', key, value: 'x'.repeat(200), ttlMs: 60_000 }] }) as {
          revision: number;
        };
        storage.commit({ touches: [{ partition: 'p', key, revision, ttlMs: 90_000 }] });
        if (round % 4 === 0) storage.commit({ puts: [{ partition: 'p', key, value: 1, ttlMs: 1_000 }] });
        if (round % 4 === 1) storage.commit({ takes: [{ from: 'p', to: 'q', start: key, limit: 1, leaseMs: 1_000 }] });
        storage.commit({ deletes: [{ partition: 'p', key }] });
        if (round % 4 === 1) storage.commit({ deletes: [{ partition: 'q', limit: 10 }] });
        clock.set(clock.now() + 1);
      }
    };
    life(5_000);
    const before = heapUsed();
    life(50_000);
    expect(heapUsed() - before).toBeLessThan(5_000_000);
  });

  it('is not seen, however much of it waits to be removed', () => {
    const clock = new VirtualClock();
    const storage = new InMemoryStorage({ clock });
    for (let commit = 0; commit < 10; commit++) {
      const puts = Array.from({ length: 1000 }, (_, index) => ({
        partition: 'p',
        key: `k${commit}/${index}`,
        value: 1,
        ttlMs: 100,
      }));
      storage.commit({ puts });
    }
    storage.commit({ puts: [{ partition: 'p', key: 'z', value: 1 }] });
    clock.set(clock.now() + 100);
    expect(storage.list('p').map(({ key }) => key)).toEqual(['z']);
    for (let commit = 0; commit < 400; commit++) storage.commit({ checks: [{ partition: 'p', fewerThan: 2 }] });
    expect(storage.list('p').map(({ key }) => key)).toEqual(['z']);
  });

  it('stays renewed when its first expiry has come', () => {
    const clock = new VirtualClock();
    const storage = new InMemoryStorage({ clock });
    const { revision } = storage.commit({ puts: [{ partition: 'p', key: 'k', value: 1, ttlMs: 100 }] }) as { revision: number };
    for (let beat = 0; beat < 10; beat++) {
      clock.set(clock.now() + 60);
      expect(storage.commit({ touches: [{ partition: 'p', key: 'k', revision, ttlMs: 100 }] }).committed).toBe(true);
      expect(storage.list('p')).toHaveLength(1);
    }
    clock.set(clock.now() + 100);
    storage.commit({});
    expect(storage.list('p')).toEqual([]);
  });
});

/** After a collection, so that only what is still held counts. */
function heapUsed(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed;
}

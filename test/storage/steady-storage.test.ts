import { describe, expect, it } from 'vitest';
import { MeshError } from '../../src/kernel/errors.ts';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';
import { steady } from '../../src/storage/steady-storage.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { withFaults } from '../../src/testing/faults.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { storages } from '../support/storages.ts';

describe.each(storages)('a steady storage on %s', (_name, open) => {
  it('applies every commit exactly once although half of the answers are lost', async () => {
    const clock = new VirtualClock();
    const storage = await open(clock);
    const faulty = steady(withFaults(storage, { seed: 3, unknownRate: 0.5 }));
    const commits = Array.from({ length: 200 }, async (_, n) => {
      const result = await faulty.commit({ puts: [{ partition: 'list', key: '', value: n, stamped: true }] });
      if (!result.committed) throw new Error('expected no conflict');
      return result.revision;
    });
    const done = Promise.all(commits);
    await clock.advance(60_000);
    const revisions = await done;
    const records = await storage.list('list');
    expect(records.map(({ value }) => value as number).sort((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, n) => n));
    for (const { value, revision } of records) expect(revisions[value as number]).toBe(revision);
  });

  it('tells what was taken also when the answer was lost, and a true conflict as one', async () => {
    const clock = new VirtualClock();
    const storage = await open(clock);
    await storage.commit({ puts: Array.from({ length: 60 }, (_, n) => ({ partition: 'ready', key: `m-${100 + n}`, value: n })) });
    const faulty = steady(withFaults(storage, { seed: 5, unknownRate: 0.6 }));
    const claims = Promise.all(
      Array.from({ length: 20 }, () => faulty.commit({ takes: [{ from: 'ready', to: 'claimed', limit: 3, leaseMs: 1000 }] })),
    );
    await clock.advance(60_000);
    const taken = (await claims).flatMap((result) => (result.committed ? result.taken.map(({ value }) => value) : ['conflict']));
    expect(taken.sort((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: 60 }, (_, n) => n));
    const conflict = faulty.commit({
      checks: [{ partition: 'ready', key: 'none', revision: 1 }],
      puts: [{ partition: 'p', key: 'k', value: 1 }],
    });
    await clock.advance(60_000);
    expect(await conflict).toEqual({ committed: false, conflicts: [{ partition: 'ready', key: 'none' }] });
  });
});

describe('transient failures', () => {
  const failing = (times: number, error: MeshError) => {
    const clock = new VirtualClock();
    const storage = new InMemoryStorage({ clock });
    let calls = 0;
    const flaky = Object.create(storage, {
      clock: { value: clock },
      commit: {
        value: (commit: Parameters<Storage['commit']>[0]) => {
          calls += 1;
          if (calls <= times) throw error;
          return storage.commit(commit);
        },
      },
    }) as Storage;
    return { clock, storage: steady(flaky), calls: () => calls };
  };
  const transient = new MeshError('unavailable', 'expected the store to answer, got nothing', { details: { transient: true } });
  const puts = [{ partition: 'p', key: 'k', value: 1 }];

  it('get three attempts with growing pauses', async () => {
    const { clock, storage, calls } = failing(2, transient);
    const result = storage.commit({ puts });
    await clock.advance(29);
    expect(calls()).toBe(2);
    await clock.advance(1);
    expect(calls()).toBe(3);
    expect((await result).committed).toBe(true);
  });

  it('are told after the third', async () => {
    const { clock, storage, calls } = failing(9, transient);
    const result = Promise.resolve(storage.commit({ puts })).catch((error: MeshError) => error.code);
    await clock.advance(60_000);
    expect(await result).toBe('unavailable');
    expect(calls()).toBe(3);
  });

  it('do not make a fault of the caller, or a store that is busy for good, tried again', async () => {
    for (const error of [new MeshError('invalid_input', 'no'), new MeshError('unavailable', 'busy')]) {
      const { storage, calls } = failing(1, error);
      expect(() => storage.commit({ puts })).toThrow(error);
      expect(calls()).toBe(1);
    }
  });
});

describe('a commit in doubt', () => {
  const unknown = new MeshError('commit_unknown', 'expected an answer, got none');
  const transient = new MeshError('unavailable', 'expected the store to answer, got nothing', { details: { transient: true } });
  const busy = new MeshError('unavailable', 'expected the lock, got none');

  /** The first commit is applied and its answer lost; then come these errors, then all is well. */
  const losing = (...errors: MeshError[]) => {
    const clock = new VirtualClock();
    const memory = new InMemoryStorage({ clock });
    const left = [unknown, ...errors];
    const flaky = Object.create(memory, {
      clock: { value: clock },
      uncertain: { value: true },
      get: { value: memory.get.bind(memory) },
      list: { value: memory.list.bind(memory) },
      commit: {
        value: (commit: Parameters<Storage['commit']>[0]) => {
          const error = left.shift();
          if (!error || error === unknown) memory.commit(commit);
          if (error) throw error;
          return memory.commit(commit);
        },
      },
    }) as Storage;
    return { clock, memory, storage: steady(flaky) };
  };
  const puts = [{ partition: 'p', key: '', value: 1, stamped: true }];

  it('is applied once, whatever the store says while its outcome is looked for', async () => {
    for (const error of [transient, busy, unknown]) {
      const { clock, memory, storage } = losing(error);
      const result = storage.commit({ puts });
      await clock.advance(60_000);
      expect(await result).toMatchObject({ committed: true, revision: 1 });
      expect(memory.list('p')).toHaveLength(1);
    }
  });

  it('is told as unknown when the store never says, and not as merely unavailable', async () => {
    const { clock, storage } = losing(...Array.from({ length: 20 }, () => busy));
    const result = Promise.resolve(storage.commit({ puts })).catch((error: MeshError) => error.code);
    await clock.advance(600_000);
    expect(await result).toBe('commit_unknown');
  });

  it('needs no token for touches, so that a commit may be full of them', async () => {
    const clock = new VirtualClock();
    const memory = new InMemoryStorage({ clock });
    const made = Array.from({ length: 1000 }, (_, n) => ({ partition: 'p', key: `k${n}`, value: 1, ttlMs: 1000 }));
    memory.commit({ puts: made });
    const storage = steady(withFaults(memory, { seed: 1, unknownRate: 0.5 }));
    const touches = made.map(({ partition, key }) => ({ partition, key, revision: 1, ttlMs: 5000 }));
    const result = storage.commit({ touches });
    await clock.advance(900);
    expect(await result).toMatchObject({ committed: true });
    expect(memory.list('commit')).toEqual([]);
    await clock.advance(4000);
    expect(memory.list('p')).toHaveLength(1000);
  });

  it('tells what was taken apart from what was put beside it, in the order in which it stood', async () => {
    const { clock, memory, storage } = losing();
    memory.commit({
      puts: [
        { partition: 'ready', key: 'b', value: 2 },
        { partition: 'ready', key: '9999999999999999>a', value: 1 },
      ],
    });
    const result = storage.commit({
      takes: [{ from: 'ready', to: 'claimed', limit: 2, leaseMs: 5 }],
      puts: [
        { partition: 'claimed', key: 'x', value: 3 },
        { partition: 'claimed', key: 'y', value: 4, stamped: true },
      ],
    });
    await clock.advance(1000);
    expect(await result).toMatchObject({ committed: true, taken: [{ value: 1 }, { value: 2 }] });
  });

  it('is counted once among conflicts that nobody made', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const clock = new VirtualClock();
      const memory = new InMemoryStorage({ clock });
      const storage = steady(withFaults(memory, { seed, conflictRate: 0.3, unknownRate: 0.3 }));
      const counted = (async () => {
        for (let done = 0; done < 20; ) {
          const [record] = await storage.get([{ partition: 'p', key: 'n' }]);
          const result = await storage.commit({
            checks: [{ partition: 'p', key: 'n', revision: record?.revision ?? null }],
            puts: [{ partition: 'p', key: 'n', value: ((record?.value as number | undefined) ?? 0) + 1 }],
          });
          if (result.committed) done += 1;
        }
      })();
      await clock.advance(600_000);
      await counted;
      expect(memory.get([{ partition: 'p', key: 'n' }])[0]?.value).toBe(20);
    }
  });
});

it('holds the process while a call is tried again, for whoever waits for it', async () => {
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const clock = new VirtualClock();
  const inner = new InMemoryStorage({ clock });
  let failures = 1;
  inner.list = () => {
    if (failures-- > 0) throw new MeshError('unavailable', 'expected to be reached', { details: { transient: true } });
    return [];
  };
  const before = timers();
  const listing = steady(inner).list('p');
  expect(timers()).toBe(before + 1);
  await clock.advance(100);
  expect(await listing).toEqual([]);
  expect(timers()).toBe(before);
});

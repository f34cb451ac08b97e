import { describe, expect, it } from 'vitest';
import { SharedMemory } from '../../src/memory/shared-memory.ts';
import { audit } from '../support/memory/audit.ts';
import { hooked, once, recordsOf } from '../support/memory/observed.ts';
import { quiet, refusal, worldOn } from '../support/memory/worlds.ts';
import { storages } from '../support/storages.ts';

const down = (from: number, to: number): number[] => Array.from({ length: from - to + 1 }, (_, n) => from - n);

describe.each(storages)('the history of a key on %s', (_name, open) => {
  it('has every version as it was, newest first', async () => {
    const { clock, memory } = await worldOn(open);
    const first = await memory.set('key', { n: 1 }, { by: 'a', tags: ['x'], type: 'fact', metadata: { why: 'test' } });
    await clock.advance(5);
    const second = await memory.set('key', null);
    await clock.advance(5);
    expect(await memory.delete('key', { by: 'b' })).toBe(true);
    const at = clock.now();
    const last = await memory.set('key', 'back');
    expect(await memory.history('key')).toEqual([
      last,
      { key: 'key', version: 3, deleted: true, session: 'b', at },
      second,
      first,
    ]);
    expect(await memory.history('other')).toEqual([]);
  });

  it('stays when the key is deleted, and begins with the tombstone', async () => {
    const { memory } = await worldOn(open);
    await memory.set('key', 1);
    await memory.delete('key');
    expect(await memory.history('key')).toMatchObject([
      { version: 2, deleted: true },
      { version: 1, value: 1 },
    ]);
  });

  it('has a hundred versions, without a gap, and loses the oldest first', async () => {
    const { memory, seen } = await worldOn(open);
    for (let n = 1; n <= 99; n++) await memory.set('key', n);
    expect((await memory.history('key')).map(({ version }) => version)).toEqual(down(99, 1));
    await memory.set('key', 100);
    expect((await memory.history('key', { limit: 1000 })).map(({ version }) => version)).toEqual(down(100, 1));
    await memory.set('key', 101);
    expect((await memory.history('key', { limit: 1000 })).map(({ version }) => version)).toEqual(down(101, 2));
    await memory.delete('key');
    await memory.set('key', 103);
    expect((await memory.history('key', { limit: 1000 })).map(({ version }) => version)).toEqual(down(103, 4));
    expect(await audit(seen)).toEqual([]);
    for (let n = 104; n <= 108; n++) await memory.set('key', n);
    expect(await recordsOf(seen.storage, 'memory.history=key')).toHaveLength(99);
    expect(await audit(seen)).toEqual([]);
  });

  it('tells as many versions as are asked for, and looks no further', async () => {
    const { memory, seen } = await worldOn(open);
    for (let n = 1; n <= 20; n++) await memory.set('key', n);
    expect((await memory.history('key', { limit: 3 })).map(({ version }) => version)).toEqual([20, 19, 18]);
    seen.take();
    expect((await memory.history('key', { limit: 1 })).map(({ version }) => version)).toEqual([20]);
    expect(seen.take()).toMatchObject({ get: 1, list: 0 });
    await memory.history('key', { limit: 5 });
    expect(seen.take()).toMatchObject({ get: 1, list: 1, records: 5 });
    for (const limit of [0, 1.5, 10_001, '3', null]) {
      await expect(memory.history('key', { limit: limit as number })).rejects.toEqual(
        refusal('invalid_input', 'expected options.limit'),
      );
    }
  });

  it('is as long as the options of a mesh say, in all its namespaces', async () => {
    const { memory, seen, clock } = await worldOn(open, { memory: { historyPerKey: 2 } });
    for (const space of [memory, memory.namespace('inner')]) {
      for (let n = 1; n <= 4; n++) await space.set('key', n);
      await space.set('brief', 1);
      await space.set('brief', 2);
      await space.set('brief', 3, { ttlMs: 1000 });
      expect((await space.history('key')).map(({ version }) => version)).toEqual([4, 3]);
    }
    await clock.advance(3000);
    expect((await memory.history('brief')).map(({ version }) => version)).toEqual([4, 3]);
    expect(await audit(seen, 2)).toEqual([]);
  });

  it.each([1, 2, 7])('is as long as the owner of the store wants: %i', async (historyPerKey) => {
    const { storage, seen } = await worldOn(open);
    const memory = new SharedMemory({ storage, historyPerKey });
    for (let n = 1; n <= 10; n++) {
      await memory.set('key', n);
      expect((await memory.history('key')).map(({ version }) => version)).toEqual(down(n, Math.max(1, n + 1 - historyPerKey)));
    }
    await memory.delete('key');
    await memory.set('key', 12);
    expect((await memory.history('key')).map(({ version }) => version)).toEqual(down(12, 13 - historyPerKey));
    expect(await audit(seen, historyPerKey)).toEqual([]);
    await memory.close();
  });

  it('can be of thousands of versions, all of which can be read', async () => {
    const { storage, seen } = await worldOn(open);
    const memory = new SharedMemory({ storage, historyPerKey: 1200 });
    for (let n = 1; n <= 1250; n++) await memory.set('key', n);
    const versions = await memory.history('key', { limit: 10_000 });
    expect(versions.map(({ version }) => version)).toEqual(down(1250, 51));
    expect(await audit(seen, 1200)).toEqual([]);
    await memory.close();
  });

  it('becomes shorter as it is written when less is to be kept, and is told as long as asked for at once', async () => {
    const { storage, seen } = await worldOn(open);
    const long = new SharedMemory({ storage });
    for (let n = 1; n <= 30; n++) await long.set('key', n);
    const short = new SharedMemory({ storage, historyPerKey: 3 });
    expect((await short.history('key')).map(({ version }) => version)).toEqual([30, 29, 28]);
    for (let n = 31; n <= 40; n++) await short.set('key', n);
    expect((await short.history('key')).map(({ version }) => version)).toEqual([40, 39, 38]);
    expect(await audit(seen, 3)).toEqual([]);
    await long.close();
    await short.close();
  });

  it('has no gap, also when somebody has kept none for a while', async () => {
    const { storage } = await worldOn(open);
    const long = new SharedMemory({ storage, historyPerKey: 10 });
    const none = new SharedMemory({ storage, historyPerKey: 1 });
    for (let n = 1; n <= 8; n++) await long.set('key', n);
    await none.set('key', 9);
    expect((await none.history('key')).map(({ version }) => version)).toEqual([9]);
    expect((await long.history('key')).map(({ version }) => version)).toEqual([9]);
    for (let n = 10; n <= 12; n++) await long.set('key', n);
    // The seventh is still there, and the eighth is not.
    expect((await storage.list('memory.history=key')).map(({ key }) => Number(key))).toEqual([5, 6, 7, 9, 10, 11]);
    expect((await long.history('key')).map(({ version }) => version)).toEqual([12, 11, 10, 9]);
    await long.close();
    await none.close();
  });

  it('keeps the numbers of versions whose own time is over, and nothing else of them', async () => {
    const { clock, memory, seen } = await worldOn(open);
    await memory.set('key', 1);
    const { at } = await memory.set('key', 2, { ttlMs: 1000, by: 'agent', metadata: { more: 1 } });
    await memory.set('key', 3, { ttlMs: 2000 });
    await memory.set('key', 4);
    await clock.advance(999);
    expect(await memory.history('key')).toMatchObject([{ value: 4 }, { value: 3 }, { value: 2 }, { value: 1 }]);
    await clock.advance(1);
    const over = { key: 'key', version: 2, deleted: true, session: 'agent', at };
    expect((await memory.history('key'))[2]).toEqual(over);
    await clock.advance(60_000);
    expect(await memory.history('key')).toMatchObject([{ value: 4 }, { version: 3, deleted: true }, over, { value: 1 }]);
    expect(await audit(seen)).toEqual([]);
  });

  it('keeps the numbers of versions that have gone with their session', async () => {
    const { memory, registry } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    await memory.set('key', 1);
    await memory.set('key', 2, { by: agent, untilSessionEnds: true });
    await memory.set('key', 3, { by: agent });
    await agent.end();
    expect(await memory.history('key')).toMatchObject([
      { value: 3 },
      { version: 2, deleted: true, session: 'agent' },
      { value: 1 },
    ]);
  });

  it('tells each version once, whoever writes while it is read', async () => {
    const { memory, storage, another } = await worldOn(open);
    for (let n = 1; n <= 5; n++) await memory.set('key', n);
    const write = once(async () => {
      for (let n = 6; n <= 8; n++) await memory.set('key', n);
    });
    const reader = another(hooked(storage, { list: () => write.run() })).memory;
    write.arm();
    expect((await reader.history('key')).map(({ version }) => version)).toEqual([5, 4, 3, 2, 1]);
    expect((await reader.history('key')).map(({ version }) => version)).toEqual(down(8, 1));
  });

  it('is all that is left of a key that expired, without its last value', async () => {
    const { clock, memory, storage } = await worldOn(open);
    await memory.set('key', 'first');
    await memory.set('key', 'secret', { ttlMs: 1000 });
    await clock.advance(3000);
    expect(await memory.history('key')).toMatchObject([
      { version: 3, deleted: true },
      { version: 2, deleted: true },
      { version: 1, value: 'first' },
    ]);
    expect(JSON.stringify(await recordsOf(storage, 'memory.history=key'))).not.toContain('secret');
  });
});

describe('the length of histories', () => {
  it.each([0, -1, 1.5, 10_001, '5', null, Number.NaN])('cannot be %j', async (historyPerKey) => {
    const { storage } = await worldOn((storages[0] as (typeof storages)[number])[1]);
    expect(() => new SharedMemory({ storage, historyPerKey: historyPerKey as number })).toThrow(
      refusal('invalid_input', 'expected options.historyPerKey to be a whole number between 1 and 10000') as Error,
    );
  });
});

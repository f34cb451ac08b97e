import { describe, expect, it } from 'vitest';
import type { SharedMemory } from '../../src/memory/shared-memory.ts';
import { createMesh } from '../../src/mesh.ts';
import { withFaults } from '../../src/testing/faults.ts';
import { audit } from '../support/memory/audit.ts';
import { recordsOf } from '../support/memory/observed.ts';
import { passUntil, quiet, refusal, together, toldBy, worldOn } from '../support/memory/worlds.ts';
import { storages } from '../support/storages.ts';

/** Everything that could still tell of a key. */
async function seenOf(memory: SharedMemory, key: string): Promise<unknown> {
  const { items } = await memory.search({ pattern: key });
  const tagged = await memory.search({ tags: ['tag'] });
  const [newest] = await memory.history(key, { limit: 1 });
  return {
    value: await memory.get(key),
    entry: (await memory.getEntry(key))?.value,
    found: items.length,
    tagged: tagged.items.length,
    listed: (await memory.stats()).entries,
    history: newest && ('deleted' in newest ? 'deleted' : newest.value),
  };
}

const there = { value: 'v', entry: 'v', found: 1, tagged: 1, listed: 1, history: 'v' };
const gone = { value: undefined, entry: undefined, found: 0, tagged: 0, listed: 0, history: 'deleted' };

describe.each(storages)('an entry with a time to live on %s', (_name, open) => {
  it('is there through the millisecond before it, and gone from then on, with nobody sweeping', async () => {
    const { clock, memory } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    await memory.set('key', 'v', { ttlMs: 1000, tags: ['tag'] });
    await clock.advance(999);
    expect(await seenOf(memory, 'key')).toEqual(there);
    await clock.advance(1);
    expect(await seenOf(memory, 'key')).toEqual(gone);
    expect(await memory.delete('key')).toBe(false);
    expect(await memory.clear()).toBe(0);
  });

  it('says when it will be gone', async () => {
    const { clock, memory } = await worldOn(open);
    expect(await memory.set('key', 'v', { ttlMs: 86_400_000 })).toMatchObject({
      at: clock.now(),
      expiresAt: clock.now() + 86_400_000,
    });
    expect(await memory.getEntry('key')).toMatchObject({ expiresAt: clock.now() + 86_400_000 });
    expect(await memory.set('key', 'v')).not.toHaveProperty('expiresAt');
  });

  it('lives for a second at least and thirty days at most', async () => {
    const { clock, memory, seen } = await worldOn(open);
    seen.take();
    for (const ttlMs of [0, -1, 999, 1000.5, 30 * 86_400_000 + 1, Number.POSITIVE_INFINITY, Number.NaN, '1000', null]) {
      await expect(memory.set('key', 'v', { ttlMs: ttlMs as number })).rejects.toEqual(
        refusal('invalid_input', 'expected options.ttlMs to be a whole number between 1000 and 2592000000, got'),
      );
    }
    expect(seen.take()).toMatchObject({ get: 0, commit: 0 });
    await memory.set('key', 'v', { ttlMs: 30 * 86_400_000 });
    clock.set(clock.now() + 30 * 86_400_000 - 1);
    expect(await memory.get('key')).toBe('v');
    clock.set(clock.now() + 1);
    expect(await memory.get('key')).toBeUndefined();
  });

  it('is removed and told soon after, once, whoever sweeps', async () => {
    const { clock, memory, storage, seen, another, mesh } = await worldOn(open);
    const heard: unknown[] = [];
    mesh.on('memory_expired', ({ key, version }) => heard.push([key, version]));
    for (let n = 1; n < 8; n++) another();
    await memory.set('a', 'v', { ttlMs: 1000, tags: ['tag'] });
    await memory.set('b', 'v', { ttlMs: 1500, by: 'agent' });
    await clock.advance(20_000);
    await mesh.settled();
    expect(heard).toEqual([
      ['a', 2],
      ['b', 2],
    ]);
    expect(await toldBy(storage)).toEqual(['set a 1', 'set b 1', 'expired a 2', 'expired b 2']);
    expect(await recordsOf(storage, 'memory')).toEqual([]);
    expect(await recordsOf(storage, 'due')).toEqual([]);
    expect(await audit(seen)).toEqual([]);
  });

  it('is removed and told although the store reports conflicts and loses answers', async () => {
    const { clock, storage, seen, another } = await worldOn(open);
    const faulty = withFaults(seen.storage, { seed: 11, conflictRate: 0.4 });
    const { memory } = another(faulty);
    another(withFaults(seen.storage, { seed: 12, unknownRate: 0.15 }));
    const sets = together(20, (n) => memory.set(`key${n}`, n, { ttlMs: 1000 + n }));
    await passUntil(clock, sets);
    await clock.advance(30_000);
    const told = await toldBy(storage);
    expect(told.filter((line) => line.startsWith('expired')).sort()).toEqual(
      Array.from({ length: 20 }, (_, n) => `expired key${n} 2`).sort(),
    );
    expect(await audit(seen)).toEqual([]);
  });

  it('lives as long as the last set says', async () => {
    const { clock, memory, storage } = await worldOn(open);
    await memory.set('longer', 1, { ttlMs: 1000 });
    await memory.set('longer', 2, { ttlMs: 5000 });
    await memory.set('shorter', 1, { ttlMs: 5000 });
    await memory.set('shorter', 2, { ttlMs: 1000 });
    await memory.set('forever', 1, { ttlMs: 1000 });
    await memory.set('forever', 2);
    await memory.set('at last', 1);
    await memory.set('at last', 2, { ttlMs: 1000 });
    await memory.set('deleted', 1, { ttlMs: 1000 });
    await memory.delete('deleted');
    await clock.advance(1000);
    expect((await memory.search()).items.map(({ key }) => key)).toEqual(['forever', 'longer']);
    await clock.advance(3999);
    expect(await memory.get('longer')).toBe(2);
    await clock.advance(1);
    expect(await memory.get('longer')).toBeUndefined();
    await clock.advance(5000);
    expect((await toldBy(storage)).filter((line) => line.startsWith('expired')).sort()).toEqual([
      'expired at last 3',
      'expired longer 3',
      'expired shorter 3',
    ]);
    expect(await recordsOf(storage, 'due')).toEqual([]);
  });

  it('that is set again in the very millisecond of its end is told as expired first', async () => {
    const { clock, memory, storage, seen } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    await memory.set('key', 'old', { ttlMs: 1000, tags: ['tag'] });
    await clock.advance(1000);
    const entry = await memory.set('key', 'new');
    expect(entry.version).toBe(3);
    expect(await toldBy(storage)).toEqual(['set key 1', 'expired key 2', 'set key 3']);
    expect(await memory.history('key')).toMatchObject([
      { version: 3, value: 'new' },
      { version: 2, deleted: true, at: clock.now() },
      { version: 1, deleted: true },
    ]);
    expect(await audit(seen)).toEqual([]);
    await clock.advance(7_200_000);
    expect(await toldBy(storage)).toHaveLength(3);
  });

  it('has the same versions whether it was swept before it was set again or not', async () => {
    for (const sweepIntervalMs of [10, 3_600_000]) {
      const { clock, memory } = await worldOn(open, { sweepIntervalMs });
      await memory.set('key', 1, { ttlMs: 1000 });
      await clock.advance(2000);
      expect(await memory.set('key', 2)).toMatchObject({ version: 3 });
      expect((await memory.history('key')).map(({ version }) => version)).toEqual([3, 2, 1]);
    }
  });

  it('is told once when sweeps and sets meet', async () => {
    const { clock, memory, storage, another, seen } = await worldOn(open, { sweepIntervalMs: 100 });
    const others = [another().memory, another().memory, another().memory];
    for (let round = 0; round < 5; round++) {
      await memory.set('key', round, { ttlMs: 1000 });
      const sets = others.map((other, n) =>
        new Promise<void>((resolve) => clock.setTimeout(resolve, 1000 + n)).then(() =>
          other.update('key', (value) => value ?? 'again', { ttlMs: 1500 }),
        ),
      );
      await passUntil(clock, Promise.all(sets));
      await clock.advance(5000);
    }
    const told = await toldBy(storage);
    expect(told.map((line) => Number(line.split(' ')[2]))).toEqual(told.map((_, n) => n + 1));
    // Whatever was set has expired once before it was set again.
    const kinds = told.map((line) => line.split(' ')[0]).join(' ');
    expect(kinds).not.toContain('expired expired');
    expect(kinds.endsWith('expired')).toBe(true);
    expect(await audit(seen)).toEqual([]);
  });

  it('is gone where the host sets its clock forward, and stays gone where it sets it back', async () => {
    const { clock, memory, storage } = await worldOn(open);
    await memory.set('key', 1, { ttlMs: 10_000 });
    const start = clock.now();
    clock.set(start + 10_000);
    expect(await memory.get('key')).toBeUndefined();
    await clock.advance(2000);
    clock.set(start);
    await clock.advance(2000);
    expect(await memory.get('key')).toBeUndefined();
    expect(await toldBy(storage)).toEqual(['set key 1', 'expired key 2']);
  });

  it('expires in its namespace', async () => {
    const { clock, memory, mesh } = await worldOn(open);
    const heard: unknown[] = [];
    mesh.on('memory_expired', ({ namespace, key }) => heard.push([namespace, key]));
    const inner = memory.namespace('a').namespace('b');
    await inner.set('key', 1, { ttlMs: 1000 });
    await memory.set('key', 1);
    await clock.advance(3000);
    await mesh.settled();
    expect(heard).toEqual([['a>b', 'key']]);
    expect(await inner.get('key')).toBeUndefined();
    expect(await memory.get('key')).toBe(1);
  });
});

describe.each(storages)('an entry that lives until its session ends, on %s', (_name, open) => {
  it('vanishes at the instant of the end', async () => {
    const { memory, registry } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    await memory.set('key', 'v', { by: agent, untilSessionEnds: true, tags: ['tag'] });
    expect(await seenOf(memory, 'key')).toEqual(there);
    await agent.end();
    expect(await seenOf(memory, 'key')).toEqual(gone);
  });

  it('vanishes at the instant of a kill by force', async () => {
    const { memory, registry } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    await memory.set('key', 'v', { by: agent, untilSessionEnds: true, tags: ['tag'] });
    await registry.kill('agent', { force: true });
    expect(await seenOf(memory, 'key')).toEqual(gone);
  });

  it('vanishes at the deadline of a kill, to the millisecond, with nobody there to see it', async () => {
    const { clock, memory, registry } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    const agent = await quiet(registry, 'agent');
    await memory.set('key', 'v', { by: agent, untilSessionEnds: true, tags: ['tag'] });
    await registry.kill('agent', { graceMs: 2000, timeoutMs: 0 });
    await clock.advance(2000);
    expect(await seenOf(memory, 'key')).toEqual(there);
    await clock.advance(1);
    expect(await seenOf(memory, 'key')).toEqual(gone);
  });

  it('vanishes at the instant of a takeover, and the new one has its own', async () => {
    const { memory, registry, another } = await worldOn(open);
    const old = await quiet(registry, 'agent');
    await memory.set('key', 'v', { by: old, untilSessionEnds: true, tags: ['tag'] });
    const agent = await quiet(another().registry, 'agent');
    expect(await seenOf(memory, 'key')).toEqual(gone);
    await memory.set('key', 'v', { by: agent, untilSessionEnds: true, tags: ['tag'] });
    expect(await seenOf(memory, 'key')).toEqual(there);
  });

  it('stays while its session is offline, until it is given up', async () => {
    const { clock, memory, registry } = await worldOn(open);
    const agent = await registry.register({ id: 'agent', heartbeat: 'manual', ttlMs: 1000, retentionMs: 60_000 });
    await memory.set('key', 'v', { by: agent, untilSessionEnds: true, tags: ['tag'] });
    await clock.advance(30_000);
    expect((await registry.get('agent'))?.state).toBe('offline');
    expect(await seenOf(memory, 'key')).toEqual(there);
    await clock.advance(31_000);
    expect(await seenOf(memory, 'key')).toEqual(gone);
  });

  it('is removed and told within five seconds and a sweep, once, whoever sweeps', async () => {
    const { clock, memory, registry, storage, seen, another } = await worldOn(open);
    for (let n = 1; n < 8; n++) another();
    const agent = await quiet(registry, 'agent');
    await memory.set('mine', 1, { by: agent, untilSessionEnds: true, tags: ['tag'] });
    await memory.namespace('inner').set('mine', 1, { by: agent, untilSessionEnds: true });
    await memory.set('kept', 1, { by: agent });
    await clock.advance(60_000);
    expect(await memory.get('mine')).toBe(1);
    await agent.end();
    await clock.advance(6000);
    expect(await toldBy(storage)).toEqual(['set mine 1', 'set mine 1', 'set kept 1', 'deleted mine 2', 'deleted mine 2']);
    expect((await recordsOf(storage, 'memory')).map(({ key }) => key)).toEqual(['kept']);
    expect(await audit(seen)).toEqual([]);
    await clock.advance(10_000);
    expect((await recordsOf(storage, 'due')).filter(({ key }) => key.includes('memory'))).toEqual([]);
  });

  it('is removed although the store reports conflicts that were none', async () => {
    const { clock, registry, storage, seen, another } = await worldOn(open);
    const { memory } = another(withFaults(seen.storage, { seed: 4, conflictRate: 0.5 }));
    const agent = await quiet(registry, 'agent');
    await together(20, (n) => memory.set(`key${n}`, n, { by: 'agent', untilSessionEnds: true }));
    await agent.end();
    await clock.advance(30_000);
    expect((await toldBy(storage)).filter((line) => line.startsWith('deleted'))).toHaveLength(20);
    expect(await audit(seen)).toEqual([]);
  });

  it('is removed however many there are, and however many the next incarnation has', async () => {
    const { clock, memory, registry, storage, seen } = await worldOn(open);
    const old = await quiet(registry, 'agent');
    await together(1020, (n) => memory.set(`z${n}`, n, { by: old, untilSessionEnds: true }));
    const agent = await quiet(registry, 'agent');
    await together(110, (n) => memory.set(`a${n}`, n, { by: agent, untilSessionEnds: true }));
    await clock.advance(10_000);
    expect((await recordsOf(storage, 'memory')).filter(({ key }) => key.startsWith('z'))).toEqual([]);
    expect((await memory.search({ limit: 1000 })).items).toHaveLength(110);
    expect(await audit(seen)).toEqual([]);
  });

  it('costs little to look after, however many entries there are', async () => {
    const { clock, memory, registry, seen } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    await together(300, (n) => memory.set(`key${n}`, n, { by: agent, untilSessionEnds: true }));
    await clock.advance(10_000);
    seen.take();
    await clock.advance(20_000);
    expect(seen.take().records).toBeLessThan(200);
  });

  it('that is set by another is no longer bound', async () => {
    const { clock, memory, registry, seen } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    await memory.set('key', 1, { by: agent, untilSessionEnds: true });
    await memory.set('key', 2, { by: 'other' });
    await agent.end();
    await clock.advance(10_000);
    expect(await memory.get('key')).toBe(2);
    expect(await audit(seen)).toEqual([]);
  });

  it('that is set again after its session has ended is told as deleted first', async () => {
    const { memory, registry, storage, seen } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    await memory.set('key', 1, { by: agent, untilSessionEnds: true });
    await agent.end();
    expect(await memory.set('key', 2)).toMatchObject({ version: 3 });
    expect(await toldBy(storage)).toEqual(['set key 1', 'deleted key 2', 'set key 3']);
    expect(await audit(seen)).toEqual([]);
  });

  it('may expire before', async () => {
    const { clock, memory, registry, storage } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    await memory.set('key', 1, { by: agent, untilSessionEnds: true, ttlMs: 1000 });
    await clock.advance(3000);
    await agent.end();
    await clock.advance(10_000);
    expect(await toldBy(storage)).toEqual(['set key 1', 'expired key 2']);
  });

  it('can be bound by the id of a session that is there, offline or not, and of no other', async () => {
    const { clock, memory, registry } = await worldOn(open);
    const set = (by: string) => memory.set('key', 'v', { by, untilSessionEnds: true });
    await expect(set('nobody')).rejects.toEqual(refusal('not_found', 'expected a known session, got nobody'));
    const agent = await quiet(registry, 'agent', 1000);
    await set('agent');
    await clock.advance(2000);
    await set('agent');
    expect(await memory.get('key')).toBe('v');
    await agent.heartbeat();
    await agent.end();
    await expect(set('agent')).rejects.toEqual(refusal('not_alive', 'expected session agent not to be over, got ended'));
    await registry.kill((await quiet(registry, 'other')).id, { force: true });
    await expect(set('other')).rejects.toEqual(refusal('not_alive', 'got killed'));
    await expect(memory.set('key', 1, { untilSessionEnds: true })).rejects.toEqual(
      refusal('invalid_input', 'expected options.by'),
    );
    await expect(memory.update('key', () => 1, { untilSessionEnds: true })).rejects.toEqual(
      refusal('invalid_input', 'expected options.by'),
    );
  });

  it('stays when the mesh of its session is closed, which leaves the session offline', async () => {
    const { clock, memory, storage, errors } = await worldOn(open);
    const mesh = createMesh({ storage, closeStorage: false, onError: (error) => errors.push(error) });
    const agent = await mesh.registry.register({ id: 'agent' });
    await mesh.memory.set('key', 'v', { by: agent, untilSessionEnds: true });
    await mesh.close();
    await clock.advance(20_000);
    expect(await memory.get('key')).toBe('v');
  });
});

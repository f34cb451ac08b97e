import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { SqliteStorage } from '../../src/adapters/sqlite/index.ts';
import { createMesh } from '../../src/mesh.ts';
import { withFaults } from '../../src/testing/faults.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { audit, dump } from '../support/memory/audit.ts';
import { hooked, once } from '../support/memory/observed.ts';
import { outcomeOf, passUntil, quiet, refusal, together, toldBy, worldOn } from '../support/memory/worlds.ts';
import { storages, temporaryFile } from '../support/storages.ts';

const increment = (n: number | undefined): number => (n ?? 0) + 1;

describe.each(storages)('an update on %s', (_name, open) => {
  it('is never lost: 50 increments at once give 50', async () => {
    const { memory, storage, seen } = await worldOn(open);
    const written = await together(50, () => memory.update('counter', increment));
    expect(await memory.get('counter')).toBe(50);
    expect(written.map((entry) => entry?.value).sort((a, b) => Number(a) - Number(b))).toEqual(
      Array.from({ length: 50 }, (_, n) => n + 1),
    );
    expect(written.every((entry) => entry?.version === entry?.value)).toBe(true);
    expect((await memory.history('counter')).map(({ version }) => version)).toEqual(Array.from({ length: 50 }, (_, n) => 50 - n));
    expect(await toldBy(storage)).toEqual(Array.from({ length: 50 }, (_, n) => `set counter ${n + 1}`));
    expect(await audit(seen)).toEqual([]);
  });

  it('is never lost among several meshes', async () => {
    const { memory, another, seen } = await worldOn(open);
    const meshes = [memory, another().memory, another().memory];
    await together(60, (n) => (meshes[n % 3] as typeof memory).update('counter', increment));
    expect(await memory.get('counter')).toBe(60);
    expect(await audit(seen)).toEqual([]);
  });

  it('is never lost where conflicts are reported that were none', async () => {
    const { seen, another } = await worldOn(open);
    const faulty = withFaults(seen.storage, { seed: 7, conflictRate: 0.5 });
    const { memory } = another(faulty);
    await together(50, () => memory.update('counter', increment));
    expect(faulty.faults.counts.conflicts).toBeGreaterThan(50);
    expect(await memory.get('counter')).toBe(50);
    expect(await audit(seen)).toEqual([]);
  });

  it('is made once where the store answers that it does not know', async () => {
    const { clock, seen, another, storage } = await worldOn(open);
    const faulty = withFaults(seen.storage, { seed: 3, unknownRate: 0.15 });
    const { memory } = another(faulty);
    const updates = together(50, () => memory.update('counter', increment));
    await passUntil(clock, updates, 100, 1_200_000);
    const { unknownApplied, unknownNotApplied } = faulty.faults.counts;
    expect(unknownApplied + unknownNotApplied).toBeGreaterThan(0);
    expect(await memory.get('counter')).toBe(50);
    expect(await toldBy(storage)).toEqual(Array.from({ length: 50 }, (_, n) => `set counter ${n + 1}`));
    faulty.faults.pause();
    expect(await audit(seen)).toEqual([]);
  });

  it('may take its time', async () => {
    const { clock, memory } = await worldOn(open);
    const slow = async (n: number | undefined): Promise<number> => {
      await new Promise<void>((resolve) => clock.setTimeout(resolve, 10));
      return increment(n);
    };
    const updates = together(12, () => memory.update('counter', slow));
    await passUntil(clock, updates, 10);
    expect(await memory.get('counter')).toBe(12);
  });

  it('is not held up by a slow one of the same key', async () => {
    const { clock, memory } = await worldOn(open);
    let runs = 0;
    const slow = memory.update<number>('counter', async (n) => {
      runs += 1;
      await new Promise<void>((resolve) => clock.setTimeout(resolve, 1000));
      return increment(n) * 100;
    });
    await memory.update('counter', increment);
    await memory.set('counter', 2);
    expect(await memory.get('counter')).toBe(2);
    await passUntil(clock, slow);
    expect(await memory.get('counter')).toBe(300);
    expect(runs).toBe(2);
  });

  it('that throws changes nothing and passes the error on', async () => {
    const { memory, seen } = await worldOn(open);
    await memory.set('key', 1);
    const before = await dump(seen);
    const error = new TypeError('no');
    const fail = (): never => {
      throw error;
    };
    await expect(memory.update('key', fail)).rejects.toBe(error);
    await expect(memory.update('key', async () => fail())).rejects.toBe(error);
    await expect(memory.update('other', fail)).rejects.toBe(error);
    expect(await dump(seen)).toEqual(before);
  });

  it('that answers undefined leaves everything as it is, and tells what that is', async () => {
    const { memory, seen } = await worldOn(open);
    const entry = await memory.set('key', null, { tags: ['a'], ttlMs: 60_000, by: 'agent' });
    const before = await dump(seen);
    expect(await memory.update('key', () => undefined)).toEqual(entry);
    expect(await memory.update('other', async () => undefined)).toBeUndefined();
    expect(await dump(seen)).toEqual(before);
  });

  it('tells no value from null', async () => {
    const { memory } = await worldOn(open);
    const seen: unknown[] = [];
    const look = (value: unknown): null => {
      seen.push(value);
      return null;
    };
    await memory.update('key', look);
    await memory.update('key', look);
    await memory.delete('key');
    await memory.update('key', look);
    expect(seen).toEqual([undefined, null, undefined]);
    expect(await memory.get('key')).toBeNull();
    expect((await memory.getEntry('key'))?.version).toBe(4);
  });

  it('keeps type, tags, metadata, expiry and owner unless they are given', async () => {
    const { clock, memory, registry } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    const first = await memory.set('key', 1, {
      by: agent,
      type: 'fact',
      tags: ['a', 'b'],
      ttlMs: 10_000,
      metadata: { source: 'test' },
      untilSessionEnds: true,
    });
    await clock.advance(3000);
    const kept = await memory.update('key', increment);
    expect(kept).toEqual({ ...first, value: 2, version: 2, at: first.at + 3000, session: undefined });
    expect(kept && 'session' in kept).toBe(false);
    const given = { type: 'note', tags: ['c'], ttlMs: 20_000, metadata: { source: 'other' } } as const;
    const changed = await memory.update('key', increment, given);
    expect(changed).toMatchObject({
      value: 3,
      type: 'note',
      tags: ['c'],
      metadata: { source: 'other' },
      expiresAt: clock.now() + 20_000,
    });
    await agent.end();
    expect(await memory.get('key')).toBeUndefined();
  });

  it('takes an entry from its session on request', async () => {
    const { memory, registry } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    await memory.set('key', 1, { by: agent, untilSessionEnds: true });
    await memory.update('key', increment, { untilSessionEnds: false });
    await agent.end();
    expect(await memory.get('key')).toBe(2);
  });

  it('of an entry that expires meanwhile is made of nothing', async () => {
    const { clock, memory } = await worldOn(open, { sweepIntervalMs: 60_000 });
    await memory.set('key', 1, { ttlMs: 1000 });
    const seen: unknown[] = [];
    const update = memory.update('key', async (value) => {
      seen.push(value);
      await new Promise<void>((resolve) => clock.setTimeout(resolve, 700));
      return seen.length;
    });
    await clock.advance(300);
    await passUntil(clock, update);
    expect(seen).toEqual([1]);
    expect(await memory.get('key')).toBe(1);
    await clock.advance(299);
    const late = memory.update('key', async (value) => {
      seen.push(value);
      await new Promise<void>((resolve) => clock.setTimeout(resolve, 700));
      return seen.length;
    });
    await passUntil(clock, late);
    expect(seen).toEqual([1, 1, undefined]);
    expect(await memory.getEntry('key')).toEqual({
      key: 'key',
      value: 3,
      version: 4,
      type: 'state',
      tags: [],
      at: clock.now(),
      metadata: {},
    });
  });

  it('counts its time to live from when it was written, however long the change took', async () => {
    const { clock, memory } = await worldOn(open);
    const slow = async (): Promise<number> => {
      await new Promise<void>((resolve) => clock.setTimeout(resolve, 5000));
      return 1;
    };
    const entry = await passUntil(clock, memory.update('key', slow, { ttlMs: 1000 }), 1000);
    expect(entry).toMatchObject({ at: clock.now(), expiresAt: clock.now() + 1000 });
    expect(await memory.get('key')).toBe(1);
  });

  it('of an entry whose session ends meanwhile is made of nothing', async () => {
    const { memory, registry, storage } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    await memory.set('key', 1, { by: agent, untilSessionEnds: true });
    const seen: unknown[] = [];
    const entry = await memory.update('key', async (value) => {
      seen.push(value);
      if (seen.length === 1) await agent.end();
      return 'new';
    });
    expect(seen).toEqual([1, undefined]);
    expect(entry?.version).toBe(3);
    expect(await memory.get('key')).toBe('new');
    expect(await toldBy(storage)).toEqual(['set key 1', 'deleted key 2', 'set key 3']);
  });

  it('of an entry whose session is killed by its deadline meanwhile is made of nothing', async () => {
    const { clock, memory, registry } = await worldOn(open);
    await quiet(registry, 'agent');
    await memory.set('key', 1, { by: 'agent', untilSessionEnds: true });
    await registry.kill('agent', { graceMs: 500, timeoutMs: 0 });
    const seen: unknown[] = [];
    const update = memory.update('key', async (value) => {
      seen.push(value);
      if (seen.length === 1) await new Promise<void>((resolve) => clock.setTimeout(resolve, 501));
      return 'new';
    });
    await passUntil(clock, update);
    expect(seen).toEqual([1, undefined]);
    expect(await memory.get('key')).toBe('new');
  });

  it('that writes its own key in the change is made again each time', async () => {
    const { memory } = await worldOn(open);
    let runs = 0;
    const update = memory.update('key', async () => {
      runs += 1;
      if (runs < 30) await memory.set('key', runs);
      return 'last';
    });
    expect((await update)?.version).toBe(30);
  });
});

describe('many updates at once', () => {
  it('all pass, however many there are', async () => {
    const { memory } = await worldOn((storages[0] as (typeof storages)[number])[1]);
    await together(1100, () => memory.update('counter', increment));
    expect(await memory.get('counter')).toBe(1100);
  });

  it('from five processes are all counted', async () => {
    const file = temporaryFile();
    const child = path.join(import.meta.dirname, '../support/memory/increment.child.mjs');
    await together(5, () => promisify(execFile)(process.execPath, ['--no-warnings', child, file, '50']));
    const mesh = createMesh({ storage: await SqliteStorage.open(file, { clock: new VirtualClock() }) });
    expect(await mesh.memory.get('counter')).toBe(250);
    expect((await mesh.memory.history('counter')).map(({ version }) => version)).toEqual(
      Array.from({ length: 100 }, (_, n) => 250 - n),
    );
    await mesh.close();
  });
});

describe.each(storages)('ifVersion on %s', (_name, open) => {
  it('lets a write pass only on top of that version, and 0 only on top of none', async () => {
    const { memory, seen, storage } = await worldOn(open);
    await expect(memory.set('key', 1, { ifVersion: 1 })).rejects.toEqual(
      refusal('conflict', 'expected version 1 of the key, got no value'),
    );
    expect(await memory.set('key', 1, { ifVersion: 0 })).toMatchObject({ version: 1 });
    await expect(memory.set('key', 2, { ifVersion: 0 })).rejects.toMatchObject({
      code: 'conflict',
      details: { key: 'key', version: 1 },
    });
    await expect(memory.set('key', 2, { ifVersion: 2 })).rejects.toEqual(refusal('conflict', 'got 1'));
    expect(await memory.set('key', 2, { ifVersion: 1 })).toMatchObject({ version: 2 });
    expect(await memory.get('key')).toBe(2);
    expect(await toldBy(storage)).toEqual(['set key 1', 'set key 2']);
    expect(await audit(seen)).toEqual([]);
  });

  it('counts what was deleted or has expired as none', async () => {
    const { clock, memory } = await worldOn(open, { sweepIntervalMs: 60_000 });
    await memory.set('key', 1);
    await memory.delete('key');
    await expect(memory.set('key', 2, { ifVersion: 2 })).rejects.toMatchObject({ details: { version: 0 } });
    expect(await memory.set('key', 2, { ifVersion: 0, ttlMs: 1000 })).toMatchObject({ version: 3 });
    await clock.advance(999);
    await expect(memory.set('key', 3, { ifVersion: 0 })).rejects.toMatchObject({ details: { version: 3 } });
    await clock.advance(1);
    await expect(memory.set('key', 3, { ifVersion: 3 })).rejects.toMatchObject({ details: { version: 0 } });
    expect(await memory.set('key', 3, { ifVersion: 0 })).toMatchObject({ version: 5 });
  });

  it('lets one of many pass', async () => {
    const { memory, another } = await worldOn(open);
    await memory.set('key', 'old');
    const meshes = [memory, another().memory];
    const outcomes = await together(20, (n) => outcomeOf((meshes[n % 2] as typeof memory).set('key', n, { ifVersion: 1 })));
    const passed = outcomes.filter((outcome) => typeof outcome !== 'string');
    expect(passed).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === 'conflict')).toHaveLength(19);
    expect(await memory.getEntry('key')).toEqual(passed[0]);
  });

  it('is not fooled by conflicts that were none, nor by an answer that was lost', async () => {
    const { clock, seen, another, memory: direct } = await worldOn(open);
    const contended = another(withFaults(seen.storage, { seed: 5, conflictRate: 0.5 })).memory;
    const uncertain = another(withFaults(seen.storage, { seed: 5, unknownRate: 0.15 })).memory;
    for (let version = 0; version < 20; version++) {
      const memory = version % 2 === 0 ? contended : uncertain;
      const entry = await passUntil(clock, memory.set('key', version, { ifVersion: version }));
      expect(entry.version).toBe(version + 1);
    }
    expect((await direct.history('key')).map(({ version }) => version)).toEqual(Array.from({ length: 20 }, (_, n) => 20 - n));
  });

  it('does not pass on top of an entry whose session has just ended', async () => {
    const { storage, another, registry } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    const end = once(() => agent.end());
    const { memory } = another(hooked(storage, { commit: () => end.run() }));
    await memory.set('key', 1, { by: 'agent', untilSessionEnds: true });
    end.arm();
    await expect(memory.set('key', 2, { ifVersion: 1 })).rejects.toMatchObject({ details: { version: 0 } });
  });
});

describe.each(storages)('versions on %s', (_name, open) => {
  it('of the same millisecond stand in the order in which they were written', async () => {
    const { memory } = await worldOn(open);
    const entries = [];
    for (let n = 1; n <= 5; n++) entries.push(await memory.set('key', n));
    expect(new Set(entries.map(({ at }) => at)).size).toBe(1);
    expect(await memory.history('key')).toEqual(entries.reverse());
  });

  it('of writes at once have a number each, without a gap', async () => {
    const { memory, another, seen } = await worldOn(open);
    const meshes = [memory, another().memory, another().memory];
    const entries = await together(40, (n) => (meshes[n % 3] as typeof memory).set('key', n));
    expect(entries.map(({ version }) => version).sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, n) => n + 1));
    expect(await memory.history('key')).toEqual(entries.sort((a, b) => b.version - a.version));
    expect(await audit(seen)).toEqual([]);
  });

  it('never start again after a delete, whoever deletes and sets at the same time', async () => {
    const { memory, another, seen, storage } = await worldOn(open);
    const meshes = [memory, another().memory];
    const outcomes = await together(40, async (n) => {
      const { [n % 2]: one = memory } = meshes;
      return n % 3 === 0 ? one.delete('key') : (await one.set('key', n)).version;
    });
    await memory.set('key', 'last');
    const told = await toldBy(storage);
    expect(told.map((line) => Number(line.split(' ')[2]))).toEqual(told.map((_, n) => n + 1));
    expect(told.filter((line) => line.startsWith('deleted'))).toHaveLength(outcomes.filter((outcome) => outcome === true).length);
    const history = await memory.history('key');
    expect(history.map(({ version }) => version)).toEqual(told.map((_, n) => told.length - n));
    expect(history.map((version) => ('deleted' in version ? 'deleted' : 'set'))).toEqual(
      told.map((line) => line.split(' ')[0]).reverse(),
    );
    expect(await audit(seen)).toEqual([]);
  });

  it('never start again where somebody has set and deleted the key since it was looked at', async () => {
    const { storage, memory, another, seen } = await worldOn(open);
    const between = once(async () => {
      await memory.set('key', 'between');
      await memory.delete('key');
    });
    const { memory: slow } = another(hooked(storage, { commit: () => between.run() }));
    await memory.set('key', 1);
    await memory.delete('key');
    between.arm();
    expect(await slow.set('key', 2)).toMatchObject({ version: 5 });
    between.arm();
    await slow.delete('key');
    expect((await memory.history('key')).map(({ version }) => version)).toEqual([7, 6, 5, 4, 3, 2, 1]);
    expect(await audit(seen)).toEqual([]);
  });
});

describe.each(storages)('who writes, on %s', (_name, open) => {
  it('stands at each version', async () => {
    const { memory, registry } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    await memory.set('key', 1, { by: agent });
    await memory.set('key', 2, { by: 'webhook' });
    await memory.set('key', 3);
    await memory.update('key', increment, { by: agent });
    await memory.delete('key', { by: 'janitor' });
    await memory.set('key', 4);
    await memory.delete('key');
    const writers = (await memory.history('key')).map(({ version, session }) => [version, session]);
    expect(writers).toEqual([
      [7, undefined],
      [6, undefined],
      [5, 'janitor'],
      [4, 'agent'],
      [3, undefined],
      [2, 'webhook'],
      [1, 'agent'],
    ]);
  });

  it('stands in the events', async () => {
    const { memory, mesh, registry } = await worldOn(open);
    const heard: unknown[] = [];
    memory.on('*', (event) => heard.push(event));
    const agent = await quiet(registry, 'agent');
    const { at } = await memory.set('key', 'not to be told', { by: agent, tags: ['tag'], metadata: { secret: 1 } });
    await memory.delete('key', { by: 'janitor' });
    await mesh.settled();
    expect(heard).toEqual([
      { name: 'memory_set', at, namespace: '', key: 'key', version: 1, session: 'agent', cursor: expect.any(String) },
      { name: 'memory_deleted', at, namespace: '', key: 'key', version: 2, session: 'janitor', cursor: expect.any(String) },
    ]);
  });

  it('by its id is anybody: the host says who acts', async () => {
    const { memory } = await worldOn(open);
    expect(await memory.set('key', 1, { by: 'nobody-registered' })).toMatchObject({ session: 'nobody-registered' });
  });

  it('through a handle must hold its session: nothing lands after a takeover', async () => {
    const { memory, registry, seen, another } = await worldOn(open);
    const old = await quiet(registry, 'agent');
    await memory.set('key', 1, { by: old });
    await quiet(another().registry, 'agent');
    const before = await dump(seen);
    await expect(memory.set('key', 2, { by: old })).rejects.toEqual(refusal('lease_lost'));
    await expect(memory.update('key', increment, { by: old })).rejects.toEqual(refusal('lease_lost'));
    await expect(memory.update('key', () => undefined, { by: old })).rejects.toEqual(refusal('lease_lost'));
    await expect(memory.delete('key', { by: old })).rejects.toEqual(refusal('lease_lost'));
    await expect(memory.delete('nothing', { by: old })).rejects.toEqual(refusal('lease_lost'));
    await expect(memory.clear({ by: old })).rejects.toEqual(refusal('lease_lost'));
    expect(await dump(seen)).toEqual(before);
    expect(old.signal.aborted).toBe(true);
  });

  it('through a handle that was replaced while the change was made learns so, and nothing lands', async () => {
    const { memory, registry, another } = await worldOn(open);
    const old = await quiet(registry, 'agent');
    const update = memory.update(
      'key',
      async (n: number | undefined) => {
        await quiet(another().registry, 'agent');
        return increment(n);
      },
      { by: old },
    );
    await expect(update).rejects.toEqual(refusal('lease_lost'));
    expect(await memory.history('key')).toEqual([]);
  });

  it('through a handle cannot write while it is offline, and can again after a heartbeat', async () => {
    const { clock, memory, registry } = await worldOn(open);
    const agent = await quiet(registry, 'agent', 1000);
    await clock.advance(1000);
    await memory.set('key', 1, { by: agent });
    await clock.advance(1);
    await expect(memory.set('key', 2, { by: agent })).rejects.toEqual(refusal('not_alive'));
    await expect(memory.delete('key', { by: agent })).rejects.toEqual(refusal('not_alive'));
    expect(await memory.get('key')).toBe(1);
    expect(agent.signal.aborted).toBe(false);
    await agent.heartbeat();
    expect(await memory.set('key', 2, { by: agent })).toMatchObject({ version: 2 });
  });

  it('through a handle still can under a kill order that others gave, until the deadline', async () => {
    const { clock, memory, registry, another } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    await another().registry.kill('agent', { graceMs: 2000, timeoutMs: 0 });
    expect(await memory.set('key', 1, { by: agent })).toMatchObject({ version: 1 });
    await clock.advance(2000);
    expect(await memory.set('key', 2, { by: agent })).toMatchObject({ version: 2 });
    await clock.advance(1);
    await expect(memory.set('key', 3, { by: agent })).rejects.toEqual(refusal('lease_lost', 'killed'));
  });

  it.each([
    ['ended', (agent: { end(): Promise<void> }) => agent.end()],
    ['killed', (_agent: unknown, kill: () => Promise<unknown>) => kill()],
  ])('through a handle of a session that has %s cannot', async (_how, stop) => {
    const { memory, registry, seen } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    await stop(agent, () => registry.kill('agent', { force: true }));
    seen.take();
    await expect(memory.set('key', 1, { by: agent })).rejects.toEqual(refusal('lease_lost'));
    expect(await memory.get('key')).toBeUndefined();
  });

  it('may be a session as the registry shows it, which is no more than its id', async () => {
    const { memory, registry } = await worldOn(open);
    await quiet(registry, 'agent');
    const session = await registry.get('agent');
    expect(await memory.set('key', 1, { by: session })).toMatchObject({ session: 'agent' });
  });
});

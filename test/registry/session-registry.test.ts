import { describe, expect, it } from 'vitest';
import type { MeshEvent } from '../../src/mesh.ts';
import type { RegisterOptions } from '../../src/registry/session-inputs.ts';
import { SessionRegistry } from '../../src/registry/session-registry.ts';
import type { Commit } from '../../src/storage/storage.ts';
import { SeededRandom } from '../../src/testing/random.ts';
import { outcomeOf, processOn, refusal, worldOn } from '../support/registry/meshes.ts';
import { counted, gate, viewOf } from '../support/registry/views.ts';
import { storages } from '../support/storages.ts';

describe.each(storages)('updating a session on %s', (_name, open) => {
  it('changes what is given and keeps the rest', async () => {
    const { registry, clock } = await worldOn(open);
    const handle = await registry.register({
      id: 'a',
      task: 'one',
      metadata: { a: 1 },
      capabilities: ['x'],
      groups: ['g'],
      capacity: 2,
    });
    const before = await registry.get('a');
    await clock.advance(100);
    await handle.update({ status: 'working' });
    expect(await registry.get('a')).toEqual({ ...before, status: 'working', lastActivityAt: clock.now() });
    await handle.update({ task: 'two', metadata: { b: 2 }, capabilities: [], groups: ['h'], capacity: 3 });
    expect(await registry.get('a')).toMatchObject({
      status: 'working',
      task: 'two',
      metadata: { b: 2 },
      capabilities: [],
      groups: ['h'],
      capacity: 3,
    });
    await handle.update({ task: null });
    const after = await registry.get('a');
    expect(after && 'task' in after).toBe(false);
    await handle.update({ task: undefined, status: undefined });
    expect(await registry.get('a')).toEqual(after);
    await registry.update('a', { task: '' });
    expect((await registry.get('a'))?.task).toBe('');
  });

  it('tells what changed, and never the values', async () => {
    const world = await worldOn(open);
    const { registry, clock } = world;
    await registry.register({ id: 'a', task: 'secret' });
    world.listen();
    await registry.update('a', { status: 'idle', task: null, metadata: { secret: 'secret' } });
    await registry.specialize('a', ['x']);
    await registry.specialize('a', ['x']);
    await registry.update('a', { status: 'idle', metadata: { secret: 'secret' }, task: null });
    await registry.update('a', { status: 'active', metadata: { secret: 'secret' } });
    await registry.update('a', {});
    await world.told();
    const common = { name: 'session_updated', at: clock.now(), cursor: expect.any(String), session: 'a', epoch: 1 };
    expect(world.heard).toEqual([
      {
        ...common,
        fields: expect.toSatisfy((fields: string[]) => [...fields].sort().join() === 'metadata,status,task'),
        status: 'idle',
      },
      { ...common, fields: ['capabilities'] },
      // That it got on is told as well.
      { ...common, fields: [] },
      { ...common, fields: [] },
      { ...common, fields: ['status'], status: 'active' },
      { ...common, fields: [] },
    ]);
    expect(JSON.stringify(world.heard)).not.toContain('secret');
  });

  it('is for sessions that are there: unknown, offline, ended and killed ones refuse it', async () => {
    const { registry, clock } = await worldOn(open);
    for (const [id, ttlMs] of [
      ['offline', 1000],
      ['ended', 60_000],
      ['killed', 60_000],
      ['stopping', 60_000],
    ] as const) {
      await registry.register({ id, heartbeat: 'manual', ttlMs });
    }
    await registry.end('ended');
    await registry.kill('killed', { force: true });
    await registry.kill('stopping', { graceMs: 30_000, timeoutMs: 0 });
    await clock.advance(1001);
    for (const change of [(id: string) => registry.update(id, { task: 'x' }), (id: string) => registry.specialize(id, ['x'])]) {
      await expect(change('unknown')).rejects.toEqual(refusal('not_found', 'expected a known session, got unknown'));
      for (const id of ['offline', 'ended', 'killed'])
        await expect(change(id)).rejects.toEqual(refusal('not_alive', `got ${id}`));
      await change('stopping');
    }
  });

  it('is never undone by another at the same time', async () => {
    const { registry, another } = await worldOn(open);
    const handle = await registry.register({ id: 'a' });
    const other = another().registry;
    await Promise.all([
      handle.update({ task: 't' }),
      other.update('a', { status: 'waiting' }),
      registry.update('a', { metadata: { m: 1 } }),
      other.specialize('a', ['x']),
      registry.update('a', { groups: ['g'] }),
      other.heartbeat('a'),
      handle.heartbeat(),
    ]);
    expect(await registry.get('a')).toMatchObject({
      task: 't',
      status: 'waiting',
      metadata: { m: 1 },
      capabilities: ['x'],
      groups: ['g'],
    });
  });
});

describe.each(storages)('specializing on %s', (_name, open) => {
  it('adds what is new, up to 64 capabilities', async () => {
    const { registry } = await worldOn(open);
    await registry.register({ id: 'a', capabilities: ['x'] });
    await registry.specialize('a', ['image-processing', 'x']);
    expect((await registry.get('a'))?.capabilities).toEqual(['x', 'image-processing']);
    const more = Array.from({ length: 62 }, (_, n) => `c${n}`);
    await registry.specialize('a', more);
    await expect(registry.specialize('a', ['one-more'])).rejects.toEqual(
      refusal('limit_exceeded', 'expected at most 64 capabilities of a session, got 65'),
    );
    await registry.specialize('a', ['x']);
    expect((await registry.get('a'))?.capabilities).toHaveLength(64);
  });
});

describe.each(storages)('ending on %s', (_name, open) => {
  it('is final, tells once, and keeps the first result', async () => {
    const world = await worldOn(open);
    const { registry, clock } = world;
    const handle = await registry.register({ id: 'a' });
    world.listen();
    await clock.advance(10);
    await handle.end({ result: { ok: [1] }, reason: 'done' });
    const ended = await registry.get('a');
    expect(ended).toMatchObject({ state: 'ended', result: { ok: [1] }, reason: 'done', epoch: 2, endedAt: clock.now() });
    await expect(handle.end({ result: 'other' })).rejects.toEqual(refusal('lease_lost', 'ended by its owner'));
    await registry.end('a', { result: 'other' });
    expect(await registry.get('a')).toEqual(ended);
    expect(await world.told()).toEqual(['session_ended a']);
    expect(handle.signal.aborted).toBe(true);
    expect(handle.epoch).toBe(1);
  });

  it('keeps a result of a megabyte beside metadata of a megabyte, until the id is taken or removed', async () => {
    const { registry, storage, clock } = await worldOn(open);
    const text = 'x'.repeat(1024 * 1024 - 2);
    const options = { metadata: { text: text.slice(11) }, retentionMs: 5000 };
    const taken = await registry.register({ id: 'taken', ...options });
    const stopped = await registry.register({ id: 'stopped', ...options });
    await taken.end({ result: text });
    await registry.kill('stopped', { timeoutMs: 0 });
    await stopped.end({ result: null });
    expect(await registry.get('taken')).toMatchObject({ state: 'ended', result: text, metadata: options.metadata });
    const { items } = await registry.list({ state: 'all' });
    expect(items.map(({ id, state, result }) => [id, state, result])).toEqual([
      ['stopped', 'killed', null],
      ['taken', 'ended', text],
    ]);
    expect((await registry.list({ state: 'ended', agentType: 'agent' })).items.map(({ result }) => result)).toEqual([text]);
    await registry.register({ id: 'taken' });
    expect('result' in ((await registry.get('taken')) ?? {})).toBe(false);
    await clock.advance(10_000);
    expect(await registry.get('stopped')).toBeUndefined();
    await registry.unregister('taken');
    expect(await storage.list('sightings')).toEqual([]);
  });

  it('happens once when many end a session at once', async () => {
    const world = await worldOn(open);
    const { registry, another } = world;
    const handle = await registry.register({ id: 'a' });
    const others = Array.from({ length: 5 }, () => another().registry);
    world.listen();
    const outcomes = await Promise.all([
      outcomeOf(handle.end({ result: 'own' })),
      ...others.map((each, n) => outcomeOf(each.end('a', { result: n }))),
    ]);
    expect(outcomes.slice(1)).toEqual(['done', 'done', 'done', 'done', 'done']);
    expect(await world.told()).toEqual(['session_ended a']);
    const { result } = (await registry.get('a')) ?? {};
    expect(outcomes[0] === 'done' ? result : 'own').toBe('own');
  });

  it('can be done by the host, also with one that is offline, and not with one that was killed or is unknown', async () => {
    const { registry, clock } = await worldOn(open);
    await registry.register({ id: 'offline', heartbeat: 'manual', ttlMs: 1000 });
    await registry.register({ id: 'killed' });
    await registry.kill('killed', { force: true, reason: 'first' });
    await clock.advance(1001);
    await registry.end('offline', { reason: 'late' });
    expect(await registry.get('offline')).toMatchObject({ state: 'ended', reason: 'late', lastSeenAt: clock.now() - 1001 });
    await expect(registry.end('killed', { reason: 'second' })).rejects.toEqual(refusal('not_alive', 'got killed'));
    expect((await registry.get('killed'))?.reason).toBe('first');
    await expect(registry.end('unknown')).rejects.toEqual(refusal('not_found'));
  });

  it('leaves children as they are', async () => {
    const { registry } = await worldOn(open);
    const parent = await registry.register({ id: 'p' });
    const child = await parent.spawn({ id: 'c' });
    await parent.end();
    await child.update({ task: 'on' });
    expect(await registry.get('c')).toMatchObject({ state: 'alive', parentId: 'p' });
  });
});

describe.each(storages)('unregistering on %s', (_name, open) => {
  it('forgets a session at once, whatever its state', async () => {
    const world = await worldOn(open);
    const { registry, clock, storage } = world;
    for (const [id, ttlMs] of [
      ['alive', 60_000],
      ['offline', 1000],
      ['ended', 60_000],
      ['killed', 60_000],
    ] as const) {
      await registry.register({ id, heartbeat: 'manual', ttlMs, retentionMs: 9000, capabilities: ['x'], groups: ['g'] });
    }
    await registry.end('ended');
    await registry.kill('killed', { force: true });
    await clock.advance(2002);
    world.listen();
    for (const id of ['alive', 'offline', 'ended', 'killed']) {
      await registry.unregister(id);
      expect(await registry.get(id)).toBeUndefined();
      await expect(registry.unregister(id)).rejects.toEqual(refusal('not_found'));
    }
    expect(await world.told()).toEqual([
      'session_ended alive',
      'session_removed alive',
      'session_ended offline',
      'session_removed offline',
      'session_removed ended',
      'session_removed killed',
    ]);
    await clock.advance(70_000);
    for (const partition of ['sessions', 'leases', 'sightings', 'due', 'watches', 'sessions.capability=x', 'sessions.group=g']) {
      expect(await storage.list(partition), partition).toEqual([]);
    }
    expect(await world.told()).toHaveLength(6);
  });

  it('forgets the directives with the session, however many, also one that comes at that moment', async () => {
    const { registry, another, storage } = await worldOn(open);
    await registry.register({ id: 'a', heartbeat: 'manual' });
    for (let n = 0; n < 2100; n++) await registry.steer('a', { direction: 'north' });
    const commit = async ({ deletes = [] }: Commit): Promise<void> => {
      if (deletes.length > 0) await registry.steer('a', { direction: 'south' });
    };
    await another({ storage: viewOf(storage, { commit }) }).registry.unregister('a');
    expect(await storage.list('steers/a')).toEqual([]);
  });

  it('refuses a session with children, also one that comes at that moment', async () => {
    const { registry, another, storage } = await worldOn(open);
    await registry.register({ id: 'p' });
    const held = gate();
    let isHolding = true;
    const commit = async (): Promise<void> => {
      if (!isHolding) return;
      isHolding = false;
      await held.wait();
    };
    const slow = another({ storage: viewOf(storage, { commit }) });
    const removing = outcomeOf(slow.registry.unregister('p'));
    await held.reached;
    await registry.register({ id: 'c', parentId: 'p' });
    held.open();
    expect(await removing).toBe('conflict');
    expect((await registry.get('p'))?.state).toBe('alive');
    await registry.unregister('c');
    await registry.unregister('p');
  });

  it('never leaves a child without its parent, whoever is first', async () => {
    for (let seed = 0; seed < 30; seed++) {
      const random = new SeededRandom(seed);
      const { registry, another, storage } = await worldOn(open);
      const wander = async (): Promise<void> => {
        for (let left = random.below(5); left > 0; left--) await new Promise(setImmediate);
      };
      const [one, two] = [1, 2].map(
        () => another({ storage: viewOf(storage, { get: wander, list: wander, commit: wander }) }).registry,
      );
      await registry.register({ id: 'p' });
      const [removed, born] = await Promise.all([
        outcomeOf(one!.unregister('p')),
        outcomeOf(two!.register({ id: 'c', parentId: 'p' })),
      ]);
      const [parent, child] = [await registry.get('p'), await registry.get('c')];
      expect(`${removed} ${born}`).toMatch(/^(done (not_found|not_alive)|conflict done)$/);
      expect([parent !== undefined, child !== undefined]).toEqual(removed === 'done' ? [false, false] : [true, true]);
    }
  });
});

describe.each(storages)('events on %s', (_name, open) => {
  it('are the same sequence in every process, from birth to removal', async () => {
    const world = await worldOn(open);
    const { registry, clock, another } = world;
    const other = another();
    world.listen();
    other.listen();
    const start = clock.now();
    const own = { heartbeat: 'manual', ttlMs: 2000, retentionMs: 3000 } as const;
    const first = await registry.register({ id: 'a', ...own });
    await first.update({ status: 'idle' });
    const child = await first.spawn({ id: 'b', ...own });
    await clock.advance(3500);
    await other.registry.heartbeat('a');
    await other.registry.register({ id: 'b', ...own });
    await expect(child.update({})).rejects.toEqual(refusal('lease_lost'));
    await other.registry.kill('b', { force: true, reason: 'r', by: 'a' });
    await clock.advance(500);
    await first.end();
    await clock.advance(70_000);
    await Promise.all([world.told(), other.told()]);
    expect(other.heard).toEqual(world.heard);
    const common = { cursor: expect.any(String) };
    const at = (ms: number) => start + ms;
    expect(world.heard).toEqual([
      { ...common, name: 'session_created', at: at(0), session: 'a', epoch: 1 },
      { ...common, name: 'session_updated', at: at(0), session: 'a', epoch: 1, fields: ['status'], status: 'idle' },
      { ...common, name: 'session_created', at: at(0), session: 'b', epoch: 1, parent: 'a' },
      { ...common, name: 'session_offline', at: expect.any(Number), session: 'a', epoch: 1, lastSeenAt: at(0) },
      { ...common, name: 'session_offline', at: expect.any(Number), session: 'b', epoch: 1, lastSeenAt: at(0) },
      { ...common, name: 'session_online', at: at(3500), session: 'a', epoch: 1 },
      { ...common, name: 'session_created', at: at(3500), session: 'b', epoch: 2 },
      { ...common, name: 'agent_killed', at: at(3500), session: 'b', epoch: 3, graceful: false, root: 'b', by: 'a' },
      { ...common, name: 'session_ended', at: at(4000), session: 'a', epoch: 2 },
      { ...common, name: 'session_removed', at: expect.any(Number), session: 'b', epoch: 3 },
      { ...common, name: 'session_removed', at: expect.any(Number), session: 'a', epoch: 2 },
    ]);
    const cursors = world.heard.map(({ cursor }) => cursor);
    expect([...cursors].sort()).toEqual(cursors);
    for (const event of world.heard) expect(Object.isFrozen(event)).toBe(true);
  });

  it('of its mesh and of no other reach a registry', async () => {
    const { another } = await worldOn(open);
    const [one, two] = [another({ namespace: 'one' }), another({ namespace: 'two' })];
    one.listen();
    two.listen();
    await one.registry.register({ id: 'a' });
    await two.registry.register({ id: 'a' });
    await two.registry.register({ id: 'b' });
    expect(await one.told()).toEqual(['session_created a']);
    expect(await two.told()).toEqual(['session_created a', 'session_created b']);
    expect((await one.registry.list()).items.map(({ id }) => id)).toEqual(['a']);
    expect(await one.registry.get('b')).toBeUndefined();
  });

  it('reach each listener although another throws, and nothing that was done fails', async () => {
    const { registry, mesh, errors } = await worldOn(open);
    const heard: string[] = [];
    registry.on('session_created', () => {
      throw new Error('mine');
    });
    registry.on('session_created', ({ session }) => heard.push(session));
    registry.once('session_created', ({ session }) => heard.push(`once ${session}`));
    const typed: (event: { readonly parent?: string }) => void = () => {};
    registry.on('session_created', typed).off('session_created', typed);
    await registry.register({ id: 'a' });
    await registry.register({ id: 'b' });
    await mesh.settled();
    expect(heard).toEqual(['a', 'once a', 'b']);
    expect(errors.splice(0)).toHaveLength(2);
  });

  it('come after the change: whoever hears one finds it done', async () => {
    const { registry, mesh } = await worldOn(open);
    const found: (string | undefined)[] = [];
    const looks: Promise<unknown>[] = [];
    registry.on('*', (event: MeshEvent) => {
      looks.push(registry.get(String(event['session'])).then((session) => found.push(session?.state)));
    });
    const handle = await registry.register({ id: 'a' });
    await mesh.settled();
    await handle.end();
    await mesh.settled();
    await Promise.all(looks);
    expect(found).toEqual(['alive', 'ended']);
  });
});

describe.each(storages)('a registry on %s', (_name, open) => {
  it('stands alone on a storage', async () => {
    const { storage, clock, mesh } = await worldOn(open);
    await mesh.close();
    const before = clock.pending;
    const registry = new SessionRegistry({ storage });
    const heard: string[] = [];
    registry.on('*', ({ name }) => heard.push(name));
    const handle = await registry.register({ id: 'a', ttlMs: 3000 });
    await clock.advance(20_000);
    expect((await registry.get('a'))?.state).toBe('alive');
    await handle.end();
    await clock.advance(1000);
    expect(heard).toEqual(['session_created', 'session_ended']);
    await registry.close();
    expect(clock.pending).toBe(before);
  });

  it('costs what the table of costs says', async () => {
    const { storage } = await worldOn(open);
    const view = counted(storage);
    const { registry } = processOn(view.storage, { sweepIntervalMs: 3_600_000 });
    const register = (id: string, more: RegisterOptions = {}) => registry.register({ id, heartbeat: 'manual', ...more });
    const costOf = async (work: () => Promise<unknown>): Promise<number[]> => {
      view.calls.count = view.calls.commits.length = 0;
      await work();
      const { count, commits } = view.calls;
      const checks = commits.flatMap(({ checks = [] }) => checks).length;
      const writes = commits.flatMap(({ deletes = [], puts = [] }) => [...deletes, ...puts]).length;
      return [count - commits.length, checks, writes];
    };
    await register('a');
    const costs = {
      register: await costOf(() => register('b')),
      'with a parent': await costOf(() => register('c', { parentId: 'a' })),
      'with a grandparent': await costOf(() => register('d', { parentId: 'c' })),
      'with three capabilities': await costOf(() => register('e', { capabilities: ['x', 'y', 'z'] })),
      takeover: await costOf(() => register('b', { takeover: true })),
      end: await costOf(() => registry.end('b')),
      'end with a result': await costOf(() => registry.end('e', { result: 1 })),
      unregister: await costOf(() => registry.unregister('d')),
      'kill at once': await costOf(() => registry.kill('c', { force: true })),
    };
    expect(costs).toEqual({
      register: [2, 3, 6],
      'with a parent': [3, 4, 7],
      'with a grandparent': [4, 4, 7],
      'with three capabilities': [2, 3, 9],
      takeover: [2, 3, 6],
      end: [1, 2, 7],
      'end with a result': [1, 2, 7],
      unregister: [3, 3, 10],
      'kill at once': [3, 3, 7],
    });
  });

  it('has no timer for each session', async () => {
    const { registry, clock } = await worldOn(open);
    const handles = [await registry.register()];
    const one = clock.pending;
    for (let n = 0; n < 100; n++) handles.push(await registry.register({ ttlMs: 30_000 + 1000 * (n % 5) }));
    expect(clock.pending).toBe(one);
    for (const handle of handles) await handle.end();
    await clock.advance(60_000);
    expect(clock.pending).toBeLessThanOrEqual(one);
  });
});

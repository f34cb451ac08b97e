import { describe, expect, it } from 'vitest';
import type { MeshError } from '../../src/kernel/errors.ts';
import { SessionRegistry } from '../../src/registry/session-registry.ts';
import { outcomeOf, refusal, worldOn } from '../support/registry/meshes.ts';
import { gate, viewOf } from '../support/registry/views.ts';
import { storages } from '../support/storages.ts';

describe.each(storages)('closing on %s', (_name, open) => {
  it('lets others see the sessions offline at once, with one event each', async () => {
    const world = await worldOn(open);
    const { registry, another, clock } = world;
    const leaving = another();
    const handles = [];
    for (let n = 0; n < 120; n++)
      handles.push(await leaving.registry.register({ id: `s${n}`, ...(n % 2 && { heartbeat: 'manual' as const }) }));
    await registry.register({ id: 'stays' });
    await clock.advance(5000);
    world.listen();
    await leaving.mesh.close();
    const { items } = await registry.list({ limit: 1000 });
    expect(items.map(({ id }) => id)).toEqual(['stays']);
    const offline = (await registry.list({ state: 'offline', limit: 1000 })).items;
    expect(offline).toHaveLength(120);
    expect(offline.every(({ lastSeenAt, epoch }) => lastSeenAt <= clock.now() && epoch === 1)).toBe(true);
    expect((await world.told()).sort()).toEqual(Array.from({ length: 120 }, (_, n) => `session_offline s${n}`).sort());
    for (const { signal } of handles) expect([signal.aborted, (signal.reason as MeshError).code]).toEqual([true, 'closed']);
    await expect(handles[0]?.update({})).rejects.toEqual(refusal('closed'));
    await expect(handles[0]?.spawn()).rejects.toEqual(refusal('closed'));
    await clock.advance(60_000);
    expect(await world.told()).toHaveLength(120);
  });

  it('lets go what is being registered at that moment', async () => {
    const { registry, another } = await worldOn(open);
    const leaving = another();
    const registering = Promise.allSettled([leaving.registry.register({ id: 'a' }), leaving.registry.register({ id: 'b' })]);
    await leaving.mesh.close();
    await registering;
    for (const id of ['a', 'b']) expect((await registry.get(id))?.state ?? 'none').toMatch(/^(offline|none)$/);
    await registry.register({ id: 'a' });
  });

  it('leaves ids to who comes next, and their groups to them', async () => {
    const { registry, another } = await worldOn(open);
    const leaving = another();
    await leaving.registry.register({ id: 'a', groups: ['core'] });
    await leaving.mesh.close();
    const next = await registry.register({ id: 'a' });
    expect(next.epoch).toBe(2);
    expect((await registry.get('a'))?.groups).toEqual(['core']);
  });

  it('may be done again, and by many at once', async () => {
    const { registry, storage, clock } = await worldOn(open);
    const before = clock.pending;
    const alone = new SessionRegistry({ storage });
    for (let n = 0; n < 60; n++) await alone.register({ id: `s${n}` });
    const handle = await alone.register({ id: 'a' });
    alone.on('*', () => {});
    await Promise.all([alone.close(), alone.close(), alone.close()]);
    await alone.close();
    expect(clock.pending).toBe(before);
    expect((await registry.stats()).alive).toBe(0);
    expect(handle.signal.aborted).toBe(true);
    // The storage is somebody else's.
    await registry.register({ id: 'b' });
    for (const use of [
      () => alone.register(),
      () => alone.get('a'),
      () => alone.list(),
      () => alone.heartbeat('a'),
      () => alone.stats(),
    ]) {
      await expect(use()).rejects.toEqual(refusal('closed'));
    }
    expect(() => alone.on('*', () => {})).toThrow(expect.objectContaining({ code: 'closed' }));
  });

  it('of the registry of a mesh ends what it does for its sessions', async () => {
    const { registry, another } = await worldOn(open);
    const { registry: leaving } = another();
    await leaving.register({ id: 'a' });
    await leaving.close();
    expect((await registry.get('a'))?.state).toBe('offline');
    // Nobody would renew it.
    await expect(leaving.register({ id: 'b' })).rejects.toEqual(refusal('closed'));
  });

  it('gives back what is its own only', async () => {
    const { registry, another } = await worldOn(open);
    const leaving = another();
    const taken = await leaving.registry.register({ id: 'taken' });
    const ended = await leaving.registry.register({ id: 'ended' });
    await leaving.registry.register({ id: 'stopping' });
    await leaving.registry.register({ id: 'own' });
    await registry.register({ id: 'taken', takeover: true });
    await ended.end();
    await registry.kill('stopping', { timeoutMs: 0 });
    await leaving.mesh.close();
    const states = (await registry.list({ state: 'all' })).items.map(({ id, state }) => `${id} ${state}`);
    expect(states).toEqual(['ended ended', 'own offline', 'stopping stopping', 'taken alive']);
    expect(taken.signal.aborted).toBe(true);
  });

  it('gives back a session that somebody changes at that very moment', async () => {
    const { registry, another, storage } = await worldOn(open);
    let changes = 0;
    const commit = async ({ deletes = [] }: { deletes?: readonly object[] }): Promise<void> => {
      if (deletes.length > 0 && changes < 5) {
        changes += 1;
        await registry.update('s1', { task: `${changes}` });
      }
    };
    const leaving = another({ storage: viewOf(storage, { commit }) });
    for (let n = 0; n < 3; n++) await leaving.registry.register({ id: `s${n}` });
    await leaving.mesh.close();
    expect(changes).toBe(5);
    const { items } = await registry.list({ state: 'offline' });
    expect(items.map(({ id, task }) => [id, task])).toEqual([
      ['s0', undefined],
      ['s1', '5'],
      ['s2', undefined],
    ]);
  });

  it('gives back sessions too large for one commit together', async () => {
    const { registry, another } = await worldOn(open);
    const leaving = another();
    const metadata = { notes: 'x'.repeat(1_000_000) };
    for (let n = 0; n < 18; n++) await leaving.registry.register({ id: `s${n}`, metadata });
    await leaving.mesh.close();
    expect((await registry.stats()).alive).toBe(0);
  });

  it('comes to its end when the store cannot be reached', async () => {
    const { registry, another, clock, storage } = await worldOn(open);
    const before = clock.pending;
    let isDown = false;
    const fail = (): void => {
      if (isDown) throw new Error('down');
    };
    const leaving = another({ storage: viewOf(storage, { get: fail, list: fail, commit: fail }) });
    const handle = await leaving.registry.register({ id: 'a' });
    leaving.listen();
    isDown = true;
    await leaving.mesh.close();
    expect(handle.signal.aborted).toBe(true);
    expect(clock.pending).toBe(before);
    // The hub could not give back its work, nor the registry its leases.
    expect(leaving.errors.splice(0)).toEqual([new Error('down'), new Error('down')]);
    await clock.advance(30_001);
    expect((await registry.get('a'))?.state).toBe('offline');
  });
});

describe.each(storages)('a process that holds sessions on %s', (_name, open) => {
  it('hears of a takeover that comes before it knows of its own registration', async () => {
    const { registry, another, storage, clock } = await worldOn(open);
    const held = gate();
    const committed = async (): Promise<void> => {
      await held.wait();
    };
    const slow = another({ storage: viewOf(storage, { committed }) });
    const registering = slow.registry.register({ id: 'a', heartbeat: 'manual' });
    await held.reached;
    const second = await registry.register({ id: 'a', takeover: true });
    await clock.advance(200);
    held.open();
    const first = await registering;
    await clock.advance(200);
    expect([first.epoch, first.signal.aborted]).toEqual([1, true]);
    expect([second.epoch, second.signal.aborted]).toEqual([2, false]);
  });

  it('follows the log only while it holds any', async () => {
    const { another, clock } = await worldOn(open);
    const { registry } = another({ pollIntervalMs: 7 });
    const idle = clock.pending;
    const handles = [await registry.register(), await registry.register({ heartbeat: 'manual' })];
    const following = clock.pending;
    for (const handle of handles) await handle.end();
    expect(await outcomeOf(registry.register({ id: 'x', parentId: 'nobody' }))).toBe('not_found');
    await clock.advance(30_000);
    expect(clock.pending).toBe(idle);
    expect(following).toBeGreaterThanOrEqual(idle);
  });
});

import { describe, expect, it } from 'vitest';
import { outcomeOf, refusal, worldOn } from '../support/registry/meshes.ts';
import { storages } from '../support/storages.ts';

describe.each(storages)('what is kept of a session on %s', (_name, open) => {
  it('is there through its retention after a lapse, and then it has ended, at that very millisecond', async () => {
    const world = await worldOn(open);
    const { registry, clock } = world;
    const start = clock.now();
    const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 2000, retentionMs: 10_000 });
    world.listen();
    await clock.advance(11_999);
    expect(await registry.get('a')).toMatchObject({ state: 'offline', lastSeenAt: start });
    await clock.advance(1);
    expect((await registry.get('a'))?.state ?? 'ended').toBe('ended');
    expect(await outcomeOf(handle.update({}))).toBe('lease_lost');
    await clock.advance(1000);
    expect(await registry.get('a')).toBeUndefined();
    expect(await world.told()).toEqual(['session_offline a', 'session_ended a', 'session_removed a']);
    expect(handle.signal.aborted).toBe(true);
    expect(await handle.heartbeat()).toMatchObject({ alive: false });
  });

  it('counts anew after each revival', async () => {
    const world = await worldOn(open);
    const { registry, clock } = world;
    const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 1000, retentionMs: 5000 });
    for (let round = 0; round < 5; round++) {
      await clock.advance(4000);
      expect(await handle.heartbeat()).toMatchObject({ alive: true });
    }
    world.listen();
    await clock.advance(5999);
    expect((await registry.get('a'))?.state).toBe('offline');
    await clock.advance(1002);
    expect(await registry.get('a')).toBeUndefined();
    expect(await world.told()).toEqual(['session_offline a', 'session_ended a', 'session_removed a']);
  });

  it('is there for as long after an end or a kill, with what became of it', async () => {
    const world = await worldOn(open);
    const { registry, clock } = world;
    const handle = await registry.register({ id: 'ended', retentionMs: 5000, task: 'one' });
    await registry.register({ id: 'killed', retentionMs: 5000 });
    await clock.advance(7000);
    await handle.end({ result: { ok: true }, reason: 'done' });
    await registry.kill('killed', { force: true, reason: 'budget' });
    world.listen();
    const at = clock.now();
    await clock.advance(4999);
    expect(await registry.get('ended')).toMatchObject({
      state: 'ended',
      endedAt: at,
      result: { ok: true },
      reason: 'done',
      task: 'one',
    });
    expect(await registry.get('killed')).toMatchObject({ state: 'killed', endedAt: at, reason: 'budget' });
    expect(await world.told()).toEqual([]);
    await clock.advance(1002);
    expect(await registry.get('ended')).toBeUndefined();
    expect(await registry.get('killed')).toBeUndefined();
    expect((await world.told()).sort()).toEqual(['session_removed ended', 'session_removed killed']);
  });

  it('takes all its directives along', async () => {
    const { registry, clock, storage } = await worldOn(open);
    await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 60_000, retentionMs: 2000 });
    for (let n = 0; n < 1100; n++) await registry.steer('a', { direction: 'north' });
    await registry.end('a');
    await clock.advance(4000);
    expect(await registry.get('a')).toBeUndefined();
    expect(await storage.list('steers/a')).toEqual([]);
  });

  it('is not removed when the id has an owner again by then', async () => {
    const { registry, clock } = await worldOn(open);
    const first = await registry.register({ id: 'a', retentionMs: 5000 });
    await first.end();
    await clock.advance(4000);
    await registry.register({ id: 'a' });
    await clock.advance(60_000);
    expect(await registry.get('a')).toMatchObject({ state: 'alive', epoch: 3 });
  });

  it('stays while children are known, and goes after them', async () => {
    const world = await worldOn(open);
    const { registry, clock } = world;
    await registry.register({ id: 'p', heartbeat: 'manual', ttlMs: 1000, retentionMs: 2000 });
    const child = await registry.register({ id: 'c', parentId: 'p', retentionMs: 2000 });
    world.listen();
    await clock.advance(10 * 60_000);
    // It has ended all the same, and everybody was told.
    expect(await registry.get('p')).toMatchObject({ state: 'ended' });
    expect(await world.told()).toEqual(['session_offline p', 'session_ended p']);
    await expect(registry.unregister('p')).rejects.toEqual(refusal('conflict', 'to have no children'));
    await child.update({ task: 'still here' });
    await child.end();
    await clock.advance(3000);
    expect(await registry.get('c')).toBeUndefined();
    await clock.advance(61_000);
    expect(await registry.get('p')).toBeUndefined();
    expect((await world.told()).slice(2)).toEqual([
      'session_updated c',
      'session_ended c',
      'session_removed c',
      'session_removed p',
    ]);
  });

  it('is removed once however many processes sweep, and leaves no record behind', async () => {
    const world = await worldOn(open);
    const { registry, clock, storage, another } = world;
    for (let n = 0; n < 7; n++) another();
    const all = { user: 'u', capabilities: ['c'], groups: ['g'], retentionMs: 3000, heartbeat: 'manual', ttlMs: 2000 } as const;
    for (let n = 0; n < 20; n++) await registry.register({ id: `s${n}`, ...all });
    for (let n = 0; n < 5; n++) await registry.end(`s${n}`);
    for (let n = 5; n < 10; n++) await registry.steer(`s${n}`, { message: 'x' });
    world.listen();
    await clock.advance(9000);
    const told = await world.told();
    expect(told.filter((event) => event.startsWith('session_removed')).sort()).toEqual(
      Array.from({ length: 20 }, (_, n) => `session_removed s${n}`).sort(),
    );
    expect(told).toHaveLength(20 + 15 + 15);
    const indexes = ['user=u', 'capability=c', 'group=g', 'type=agent'].map((index) => `sessions.${index}`);
    for (const partition of ['sessions', 'leases', 'sightings', 'watches', 'due', 'steers/s5', ...indexes]) {
      expect(await storage.list(partition), partition).toEqual([]);
    }
  });

  it('tells a kill whose deadline nobody was up to see as a kill, also when the removal comes first', async () => {
    const world = await worldOn(open, { sweepIntervalMs: 60_000 });
    const { registry, clock } = world;
    await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 2000, retentionMs: 1000 });
    await clock.advance(1000);
    await registry.kill('a', { graceMs: 500, timeoutMs: 0, by: 'host' });
    world.listen();
    await clock.advance(501);
    expect((await registry.get('a'))?.state).toBe('killed');
    await registry.unregister('a');
    expect(await world.told()).toEqual(['agent_killed a', 'session_removed a']);
    expect(world.heard[0]).toMatchObject({ graceful: false, root: 'a', by: 'host' });
    await clock.advance(180_000);
    expect(await world.told()).toEqual(['agent_killed a', 'session_removed a']);
  });

  it('tells a kill that nobody has recorded before the id is taken over', async () => {
    const world = await worldOn(open, { sweepIntervalMs: 60_000 });
    const { registry, clock } = world;
    await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 2000 });
    await registry.kill('a', { graceMs: 500, timeoutMs: 0 });
    world.listen();
    await clock.advance(501);
    await expect(registry.register({ id: 'a' })).rejects.toEqual(refusal('not_alive', 'was not killed'));
    await registry.register({ id: 'a', takeover: true });
    expect(await world.told()).toEqual(['agent_killed a', 'session_created a']);
  });

  it('is ended by whoever looks first when nobody swept for long', async () => {
    const world = await worldOn(open, { sweepIntervalMs: 60_000 });
    const { registry, clock } = world;
    await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 2000, retentionMs: 2000 });
    await registry.register({ id: 'b', heartbeat: 'manual', ttlMs: 2000, retentionMs: 2000 });
    world.listen();
    await clock.advance(5000);
    expect((await registry.get('a'))?.state).toBe('ended');
    expect((await registry.list({ state: 'ended' })).items).toHaveLength(2);
    expect(await registry.heartbeat('a')).toEqual({ alive: false, reason: 'ended' });
    const again = await registry.register({ id: 'a' });
    expect(again.epoch).toBe(2);
    expect(await world.told()).toEqual(['session_offline a', 'session_ended a', 'session_created a']);
    await clock.advance(180_000);
    expect((await world.told()).slice(3)).toEqual(['session_offline b', 'session_ended b', 'session_removed b']);
    expect((await registry.get('a'))?.state).toBe('alive');
  });
});

import { describe, expect, it } from 'vitest';
import { type KillNotice, MeshError, type Steer } from '../../src/index.ts';
import { createTestMesh } from '../../src/testing/test-mesh.ts';
import { mortal, wrapped } from '../support/registry-kill/storages.ts';
import { endings, eventsOf, hear, isSettled, join, keysOf, openWorld, passUntil, quiet } from '../support/registry-kill/world.ts';
import { storages } from '../support/storages.ts';

const aborted = (reason: string) => expect.objectContaining({ code: 'aborted', details: { reason } });

describe.each(storages)('kill on %s', (_name, open) => {
  it('marks the session as stopping, and kills it when the grace is over', async () => {
    const { clock, registry } = await openWorld(open);
    const agent = await registry.register({ id: 'agent' });
    const start = clock.now();
    const killing = registry.kill('agent', { reason: 'budget', graceMs: 5000 });
    await clock.settle();
    expect(await registry.get('agent')).toMatchObject({ state: 'stopping', reason: 'budget', epoch: 1 });
    expect((await registry.list()).items).toEqual([]);
    expect((await registry.list({ state: 'stopping' })).items.map(({ id }) => id)).toEqual(['agent']);
    await clock.advance(5000);
    expect(await registry.get('agent')).toMatchObject({ state: 'stopping' });
    expect(await isSettled(clock, killing)).toBe(false);
    await clock.advance(1);
    expect(await killing).toEqual({ root: 'agent', killed: [{ session: 'agent', graceful: false }], stopping: [] });
    expect(clock.now() - start).toBe(5001);
    expect(await registry.get('agent')).toMatchObject({ state: 'killed', reason: 'budget', epoch: 2, endedAt: start + 5001 });
    expect(agent.signal.reason).toEqual(aborted('budget'));
  });

  it('gives a grace of five seconds unless told otherwise, and the reason "killed"', async () => {
    const { clock, registry } = await openWorld(open);
    await registry.register({ id: 'agent' });
    const start = clock.now();
    await passUntil(clock, registry.kill('agent'), 1);
    expect(clock.now() - start).toBe(5001);
    expect(await registry.get('agent')).toMatchObject({ state: 'killed', reason: 'killed' });
  });

  it('never gives more grace than the lease has left', async () => {
    const { clock, registry } = await openWorld(open);
    await quiet(registry, 'agent', undefined, 3000);
    await clock.advance(1000);
    const start = clock.now();
    const killing = registry.kill('agent', { graceMs: 60_000 });
    await clock.advance(2000);
    expect(await registry.get('agent')).toMatchObject({ state: 'stopping' });
    await clock.advance(1);
    expect(await registry.get('agent')).toMatchObject({ state: 'killed' });
    expect((await killing).killed).toEqual([{ session: 'agent', graceful: false }]);
    expect(clock.now() - start).toBe(2001);
  });

  it('kills at once a session in the last millisecond of its lease', async () => {
    const { clock, registry } = await openWorld(open);
    await quiet(registry, 'agent', undefined, 1000);
    await clock.advance(1000);
    expect(await registry.get('agent')).toMatchObject({ state: 'alive' });
    const report = await registry.kill('agent', { graceMs: 60_000 });
    expect(report.killed).toEqual([{ session: 'agent', graceful: false }]);
  });

  it('leaves a lease that nobody renews: not the automatic heartbeat', async () => {
    const { clock, registry } = await openWorld(open);
    await registry.register({ id: 'agent', ttlMs: 3000 });
    await registry.kill('agent', { graceMs: 2500, timeoutMs: 0 });
    await clock.advance(2500);
    expect(await registry.get('agent')).toMatchObject({ state: 'stopping' });
    await clock.advance(1);
    expect(await registry.get('agent')).toMatchObject({ state: 'killed' });
  });

  it('leaves a lease that nobody renews: not the owner', async () => {
    const { clock, registry, storage } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    await join(storage).registry.kill('agent', { graceMs: 2500, timeoutMs: 0 });
    const deadline = clock.now() + 2500;
    for (let beat = 0; beat < 5; beat++) {
      expect(await agent.heartbeat()).toEqual({ alive: true, expiresAt: deadline });
      await clock.advance(500);
    }
    expect(await agent.heartbeat()).toEqual({ alive: true, expiresAt: deadline });
    await clock.advance(1);
    expect(await agent.heartbeat()).toEqual({ alive: false, reason: 'killed' });
    expect(await registry.get('agent')).toMatchObject({ state: 'killed' });
  });

  it('leaves a lease that nobody renews: not the host by the id', async () => {
    const { clock, registry, storage } = await openWorld(open);
    await quiet(registry, 'agent');
    await join(storage).registry.kill('agent', { graceMs: 2500, timeoutMs: 0 });
    const deadline = clock.now() + 2500;
    expect(await registry.heartbeat('agent')).toEqual({ alive: true, expiresAt: deadline });
    await clock.advance(2501);
    expect(await registry.heartbeat('agent')).toEqual({ alive: false, reason: 'killed' });
    expect(await registry.get('agent')).toMatchObject({ state: 'killed' });
  });

  it('needs no process: at the deadline the session is dead by the clock of the store', async () => {
    const { clock, storage, mesh, registry } = await openWorld(open);
    await quiet(registry, 'agent');
    const report = await registry.kill('agent', { graceMs: 2500, timeoutMs: 0, reason: 'budget' });
    expect(report).toEqual({ root: 'agent', killed: [], stopping: ['agent'] });
    const deadline = clock.now() + 2500;
    await mesh.close();
    await clock.advance(2500);
    const fresh = join(storage);
    expect(await fresh.registry.get('agent')).toMatchObject({ state: 'stopping' });
    await fresh.close();
    await clock.advance(1);
    const later = join(storage);
    expect(await later.registry.get('agent')).toMatchObject({ state: 'killed', reason: 'budget', endedAt: deadline + 1 });
    expect((await later.registry.list({ state: 'killed' })).items).toHaveLength(1);
    expect(await endings(later)).toEqual({});
    await clock.advance(2000);
    expect(await endings(later)).toEqual({ agent: ['killed'] });
  });

  it('aborts the signal of the owner with the reason, also in another process', async () => {
    const { clock, registry, storage } = await openWorld(open);
    const here = await registry.register({ id: 'here' });
    const there = await join(storage).registry.register({ id: 'there' });
    await registry.kill('here', { reason: 'first', timeoutMs: 0 });
    await registry.kill('there', { reason: 'second', timeoutMs: 0 });
    await clock.advance(200);
    expect(here.signal.reason).toEqual(aborted('first'));
    expect(there.signal.reason).toEqual(aborted('second'));
    const forced = await join(storage).registry.register({ id: 'forced' });
    await registry.kill('forced', { reason: 'third', force: true });
    await clock.advance(200);
    expect(forced.signal.reason).toEqual(aborted('third'));
  });

  it('lets the owner write until the end, and refuses children and directives', async () => {
    const { clock, registry, storage } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    const other = join(storage).registry;
    const directive = await other.steer('agent', { message: 'before' });
    const loop = agent.steers();
    const { value: steer } = (await loop.next()) as { value: Steer };
    await other.kill('agent', { timeoutMs: 0 });
    // The owner has not heard of the order yet.
    await agent.update({ task: 'tidy up' });
    expect(await registry.get('agent')).toMatchObject({ state: 'stopping', task: 'tidy up' });
    await steer.applied({ note: 'last' });
    expect(await directive.settled()).toEqual({ outcome: 'applied', note: 'last' });
    await registry.update('agent', { status: 'waiting' });
    await expect(agent.spawn()).rejects.toMatchObject({ code: 'not_alive' });
    await expect(registry.register({ parentId: 'agent' })).rejects.toMatchObject({ code: 'not_alive' });
    await expect(other.steer('agent', { message: 'after' })).rejects.toMatchObject({ code: 'not_alive' });
    await clock.advance(200);
    await agent.update({ task: 'nearly done' });
    expect(await registry.get('agent')).toMatchObject({ state: 'stopping', status: 'waiting', task: 'nearly done' });
    expect(await loop.next()).toEqual({ done: true, value: undefined });
    await agent.end();
    await expect(agent.update({ task: 'too late' })).rejects.toMatchObject({ code: 'lease_lost' });
  });

  it('lets nothing of the owner land after the deadline, whatever its process has heard', async () => {
    const { clock, registry, storage } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    await join(storage, { sweepIntervalMs: 3_600_000 }).registry.kill('agent', { timeoutMs: 0, graceMs: 1000 });
    clock.set(clock.now() + 1001);
    for (const write of [() => agent.update({ task: 'late' }), () => agent.end(), () => agent.update({ task: 'later' })]) {
      await expect(write()).rejects.toMatchObject({ code: 'lease_lost' });
    }
    await expect(agent.spawn()).rejects.toBeInstanceOf(MeshError);
    expect((await registry.get('agent'))?.task).toBeUndefined();
  });

  it('takes effect at once when forced', async () => {
    const { clock, registry, mesh } = await openWorld(open);
    const agent = await registry.register({ id: 'agent' });
    const start = clock.now();
    expect(await registry.kill('agent', { force: true, reason: 'now' })).toEqual({
      root: 'agent',
      killed: [{ session: 'agent', graceful: false }],
      stopping: [],
    });
    expect(clock.now()).toBe(start);
    expect(await registry.get('agent')).toMatchObject({ state: 'killed', epoch: 2, reason: 'now', endedAt: start });
    await expect(agent.update({ task: 'still here' })).rejects.toMatchObject({ code: 'lease_lost' });
    expect(await endings(mesh)).toEqual({ agent: ['killed'] });
  });

  it('takes effect at once without grace', async () => {
    const { registry } = await openWorld(open);
    await registry.register({ id: 'agent' });
    expect((await registry.kill('agent', { graceMs: 0 })).killed).toEqual([{ session: 'agent', graceful: false }]);
  });

  it('takes effect when the owner ends, and returns then and not at the deadline', async () => {
    const { clock, registry, mesh } = await openWorld(open);
    const agent = await registry.register({ id: 'agent' });
    const start = clock.now();
    const killing = registry.kill('agent', { graceMs: 20_000, reason: 'budget' });
    await clock.advance(300);
    await agent.end({ result: { half: true } });
    expect(await passUntil(clock, killing, 1)).toEqual({
      root: 'agent',
      killed: [{ session: 'agent', graceful: true }],
      stopping: [],
    });
    expect(clock.now() - start).toBeLessThanOrEqual(401);
    expect(await registry.get('agent')).toMatchObject({ state: 'killed', reason: 'budget', epoch: 2 });
    expect(await endings(mesh)).toEqual({ agent: ['graceful'] });
  });

  it('returns when the host ends the session by its id', async () => {
    const { clock, registry, storage, mesh } = await openWorld(open);
    await quiet(registry, 'agent');
    const start = clock.now();
    const killing = registry.kill('agent', { graceMs: 20_000 });
    await clock.advance(100);
    await join(storage).registry.end('agent');
    expect((await passUntil(clock, killing, 1)).killed).toEqual([{ session: 'agent', graceful: true }]);
    expect(clock.now() - start).toBeLessThanOrEqual(201);
    expect(await endings(mesh)).toEqual({ agent: ['graceful'] });
  });

  it('waits no longer than timeoutMs, names who is still stopping, and the order stands', async () => {
    const { clock, registry, mesh } = await openWorld(open);
    await quiet(registry, 'agent');
    const child = await quiet(registry, 'child', 'agent');
    const start = clock.now();
    const killing = registry.kill('agent', { graceMs: 5000, timeoutMs: 700 });
    await clock.advance(300);
    await child.end();
    expect(await passUntil(clock, killing, 1)).toEqual({
      root: 'agent',
      killed: [{ session: 'child', graceful: true }],
      stopping: ['agent'],
    });
    expect(clock.now() - start).toBe(700);
    await clock.advance(7000);
    expect(await endings(mesh)).toEqual({ agent: ['killed'], child: ['graceful'] });
    expect(clock.pending).toBeLessThanOrEqual(2);
  });

  it('ends its wait when the signal aborts, at once when it had aborted before, and the order stands', async () => {
    const { clock, registry, mesh } = await openWorld(open);
    await quiet(registry, 'one');
    await quiet(registry, 'two');
    const controller = new AbortController();
    const killing = registry.kill('one', { signal: controller.signal });
    await clock.advance(1000);
    controller.abort();
    expect(await passUntil(clock, killing, 0)).toEqual({ root: 'one', killed: [], stopping: ['one'] });
    expect(await registry.kill('two', { signal: controller.signal })).toEqual({ root: 'two', killed: [], stopping: ['two'] });
    await clock.advance(7000);
    expect(await endings(mesh)).toEqual({ one: ['killed'], two: ['killed'] });
  });

  it('leaves no timer and no listener behind, however the wait ends', async () => {
    const { clock, registry } = await openWorld(open);
    await clock.advance(1000);
    const controller = new AbortController();
    for (const id of ['timeout', 'abort', 'end', 'force', 'deadline']) await quiet(registry, id);
    const before = clock.pending;
    const timeout = registry.kill('timeout', { timeoutMs: 100, graceMs: 2000 });
    const abort = registry.kill('abort', { signal: controller.signal, graceMs: 2000 });
    const end = registry.kill('end', { graceMs: 2000 });
    const deadline = registry.kill('deadline', { graceMs: 2000, signal: controller.signal });
    await clock.advance(150);
    controller.abort();
    await registry.end('end');
    await registry.kill('force', { force: true });
    await clock.advance(200);
    await Promise.all([timeout, abort, end, deadline]);
    await clock.advance(0);
    expect(clock.pending).toBe(before);
  });

  it('may be repeated: during the grace, after the end, of a session that had ended', async () => {
    const { clock, registry, mesh } = await openWorld(open);
    await quiet(registry, 'agent');
    const both = [registry.kill('agent', { reason: 'one' }), registry.kill('agent', { reason: 'two' })];
    const reports = await passUntil(clock, Promise.all(both), 1);
    expect(reports[0]).toEqual({ root: 'agent', killed: [{ session: 'agent', graceful: false }], stopping: [] });
    expect(reports[1]).toEqual(reports[0]);
    const killed = await registry.get('agent');
    expect(await registry.kill('agent')).toEqual(reports[0]);
    expect(await registry.kill('agent', { force: true, reason: 'again' })).toEqual(reports[0]);
    expect(await registry.get('agent')).toEqual(killed);

    await (await quiet(registry, 'ended')).end({ result: 1 });
    const ended = await registry.get('ended');
    expect(await registry.kill('ended', { force: true })).toEqual({ root: 'ended', killed: [], stopping: [] });
    expect(await registry.get('ended')).toEqual(ended);
    await clock.advance(10_000);
    expect(await endings(mesh)).toEqual({ agent: ['killed'], ended: ['ended'] });
  });

  it('can be made sharper by a second order: by force', async () => {
    const { clock, registry, storage, mesh } = await openWorld(open);
    await quiet(registry, 'agent');
    await quiet(registry, 'child', 'agent');
    const start = clock.now();
    const first = registry.kill('agent', { graceMs: 20_000, reason: 'politely' });
    await clock.advance(500);
    const report = await join(storage).registry.kill('agent', { force: true, reason: 'now' });
    const all = [
      { session: 'agent', graceful: false },
      { session: 'child', graceful: false },
    ];
    expect(report).toEqual({ root: 'agent', killed: all, stopping: [] });
    expect((await passUntil(clock, first, 1)).killed).toEqual(all);
    expect(clock.now() - start).toBeLessThanOrEqual(601);
    expect(await endings(mesh)).toEqual({ agent: ['killed'], child: ['killed'] });
  });

  it('can be made sharper by a second order: by less grace, and milder by none', async () => {
    const { clock, registry, storage, mesh } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    const start = clock.now();
    const first = registry.kill('agent', { graceMs: 20_000, reason: 'politely' });
    await clock.advance(500);
    await join(storage).registry.kill('agent', { graceMs: 60_000, timeoutMs: 0 });
    await clock.advance(2000);
    await join(storage).registry.kill('agent', { graceMs: 1000, timeoutMs: 0 });
    await agent.update({ task: 'tidy up' });
    expect(await agent.heartbeat()).toEqual({ alive: true, expiresAt: start + 3500 });
    await passUntil(clock, first, 1);
    expect(clock.now() - start).toBeLessThanOrEqual(3602);
    expect(await registry.get('agent')).toMatchObject({ state: 'killed', reason: 'politely', endedAt: start + 3501 });
    expect(await endings(mesh)).toEqual({ agent: ['killed'] });
  });

  it('can be made sharper by a second order: by a cascade', async () => {
    const { clock, registry, mesh } = await openWorld(open);
    await quiet(registry, 'agent');
    const child = await quiet(registry, 'child', 'agent');
    await registry.kill('agent', { cascade: false, force: true });
    expect(await registry.get('child')).toMatchObject({ state: 'alive' });
    expect(child.signal.aborted).toBe(false);
    await clock.advance(3000);
    await child.update({ task: 'alone' });
    const report = await registry.kill('agent', { force: true });
    expect(report.killed.map(({ session }) => session)).toEqual(['agent', 'child']);
    expect(await endings(mesh)).toEqual({ agent: ['killed'], child: ['killed'] });
  });

  it('does not become milder by an order that comes later', async () => {
    const { clock, storage, registry, mesh } = await openWorld(open);
    for (const [id, parent] of [['root'], ['child', 'root'], ['grandchild', 'child']])
      await quiet(registry, id as string, parent);
    // The first giver dies after the order and the mark of the root are stored: see what the second one makes of it.
    const order = { root: 'root', reason: 'all', graceMs: 1000, force: false, cascade: true };
    const { incarnation } = (await storage.get([{ partition: 'sessions', key: 'root' }]))[0]?.value as { incarnation: string };
    const put = { partition: 'kills', key: 'root', value: { ...order, incarnation } };
    await storage.commit({
      puts: [put, { partition: 'due', key: `${String(clock.now() + 1000).padStart(16, '0')}/kill/root`, value: null }],
    });
    const report = await passUntil(clock, registry.kill('root', { cascade: false, graceMs: 1000 }));
    expect(report.killed[0]).toEqual({ session: 'root', graceful: false });
    await clock.advance(4000);
    expect(await endings(mesh)).toEqual({ root: ['killed'], child: ['killed'], grandchild: ['killed'] });
  });

  it('kills a session that is offline, which no heartbeat revives then', async () => {
    const { clock, registry, mesh } = await openWorld(open);
    const agent = await quiet(registry, 'agent', undefined, 1000);
    await clock.advance(5000);
    expect(await registry.get('agent')).toMatchObject({ state: 'offline' });
    expect(await registry.kill('agent', { reason: 'gone' })).toEqual({
      root: 'agent',
      killed: [{ session: 'agent', graceful: false }],
      stopping: [],
    });
    expect(await agent.heartbeat()).toEqual({ alive: false, reason: 'killed' });
    expect(await registry.heartbeat('agent')).toEqual({ alive: false, reason: 'killed' });
    expect(agent.signal.reason).toEqual(aborted('gone'));
    await expect(registry.register({ id: 'agent' })).rejects.toMatchObject({ code: 'not_alive' });
    expect(await endings(mesh)).toEqual({ agent: ['killed'] });
  });

  it('leaves a session alone whose retention is over', async () => {
    const { clock, registry } = await openWorld(open);
    await registry.register({ id: 'agent', heartbeat: 'manual', ttlMs: 1000, retentionMs: 1000 });
    clock.set(clock.now() + 5000);
    expect(await registry.get('agent')).toMatchObject({ state: 'ended' });
    expect(await registry.kill('agent', { force: true })).toEqual({ root: 'agent', killed: [], stopping: [] });
    expect(await registry.get('agent')).toMatchObject({ state: 'ended' });
  });

  it('leaves the children alone without a cascade', async () => {
    const { clock, registry, mesh } = await openWorld(open);
    await quiet(registry, 'agent');
    await quiet(registry, 'child', 'agent');
    await passUntil(clock, registry.kill('agent', { cascade: false, graceMs: 1000 }));
    await clock.advance(10_000);
    expect(await registry.get('child')).toMatchObject({ state: 'alive', parentId: 'agent' });
    expect(await endings(mesh)).toEqual({ agent: ['killed'] });
  });

  it('knows whom it may not know', async () => {
    const { registry } = await openWorld(open);
    await expect(registry.kill('nobody')).rejects.toMatchObject({ code: 'not_found', details: { session: 'nobody' } });
  });

  it('does not reach who is registered anew under the id of the root, nor its children, but those of before', async () => {
    const { clock, registry, storage } = await openWorld(open);
    const old = await quiet(registry, 'agent');
    await quiet(registry, 'child', 'agent');
    // The giver dies at once: others carry the order out.
    const giver = mortal(storage, 1);
    await expect(
      join(giver.storage, { onError: () => {} }).registry.kill('agent', { graceMs: 10_000, reason: 'replace' }),
    ).rejects.toThrow();
    await clock.advance(1);
    expect((await registry.get('child'))?.state).toBe('alive');
    const next = await join(storage).registry.register({ id: 'agent', takeover: true, heartbeat: 'manual' });
    await next.spawn({ id: 'new-child', heartbeat: 'manual' });
    await clock.advance(3000);
    expect((await registry.get('child'))?.state).toBe('stopping');
    await clock.advance(30_000);
    expect(await registry.get('agent')).toMatchObject({ state: 'alive', epoch: next.epoch });
    expect((await registry.get('child'))?.state).toBe('killed');
    expect((await registry.get('new-child'))?.state).toBe('alive');
    expect(next.signal.aborted).toBe(false);
    expect(old.signal.aborted).toBe(true);
    await expect(old.update({ task: 'zombie' })).rejects.toMatchObject({ code: 'lease_lost' });
    expect(await keysOf(storage, 'kills')).toEqual([]);
  });

  it('ends its wait when another takes the session over', async () => {
    const { clock, registry, storage } = await openWorld(open);
    await quiet(registry, 'agent');
    const killing = registry.kill('agent', { graceMs: 20_000 });
    await clock.advance(100);
    await join(storage).registry.register({ id: 'agent', takeover: true, heartbeat: 'manual' });
    expect(await passUntil(clock, killing, 100, 300)).toEqual({ root: 'agent', killed: [], stopping: [] });
  });

  it('fails with closed when the mesh is closed during the wait, and the order stands', async () => {
    const { clock, storage, mesh, registry } = await openWorld(open);
    await quiet(registry, 'agent');
    const killing = registry.kill('agent', { graceMs: 60_000 });
    killing.catch(() => {});
    await clock.settle();
    await mesh.close();
    await expect(passUntil(clock, killing, 100, 1000)).rejects.toMatchObject({ code: 'closed' });
    expect(clock.pending).toBe(0);
    const next = join(storage);
    await clock.advance(63_000);
    expect(await endings(next)).toEqual({ agent: ['killed'] });
  });

  it('gives no new lease to a session whose lease runs out between the look and the mark', async () => {
    const { clock, registry, storage, mesh } = await openWorld(open);
    const agent = await quiet(registry, 'agent', undefined, 1000);
    const view = wrapped(storage, (call, run) => {
      const isMark = call.commit?.puts?.some(({ partition }) => partition === 'leases');
      if (isMark) clock.set(clock.now() + 1001);
      return run();
    });
    const report = await join(view).registry.kill('agent', { graceMs: 800 });
    expect(report.killed).toEqual([{ session: 'agent', graceful: false }]);
    expect(await keysOf(storage, 'leases')).toEqual([]);
    await expect(agent.update({ task: 'late' })).rejects.toMatchObject({ code: 'lease_lost' });
    const told = (await eventsOf(mesh)).map(({ name, state }) => state ?? name);
    expect(told).not.toContain('stopping');
    expect(told.at(-1)).toBe('agent_killed');
  });

  it('is seen by a list that had read the session before and its lease after the mark', async () => {
    const { registry, storage } = await openWorld(open);
    await quiet(registry, 'agent');
    let reads = 0;
    const view = wrapped(storage, async (call, run) => {
      // First the records, then their leases.
      if (call.name === 'list' && call.partition === 'leases' && ++reads === 1) await registry.kill('agent', { timeoutMs: 0 });
      return run();
    });
    const { items } = await join(view).registry.list({ state: 'all' });
    expect(reads).toBe(1);
    expect(items.map(({ id, state }) => [id, state])).toEqual([['agent', 'stopping']]);
  });

  it('is refused to a handle that has lost its session', async () => {
    const { clock, registry, storage, mesh } = await openWorld(open);
    const lapsed = await quiet(registry, 'lapsed', undefined, 1000);
    const ended = await quiet(registry, 'ended');
    const taken = await quiet(registry, 'taken');
    await quiet(registry, 'agent');
    await ended.end();
    await join(storage).registry.register({ id: 'taken', takeover: true });
    clock.set(clock.now() + 1001);
    await expect(registry.kill('agent', { by: lapsed })).rejects.toMatchObject({ code: 'not_alive' });
    await expect(registry.kill('agent', { by: ended })).rejects.toMatchObject({ code: 'lease_lost' });
    await expect(registry.kill('agent', { by: taken })).rejects.toMatchObject({ code: 'lease_lost' });
    expect(await registry.get('agent')).toMatchObject({ state: 'alive' });
    expect(await keysOf(storage, 'kills')).toEqual([]);
    const holder = await quiet(registry, 'holder');
    await registry.kill('agent', { by: holder, force: true });
    const killed = (await eventsOf(mesh)).filter(({ name }) => name === 'agent_killed');
    expect(killed).toMatchObject([{ session: 'agent', by: 'holder', root: 'agent', graceful: false, epoch: 2 }]);
  });

  it('leaves nothing behind once the retention is over', async () => {
    const { clock, registry, storage, errors } = await openWorld(open);
    const options = { heartbeat: 'manual', ttlMs: 60_000, retentionMs: 60_000 } as const;
    for (const id of ['forced', 'graceful', 'deadline', 'sharper']) {
      await registry.register({ id, ...options });
      await registry.register({ id: `${id}.child`, parentId: id, ...options });
    }
    await registry.kill('forced', { force: true });
    const rest = [
      registry.kill('graceful', { graceMs: 20_000 }),
      registry.kill('deadline'),
      registry.kill('sharper', { graceMs: 50_000 }),
    ];
    await clock.advance(2500);
    for (const id of ['graceful', 'graceful.child']) await registry.end(id);
    await registry.kill('sharper', { force: true });
    await passUntil(clock, Promise.all(rest));
    expect(await keysOf(storage, 'kills')).toEqual([]);
    await clock.advance(400_000);
    for (const partition of ['kills', 'due', 'sessions', 'leases', 'sightings', 'watches']) {
      expect(await keysOf(storage, partition), partition).toEqual([]);
    }
    expect(errors).toEqual([]);
  });

  describe('onKill', () => {
    it('is called once for the order and once for its effect', async () => {
      const { clock, registry, storage } = await openWorld(open);
      const notices: (KillNotice & { id: string })[] = [];
      const register = (id: string, parentId?: string) =>
        registry.register({ id, parentId, heartbeat: 'manual', onKill: (notice: KillNotice) => notices.push({ id, ...notice }) });
      const start = clock.now();
      await register('agent');
      const graceful = await register('graceful', 'agent');
      const killing = join(storage).registry.kill('agent', { reason: 'budget', graceMs: 3000 });
      await clock.advance(200);
      expect(notices).toEqual([
        { id: 'agent', reason: 'budget', force: false, deadline: start + 3000 },
        { id: 'graceful', reason: 'budget', force: false, deadline: start + 3000 },
      ]);
      await graceful.end();
      await registry.kill('agent', { reason: 'again', graceMs: 3000, timeoutMs: 0 });
      await passUntil(clock, killing);
      await clock.advance(5000);
      expect(notices.slice(2)).toEqual([{ id: 'agent', reason: 'budget', force: true }]);
    });

    it('is called again when a second order leaves less grace, and not when it would leave more', async () => {
      const { clock, registry, storage } = await openWorld(open);
      const notices: KillNotice[] = [];
      const onKill = (notice: KillNotice) => notices.push(notice);
      const agent = await registry.register({ id: 'agent', heartbeat: 'manual', onKill });
      const start = clock.now();
      await registry.kill('agent', { reason: 'politely', graceMs: 20_000, timeoutMs: 0 });
      await clock.advance(200);
      for (const graceMs of [60_000, 1000]) {
        await join(storage).registry.kill('agent', { reason: 'again', graceMs, timeoutMs: 0 });
        await clock.advance(200);
      }
      expect(notices).toEqual([
        { reason: 'politely', force: false, deadline: start + 20_000 },
        { reason: 'politely', force: false, deadline: start + 1400 },
      ]);
      expect(await agent.heartbeat()).toEqual({ alive: true, expiresAt: start + 1400 });
      await clock.advance(5000);
      expect(notices.slice(2)).toEqual([{ reason: 'politely', force: true }]);
    });

    it('is called once when forced', async () => {
      const { clock, registry } = await openWorld(open);
      const notices: KillNotice[] = [];
      await registry.register({ id: 'agent', onKill: (notice: KillNotice) => notices.push(notice) });
      await registry.kill('agent', { reason: 'now', force: true });
      await registry.kill('agent', { reason: 'again', force: true });
      await clock.advance(200);
      expect(notices).toEqual([{ reason: 'now', force: true }]);
    });

    it('breaks nothing when it throws or rejects: onError hears of it', async () => {
      const { clock, registry, errors, mesh } = await openWorld(open);
      const thrown = new Error('thrown');
      const rejected = new Error('rejected');
      await registry.register({
        id: 'throws',
        onKill: () => {
          throw thrown;
        },
      });
      await registry.register({ id: 'rejects', parentId: 'throws', onKill: async () => Promise.reject(rejected) });
      await registry.kill('throws', { force: true });
      await clock.advance(200);
      expect(errors).toHaveLength(2);
      expect(errors).toEqual(expect.arrayContaining([thrown, rejected]));
      expect(await endings(mesh)).toEqual({ throws: ['killed'], rejects: ['killed'] });
    });
  });

  it('tells the same events in the same order in two meshes', async () => {
    const { clock, registry, storage, mesh } = await openWorld(open);
    const other = join(storage);
    const heard = [hear(mesh), hear(other)];
    await quiet(registry, 'root');
    await quiet(other.registry, 'child', 'root');
    await quiet(registry, 'grandchild', 'child');
    await quiet(other.registry, 'gone', 'root', 1000);
    const start = clock.now();
    const killing = other.registry.kill('root', { by: 'host', graceMs: 900, reason: 'done' });
    await clock.advance(300);
    await registry.end('child');
    await passUntil(clock, killing, 1);
    await clock.advance(300);
    await Promise.all([mesh.settled(), other.settled()]);
    expect(heard[0]).toEqual(heard[1]);
    expect(heard[0]).toEqual(await eventsOf(mesh));
    const told = heard[0]?.map(({ cursor: _cursor, ...event }) => event) ?? [];
    const stopping = { name: 'session_updated', at: start, epoch: 1, fields: ['state'], state: 'stopping' };
    expect(told.slice(4, 8)).toEqual(
      expect.arrayContaining(['root', 'child', 'grandchild', 'gone'].map((session) => ({ ...stopping, session }))),
    );
    const killed = { name: 'agent_killed', epoch: 2, root: 'root', by: 'host' };
    expect(told[8]).toEqual({ ...killed, at: start + 300, session: 'child', graceful: true });
    expect(told.slice(9)).toEqual(
      expect.arrayContaining(
        ['root', 'grandchild', 'gone'].map((session) => ({ ...killed, session, at: start + 901, graceful: false })),
      ),
    );
    expect(told).toHaveLength(12);
  });
});

it('keeps what the owner gives to its end within the grace', async () => {
  const { mesh, clock } = createTestMesh();
  const handle = await mesh.registry.register({ id: 'a', heartbeat: 'manual' });
  handle.signal.addEventListener('abort', () => void handle.end({ result: { partial: 7 }, reason: 'by myself' }));
  const killing = mesh.registry.kill('a', { reason: 'budget', graceMs: 5000 });
  await clock.advance(100);
  expect((await killing).killed).toEqual([{ session: 'a', graceful: true }]);
  expect(await mesh.registry.get('a')).toMatchObject({ state: 'killed', reason: 'budget', result: { partial: 7 } });
  await mesh.close();
});

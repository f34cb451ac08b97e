import { describe, expect, it } from 'vitest';
import type { Session } from '../../src/registry/session.ts';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';
import type { Commit } from '../../src/storage/storage.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { processOn, refusal, worldOn } from '../support/registry/meshes.ts';
import { counted, gate, viewOf } from '../support/registry/views.ts';
import { storages } from '../support/storages.ts';

describe.each(storages)('a lease on %s', (_name, open) => {
  it('lasts exactly through its ttl: alive at that millisecond, offline at the next', async () => {
    const { registry, clock } = await worldOn(open);
    await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 3000 });
    await clock.advance(2999);
    expect((await registry.get('a'))?.state).toBe('alive');
    await clock.advance(1);
    expect((await registry.get('a'))?.state).toBe('alive');
    expect((await registry.list()).items).toHaveLength(1);
    await clock.advance(1);
    expect((await registry.get('a'))?.state).toBe('offline');
    expect((await registry.list()).items).toEqual([]);
    expect((await registry.list({ state: 'offline' })).items).toHaveLength(1);
    expect(await registry.stats()).toMatchObject({ total: 1, alive: 0 });
  });

  it('is renewed by a heartbeat for its whole ttl, which the heartbeat tells', async () => {
    const { registry, clock } = await worldOn(open);
    const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 3000 });
    await clock.advance(3000);
    expect(await handle.heartbeat()).toEqual({ alive: true, expiresAt: clock.now() + 3000 });
    await clock.advance(3000);
    expect((await registry.get('a'))?.state).toBe('alive');
    expect(await registry.heartbeat('a')).toEqual({ alive: true, expiresAt: clock.now() + 3000 });
    await clock.advance(3000);
    expect((await registry.get('a'))?.state).toBe('alive');
    await clock.advance(1);
    expect((await registry.get('a'))?.state).toBe('offline');
  });

  it('goes on to be renewed by its process after the clock was set back, and again after it was set right', async () => {
    const { registry, clock } = await worldOn(open);
    const handle = await registry.register({ id: 'a', ttlMs: 3000 });
    await registry.register({ id: 'b', ttlMs: 9000 });
    await clock.advance(10_000);
    clock.set(clock.now() - 3_600_000);
    // Shortens the lease to what it is by the new time.
    await handle.heartbeat();
    await registry.register({ id: 'patient', ttlMs: 3_600_000 });
    for (let passed = 0; passed < 10; passed++) {
      await clock.advance(1000);
      expect((await registry.get('a'))?.state).toBe('alive');
    }
    clock.set(clock.now() + 3_600_000);
    await clock.advance(2000);
    for (const id of ['a', 'b']) expect((await registry.get(id))?.state).toBe('alive');
  });

  it('is refreshed by no read and by nothing that others do', async () => {
    const { registry, another, clock } = await worldOn(open);
    const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 3000, capabilities: ['c'] });
    const other = another().registry;
    for (let step = 0; step < 30; step++) {
      await clock.advance(100);
      for (const each of [registry, other]) {
        await each.get('a');
        await each.list({ state: 'all' });
        await each.specialists('c');
        await each.stats();
        await each.topology();
      }
    }
    await registry.update('a', { status: 'idle' });
    await handle.update({ task: 'long' });
    expect((await registry.get('a'))?.state).toBe('alive');
    await clock.advance(1);
    expect((await registry.get('a'))?.state).toBe('offline');
  });

  it('says exactly when a session was seen and when it got on', async () => {
    const { registry, clock } = await worldOn(open);
    const start = clock.now();
    const times = async () => {
      const { registeredAt, lastSeenAt, lastActivityAt } = (await registry.get('a')) as Session;
      return [registeredAt - start, lastSeenAt - start, lastActivityAt - start];
    };
    const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 3000 });
    expect(await times()).toEqual([0, 0, 0]);
    await clock.advance(1000);
    await handle.heartbeat();
    expect(await times()).toEqual([0, 1000, 0]);
    await clock.advance(500);
    await handle.update({ status: 'working' });
    expect(await times()).toEqual([0, 1000, 1500]);
    await clock.advance(500);
    await registry.specialize('a', ['x']);
    await registry.heartbeat('a');
    expect(await times()).toEqual([0, 2000, 2000]);
    // Also long after the lease is gone.
    await clock.advance(600_000);
    expect(await times()).toEqual([0, 2000, 2000]);
    await handle.heartbeat();
    expect(await times()).toEqual([0, 602_000, 2000]);
    await clock.advance(100);
    await handle.end();
    await clock.advance(100);
    expect(await times()).toEqual([0, 602_000, 2000]);
  });

  it('keeps an agent in a long tool call alive, however long it gets nowhere', async () => {
    const { registry, clock } = await worldOn(open);
    await registry.register({ id: 'a', status: 'working' });
    const start = clock.now();
    await clock.advance(600_000);
    const session = await registry.get('a');
    expect(session?.state).toBe('alive');
    expect(session?.lastActivityAt).toBe(start);
    expect(session?.lastSeenAt).toBeGreaterThan(clock.now() - 10_001);
  });
});

describe.each(storages)('a session that is offline on %s', (_name, open) => {
  it('can be read, and what its handle writes is refused until a heartbeat revives it', async () => {
    const { registry, clock } = await worldOn(open);
    const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 1000, task: 'one' });
    await clock.advance(1001);
    expect(await registry.get('a')).toMatchObject({ state: 'offline', task: 'one', epoch: 1 });
    for (const write of [
      () => handle.update({ task: 'two' }),
      () => handle.end(),
      () => handle.spawn(),
      () => registry.update('a', { task: 'two' }),
      () => registry.specialize('a', ['x']),
      () => registry.steer('a', { message: 'x' }),
    ]) {
      await expect(write()).rejects.toEqual(refusal('not_alive', 'alive'));
    }
    expect(await registry.get('a')).toMatchObject({ state: 'offline', task: 'one', capabilities: [] });
    expect(handle.signal.aborted).toBe(false);
    expect(await handle.heartbeat()).toEqual({ alive: true, expiresAt: clock.now() + 1000 });
    expect(await registry.get('a')).toMatchObject({ state: 'alive', epoch: 1 });
    await handle.update({ task: 'two' });
    expect((await registry.get('a'))?.task).toBe('two');
    await handle.end();
  });

  it('is revived by a heartbeat from anywhere, and its handle goes on', async () => {
    const { registry, another, clock } = await worldOn(open);
    const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 1000 });
    await clock.advance(5000);
    expect(await another().registry.heartbeat('a')).toEqual({ alive: true, expiresAt: clock.now() + 1000 });
    await handle.update({ task: 'two' });
    expect(await registry.get('a')).toMatchObject({ state: 'alive', epoch: 1, task: 'two' });
    await clock.advance(1000);
    expect(await handle.heartbeat()).toEqual({ alive: true, expiresAt: clock.now() + 1000 });
  });

  it('is told once as offline and once as online when it comes back before a sweeper has seen the lapse', async () => {
    const world = await worldOn(open, { sweepIntervalMs: 60_000 });
    const { registry, clock, another } = world;
    const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 1000 });
    const seen = clock.now();
    world.listen();
    await clock.advance(5000);
    await Promise.all([handle.heartbeat(), another().registry.heartbeat('a'), registry.heartbeat('a')]);
    expect(await world.told()).toEqual(['session_offline a', 'session_online a']);
    expect(world.heard[0]).toMatchObject({ epoch: 1, lastSeenAt: seen, at: clock.now() });
    await clock.advance(60_000);
    expect(await world.told()).toEqual(['session_offline a', 'session_online a', 'session_offline a']);
  });

  it('is told once as online when many revive it at once', async () => {
    const world = await worldOn(open);
    const { registry, clock, another } = world;
    const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 1000 });
    world.listen();
    const others = Array.from({ length: 7 }, () => another().registry);
    for (let round = 1; round <= 5; round++) {
      await clock.advance(3000);
      const beats = await Promise.all([handle.heartbeat(), ...others.map((each) => each.heartbeat('a'))]);
      expect(beats).toEqual(Array.from({ length: 8 }, () => ({ alive: true, expiresAt: clock.now() + 1000 })));
      expect(await world.told()).toEqual(Array.from({ length: round }, () => ['session_offline a', 'session_online a']).flat());
    }
  });

  it('is revived by its own heartbeats when its process has slept', async () => {
    const { registry, clock } = await worldOn(open);
    const handle = await registry.register({ id: 'a' });
    clock.set(clock.now() + 10 * 60_000);
    expect((await registry.get('a'))?.state).toBe('offline');
    await clock.advance(10_000);
    expect((await registry.get('a'))?.state).toBe('alive');
    expect(handle.signal.aborted).toBe(false);
    await handle.update({ task: 'on' });
  });
});

describe.each(storages)('a heartbeat on %s', (_name, open) => {
  it('tells how a session is over', async () => {
    const { registry, another, clock } = await worldOn(open);
    const register = (id: string, more = {}) =>
      registry.register({ id, heartbeat: 'manual', ttlMs: 5000, retentionMs: 5000, ...more });
    const ended = await register('ended');
    await ended.end();
    const endedByHost = await register('ended-by-host');
    await registry.end('ended-by-host');
    const killed = await register('killed');
    await registry.kill('killed', { force: true });
    const taken = await register('taken');
    await another().registry.register({ id: 'taken', takeover: true });
    const removed = await register('removed');
    await registry.unregister('removed');
    for (const attempt of ['first', 'again']) {
      expect(await ended.heartbeat(), attempt).toEqual({ alive: false, reason: 'ended' });
      expect(await endedByHost.heartbeat(), attempt).toEqual({ alive: false, reason: 'ended' });
      expect(await killed.heartbeat(), attempt).toEqual({ alive: false, reason: 'killed' });
      expect(await taken.heartbeat(), attempt).toEqual({ alive: false, reason: 'lease_lost' });
      expect(await removed.heartbeat(), attempt).toEqual({ alive: false, reason: 'lease_lost' });
    }
    expect(await registry.heartbeat('ended')).toEqual({ alive: false, reason: 'ended' });
    expect(await registry.heartbeat('killed')).toEqual({ alive: false, reason: 'killed' });
    await expect(registry.heartbeat('removed')).rejects.toEqual(refusal('not_found', 'expected a known session, got removed'));
    expect(await registry.heartbeat('taken')).toEqual({ alive: true, expiresAt: clock.now() + 30_000 });
  });

  it('tells the same before anybody has recorded it: killed by its deadline, ended by its retention', async () => {
    const { registry, clock } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    const killed = await registry.register({ id: 'killed', heartbeat: 'manual', ttlMs: 5000 });
    const ended = await registry.register({ id: 'ended', heartbeat: 'manual', ttlMs: 5000, retentionMs: 10_000 });
    await registry.kill('killed', { graceMs: 1000, timeoutMs: 0 });
    await clock.advance(1001);
    expect(await registry.heartbeat('killed')).toEqual({ alive: false, reason: 'killed' });
    expect(await killed.heartbeat()).toEqual({ alive: false, reason: 'killed' });
    await clock.advance(15_000);
    expect(await registry.heartbeat('ended')).toEqual({ alive: false, reason: 'ended' });
    expect(await ended.heartbeat()).toEqual({ alive: false, reason: 'ended' });
  });

  it('never renews the last lease of a session that is stopping, from wherever it comes', async () => {
    const { registry, another, clock } = await worldOn(open);
    const handle = await registry.register({ id: 'a', ttlMs: 30_000 });
    await registry.kill('a', { graceMs: 2000, timeoutMs: 0 });
    const deadline = clock.now() + 2000;
    await clock.advance(1999);
    expect(await handle.heartbeat()).toEqual({ alive: true, expiresAt: deadline });
    expect(await registry.heartbeat('a')).toEqual({ alive: true, expiresAt: deadline });
    expect(await another().registry.heartbeat('a')).toEqual({ alive: true, expiresAt: deadline });
    await clock.advance(1);
    expect((await registry.get('a'))?.state).toBe('stopping');
    await clock.advance(1);
    expect((await registry.get('a'))?.state).toBe('killed');
    expect(await handle.heartbeat()).toEqual({ alive: false, reason: 'killed' });
  });

  it('never renews a last lease that was put while the heartbeats of others were under way', async () => {
    const clock = new VirtualClock();
    const storage = await open(clock);
    const held = gate();
    let heartbeats = 0;
    const commit = async ({ touches = [] }: { touches?: readonly unknown[] }): Promise<void> => {
      if (touches.length > 0 && ++heartbeats === 1) await held.wait();
    };
    const { registry } = processOn(viewOf(storage, { commit }));
    const other = processOn(storage).registry;
    // More than one commit of heartbeats, the last session in the second.
    for (let n = 0; n < 500; n++) await registry.register({ id: `s${n}`, ttlMs: 30_000 });
    const last = await registry.register({ id: 's500', ttlMs: 30_000 });
    const told = new Promise((resolve) => last.signal.addEventListener('abort', resolve));
    const advancing = clock.advance(11_000);
    await held.reached;
    await other.kill('s500', { graceMs: 15_000, timeoutMs: 0 });
    const deadline = (await storage.list('leases')).find(({ key }) => key === 's500')?.expiresAt;
    await told;
    held.open();
    await advancing;
    expect((await storage.list('leases')).find(({ key }) => key === 's500')?.expiresAt).toBe(deadline);
    await clock.advance(15_000);
    expect((await registry.get('s500'))?.state).toBe('killed');
    expect((await registry.get('s499'))?.state).toBe('alive');
  });

  it('is refused after the mesh was closed', async () => {
    const { mesh, registry } = await worldOn(open);
    const handle = await registry.register();
    await mesh.close();
    await expect(handle.heartbeat()).rejects.toEqual(refusal('closed'));
    await expect(registry.heartbeat(handle.id)).rejects.toEqual(refusal('closed'));
  });
});

describe.each(storages)('automatic heartbeats on %s', (_name, open) => {
  it('come every third of the ttl, never later', async () => {
    const { registry, clock } = await worldOn(open);
    await registry.register({ id: 'a', ttlMs: 9000 });
    let last = (await registry.get('a'))?.lastSeenAt as number;
    const gaps: number[] = [];
    for (let step = 0; step < 300; step++) {
      await clock.advance(100);
      const { lastSeenAt } = (await registry.get('a')) as Session;
      if (lastSeenAt !== last) gaps.push(lastSeenAt - last);
      last = lastSeenAt;
    }
    expect(Math.max(...gaps)).toBeLessThanOrEqual(3000);
    expect(Math.min(...gaps.slice(1))).toBeGreaterThanOrEqual(2500);
  });

  it('go on for the others when one session is lost, taken or ended', async () => {
    const { registry, another, clock } = await worldOn(open);
    const handles = [];
    for (let n = 0; n < 6; n++) handles.push(await registry.register({ id: `s${n}` }));
    await another().registry.register({ id: 's1', takeover: true, heartbeat: 'manual' });
    await registry.unregister('s2');
    await registry.end('s3');
    await registry.kill('s4', { force: true });
    await clock.advance(120_000);
    const { items } = await registry.list({ state: 'all' });
    expect(items.map(({ id, state }) => `${id} ${state}`)).toEqual(['s0 alive', 's1 alive', 's3 ended', 's4 killed', 's5 alive']);
    expect(handles.map(({ signal }) => signal.aborted)).toEqual([false, true, true, true, true, false]);
  });

  it('go on after the store could not be reached', async () => {
    const clock = new VirtualClock();
    const storage = await open(clock);
    let isDown = false;
    const commit = (): void => {
      if (isDown) throw new Error('down');
    };
    const { registry, errors } = processOn(viewOf(storage, { commit }));
    await registry.register({ id: 'a' });
    isDown = true;
    await clock.advance(100_000);
    expect((await registry.get('a'))?.state).toBe('offline');
    isDown = false;
    await clock.advance(20_000);
    expect((await registry.get('a'))?.state).toBe('alive');
    expect(errors.splice(0).length).toBeGreaterThan(0);
  });
});

// In memory only, where the commits take as long as the test says.
it('keep a short lease that comes due while the heartbeats of thousands are under way', async () => {
  for (const waitMs of [7000, 7870, 8740, 9610]) {
    const clock = new VirtualClock();
    let isSlow = false;
    const commit = async ({ touches = [] }: Commit): Promise<void> => {
      if (isSlow && touches.length > 2) await new Promise<void>((resolve) => void clock.setTimeout(resolve, 200));
    };
    const { registry, mesh } = processOn(viewOf(new InMemoryStorage({ clock }), { commit }));
    await Promise.all(Array.from({ length: 3000 }, (_, n) => registry.register({ id: `s${n}` })));
    isSlow = true;
    await clock.advance(waitMs);
    await registry.register({ id: 'short', ttlMs: 1000 });
    for (let passed = 0; passed < 4000; passed += 50) {
      await clock.advance(50);
      expect([waitMs, passed, (await registry.get('short'))?.state]).toEqual([waitMs, passed, 'alive']);
    }
    isSlow = false;
    await mesh.close();
  }
});

// In memory only: SQLite looks for the commits of other processes many times a second, of which a week has many.
it('keeps a session alive for days by automatic heartbeats, and no longer than it lives', async () => {
  const clock = new VirtualClock();
  const process = processOn(new InMemoryStorage({ clock }));
  const { registry } = process;
  const handle = await registry.register({ id: 'a', ttlMs: 600_000 });
  process.listen();
  for (let day = 0; day < 7; day++) {
    await clock.advance(86_400_000);
    expect((await registry.get('a'))?.state).toBe('alive');
  }
  expect(await process.told()).toEqual([]);
  await handle.end();
  await clock.advance(3_600_000);
  expect(await process.told()).toEqual(['session_ended a']);
});

it('keeps the longest lease there is, whose times no timer of the host could hold', async () => {
  const days = 86_400_000;
  const clock = new VirtualClock();
  const process = processOn(new InMemoryStorage({ clock }));
  const { registry } = process;
  await registry.register({ id: 'auto', ttlMs: 30 * days, retentionMs: 30 * days });
  await registry.register({ id: 'manual', heartbeat: 'manual', ttlMs: 30 * days, retentionMs: 30 * days });
  process.listen();
  await clock.advance(30 * days);
  expect((await registry.list()).items.map(({ id }) => id)).toEqual(['auto', 'manual']);
  await clock.advance(1001);
  expect(await process.told()).toEqual(['session_offline manual']);
  await clock.advance(30 * days);
  expect(await process.told()).toEqual(['session_offline manual', 'session_ended manual', 'session_removed manual']);
  expect((await registry.get('auto'))?.state).toBe('alive');
});

it('renews 10,000 sessions of a process with a commit per 500 and one timer, whenever they came', async () => {
  const clock = new VirtualClock();
  const view = counted(new InMemoryStorage({ clock }));
  const { registry } = processOn(view.storage);
  const idle = clock.pending;
  // They come over one interval and a bit, so that their beats would fall anywhere.
  for (let n = 0; n < 10_000; n++) {
    await registry.register({ id: `s${n}` });
    if (n % 100 === 99) await clock.advance(120);
  }
  expect(clock.pending).toBeLessThanOrEqual(idle + 1);
  const seen: number[] = [];
  for (let interval = 0; interval < 6; interval++) {
    view.calls.commits.length = 0;
    await clock.advance(10_000);
    const heartbeats = view.calls.commits.filter(({ touches = [] }) => touches.length > 0);
    seen.push(heartbeats.length);
    expect(view.calls.commits.length - heartbeats.length).toBeLessThanOrEqual(20);
  }
  expect((await registry.stats()).alive).toBe(10_000);
  expect(
    seen.every((commits) => commits <= 20),
    `commits per interval: ${seen}`,
  ).toBe(true);
});

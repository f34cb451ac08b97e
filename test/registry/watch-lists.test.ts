import { performance } from 'node:perf_hooks';
import { describe, expect, it } from 'vitest';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';
import type { Commit, CommitResult } from '../../src/storage/storage.ts';
import { withFaults } from '../../src/testing/faults.ts';
import { SeededRandom } from '../../src/testing/random.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { outcomeOf, processOn, worldOn } from '../support/registry/meshes.ts';
import { counted, gate, scattered, viewOf } from '../support/registry/views.ts';
import { storages } from '../support/storages.ts';

describe.each(storages)('a lapse on %s', (_name, open) => {
  it('is told within the sweep interval, and a lease of 3 s is no 5 s', async () => {
    const world = await worldOn(open);
    const { registry, clock } = world;
    world.listen();
    const start = clock.now();
    await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 3000 });
    await clock.advance(3000);
    expect(await world.told()).toEqual(['session_created a']);
    await clock.advance(1001);
    expect(await world.told()).toEqual(['session_created a', 'session_offline a']);
    expect(world.heard[1]).toMatchObject({ epoch: 1, lastSeenAt: start });
    expect((world.heard[1]?.at ?? 0) - start).toBeGreaterThan(3000);
    expect((world.heard[1]?.at ?? 0) - start).toBeLessThanOrEqual(4001);
  });

  it('is told by any process that is up, also when the one that held the session is gone', async () => {
    const world = await worldOn(open);
    const { clock, another } = world;
    let isGone = false;
    const fail = (): void => {
      if (isGone) throw new Error('gone');
    };
    const gone = another({ storage: viewOf(world.storage, { get: fail, list: fail, commit: fail }) });
    for (let n = 0; n < 3; n++) await gone.registry.register({ id: `s${n}`, ttlMs: 2000 });
    world.listen();
    await clock.advance(10_000);
    expect(await world.told()).toEqual([]);
    isGone = true;
    await clock.advance(3001);
    expect((await world.told()).sort()).toEqual([0, 1, 2].map((n) => `session_offline s${n}`));
    gone.errors.length = 0;
    isGone = false;
  });

  it('is told once however many processes sweep', async () => {
    const world = await worldOn(open);
    const { registry, clock, another } = world;
    const others = Array.from({ length: 7 }, () => another());
    const all = [world, ...others];
    for (const process of all) process.listen();
    for (let n = 0; n < 40; n++) await all[n % 8]?.registry.register({ id: `s${n}`, heartbeat: 'manual', ttlMs: 2000 });
    for (let round = 0; round < 3; round++) {
      for (const process of all) {
        await process.told();
        process.heard.length = 0;
      }
      await clock.advance(5000);
      const expected = Array.from({ length: 40 }, (_, n) => `session_offline s${n}`).sort();
      for (const process of all) expect((await process.told()).sort()).toEqual(expected);
      for (let n = 0; n < 40; n++) await registry.heartbeat(`s${n}`);
    }
  });

  it('is told once however many sweep and revive at the same moment', async () => {
    const world = await worldOn(open);
    const { registry, clock, storage, another } = world;
    const random = new SeededRandom(7);
    const others = Array.from({ length: 4 }, () => another({ storage: scattered(storage, random) }));
    for (let n = 0; n < 12; n++) await registry.register({ id: `s${n}`, heartbeat: 'manual', ttlMs: 1000 });
    world.listen();
    for (let round = 0; round < 25; round++) {
      const sweeping = clock.advance(1000 + random.below(1200));
      const beats = Array.from({ length: 6 }, () => others[random.below(4)]?.registry.heartbeat(`s${random.below(12)}`));
      await Promise.all([sweeping, ...beats]);
    }
    await clock.advance(3000);
    await world.told();
    for (let n = 0; n < 12; n++) {
      const told = world.heard.filter(({ session }) => session === `s${n}`).map(({ name }) => name);
      // Strictly in turns, and offline in the end.
      told.forEach((name, k) => {
        expect(name, `s${n} ${told}`).toBe(k % 2 === 0 ? 'session_offline' : 'session_online');
      });
      expect(told.length % 2).toBe(1);
      expect((await registry.get(`s${n}`))?.state).toBe('offline');
    }
  });

  it('is told again when the session lapses again', async () => {
    const world = await worldOn(open);
    const { registry, clock } = world;
    const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 1000 });
    world.listen();
    const expected: string[] = [];
    for (let round = 0; round < 4; round++) {
      await clock.advance(3000);
      await handle.heartbeat();
      expected.push('session_offline a', 'session_online a');
      expect(await world.told()).toEqual(expected);
    }
  });

  it('is not told of a session that ended, was killed, or was removed', async () => {
    const world = await worldOn(open);
    const { registry, clock } = world;
    for (const id of ['ended', 'killed', 'removed']) await registry.register({ id, heartbeat: 'manual', ttlMs: 1000 });
    world.listen();
    await registry.end('ended');
    await registry.kill('killed', { force: true });
    await registry.unregister('removed');
    await clock.advance(5000);
    expect(await world.told()).toEqual([
      'session_ended ended',
      'agent_killed killed',
      'session_ended removed',
      'session_removed removed',
    ]);
  });

  it('is told before the end, if the end is the first to see it', async () => {
    const world = await worldOn(open, { sweepIntervalMs: 60_000 });
    const { registry, clock } = world;
    for (const id of ['ended', 'killed', 'removed']) await registry.register({ id, heartbeat: 'manual', ttlMs: 1000 });
    world.listen();
    await clock.advance(5000);
    await registry.end('ended');
    await registry.kill('killed');
    await registry.unregister('removed');
    await clock.advance(60_000);
    expect(await world.told()).toEqual([
      'session_offline ended',
      'session_ended ended',
      'session_offline killed',
      'agent_killed killed',
      'session_offline removed',
      'session_ended removed',
      'session_removed removed',
    ]);
  });

  it('is told of sessions too large for one commit together', async () => {
    const world = await worldOn(open);
    const { registry, clock } = world;
    const metadata = { notes: 'x'.repeat(1_000_000) };
    for (let n = 0; n < 18; n++) await registry.register({ id: `s${n}`, heartbeat: 'manual', ttlMs: 1000, metadata });
    world.listen();
    await clock.advance(3000);
    expect((await world.told()).sort()).toEqual(Array.from({ length: 18 }, (_, n) => `session_offline s${n}`).sort());
  });

  it('is judged by a process that has stalled only after it has looked again', async () => {
    const world = await worldOn(open);
    const { registry, clock, another, storage } = world;
    // A process of its own, whose clock is the same, and which falls asleep before the lease is over.
    const handle = await registry.register({ id: 'a', ttlMs: 3000 });
    const observer = another({ storage });
    observer.listen();
    clock.set(clock.now() + 10_000);
    expect((await registry.get('a'))?.state).toBe('offline');
    // On waking the owner's heartbeat comes first, and the sweepers wait for one more interval.
    await clock.advance(5000);
    expect(await observer.told()).toEqual(['session_offline a', 'session_online a']);
    expect(handle.signal.aborted).toBe(false);
  });

  it('is told at the next sweep when a conflict kept it from being told', async () => {
    const { another, clock, storage, mesh } = await worldOn(open);
    await mesh.close();
    let conflicts = 3;
    const answer = ({ deletes = [] }: Commit): CommitResult | undefined => {
      const lapse = deletes.find((entry) => 'key' in entry && entry.key === 'a' && entry.partition.startsWith('watch.'));
      if (!lapse || conflicts === 0) return undefined;
      conflicts -= 1;
      return { committed: false, conflicts: [{ partition: 'sessions', key: 'a' }] };
    };
    const process = another({ storage: viewOf(storage, { answer }) });
    await process.registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 20_000 });
    await clock.advance(19_000);
    await process.registry.register({ id: 'b', heartbeat: 'manual', ttlMs: 20_000 });
    await process.mesh.settled();
    process.listen();
    // At the sweep that sees it, the lapse meets two conflicts; at the next one more, and then it is told.
    await clock.advance(4500);
    expect(conflicts).toBe(0);
    expect(await process.told()).toEqual(['session_offline a']);
  });

  it('is not told of a session whose lease is there when it comes to be told, as after a step of the clock', async () => {
    const { another, clock, storage, mesh } = await worldOn(open);
    await mesh.close();
    let isStepping = false;
    const commit = ({ puts = [] }: Commit): void => {
      const isLapse = puts.some(
        ({ partition, value }) => partition === 'events' && (value as { name: string }).name === 'session_offline',
      );
      if (!isStepping || !isLapse) return;
      isStepping = false;
      clock.set(clock.now() - 5000);
    };
    const process = another({ storage: viewOf(storage, { commit }) });
    const { registry } = process;
    const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 8000 });
    await process.mesh.settled();
    process.listen();
    await clock.advance(7000);
    isStepping = true;
    await clock.advance(3000);
    expect(isStepping).toBe(false);
    expect((await registry.get('a'))?.state).toBe('alive');
    // A heartbeat that takes it for lapsed revives nobody who is alive …
    clock.set(clock.now() + 5000);
    isStepping = true;
    await handle.heartbeat();
    expect(isStepping).toBe(false);
    // … and a registration takes no id that is.
    clock.set(clock.now() + 10_000);
    isStepping = true;
    expect(await outcomeOf(registry.register({ id: 'a' }))).toBe('already_exists');
    expect(isStepping).toBe(false);
    expect(await process.told()).toEqual([]);
    await handle.update({ task: 'on' });
  });

  it('does not take a session off its list that came back to it while a sweeper looked', async () => {
    const world = await worldOn(open);
    const { clock, another, storage } = world;
    const held = gate();
    let isHolding = false;
    const commit = async ({ checks = [], deletes = [] }: Commit): Promise<void> => {
      const isDismissal = deletes.some((entry) => 'key' in entry && entry.partition.startsWith('watch.') && entry.key === 'a');
      if (isHolding && isDismissal && !checks.some((check) => 'key' in check && check.partition === 'leases')) await held.wait();
    };
    // Only one sweeps, and slowly.
    const slow = another({ storage: viewOf(storage, { commit }), sweepIntervalMs: 1000 });
    await world.mesh.close();
    const quiet = another({ sweepIntervalMs: 3_600_000 });
    const old = await quiet.registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 5000 });
    await quiet.registry.register({ id: 'b', heartbeat: 'manual', ttlMs: 5000 });
    // Ended, so it stands on the list as a stranger when the sweeper looks.
    await clock.advance(4000);
    await quiet.registry.heartbeat('b');
    const list = (await storage.list('watches'))[0]?.key as string;
    await old.end();
    await storage.commit({ puts: [{ partition: `watch.${list}`, key: 'a', value: null }] });
    isHolding = true;
    const advancing = clock.advance(3000);
    await held.reached;
    const back = await quiet.registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 5000 });
    expect((await storage.list(`watch.${list}`)).map(({ key }) => key)).toEqual(['a', 'b']);
    isHolding = false;
    held.open();
    await advancing;
    expect((await storage.list(`watch.${list}`)).map(({ key }) => key)).toEqual(['a', 'b']);
    slow.listen();
    await clock.advance(10_000);
    expect((await slow.told()).sort()).toEqual(['session_offline a', 'session_offline b']);
    expect(back.epoch).toBe(3);
  });
});

describe.each(storages)('watch lists on %s', (_name, open) => {
  it('hold 500 sessions of one process and ttl each, with one due entry', async () => {
    const { registry, storage, another } = await worldOn(open);
    for (let n = 0; n < 501; n++) await registry.register({ heartbeat: 'manual', ttlMs: 60_000 });
    await registry.register({ heartbeat: 'manual', ttlMs: 61_000 });
    await another().registry.register({ heartbeat: 'manual', ttlMs: 60_000 });
    const lists = await storage.list('watches');
    const sizes = await Promise.all(lists.map(async ({ key }) => (await storage.list(`watch.${key}`)).length));
    expect(sizes.sort((a, b) => a - b)).toEqual([1, 1, 1, 500]);
    expect(await storage.list('due')).toHaveLength(4);
  });

  it('stay open for the hundred ttls that were used last', async () => {
    const { registry, storage } = await worldOn(open);
    const register = (ttlMs: number) => registry.register({ heartbeat: 'manual', ttlMs });
    for (let n = 0; n < 101; n++) await register(60_000 + n);
    await register(60_100);
    expect(await storage.list('watches')).toHaveLength(101);
    await register(60_000);
    expect(await storage.list('watches')).toHaveLength(102);
  });

  it('are given up with the last session, and leave nothing behind', async () => {
    const { another, clock, storage } = await worldOn(open);
    const view = counted(storage);
    const { registry } = another({ storage: view.storage });
    for (let n = 0; n < 3; n++) await registry.register({ id: `s${n}`, heartbeat: 'manual', ttlMs: 2000, retentionMs: 2000 });
    await registry.end('s0');
    await clock.advance(10_000);
    for (const partition of ['watches', 'due', 'leases', 'sightings', 'sessions', 'sessions.type=agent']) {
      expect(await storage.list(partition), partition).toEqual([]);
    }
    // The process that had the list open joins no list that is gone, and finds out by its first commit.
    view.calls.commits.length = 0;
    await registry.register({ id: 'late', heartbeat: 'manual', ttlMs: 2000 });
    expect(view.calls.commits).toHaveLength(2);
    expect(await storage.list('watches')).toHaveLength(1);
    await clock.advance(3001);
    expect((await registry.get('late'))?.state).toBe('offline');
    expect((await storage.list('events')).at(-1)?.value).toMatchObject({ name: 'session_offline', session: 'late' });
  });

  it('are opened once more when the first session on it was refused', async () => {
    const { registry, another, clock, storage } = await worldOn(open);
    await another().registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 9000 });
    const attempts = await Promise.allSettled([
      registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 2000 }),
      registry.register({ id: 'b', heartbeat: 'manual', ttlMs: 2000 }),
      registry.register({ id: 'b', heartbeat: 'manual', ttlMs: 2000 }),
      registry.register({ id: 'c', heartbeat: 'manual', ttlMs: 2000 }),
    ]);
    expect(attempts.map(({ status }) => status).sort()).toEqual(['fulfilled', 'fulfilled', 'rejected', 'rejected']);
    expect(await storage.list('watches')).toHaveLength(2);
    await clock.advance(3001);
    expect((await registry.list({ state: 'offline' })).items.map(({ id }) => id)).toEqual(['b', 'c']);
  });
});

it.each([
  ['loses answers', { unknownRate: 0.15 }],
  ['reports conflicts that nobody made', { conflictRate: 0.3 }],
])('tells every lapse once on a storage that drops hints and %s', async (_what, faults) => {
  for (let seed = 1; seed <= 5; seed++) {
    const clock = new VirtualClock();
    const storage = new InMemoryStorage({ clock });
    const watcher = processOn(storage, { sweepIntervalMs: 3_600_000 });
    watcher.listen();
    const views = [1, 2, 3].map((n) => withFaults(storage, { seed: 10 * seed + n, ...faults, dropHints: true }));
    const processes = views.map((view) => processOn(view));
    const ids = Array.from({ length: 30 }, (_, n) => `s${n}`);
    const registering = Promise.all(
      ids.map((id, n) => processes[n % 3]?.registry.register({ id, heartbeat: 'manual', ttlMs: 2000 })),
    );
    await clock.advance(1000);
    await registering;
    // Bad luck may cost a sweep or two, never an event.
    await clock.advance(12_000);
    await watcher.told();
    const told = watcher.heard.filter(({ name }) => name === 'session_offline').map(({ session }) => session);
    expect(told.sort(), `seed ${seed}`).toEqual([...ids].sort());
    for (const { faults: injected } of views) injected.pause();
    await Promise.all([watcher, ...processes].map(({ mesh }) => mesh.close()));
  }
});

/**
 * Real time, since it is about the event loop of a real process. The share of a loaded machine that others take is not
 * the library's, so what counts is processor time: between two turns of the loop none of the work may take longer.
 */
async function longestTurn(work: () => Promise<void>): Promise<number> {
  let longest = 0;
  let isDone = false;
  const watching = (async () => {
    let before = performance.now();
    let used = process.cpuUsage();
    while (!isDone) {
      await new Promise(setImmediate);
      const spent = process.cpuUsage(used);
      const now = performance.now();
      longest = Math.max(longest, Math.min(now - before, (spent.user + spent.system) / 1000));
      before = now;
      used = process.cpuUsage();
    }
  })();
  await work();
  isDone = true;
  await watching;
  return longest;
}

it('does not keep a closing process until thousands of lapses are told', async () => {
  const clock = new VirtualClock();
  const storage = new InMemoryStorage({ clock });
  const { registry, mesh } = processOn(storage);
  for (let n = 0; n < 3000; n++) await registry.register({ heartbeat: 'manual', ttlMs: 60_000 });
  let told = 0;
  const closing = new Promise<void>((resolve) => {
    registry.on('session_offline', () => {
      told += 1;
      if (told === 100) mesh.close().then(resolve);
    });
  });
  await clock.advance(62_000);
  await closing;
  // Fifty more, that were under way.
  const events = storage
    .list('events', { limit: 1000, reverse: true })
    .filter(({ value }) => (value as { name: string }).name === 'session_offline');
  expect(events.length).toBeLessThan(500);
  expect(storage.list('leases')).toEqual([]);
  // Another process goes on with it.
  const other = processOn(storage);
  await clock.advance(5000);
  expect((await other.registry.list({ state: 'offline', limit: 1000 })).items).toHaveLength(1000);
  expect(storage.list('watches')).toEqual([]);
});

// `SESSIONS=100000` runs as many; in memory they take 20 s, most of it to register them.
it.each(storages)(
  'tells the lapse of thousands of sessions at once on %s without holding up the event loop',
  async (name, open) => {
    const count = Number(process.env['SESSIONS'] ?? (name === 'memory' ? 10_000 : 2000));
    const { registry, mesh, clock } = await worldOn(open);
    const seen = new Map<unknown, number>();
    registry.on('session_offline', ({ session }) => seen.set(session, (seen.get(session) ?? 0) + 1));
    for (let start = 0; start < count; start += 1000) {
      await Promise.all(
        Array.from({ length: 1000 }, (_, n) => registry.register({ id: `s${start + n}`, heartbeat: 'manual', ttlMs: 60_000 })),
      );
    }
    const longest = await longestTurn(async () => {
      await clock.advance(62_000);
      await mesh.settled();
    });
    expect(seen.size).toBe(count);
    expect([...seen.values()].every((times) => times === 1)).toBe(true);
    expect(longest).toBeLessThan(50);
  },
);

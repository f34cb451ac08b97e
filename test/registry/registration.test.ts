import { describe, expect, it } from 'vitest';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';
import { SeededRandom } from '../../src/testing/random.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { outcomeOf, processOn, refusal, worldOn } from '../support/registry/meshes.ts';
import { scattered, viewOf } from '../support/registry/views.ts';
import { storages } from '../support/storages.ts';

describe.each(storages)('registering on %s', (_name, open) => {
  it('needs nothing at all: every option has a default', async () => {
    const { registry, clock } = await worldOn(open);
    const handle = await registry.register();
    expect(handle.id).toMatch(/^session_[0-9A-Za-z]{21}$/);
    expect(await registry.get(handle.id)).toEqual({
      id: handle.id,
      agent: { name: 'agent', type: 'agent' },
      capabilities: [],
      groups: [],
      state: 'alive',
      status: 'active',
      epoch: 1,
      metadata: {},
      capacity: 1,
      ttlMs: 30_000,
      registeredAt: clock.now(),
      lastSeenAt: clock.now(),
      lastActivityAt: clock.now(),
    });
    const manual = await registry.register({ heartbeat: 'manual' });
    expect((await registry.get(manual.id))?.ttlMs).toBe(300_000);
  });

  it('keeps everything that was given', async () => {
    const { registry } = await worldOn(open);
    await registry.register({ id: 'boss' });
    const given = {
      id: 'claude-code://orchestrator',
      agent: { name: 'Plänner 🧭', type: 'Claude', framework: 'bus' },
      user: 'Alexa',
      capabilities: ['planning', 'c#'],
      groups: ['core'],
      metadata: { nested: { list: [1, null, 'x'], ['__proto__']: 'data' } },
      parentId: 'boss',
      status: 'working' as const,
      task: 'Review',
      capacity: 4,
      ttlMs: 5000,
    };
    const handle = await registry.register(given);
    expect([handle.id, handle.epoch]).toEqual([given.id, 1]);
    expect(await registry.get(given.id)).toMatchObject({ ...given, state: 'alive', epoch: 1 });
    expect(JSON.stringify(handle)).toBe('{"id":"claude-code://orchestrator","epoch":1}');
  });

  it('refuses an id that is alive, and harms nothing of it', async () => {
    const { registry, another } = await worldOn(open);
    const first = await registry.register({ id: 'a', user: 'Ada' });
    const before = await registry.get('a');
    await expect(another().registry.register({ id: 'a', user: 'Bob' })).rejects.toEqual(
      refusal('already_exists', 'expected a free id, got a, which is alive'),
    );
    await expect(registry.register({ id: 'a' })).rejects.toEqual(refusal('already_exists'));
    expect(await registry.get('a')).toEqual(before);
    await first.update({ status: 'idle' });
  });

  it('gives an id that is offline to who registers it, with a new epoch and the groups it was in', async () => {
    const { registry, clock } = await worldOn(open);
    const first = await registry.register({
      id: 'a',
      groups: ['core', 'night'],
      user: 'Ada',
      capabilities: ['x'],
      heartbeat: 'manual',
      ttlMs: 3000,
    });
    await clock.advance(3001);
    const second = await registry.register({ id: 'a', groups: ['day', 'core'] });
    expect(second.epoch).toBe(2);
    const session = await registry.get('a');
    expect(session).toMatchObject({ state: 'alive', epoch: 2, capabilities: [] });
    expect([...(session?.groups ?? [])].sort()).toEqual(['core', 'day', 'night']);
    expect(session?.user).toBeUndefined();
    expect((await registry.list({ group: 'night' })).items.map(({ id }) => id)).toEqual(['a']);
    await expect(first.update({ status: 'idle' })).rejects.toEqual(refusal('lease_lost'));
    await second.update({ status: 'idle' });
  });

  it('never gives a session more groups than one may have', async () => {
    const { registry, clock } = await worldOn(open);
    const many = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => `g${from + n}`);
    await registry.register({ id: 'a', groups: many(0, 64), heartbeat: 'manual', ttlMs: 1000 });
    await clock.advance(1001);
    await expect(registry.register({ id: 'a', groups: ['more'] })).rejects.toEqual(refusal('limit_exceeded', 'got 65'));
    expect((await registry.get('a'))?.state).toBe('offline');
    await registry.register({ id: 'a', groups: many(3, 8) });
    expect((await registry.get('a'))?.groups).toHaveLength(64);
  });

  it('gives an id that has ended to who registers it, with a new epoch and none of its groups', async () => {
    const { registry } = await worldOn(open);
    const first = await registry.register({ id: 'a', groups: ['core'] });
    await first.end({ result: 1 });
    expect((await registry.get('a'))?.epoch).toBe(2);
    const second = await registry.register({ id: 'a', groups: ['day'] });
    expect(second.epoch).toBe(3);
    const session = await registry.get('a');
    expect(session).toMatchObject({ state: 'alive', epoch: 3, groups: ['day'] });
    expect(session && 'result' in session).toBe(false);
    await expect(first.update({})).rejects.toEqual(refusal('lease_lost'));
  });

  it('gives nobody an id that was killed, except to take it over', async () => {
    const { registry } = await worldOn(open);
    await registry.register({ id: 'a' });
    await registry.kill('a', { force: true });
    await expect(registry.register({ id: 'a' })).rejects.toEqual(
      refusal('not_alive', 'expected an id that was not killed, got a'),
    );
    expect((await registry.get('a'))?.state).toBe('killed');
    const second = await registry.register({ id: 'a', takeover: true });
    expect(second.epoch).toBe(3);
    expect((await registry.get('a'))?.state).toBe('alive');
  });

  it('takes over whatever state an id is in when told to', async () => {
    const { registry, clock } = await worldOn(open);
    const old = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 1000 });
    const alive = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 1000, takeover: true });
    expect(alive.epoch).toBe(2);
    await clock.advance(1001);
    const offline = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 1000, takeover: true });
    expect(offline.epoch).toBe(3);
    await offline.end();
    const ended = await registry.register({ id: 'a', takeover: true });
    expect(ended.epoch).toBe(5);
    for (const handle of [old, alive, offline]) await expect(handle.update({})).rejects.toEqual(refusal('lease_lost'));
    await ended.update({});
  });

  it('refuses an id that is stopping, and says so', async () => {
    const { registry } = await worldOn(open);
    await registry.register({ id: 'a' });
    await registry.kill('a', { timeoutMs: 0 });
    await expect(registry.register({ id: 'a' })).rejects.toEqual(refusal('already_exists', 'which is stopping'));
  });

  it('tells of each registration once, with its parent and whether a living session was taken over', async () => {
    const world = await worldOn(open);
    const { registry, clock } = world;
    world.listen();
    await registry.register({ id: 'a' });
    await registry.register({ id: 'b', parentId: 'a', heartbeat: 'manual', ttlMs: 1000 });
    await registry.register({ id: 'b', takeover: true, heartbeat: 'manual', ttlMs: 1000 });
    await world.told();
    const at = clock.now();
    const cursor = expect.stringMatching(/^\d{20}$/);
    expect(world.heard).toEqual([
      { name: 'session_created', at, cursor, session: 'a', epoch: 1 },
      { name: 'session_created', at, cursor, session: 'b', epoch: 1, parent: 'a' },
      { name: 'session_created', at, cursor, session: 'b', epoch: 2, takeover: true },
    ]);
  });

  it('tells of a lapse that nobody had told before the id is given to another', async () => {
    const world = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    const { registry, clock } = world;
    world.listen();
    const seen = clock.now();
    await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 1000 });
    await clock.advance(5000);
    await registry.register({ id: 'a' });
    expect(await world.told()).toEqual(['session_created a', 'session_offline a', 'session_created a']);
    expect(world.heard[1]).toMatchObject({ epoch: 1, lastSeenAt: seen });
  });

  it('makes ids that begin anew after a removal fit nothing that was bound to the old session', async () => {
    const { registry, storage } = await worldOn(open);
    const incarnation = async () => (await storage.list('leases'))[0]?.value;
    const old = await registry.register({ id: 'a' });
    const before = await incarnation();
    await registry.unregister('a');
    const fresh = await registry.register({ id: 'a' });
    expect([old.epoch, fresh.epoch]).toEqual([1, 1]);
    expect((await incarnation()) !== before).toBe(true);
    await expect(old.update({ task: 'mine' })).rejects.toEqual(refusal('lease_lost'));
    await expect(old.end()).rejects.toEqual(refusal('lease_lost'));
    await expect(old.spawn()).rejects.toEqual(refusal('lease_lost'));
    expect(await old.heartbeat()).toEqual({ alive: false, reason: 'lease_lost' });
    await expect(registry.steer(fresh.id, { message: 'x', by: old })).rejects.toEqual(refusal('lease_lost'));
    expect(await registry.get('a')).toMatchObject({ state: 'alive', epoch: 1 });
  });

  it('lets one of many registrations of an id at once succeed', async () => {
    const { registry, another } = await worldOn(open);
    const registries = [registry, ...Array.from({ length: 7 }, () => another().registry)];
    for (let round = 0; round < 10; round++) {
      const outcomes = await Promise.all(
        Array.from({ length: 64 }, (_, n) => outcomeOf(registries[n % 8]!.register({ id: `r${round}`, user: `u${n}` }))),
      );
      expect(outcomes.filter((outcome) => outcome === 'done')).toHaveLength(1);
      expect(outcomes.filter((outcome) => outcome === 'already_exists')).toHaveLength(63);
      const winner = `u${outcomes.indexOf('done')}`;
      expect(await registry.get(`r${round}`)).toMatchObject({ user: winner, epoch: 1 });
    }
  });

  it('lets one of many owners of an offline id succeed, be it by registration or by revival', async () => {
    const { registry, another, clock } = await worldOn(open);
    const registries = [registry, ...Array.from({ length: 7 }, () => another().registry)];
    for (let round = 0; round < 10; round++) {
      const id = `r${round}`;
      const old = await registry.register({ id, heartbeat: 'manual', ttlMs: 1000 });
      await clock.advance(1001);
      const [beat, ...outcomes] = await Promise.all([
        old.heartbeat(),
        ...registries.map((each) => outcomeOf(each.register({ id, heartbeat: 'manual' }))),
      ]);
      expect(outcomes.filter((outcome) => outcome === 'done')).toHaveLength(beat.alive ? 0 : 1);
      expect((await registry.get(id))?.epoch).toBe(beat.alive ? 1 : 2);
    }
  });

  it('leaves nothing behind when it is refused', async () => {
    const { registry, storage } = await worldOn(open);
    await registry.register({ id: 'a' });
    const leases = await storage.list('leases');
    await expect(registry.register({ id: 'a', groups: ['g'], capabilities: ['c'], user: 'u' })).rejects.toEqual(
      refusal('already_exists'),
    );
    await expect(registry.register({ id: 'b', parentId: 'nobody' })).rejects.toEqual(refusal('not_found'));
    expect(await storage.list('leases')).toEqual(leases);
    for (const index of ['group=g', 'capability=c', 'user=u', 'parent=nobody'])
      expect(await storage.list(`sessions.${index}`)).toEqual([]);
  });

  it('takes a place on a list that others are opening at the same time, instead of a list for each', async () => {
    const { registry, storage } = await worldOn(open);
    await Promise.all(Array.from({ length: 1201 }, (_, n) => registry.register({ id: `s${n}`, heartbeat: 'manual' })));
    expect(await storage.list('watches')).toHaveLength(3);
    expect(await storage.list('due')).toHaveLength(3);
  });
});

describe.each(storages)('registering a child on %s', (_name, open) => {
  it('needs a parent that is known and alive', async () => {
    const { registry, clock } = await worldOn(open);
    await expect(registry.register({ parentId: 'nobody' })).rejects.toEqual(
      refusal('not_found', 'expected a known session, got nobody'),
    );
    await registry.register({ id: 'p', heartbeat: 'manual', ttlMs: 1000 });
    await clock.advance(1000);
    await registry.register({ id: 'c', parentId: 'p', heartbeat: 'manual' });
    await clock.advance(1);
    await expect(registry.register({ parentId: 'p' })).rejects.toEqual(
      refusal('not_alive', 'expected parent p to be alive, got offline'),
    );
    await registry.heartbeat('p');
    await registry.register({ parentId: 'p' });
    await registry.kill('p', { timeoutMs: 0, cascade: false });
    await expect(registry.register({ parentId: 'p' })).rejects.toEqual(refusal('not_alive', 'got stopping'));
    await registry.kill('p', { force: true, cascade: false });
    await expect(registry.register({ parentId: 'p' })).rejects.toEqual(refusal('not_alive', 'got killed'));
    const ended = await registry.register({ id: 'q' });
    await ended.end();
    await expect(registry.register({ parentId: 'q' })).rejects.toEqual(refusal('not_alive', 'got ended'));
    expect((await registry.list({ parentId: 'p', state: 'all' })).items).toHaveLength(2);
  });

  it('checks the parent in the very commit: a parent that ends meanwhile gets no child', async () => {
    const { registry, another, storage } = await worldOn(open);
    const parent = await registry.register({ id: 'p' });
    let meanwhile: (() => Promise<void>) | undefined = () => parent.end();
    const commit = async (): Promise<void> => {
      const now = meanwhile;
      meanwhile = undefined;
      await now?.();
    };
    const slow = another({ storage: viewOf(storage, { commit }) });
    await expect(slow.registry.register({ id: 'c', parentId: 'p' })).rejects.toEqual(refusal('not_alive', 'got ended'));
    expect(await registry.get('c')).toBeUndefined();
  });

  it('refuses a circle: itself, or one that descends from it', async () => {
    const { registry, clock } = await worldOn(open);
    await expect(registry.register({ id: 'a', parentId: 'a' })).rejects.toEqual(
      refusal('invalid_input', 'does not descend from a'),
    );
    await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 1000 });
    await registry.register({ id: 'b', parentId: 'a' });
    await registry.register({ id: 'c', parentId: 'b' });
    for (const parentId of ['a', 'b', 'c']) {
      await expect(registry.register({ id: 'a', parentId, takeover: true })).rejects.toEqual(refusal('invalid_input'));
    }
    await clock.advance(1001);
    for (const parentId of ['b', 'c'])
      await expect(registry.register({ id: 'a', parentId })).rejects.toEqual(refusal('invalid_input'));
    expect((await registry.get('a'))?.parentId).toBeUndefined();
    await registry.register({ id: 'other' });
    await registry.register({ id: 'a', parentId: 'other' });
    expect((await registry.get('a'))?.parentId).toBe('other');
  });

  it('goes 64 levels deep, and not 65', async () => {
    const { registry } = await worldOn(open);
    await registry.register({ id: 'n0' });
    for (let depth = 1; depth <= 64; depth++) await registry.register({ id: `n${depth}`, parentId: `n${depth - 1}` });
    await expect(registry.register({ id: 'n65', parentId: 'n64' })).rejects.toEqual(
      refusal('limit_exceeded', 'expected a depth of at most 64, got 65'),
    );
    expect(await registry.get('n65')).toBeUndefined();
  });

  it('measures the depth by where the parent is now, not by where it was registered', async () => {
    const { registry } = await worldOn(open);
    await registry.register({ id: 'n0' });
    for (let depth = 1; depth <= 62; depth++) await registry.register({ id: `n${depth}`, parentId: `n${depth - 1}` });
    await registry.register({ id: 'x' });
    await registry.register({ id: 'y', parentId: 'x' });
    // With x below n62 its child y is at 64.
    await registry.register({ id: 'x', parentId: 'n62', takeover: true });
    await expect(registry.register({ id: 'z', parentId: 'y' })).rejects.toEqual(refusal('limit_exceeded', 'got 65'));
    await registry.register({ id: 'x', takeover: true });
    await registry.register({ id: 'z', parentId: 'y' });
    // Its own descendants count as well.
    await expect(registry.register({ id: 'x', parentId: 'n62', takeover: true })).rejects.toEqual(
      refusal('limit_exceeded', 'got 65'),
    );
  });

  it('spawns from a handle', async () => {
    const { registry } = await worldOn(open);
    const parent = await registry.register({ id: 'p' });
    const child = await parent.spawn({ agent: { name: 'Helper', type: 'Claude' } });
    expect(await registry.get(child.id)).toMatchObject({ parentId: 'p', agent: { name: 'Helper', type: 'Claude' } });
    const grandchild = await child.spawn();
    expect((await registry.get(grandchild.id))?.parentId).toBe(child.id);
    await expect(parent.spawn({ parentId: 'elsewhere' } as object)).rejects.toEqual(refusal('invalid_input', '"parentId"'));
  });
});

it('lets one of 64 registrations of an id at once succeed, a thousand times over', async () => {
  const storage = new InMemoryStorage({ clock: new VirtualClock() });
  const registries = Array.from({ length: 8 }, () => processOn(storage).registry);
  for (let round = 0; round < 1000; round++) {
    const id = `r${round}`;
    const outcomes = await Promise.all(
      Array.from({ length: 64 }, (_, n) => outcomeOf(registries[n % 8]!.register({ id, heartbeat: 'manual' }))),
    );
    expect(outcomes.filter((outcome) => outcome === 'done')).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === 'already_exists')).toHaveLength(63);
  }
});

it('never closes a circle, however two or three registrations that would close it together fall', async () => {
  let closed = 0;
  for (let seed = 0; seed < 250; seed++) {
    const random = new SeededRandom(seed);
    const storage = new InMemoryStorage({ clock: new VirtualClock() });
    const { registry } = processOn(storage);
    const ids = seed % 2 === 0 ? ['a', 'b'] : ['a', 'b', 'c'];
    const processes = ids.map(() => processOn(scattered(storage, random)));
    for (const id of ids) {
      await registry.register({ id });
      await registry.register({ id: `${id}2`, parentId: id });
    }
    // Each wants to be below the next one, or below the next one's child.
    const outcomes = await Promise.all(
      ids.map((id, n) => {
        const next = ids[(n + 1) % ids.length] as string;
        const parentId = random.chance(0.5) ? next : `${next}2`;
        return outcomeOf(processes[n]!.registry.register({ id, parentId, takeover: true }));
      }),
    );
    const refused = outcomes.filter((outcome) => outcome !== 'done');
    expect(refused, `seed ${seed}`).toEqual(['invalid_input']);
    for (const id of ids) expect(await ancestorsOf(registry, id), `seed ${seed}`).not.toContain(id);
    closed += 1;
    await Promise.all([registry.close(), ...processes.map(({ mesh }) => mesh.close())]);
  }
  expect(closed).toBe(250);
});

async function ancestorsOf(registry: ReturnType<typeof processOn>['registry'], id: string): Promise<string[]> {
  const ancestors: string[] = [];
  let next = (await registry.get(id))?.parentId;
  while (next !== undefined && ancestors.length < 100) {
    ancestors.push(next);
    next = (await registry.get(next))?.parentId;
  }
  return ancestors;
}

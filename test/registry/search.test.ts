import { describe, expect, it } from 'vitest';
import type { Session, SessionState, SessionStatus } from '../../src/registry/session.ts';
import type { ListOptions } from '../../src/registry/session-inputs.ts';
import type { SessionRegistry } from '../../src/registry/session-registry.ts';
import { SeededRandom } from '../../src/testing/random.ts';
import { refusal, worldOn } from '../support/registry/meshes.ts';
import { viewOf } from '../support/registry/views.ts';
import { storages } from '../support/storages.ts';

/** Something that is done the first time somebody comes by. */
function once(work: () => Promise<unknown>): { readonly ran: boolean; run(): Promise<void> } {
  let ran = false;
  const run = async (): Promise<void> => {
    if (ran) return;
    ran = true;
    await work();
  };
  return {
    get ran() {
      return ran;
    },
    run,
  };
}

const CAPABILITIES = ['python', 'review', 'c#', 'plan:long'];
const GROUPS = ['core', 'night'];
const TYPES = ['Claude', 'Codex'];
const USERS = ['Ada', 'Bob'];
const STATUSES: readonly SessionStatus[] = ['active', 'idle', 'working', 'waiting'];
const STATES: readonly SessionState[] = ['alive', 'offline', 'stopping', 'ended', 'killed'];

/** Every page of a list, of as many sessions each as drawn. */
async function everyPage(registry: SessionRegistry, options: ListOptions, limitOf: () => number): Promise<Session[]> {
  const sessions: Session[] = [];
  let after: string | undefined;
  do {
    const limit = limitOf();
    const page = await registry.list({ ...options, limit, ...(after !== undefined && { after }) });
    expect(page.items.length).toBeLessThanOrEqual(limit);
    if (page.next !== undefined) expect(page.items).toHaveLength(limit);
    sessions.push(...page.items);
    after = page.next;
  } while (after !== undefined);
  return sessions;
}

/** What the list of all sessions should find, as plainly as it can be said. */
function expected(all: readonly Session[], options: ListOptions): string[] {
  const { state = 'alive', capabilities, match = 'all', status, agentType, user, group, parentId } = options;
  const has = (session: Session): boolean => {
    if (!capabilities) return true;
    const of = capabilities.map((capability) => session.capabilities.includes(capability));
    return match === 'any' ? of.some(Boolean) : of.every(Boolean);
  };
  return all
    .filter((session) => state === 'all' || session.state === (state === 'active' ? 'alive' : state))
    .filter(has)
    .filter((session) => status === undefined || session.status === status)
    .filter((session) => agentType === undefined || session.agent.type === agentType)
    .filter((session) => user === undefined || session.user === user)
    .filter((session) => group === undefined || session.groups.includes(group))
    .filter((session) => parentId === undefined || session.parentId === parentId)
    .map(({ id }) => id)
    .sort();
}

describe.each(storages)('a list on %s', (_name, open) => {
  it('finds what meets all conditions, alone and combined, in every state, page by page', async () => {
    const { registry, clock } = await worldOn(open, { sweepIntervalMs: 60_000 });
    const random = new SeededRandom(11);
    const some = <T>(list: readonly T[]): T[] => list.filter(() => random.chance(0.4));
    await registry.register({ id: 'boss', heartbeat: 'manual' });
    await registry.register({ id: 'chief', heartbeat: 'manual' });
    const fates = new Map<string, SessionState>();
    for (let n = 0; n < 150; n++) {
      const id = `s${random.below(1e9)}`;
      const fate = random.chance(0.5) ? 'alive' : random.pick(STATES);
      await registry.register({
        id,
        agent: { name: 'x', type: random.pick(TYPES) },
        capabilities: some(CAPABILITIES),
        groups: some(GROUPS),
        status: random.pick(STATUSES),
        ...(random.chance(0.7) && { user: random.pick(USERS) }),
        ...(random.chance(0.5) && { parentId: random.pick(['boss', 'chief']) }),
        heartbeat: 'manual',
        ttlMs: fate === 'offline' ? 1000 : 600_000,
      });
      fates.set(id, fate);
      if (fate === 'ended') await registry.end(id);
      if (fate === 'killed') await registry.kill(id, { force: true });
      if (fate === 'stopping') await registry.kill(id, { graceMs: 300_000, timeoutMs: 0 });
    }
    await clock.advance(1001);
    const all = (await registry.list({ state: 'all', limit: 1000 })).items;
    expect(all).toHaveLength(152);
    for (const { id, state } of all) expect(state).toBe(fates.get(id) ?? 'alive');
    for (let n = 0; n < 200; n++) {
      const asked = some(CAPABILITIES);
      const options: ListOptions = {
        ...(random.chance(0.7) && { state: random.pick([...STATES, 'active', 'all'] as const) }),
        ...(random.chance(0.5) && { capabilities: asked }),
        ...(random.chance(0.5) && { match: random.pick(['any', 'all'] as const) }),
        ...(random.chance(0.3) && { status: random.pick(STATUSES) }),
        ...(random.chance(0.3) && { agentType: random.pick([...TYPES, 'none']) }),
        ...(random.chance(0.3) && { user: random.pick([...USERS, 'nobody']) }),
        ...(random.chance(0.3) && { group: random.pick([...GROUPS, 'none']) }),
        ...(random.chance(0.3) && { parentId: random.pick(['boss', 'chief', 'nobody']) }),
      };
      const found = await everyPage(registry, options, () => 1 + random.below(20));
      expect(
        found.map(({ id }) => id),
        JSON.stringify(options),
      ).toEqual(expected(all, options));
    }
  });

  it('takes active for alive', async () => {
    const { registry, clock } = await worldOn(open);
    await registry.register({ id: 'a', status: 'idle' });
    await registry.register({ id: 'b', heartbeat: 'manual', ttlMs: 1000 });
    await clock.advance(1001);
    const ids = async (options: ListOptions) => (await registry.list(options)).items.map(({ id }) => id);
    expect(await ids({})).toEqual(['a']);
    expect(await ids({ state: 'alive' })).toEqual(['a']);
    expect(await ids({ state: 'active' })).toEqual(['a']);
    expect(await ids({ state: 'all' })).toEqual(['a', 'b']);
    // What a session says of itself is another matter.
    expect(await ids({ status: 'active' })).toEqual([]);
    expect(await ids({ state: 'offline', status: 'active' })).toEqual(['b']);
  });

  it('follows each change of a session', async () => {
    const { registry } = await worldOn(open);
    const handle = await registry.register({ id: 'a', capabilities: ['x'], groups: ['g'], user: 'Ada', status: 'idle' });
    const finds = async (options: ListOptions) => (await registry.list(options)).items.length === 1;
    await handle.update({ capabilities: ['y'], groups: ['h'], status: 'waiting' });
    for (const options of [{ capabilities: ['x'] }, { group: 'g' }, { status: 'idle' }] as const)
      expect(await finds(options)).toBe(false);
    for (const options of [{ capabilities: ['y'] }, { group: 'h' }, { status: 'waiting' }] as const)
      expect(await finds(options)).toBe(true);
    await registry.specialize('a', ['z', 'y']);
    expect(await finds({ capabilities: ['y', 'z'] })).toBe(true);
    await registry.register({ id: 'a', takeover: true, user: 'Bob' });
    expect(await finds({ user: 'Ada' })).toBe(false);
    expect(await finds({ capabilities: ['y'] })).toBe(false);
    expect(await finds({ user: 'Bob' })).toBe(true);
  });

  it('takes an empty list of capabilities as no condition for all, and as none that could be met for any', async () => {
    const { registry } = await worldOn(open);
    await registry.register({ id: 'a' });
    expect((await registry.list({ capabilities: [] })).items).toHaveLength(1);
    expect((await registry.list({ capabilities: [], match: 'any' })).items).toHaveLength(0);
  });

  it('returns everyone who stands throughout exactly once, while others come and go', async () => {
    const { registry, another, storage } = await worldOn(open);
    const random = new SeededRandom(3);
    let isWalking = false;
    let made = 0;
    const other = another().registry;
    const list = async (): Promise<void> => {
      if (!isWalking) return;
      isWalking = false;
      const id = `t${random.below(1000)}-${made++}`;
      await other.register({ id, capabilities: ['c'], heartbeat: 'manual' });
      const fate = random.below(3);
      if (fate === 0) await other.end(id);
      if (fate === 1) await other.unregister(id);
      isWalking = true;
    };
    const walker = another({ storage: viewOf(storage, { list, get: () => list() }) }).registry;
    const standing = Array.from({ length: 60 }, (_, n) => `t${n * 16}`);
    for (const id of standing) await registry.register({ id, capabilities: ['c'], heartbeat: 'manual' });
    for (const options of [{}, { capabilities: ['c'] }, { capabilities: ['c', 'd'], match: 'any' }, { state: 'all' }] as const) {
      isWalking = true;
      const seen = (await everyPage(walker, options, () => 1 + random.below(9))).map(({ id }) => id);
      isWalking = false;
      expect(new Set(seen).size).toBe(seen.length);
      expect(seen.filter((id) => standing.includes(id))).toEqual([...standing].sort());
    }
    expect(made).toBeGreaterThan(30);
  });

  it('answers nobody who no longer meets the conditions when what an index led to is read', async () => {
    const { registry, another, storage } = await worldOn(open);
    await registry.register({ id: 'a', capabilities: ['x'], user: 'Ada' });
    const takeOver = once(() => registry.register({ id: 'a', takeover: true, capabilities: ['y'] }));
    const slow = another({ storage: viewOf(storage, { get: takeOver.run }) }).registry;
    expect((await slow.list({ capabilities: ['x'] })).items).toEqual([]);
    expect(takeOver.ran).toBe(true);
  });

  it.each([
    ['ends', 'ended', (registry: SessionRegistry) => registry.end('b')],
    ['is killed', 'killed', (registry: SessionRegistry) => registry.kill('b', { force: true })],
    ['is told to stop', 'stopping', (registry: SessionRegistry) => registry.kill('b', { timeoutMs: 0 })],
    ['is taken over', 'alive', (registry: SessionRegistry) => registry.register({ id: 'b', takeover: true, user: 'Eve' })],
    ['goes', undefined, (registry: SessionRegistry) => registry.unregister('b')],
    ['gets a neighbour', 'alive', (registry: SessionRegistry) => registry.register({ id: 'b+' })],
  ] as const)('tells what has become of a session that %s between its record and its lease', async (_what, state, act) => {
    const { registry, another, storage } = await worldOn(open);
    for (const id of ['a', 'b', 'c']) await registry.register({ id, user: 'Ada' });
    const change = once(() => act(registry));
    const list = async (partition: string): Promise<void> => {
      if (partition === 'leases') await change.run();
    };
    const slow = another({ storage: viewOf(storage, { list }) }).registry;
    const { items } = await slow.list({ state: 'all' });
    expect(change.ran).toBe(true);
    const now = await registry.get('b');
    expect(now?.state).toBe(state);
    expect(items).toEqual([await registry.get('a'), ...(now ? [now] : []), await registry.get('c')]);
  });

  it('tells when each was seen last, to the millisecond, whichever way it was found', async () => {
    const { registry, clock } = await worldOn(open);
    const handles = [];
    for (const id of ['a', 'b', 'c']) {
      await clock.advance(100);
      handles.push(await registry.register({ id, capabilities: ['x'], heartbeat: 'manual', ttlMs: 10_000 }));
    }
    await clock.advance(5000);
    const at = clock.now();
    await handles[1]?.heartbeat();
    await registry.kill('c', { graceMs: 60_000, timeoutMs: 0 });
    await clock.advance(1000);
    for (const options of [{ state: 'all' }, { state: 'all', capabilities: ['x'] }, {}, { capabilities: ['x'] }] as const) {
      const { items } = await registry.list(options);
      for (const session of items) expect(session).toEqual(await registry.get(session.id));
      expect(items.find(({ id }) => id === 'b')?.lastSeenAt).toBe(at);
      expect(items).toHaveLength('state' in options ? 3 : 2);
    }
  });

  it('finds nobody among nobody', async () => {
    const { registry } = await worldOn(open);
    expect(await registry.list()).toEqual({ items: [] });
    expect(await registry.list({ after: 'x', capabilities: ['a', 'b'], user: 'Ada' })).toEqual({ items: [] });
    expect(await registry.get('nobody')).toBeUndefined();
    expect(await registry.stats()).toEqual({ total: 0, alive: 0, byStatus: {}, byAgentType: {}, byUser: {}, byCapability: {} });
  });

  it('hands out what nobody can change', async () => {
    const { registry } = await worldOn(open);
    await registry.register({ id: 'a', capabilities: ['x'], metadata: { list: [1] } });
    const [session] = (await registry.list()).items as unknown as {
      capabilities: string[];
      metadata: { list: number[] };
      agent: { name: string };
    }[];
    expect(() => session?.capabilities.push('y')).toThrow(TypeError);
    expect(() => session?.metadata.list.push(2)).toThrow(TypeError);
    expect(() => Object.assign(session?.agent ?? {}, { name: 'z' })).toThrow(TypeError);
    const own = (await registry.get('a')) as unknown as Record<string, unknown>;
    try {
      own['state'] = 'killed';
    } catch {
      // Frozen is as good as the caller's own.
    }
    expect((await registry.get('a'))?.state).toBe('alive');
  });

  it('counts sessions by what they are', async () => {
    const { registry, clock } = await worldOn(open);
    const register = (id: string, more = {}) => registry.register({ id, heartbeat: 'manual', ...more });
    await register('a', { user: 'Ada', capabilities: ['x', 'y'], status: 'idle', agent: { name: 'n', type: '__proto__' } });
    await register('b', { user: 'Ada', capabilities: ['x', 'constructor'] });
    await register('c', { user: 'Bob' });
    await register('offline', { user: 'Eve', capabilities: ['z'], ttlMs: 1000 });
    await register('ended');
    await registry.end('ended');
    await clock.advance(1001);
    const stats = await registry.stats();
    expect([stats.total, stats.alive]).toEqual([5, 3]);
    expect(Object.entries(stats.byStatus).sort()).toEqual([
      ['active', 2],
      ['idle', 1],
    ]);
    expect(Object.entries(stats.byAgentType).sort()).toEqual([
      ['__proto__', 1],
      ['agent', 2],
    ]);
    expect(Object.entries(stats.byUser).sort()).toEqual([
      ['Ada', 2],
      ['Bob', 1],
    ]);
    expect(Object.entries(stats.byCapability).sort()).toEqual([
      ['constructor', 1],
      ['x', 2],
      ['y', 1],
    ]);
  });
});

describe.each(storages)('specialists on %s', (_name, open) => {
  const ids = (sessions: readonly Session[]): string[] => sessions.map(({ id }) => id);

  it('are alive, have the capability, and come least loaded first', async () => {
    const { registry } = await worldOn(open);
    const loads: Record<string, number> = { a: 3, b: 1, c: 2, d: 0 };
    registry.provide({ loadOf: (of) => of.map((id) => loads[id] ?? 0) });
    for (const id of ['a', 'b', 'c']) await registry.register({ id, capabilities: ['x'] });
    await registry.register({ id: 'd', capabilities: ['y'] });
    expect(ids(await registry.specialists('x'))).toEqual(['b', 'c', 'a']);
    expect(ids(await registry.specialists('x', { limit: 2 }))).toEqual(['b', 'c']);
    expect(await registry.specialists('none')).toEqual([]);
    await registry.specialize('d', ['x']);
    expect(ids(await registry.specialists('x', { limit: 1 }))).toEqual(['d']);
  });

  it('may have capacity for more, by which their load is divided', async () => {
    const { registry } = await worldOn(open);
    const loads: Record<string, number> = { small: 2, large: 6, full: 1 };
    registry.provide({ loadOf: async (of) => of.map((id) => loads[id] ?? 0) });
    await registry.register({ id: 'small', capabilities: ['x'] });
    const large = await registry.register({ id: 'large', capabilities: ['x'], capacity: 4 });
    await registry.register({ id: 'full', capabilities: ['x'] });
    expect(ids(await registry.specialists('x'))).toEqual(['full', 'large', 'small']);
    await large.update({ capacity: 100 });
    expect(ids(await registry.specialists('x'))).toEqual(['large', 'full', 'small']);
  });

  it('take turns when they are equally loaded', async () => {
    const { registry } = await worldOn(open);
    for (const id of ['a', 'b', 'c', 'd']) await registry.register({ id, capabilities: ['x'] });
    const first: string[] = [];
    for (let n = 0; n < 8; n++) first.push(...ids(await registry.specialists('x', { limit: 1 })));
    expect(first).toEqual(['a', 'b', 'c', 'd', 'a', 'b', 'c', 'd']);
    // With many more than are looked at together, too.
    for (let n = 0; n < 150; n++) await registry.register({ id: `m${n}`, capabilities: ['many'], heartbeat: 'manual' });
    const asked = new Set<string>();
    for (let n = 0; n < 150; n++) asked.add(ids(await registry.specialists('many', { limit: 1 }))[0] as string);
    expect(asked.size).toBe(150);
  });

  it('begin anew where so many others were asked for that nobody remembers whose turn it was', async () => {
    const { registry } = await worldOn(open);
    for (const id of ['a', 'b', 'c', 'd']) await registry.register({ id, capabilities: ['x'], heartbeat: 'manual' });
    const others = Array.from({ length: 16 }, (_, n) => Array.from({ length: 64 }, (_, m) => `c${n}.${m}`));
    for (const capabilities of others) await registry.register({ capabilities, heartbeat: 'manual' });
    const next = async () => ids(await registry.specialists('x', { limit: 1 }));
    expect([await next(), await next()]).toEqual([['a'], ['b']]);
    for (const capability of others.flat().slice(0, 999)) await registry.specialists(capability);
    expect(await next()).toEqual(['c']);
    for (const capability of others.flat()) await registry.specialists(capability);
    expect(await next()).toEqual(['a']);
  });

  it('are the least loaded of 64, wherever among them, and no more are counted than it takes', async () => {
    const { registry } = await worldOn(open);
    for (let n = 0; n < 80; n++) {
      await registry.register({ id: `s${String(n).padStart(2, '0')}`, capabilities: ['x'], heartbeat: 'manual' });
    }
    const asked: string[] = [];
    let loadOf = (_id: string): number => 1;
    registry.provide({
      loadOf: (of) => {
        asked.push(...of);
        return of.map((id) => loadOf(id));
      },
    });
    loadOf = (id) => (id === 's60' ? 0 : 1);
    expect(ids(await registry.specialists('x', { limit: 2 }))).toEqual(['s60', 's00']);
    expect(asked).toHaveLength(64);
    // From behind the first of before on, and round the end; each once.
    asked.length = 0;
    loadOf = (id) => (id === 's05' ? 0 : 1);
    expect(ids(await registry.specialists('x', { limit: 1 }))).toEqual(['s05']);
    expect([asked[0], new Set(asked).size, asked.length <= 64]).toEqual(['s61', asked.length, true]);
    asked.length = 0;
    loadOf = () => 0;
    expect(ids(await registry.specialists('x', { limit: 3 }))).toEqual(['s06', 's07', 's08']);
    expect(asked.length).toBeLessThan(20);
  });

  it('are never sessions that are not alive', async () => {
    const { registry, clock } = await worldOn(open, { sweepIntervalMs: 60_000 });
    const register = (id: string, ttlMs = 60_000) => registry.register({ id, capabilities: ['x'], heartbeat: 'manual', ttlMs });
    for (const id of ['alive', 'ended', 'killed', 'stopping', 'removed']) await register(id);
    await register('offline', 1000);
    await registry.end('ended');
    await registry.kill('killed', { force: true });
    await registry.kill('stopping', { graceMs: 50_000, timeoutMs: 0 });
    await registry.unregister('removed');
    await clock.advance(1001);
    for (let n = 0; n < 4; n++) expect(ids(await registry.specialists('x'))).toEqual(['alive']);
    await registry.end('alive');
    expect(await registry.specialists('x')).toEqual([]);
    await registry.heartbeat('offline');
    expect(ids(await registry.specialists('x'))).toEqual(['offline']);
  });

  it('are at most 64, and capabilities are names', async () => {
    const { registry } = await worldOn(open);
    await expect(registry.specialists('a b')).rejects.toEqual(refusal('invalid_input', 'expected capability to be a name'));
    await expect(registry.specialists('x', { limit: 65 })).rejects.toEqual(refusal('invalid_input', 'between 1 and 64, got 65'));
  });

  it('fail with whoever counts their load', async () => {
    const { registry } = await worldOn(open);
    await registry.register({ id: 'a', capabilities: ['x'] });
    registry.provide({
      loadOf: () => {
        throw new Error('no idea');
      },
    });
    await expect(registry.specialists('x')).rejects.toThrow('no idea');
  });
});

describe.each(storages)('statistics on %s', (_name, open) => {
  it('of thousands of sessions let the event loop have its turns', async () => {
    const { registry } = await worldOn(open);
    await Promise.all(
      Array.from({ length: 5000 }, (_, n) => registry.register({ id: `s${n}`, heartbeat: 'manual', ttlMs: 60_000 })),
    );
    let turns = 0;
    let running = true;
    const turn = (): void => {
      turns += 1;
      if (running) setImmediate(turn);
    };
    setImmediate(turn);
    expect((await registry.stats()).total).toBe(5000);
    running = false;
    expect(turns).toBeGreaterThanOrEqual(4);
  });
});

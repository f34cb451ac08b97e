import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InMemoryStorage, type KillOptions, MeshError, type SessionHandle, SessionRegistry } from '../../src/index.ts';
import type { Put, Storage } from '../../src/storage/storage.ts';
import { withFaults } from '../../src/testing/faults.ts';
import { SeededRandom } from '../../src/testing/random.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { mortal, Shuffle } from '../support/registry-kill/storages.ts';
import { join } from '../support/registry-kill/world.ts';

/** Interleavings of each kind: so many in all, and what their first seed is. */
const RACES = Number(process.env['KILL_RACES'] ?? 10_000);
const FIRST_SEED = Number(process.env['KILL_SEED'] ?? 1);

interface Kind {
  readonly share: number;
  readonly conflictRate?: number;
  readonly unknownRate?: number;
  /** The killer dies after one of its commits, and another process goes on. */
  readonly crash?: boolean;
}

const KINDS: Record<string, Kind> = {
  'that meet no faults': { share: 0.7 },
  'among conflicts': { share: 0.1, conflictRate: 0.15 },
  'among unknown outcomes': { share: 0.1, unknownRate: 0.15 },
  'whose killer dies': { share: 0.1, crash: true, conflictRate: 0.03 },
};

/** Ids that begin with the name of their process, the same for the same seed. */
function idsOf(process: string): (prefix: string) => string {
  let made = 0;
  return (prefix) => `${prefix}_${process}${made++}`;
}

/** root → a, b; a → c; b → d (which will be offline), and an outsider with a child. */
const PLANTED: readonly (readonly [id: string, parentId?: string])[] = [
  ['root'],
  ['a', 'root'],
  ['b', 'root'],
  ['c', 'a'],
  ['d', 'b'],
  ['out'],
  ['out.0', 'out'],
];

/** The records of the planted sessions, so that each race begins with one commit. */
async function plantedPuts(clock: VirtualClock): Promise<Put[]> {
  const storage = new InMemoryStorage({ clock });
  const registry = new SessionRegistry({ storage, generateId: idsOf('p') });
  const partitions = new Set<string>();
  storage.watch((hint) => {
    for (const partition of hint.partitions ?? []) partitions.add(partition);
  });
  for (const [id, parentId] of PLANTED) {
    const ttlMs = id === 'd' ? 1000 : 300_000;
    await registry.register({ id, heartbeat: 'manual', ttlMs, ...(parentId !== undefined && { parentId }) });
  }
  await Promise.resolve();
  partitions.delete('events');
  return [...partitions].flatMap((partition) =>
    storage.list(partition).map(({ key, value, expiresAt }): Put => {
      return { partition, key, value, ...(expiresAt !== undefined && { ttlMs: expiresAt - clock.now() }) };
    }),
  );
}

interface Race {
  readonly seed: number;
  /**
   * Whether sessions of the tree are taken over and put elsewhere. Not where the killer dies: they would take along what it
   * had not reached yet.
   */
  readonly takesOver: boolean;
  readonly random: SeededRandom;
  readonly storage: Storage;
  readonly killer: SessionRegistry;
  readonly others: SessionRegistry;
  /** What is registered in the course of the race, by whatever means. */
  spawned: number;
}

/** Registers below a session, then below the new one, and so on: each is refused or killed. */
async function spawnBelow(race: Race, parentId: string, depth: number): Promise<void> {
  const id = `s${race.spawned++}`;
  const session = await race.others.register({ id, parentId, heartbeat: 'manual' });
  for (let n = 0; n < 2 && depth > 0; n++) {
    if (race.random.chance(0.5)) await spawnBelow(race, id, depth - 1);
    else await session.spawn({ id: `s${race.spawned++}`, heartbeat: 'manual' });
  }
}

/** One of the things that happen to a tree while it is killed. */
function somethingHappens(race: Race): Promise<unknown> {
  const { random, others } = race;
  const anyone = random.pick(PLANTED)[0];
  const what = random.below(12);
  switch (what === 2 || what === 3 ? (race.takesOver ? what : 9) : what) {
    case 0:
      return others.end(random.pick(['a', 'b', 'c']));
    case 1:
      return others.heartbeat('d');
    case 2:
      // One of the tree goes below another, which may be outside or close a circle.
      return others.register({ id: random.pick(['a', 'b', 'c', 'd']), parentId: anyone, takeover: true, heartbeat: 'manual' });
    case 3:
      return others.register({ id: random.pick(['a', 'b', 'c', 'd']), takeover: true, heartbeat: 'manual' });
    case 4:
      return others.register({ id: 'out', parentId: random.pick(['root', 'a', 'c', 'd']), takeover: true, heartbeat: 'manual' });
    case 5:
      return others.kill(random.pick(['a', 'b', 'root']), { force: true });
    case 6:
      // Not both: who takes over a root that was killed without its children has them legally.
      if (race.seed % 2) return others.kill('root', { force: true, cascade: false });
      return others.register({ id: 'root', takeover: true, heartbeat: 'manual' });
    default:
      return spawnBelow(race, anyone, random.below(3));
  }
}

async function run(seed: number, puts: Put[], { conflictRate = 0, unknownRate = 0, crash = false }: Kind): Promise<void> {
  const random = new SeededRandom(seed);
  const clock = new VirtualClock();
  const memory = new InMemoryStorage({ clock });
  const faulty = withFaults(memory, { seed, conflictRate, unknownRate });
  const shuffled = new Shuffle(seed).over(conflictRate + unknownRate > 0 ? faulty : memory);
  const registryOn = (storage: Storage, name: string): SessionRegistry =>
    new SessionRegistry({ storage, generateId: idsOf(name), onError: () => {} });
  const witness = registryOn(memory, 'w');
  const killer = registryOn(crash ? mortal(shuffled, 1 + random.below(9)).storage : shuffled, 'k');
  const others = registryOn(shuffled, 'o');
  try {
    memory.commit({ puts });
    clock.set(clock.now() + 1001);
    const race: Race = { seed, takesOver: !crash, random, storage: memory, killer, others, spawned: 0 };
    const mode: KillOptions = random.chance(0.6) ? { force: true } : { graceMs: random.pick([0, 500]), timeoutMs: 0 };
    const outcomes = Promise.allSettled(Array.from({ length: 2 + random.below(4) }, () => somethingHappens(race)));
    const killing = killer.kill('root', mode);
    if (unknownRate > 0) await letPass(clock, Promise.allSettled([killing, outcomes]));
    const report = await killing.then(
      (done) => done,
      (error: unknown) => {
        if (!crash) throw error;
      },
    );
    // Another kill of a part that has left the tree may still be under way.
    if (report && mode.force) await expectNobodyBelow(witness, 'right after the kill', 'root');
    for (const outcome of await outcomes) {
      if (outcome.status === 'rejected' && !MeshError.is(outcome.reason)) throw outcome.reason;
    }
    // The grace passes: the sessions are dead by the clock alone.
    clock.set(clock.now() + 501);
    if (report) await expectNobodyBelow(witness, 'when the grace was over');
    if (report && mode.force && conflictRate + unknownRate === 0) {
      expect(memory.list('kills'), 'no order is left').toEqual([]);
    }
    if (crash || seed % 20 === 0) {
      faulty.faults.pause();
      await clock.advance(6000);
      await expectNobodyBelow(witness, 'after the sweeps');
      expect(memory.list('kills'), 'no order is left after the sweeps').toEqual([]);
    }
    expectOneEndEach(memory, 'in the log');
  } catch (error) {
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** Whoever asks again after an unknown outcome waits a little between attempts. */
async function letPass(clock: VirtualClock, promise: Promise<unknown>): Promise<void> {
  let isSettled = false;
  void promise.then(() => {
    isSettled = true;
  });
  while (!isSettled) await clock.advance(2);
}

/** Nobody lives whose parent, or its parent, and so on, was killed. */
async function expectNobodyBelow(registry: SessionRegistry, when: string, root?: string): Promise<void> {
  const all = new Map((await registry.list({ state: 'all', limit: 1000 })).items.map((session) => [session.id, session]));
  const alive = [...all.values()].filter(({ state }) => state === 'alive' || state === 'offline');
  for (const session of alive) {
    const path = [session.id];
    for (let parent = session.parentId; parent !== undefined; parent = all.get(parent)?.parentId) {
      path.push(parent);
      if (path.length > 64) throw new Error(`expected no circle ${when}, got ${path.slice(0, 10).join(' < ')}`);
      const state = all.get(parent)?.state ?? 'gone';
      if (root !== undefined && parent !== root) continue;
      if (state !== 'killed' && state !== 'stopping' && state !== 'gone') continue;
      throw new Error(`expected no survivor ${when}, got ${path.join(' < ')}, which is ${state}`);
    }
  }
}

/** Each incarnation ends at most once, and each that is over has ended exactly once, unless another took its place. */
function expectOneEndEach(storage: InMemoryStorage, where: string): void {
  const ends = new Map<string, number>();
  for (const { value } of storage.list('events')) {
    const { name, session, epoch } = value as { name: string; session: string; epoch: number };
    const key = `${session}@${name === 'session_created' ? epoch : epoch - 1}`;
    if (name === 'agent_killed') ends.set(key, (ends.get(key) ?? 0) + 1);
    else if (name === 'session_ended') ends.set(key, (ends.get(key) ?? 0) + 1);
  }
  for (const [key, count] of ends) if (count !== 1) throw new Error(`expected one end of ${key} ${where}, got ${count}`);
  for (const { key, value } of storage.list('sessions')) {
    const { epoch, ending } = value as { epoch: number; ending?: unknown };
    const told = ends.get(`${key}@${epoch - 1}`) ?? 0;
    if (ending && told !== 1) throw new Error(`expected the end of ${key} to be told once ${where}, got ${told}`);
  }
}

describe('kills against everything that may happen to the tree meanwhile', () => {
  // Thousands of calls are refused, and nobody reads where from.
  const { stackTraceLimit } = Error;
  beforeAll(() => {
    Error.stackTraceLimit = 0;
  });
  afterAll(() => {
    Error.stackTraceLimit = stackTraceLimit;
  });

  for (const [name, kind] of Object.entries(KINDS)) {
    const races = Math.round(RACES * kind.share);
    it(`leave no survivor and no orphan, in ${races} interleavings ${name}`, async () => {
      const puts = await plantedPuts(new VirtualClock());
      for (let seed = FIRST_SEED; seed < FIRST_SEED + races; seed++) await run(seed, puts, kind);
    });
  }
});

describe('the end of a session with a kill order', () => {
  it('is told exactly once, whoever comes first to it, in 400 interleavings', async () => {
    for (let seed = FIRST_SEED; seed < FIRST_SEED + 400; seed++) {
      const random = new SeededRandom(seed);
      const clock = new VirtualClock();
      const memory = new InMemoryStorage({ clock });
      const shuffle = new Shuffle(seed);
      const storage = shuffle.over(memory);
      const registryOn = (name: string): SessionRegistry =>
        new SessionRegistry({ storage, generateId: idsOf(name), onError: () => {} });
      const [owner, first, second] = ['w', 'f', 's'].map(registryOn) as [SessionRegistry, SessionRegistry, SessionRegistry];
      const ids = ['x', 'x.0', 'x.1'];
      const handles: SessionHandle[] = [];
      for (const [n, id] of ids.entries()) {
        handles.push(await owner.register({ id, heartbeat: 'manual', ttlMs: 5000, ...(n > 0 && { parentId: 'x' }) }));
      }
      const killing = first.kill('x', { graceMs: 1000 });
      await shuffle.rest();
      // In the last moment, right at it, or long before.
      await clock.advance(random.pick([10, 999, 1000, 1001]));
      const racers = [
        () => handles[random.below(3)]?.end(),
        () => second.end(random.pick(ids)),
        () => second.kill(random.pick(ids), { force: true }),
        () => second.kill('x', { timeoutMs: 500 }),
        () => owner.close(),
        () => handles[random.below(3)]?.heartbeat(),
        () => clock.advance(1),
      ];
      const races = Promise.allSettled(Array.from({ length: 4 }, () => random.pick(racers)()));
      await letPass(clock, Promise.allSettled([races, killing]));
      for (let passed = 0; passed < 7000; passed += 500) {
        await clock.advance(500);
        await shuffle.rest();
      }
      const told = memory.list('events').map(({ value }) => value as { name: string; session: string; epoch: number });
      for (const id of ids) {
        const ends = told.filter(({ name, session }) => session === id && (name === 'agent_killed' || name === 'session_ended'));
        const names = ends.map(({ name, epoch }) => `${name} ${epoch}`);
        expect(names, `${id} of seed ${seed}`).toEqual(['agent_killed 2']);
      }
      expect(memory.list('kills'), `seed ${seed}`).toEqual([]);
    }
  });
});

describe('the same seed', () => {
  it('gives the same run', async () => {
    const logs: unknown[] = [];
    for (let time = 0; time < 2; time++) {
      const clock = new VirtualClock();
      const memory = new InMemoryStorage({ clock });
      const storage = new Shuffle(3).over(memory);
      const mesh = join(storage, { generateId: idsOf('x') });
      await mesh.registry.register({ id: 'root', heartbeat: 'manual' });
      const race: Race = {
        seed: 7,
        takesOver: true,
        random: new SeededRandom(7),
        storage,
        killer: mesh.registry,
        others: mesh.registry,
        spawned: 0,
      };
      await Promise.allSettled([
        ...[1, 2, 3].map(() => spawnBelow(race, 'root', 2)),
        mesh.registry.get('root').then(() => mesh.registry.kill('root', { force: true })),
      ]);
      logs.push(memory.list('events').map(({ value }) => value));
    }
    expect(logs[0]).toEqual(logs[1]);
    expect((logs[0] as unknown[]).length).toBeGreaterThan(1);
  });
});

import { describe, expect, it } from 'vitest';
import type { Mesh } from '../../src/index.ts';
import { counted, type Mortal, mortal, wrapped } from '../support/registry-kill/storages.ts';
import {
  countedWorld,
  endings,
  eventsOf,
  join,
  keysOf,
  openWorld,
  passUntil,
  plant,
  quiet,
  type World,
} from '../support/registry-kill/world.ts';
import { storages } from '../support/storages.ts';

/** A killed tree of 10,000 sessions takes seconds to plant: give its size to see it. */
const TREE = Number(process.env['KILL_TREE'] ?? 1500);

/** A mesh of a process that dies after its `last`-th commit. */
function doomed(world: World, last: number): { readonly mesh: Mesh; readonly life: Mortal } {
  const life = mortal(world.storage, last);
  return { mesh: join(life.storage, { onError: () => {} }), life };
}

/** Nothing is left of an order: not in its partition, nor among what is due. */
async function expectNoOrder({ storage }: World): Promise<void> {
  expect(await keysOf(storage, 'kills')).toEqual([]);
  expect((await keysOf(storage, 'due')).filter((key) => key.includes('/kill/'))).toEqual([]);
}

describe.each(storages)('a cascade on %s', (name, open) => {
  it('reaches ten levels down', async () => {
    const world = await openWorld(open);
    const { clock, registry, mesh } = world;
    const ids = ['n0'];
    await quiet(registry, 'n0');
    for (let depth = 1; depth < 10; depth++) {
      for (const id of [`n${depth}`, `side${depth}`]) {
        await quiet(registry, id, `n${depth - 1}`);
        ids.push(id);
      }
    }
    await quiet(registry, 'outside');
    const { killed, stopping } = await registry.kill('n0', { force: true, reason: 'all' });
    expect(stopping).toEqual([]);
    expect(killed[0]).toEqual({ session: 'n0', graceful: false });
    expect(killed.map(({ session }) => session).sort()).toEqual([...ids].sort());
    const told = (await eventsOf(mesh)).filter(({ name }) => name === 'agent_killed');
    expect(told.map(({ session, root }) => [session, root]).sort()).toEqual(ids.map((id) => [id, 'n0']).sort());
    // A parent before its children: whoever hears of a child has heard of its parent.
    const order = told.map(({ session }) => session);
    for (let depth = 1; depth < 10; depth++) expect(order.indexOf(`n${depth - 1}`)).toBeLessThan(order.indexOf(`n${depth}`));
    expect(await registry.get('outside')).toMatchObject({ state: 'alive' });
    await clock.advance(2000);
    await expectNoOrder(world);
  });

  it('gives each session its own grace, and reports who used it', async () => {
    const world = await openWorld(open);
    const { clock, registry, storage, mesh } = world;
    const other = join(storage).registry;
    await quiet(registry, 'root');
    await quiet(registry, 'short', 'root', 1500);
    const child = await quiet(other, 'child', 'root');
    const grandchild = await quiet(registry, 'grandchild', 'child');
    const dead = await quiet(registry, 'dead', 'child');
    await dead.end();
    await quiet(registry, 'below', 'dead').catch(() => {});
    const start = clock.now();
    const killing = registry.kill('root', { graceMs: 4000 });
    await clock.advance(1000);
    await child.end();
    await grandchild.end();
    await clock.advance(501);
    expect((await registry.get('short'))?.state).toBe('killed');
    expect((await registry.get('root'))?.state).toBe('stopping');
    const { killed } = await passUntil(clock, killing, 1);
    expect(clock.now() - start).toBe(4001);
    expect(killed).toEqual([
      { session: 'root', graceful: false },
      { session: 'child', graceful: true },
      { session: 'short', graceful: false },
      { session: 'grandchild', graceful: true },
    ]);
    expect(await endings(mesh)).toEqual({
      dead: ['ended'],
      child: ['graceful'],
      grandchild: ['graceful'],
      short: ['killed'],
      root: ['killed'],
    });
    await clock.advance(4000);
    await expectNoOrder(world);
  });

  it('goes on below a session that has ended or is offline', async () => {
    const world = await openWorld(open);
    const { clock, registry } = world;
    for (const [id, parent] of [
      ['root'],
      ['ended', 'root'],
      ['below ended', 'ended'],
      ['offline', 'root'],
      ['below offline', 'offline'],
    ]) {
      await quiet(registry, (id as string).replace(' ', '-'), parent, id === 'offline' ? 1000 : undefined);
    }
    await registry.end('ended');
    await clock.advance(2000);
    expect((await registry.get('offline'))?.state).toBe('offline');
    const { killed } = await registry.kill('root', { force: true });
    expect(killed.map(({ session }) => session).sort()).toEqual(['below-ended', 'below-offline', 'offline', 'root']);
    expect((await registry.get('ended'))?.state).toBe('ended');
  });

  it('leaves alone who goes to another parent before its mark, and finds it where that one is below as well', async () => {
    const { registry, storage } = await openWorld(open);
    await plant(registry, 'a', 2, 3);
    await quiet(registry, 'out');
    let isMoved = false;
    const view = wrapped(storage, async (call, run) => {
      const answer = await run();
      if (call.partition?.endsWith('.parent=a') && !isMoved) {
        isMoved = true;
        for (const [id, parentId] of [
          ['a.0', 'out'],
          ['a.1', 'a.2'],
        ] as const) {
          await registry.register({ id, parentId, takeover: true, heartbeat: 'manual' });
        }
      }
      return answer;
    });
    const { killed } = await join(view).registry.kill('a', { force: true });
    expect(isMoved).toBe(true);
    expect(killed.map(({ session }) => session).sort()).toEqual(['a', 'a.1', 'a.2']);
    expect(await registry.get('a.0')).toMatchObject({ state: 'alive', parentId: 'out' });
  });

  it('has marked everybody when it returns with timeoutMs 0', async () => {
    const { registry } = await openWorld(open);
    const ids = await plant(registry, 'a', 4, 3);
    const { killed, stopping } = await registry.kill('a', { timeoutMs: 0 });
    expect(killed).toEqual([]);
    expect(stopping[0]).toBe('a');
    expect([...stopping].sort()).toEqual([...ids].sort());
    for (const id of ids) await expect(quiet(registry, 'late', id)).rejects.toMatchObject({ code: 'not_alive' });
  });

  it(`takes a tree of ${TREE} sessions in small steps, and none twice`, async () => {
    const { registry, storage, mesh } = await openWorld(open);
    const counter = counted(storage);
    const killer = join(counter.storage);
    const size = name === 'memory' || process.env['KILL_TREE'] ? TREE : Math.min(TREE, 500);
    await quiet(registry, 'r');
    for (let start = 1; start < size; start += 100) {
      const together = Array.from({ length: Math.min(100, size - start) }, (_, n) => start + n);
      // About ten children each: the parent of n is n / 10.
      await Promise.all(together.map((n) => quiet(registry, `r${n}`, n <= 100 ? 'r' : `r${Math.floor(n / 10)}`)));
    }
    counter.take();
    let turns = 0;
    let most = 0;
    let longest = 0;
    let commits = 0;
    let isDone = false;
    let last = performance.now();
    const look = (): void => {
      turns += 1;
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
      const soFar = counter.calls.filter((call) => call.name === 'commit').length;
      most = Math.max(most, soFar - commits);
      commits = soFar;
      if (!isDone) setImmediate(look);
    };
    setImmediate(look);
    const start = performance.now();
    const { killed } = await killer.registry.kill('r', { force: true });
    const took = performance.now() - start;
    isDone = true;
    const calls = counter.take();
    console.info(
      `${name}: forced kill of ${size} sessions in ${took.toFixed(0)} ms, longest turn ${longest.toFixed(1)} ms with at most ` +
        `${most} commits; ${calls.get} gets, ${calls.list} lists, ${calls.commit} commits`,
    );
    expect(killed).toHaveLength(size);
    expect(new Set(killed.map(({ session }) => session)).size).toBe(size);
    // One commit per session (two attempts at the root), one for the removal of the order.
    expect(calls.commit).toBe(size + 2);
    // A look at each, and a list of the children of each, in each of two walks.
    expect(calls.get).toBeLessThanOrEqual(2 * size + 10);
    expect(calls.list).toBe(2 * size);
    expect(most).toBeLessThanOrEqual(128);
    expect(turns).toBeGreaterThanOrEqual(size / 128);
    const told = (await eventsOf(mesh)).filter((event) => event.name === 'agent_killed');
    expect(new Set(told.map(({ session }) => session)).size).toBe(size);
    expect(told).toHaveLength(size);
  });

  it('does not look at the whole tree again whenever one session ends', async () => {
    const { clock, registry, counter } = await countedWorld(open);
    const ids = await plant(registry, 'r', 2, 100);
    const killing = registry.kill('r', { graceMs: 20_000 });
    await clock.advance(50);
    counter.take();
    for (const id of ids) {
      await registry.end(id);
      await clock.advance(10);
    }
    const { killed } = await passUntil(clock, killing);
    expect(killed).toHaveLength(101);
    const calls = counter.take();
    // To end one takes a get and a commit; to see it ended a get; the last walk a get and a list each; sweeps some more.
    // And what the hub keeps for each is looked for.
    expect(calls.get).toBeLessThanOrEqual(101 * 10);
    expect(calls.list).toBeLessThanOrEqual(101 * 9);
  });

  it('of one session costs reads and one commit, and what a tree costs only where there is one', async () => {
    const { registry, storage } = await openWorld(open);
    const counter = counted(storage);
    const killer = join(counter.storage).registry;
    for (const id of ['forced', 'alone', 'gentle', 'parent']) await quiet(registry, id);
    await quiet(registry, 'child', 'parent');
    counter.take();
    await killer.kill('forced', { force: true });
    // Of the reads, one is for an order that may be under way.
    expect(counter.take()).toEqual({ get: 3, list: 0, commit: 1 });
    await killer.kill('forced', { force: true });
    expect(counter.take()).toEqual({ get: 3, list: 1, commit: 0 });
    await killer.kill('alone', { force: true, cascade: false });
    expect(counter.take()).toEqual({ get: 3, list: 0, commit: 1 });
    await killer.kill('gentle', { timeoutMs: 0 });
    expect(counter.take()).toEqual({ get: 5, list: 1, commit: 1 });
    await killer.kill('parent', { force: true });
    // An attempt without an order, one with it, the child; then the last walk and the removal of the order.
    expect(counter.take()).toEqual({ get: 9, list: 4, commit: 4 });
  });

  describe('whose killer dies after one of its commits', () => {
    /** Seven sessions on three levels, held by a process that lives on. */
    async function planted(): Promise<World & { readonly ids: readonly string[] }> {
      const world = await openWorld(open);
      return { ...world, ids: await plant(world.registry, 'a', 3, 2) };
    }

    it('is completed by another process within the time of a sweep: forced', async () => {
      let deaths = 0;
      for (let last = 1; ; last++) {
        const world = await planted();
        const killer = doomed(world, last);
        const killing = killer.mesh.registry.kill('a', { force: true, reason: 'crash' });
        const survived = await killing.then(
          () => true,
          () => false,
        );
        if (survived) break;
        deaths += 1;
        // A second until others look after the order, and a sweep interval.
        await world.clock.advance(2000);
        for (const id of world.ids)
          expect(await world.registry.get(id), `${id} after ${last}`).toMatchObject({ state: 'killed', reason: 'crash' });
        expect(await endings(world.mesh)).toEqual(Object.fromEntries(world.ids.map((id) => [id, ['killed']])));
        await world.clock.advance(1000);
        await expectNoOrder(world);
        expect(world.errors).toEqual([]);
        await world.mesh.close();
      }
      // The order with the root's end, six sessions, the removal of the order.
      expect(deaths).toBe(8);
    });

    it('is completed by another process within the time of a sweep: with a grace', async () => {
      let deaths = 0;
      for (let last = 1; ; last++) {
        const world = await planted();
        const killer = doomed(world, last);
        const killing = killer.mesh.registry.kill('a', { graceMs: 3000 });
        const result = killing.then(
          () => true,
          () => false,
        );
        await world.clock.advance(2000);
        const states = await Promise.all(world.ids.map(async (id) => (await world.registry.get(id))?.state));
        expect(states, `after ${last}`).toEqual(world.ids.map(() => 'stopping'));
        await world.registry.end('a.1');
        // Those marked by whoever went on have their grace from then on.
        await world.clock.advance(4500);
        const told = await endings(world.mesh);
        expect(told, `after ${last}`).toEqual(
          Object.fromEntries(world.ids.map((id) => [id, [id === 'a.1' ? 'graceful' : 'killed']])),
        );
        await world.clock.advance(3000);
        await expectNoOrder(world);
        expect(world.errors).toEqual([]);
        await world.mesh.close();
        if (await result) break;
        deaths += 1;
      }
      // Seven marks (the first with the order), six ends, the removal of the order.
      expect(deaths).toBeGreaterThanOrEqual(7);
    });

    it('is completed also when it held the sessions itself, and nobody else was there', async () => {
      for (const force of [true, false]) {
        for (let last = 1; last <= 7; last++) {
          const world = await openWorld(open);
          await world.mesh.close();
          const nursery = join(world.storage);
          const ids = await plant(nursery.registry, 'a', 3, 2);
          const killer = doomed(world, last);
          await killer.mesh.registry.kill('a', { force, graceMs: 1000 }).catch(() => {});
          // The nursery dies with it: nothing of it runs any more.
          await nursery.close();
          await world.clock.advance(20_000);
          const late = join(world.storage);
          await late.registry.stats();
          await world.clock.advance(2500);
          for (const id of ids) expect((await late.registry.get(id))?.state, `${id} after ${last}`).toBe('killed');
          for (const told of Object.values(await endings(late))) expect(told).toEqual(['killed']);
          await world.clock.advance(3000);
          await expectNoOrder(world);
          await late.close();
        }
      }
    });

    it('is completed also when those who complete it die in turn', async () => {
      for (let first = 1; first <= 4; first++) {
        for (let second = 1; second <= 4; second++) {
          const world = await planted();
          const helper = doomed(world, second);
          await doomed(world, first)
            .mesh.registry.kill('a', { force: true })
            .catch(() => {});
          await world.clock.advance(4000);
          const where = `after ${first} and ${second}`;
          expect(await endings(world.mesh), where).toEqual(Object.fromEntries(world.ids.map((id) => [id, ['killed']])));
          await expectNoOrder(world);
          await helper.mesh.close().catch(() => {});
          await world.mesh.close();
        }
      }
    });

    it('takes nobody else with it: who was there before the order and is not below', async () => {
      const world = await planted();
      await quiet(world.registry, 'b');
      await quiet(world.registry, 'b.0', 'b');
      await doomed(world, 2)
        .mesh.registry.kill('a.0', { force: true })
        .catch(() => {});
      await world.clock.advance(3000);
      const told = await endings(world.mesh);
      expect(Object.keys(told).sort()).toEqual(['a.0', 'a.0.0', 'a.0.1']);
    });
  });

  it('is not milder for a sharper order whose giver died at once, though the first had a long grace', async () => {
    const world = await openWorld(open);
    const { clock, registry, mesh } = world;
    await plant(registry, 'a', 3, 2);
    await registry.kill('a', { graceMs: 250_000, timeoutMs: 0 });
    await clock.advance(5000);
    await doomed(world, 1)
      .mesh.registry.kill('a', { force: true })
      .catch(() => {});
    await clock.advance(2500);
    expect(Object.keys(await endings(mesh))).toHaveLength(7);
    await clock.advance(120_000);
    await expectNoOrder(world);
  });

  it('is carried out although its giver died, when a milder killer ends first', async () => {
    const world = await openWorld(open);
    const { clock, registry, mesh } = world;
    await plant(registry, 'a', 3, 2);
    const milder = registry.kill('a', { cascade: false, graceMs: 500 });
    await clock.advance(100);
    await doomed(world, 1)
      .mesh.registry.kill('a', { graceMs: 500 })
      .catch(() => {});
    // It has got what it wanted, and removes no order but its own.
    expect((await passUntil(clock, milder)).killed).toEqual([{ session: 'a', graceful: false }]);
    expect(Object.keys(await endings(mesh))).toEqual(['a']);
    await clock.advance(5000);
    expect(Object.keys(await endings(mesh))).toHaveLength(7);
    await expectNoOrder(world);
  });

  it('is carried out although its giver died, when a sweeper was about to remove the milder order', async () => {
    const world = await openWorld(open);
    const { clock, mesh } = world;
    await mesh.close();
    // Somebody who holds the sessions, and does not look after orders.
    await plant(join(world.storage, { sweepIntervalMs: 3_600_000 }).registry, 'a', 3, 2);
    await doomed(world, 1)
      .mesh.registry.kill('a', { cascade: false, graceMs: 300 })
      .catch(() => {});
    let isTried = false;
    const view = wrapped(world.storage, async (call, run) => {
      const removes = call.commit?.deletes?.some((one) => one.partition === 'kills');
      if (removes && !isTried) {
        isTried = true;
        expect((await world.storage.list('kills')).map(({ key }) => key)).toEqual(['a']);
        await doomed(world, 1)
          .mesh.registry.kill('a')
          .catch(() => {});
      }
      return run();
    });
    const sweeper = join(view);
    await clock.advance(6000);
    expect(isTried).toBe(true);
    expect(Object.keys(await endings(sweeper))).toHaveLength(7);
    await expectNoOrder(world);
  });

  it('of one killer is not undone by a second one that wants less', async () => {
    const world = await openWorld(open);
    const { clock, registry, mesh } = world;
    await plant(registry, 'a', 3, 2);
    // The first dies with the order given; the second, without a cascade, completes before any sweep.
    await doomed(world, 1)
      .mesh.registry.kill('a', { graceMs: 100 })
      .catch(() => {});
    await passUntil(clock, registry.kill('a', { force: true, cascade: false }), 1);
    await clock.advance(5000);
    expect(Object.keys(await endings(mesh))).toHaveLength(7);
    await expectNoOrder(world);
  });
});

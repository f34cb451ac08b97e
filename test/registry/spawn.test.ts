import { describe, expect, it } from 'vitest';
import { type SessionHandle, SessionRegistry } from '../../src/index.ts';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { SeededRandom } from '../../src/testing/random.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { Shuffle, wrapped } from '../support/registry-kill/storages.ts';
import { eventsOf, join, openWorld, quiet, type World } from '../support/registry-kill/world.ts';
import { storages } from '../support/storages.ts';

describe.each(storages)('spawn on %s', (_name, open) => {
  it('registers a child of the session, with a handle of its own', async () => {
    const { registry, mesh } = await openWorld(open);
    const parent = await quiet(registry, 'parent');
    const child = await parent.spawn({ id: 'child', agent: { name: 'Helper', type: 'Claude' }, heartbeat: 'manual' });
    expect(await registry.get('child')).toMatchObject({
      parentId: 'parent',
      state: 'alive',
      agent: { name: 'Helper', type: 'Claude' },
    });
    const grandchild = await child.spawn();
    expect(grandchild.id).toMatch(/^session_[0-9A-Za-z]{21}$/);
    expect((await registry.list({ parentId: 'child' })).items.map(({ id }) => id)).toEqual([grandchild.id]);
    const told = (await eventsOf(mesh))
      .filter(({ name }) => name === 'session_created')
      .map(({ session, parent: below }) => [session, below]);
    expect(told).toEqual([
      ['parent', undefined],
      ['child', 'parent'],
      [grandchild.id, 'child'],
    ]);
  });

  it('does not take a parent in its options, nor what register would not take', async () => {
    const { registry } = await openWorld(open);
    const parent = await quiet(registry, 'parent');
    await quiet(registry, 'other');
    await expect(parent.spawn({ parentId: 'other' } as object)).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(parent.spawn({ id: '*' })).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(parent.spawn(null as unknown as object)).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(parent.spawn({ id: 'other' })).rejects.toMatchObject({ code: 'already_exists' });
    await expect(parent.spawn({ id: 'parent', takeover: true })).rejects.toMatchObject({ code: 'invalid_input' });
    expect((await registry.list({ parentId: 'parent' })).items).toEqual([]);
  });

  it('registers each of many children at once', async () => {
    const { registry } = await openWorld(open);
    const parent = await quiet(registry, 'parent');
    const children = await Promise.all(Array.from({ length: 64 }, () => parent.spawn({ heartbeat: 'manual' })));
    const listed = (await registry.list({ parentId: 'parent' })).items.map(({ id }) => id);
    expect(listed).toEqual(children.map(({ id }) => id).sort());
  });

  it('is refused to who has lapsed, and possible again after the heartbeat that revives it', async () => {
    const { clock, registry } = await openWorld(open);
    const parent = await quiet(registry, 'parent', undefined, 1000);
    clock.set(clock.now() + 1001);
    await expect(parent.spawn()).rejects.toMatchObject({ code: 'not_alive' });
    await expect(registry.register({ parentId: 'parent' })).rejects.toMatchObject({ code: 'not_alive' });
    await parent.heartbeat();
    await parent.spawn({ id: 'child', heartbeat: 'manual' });
    expect(await registry.get('child')).toMatchObject({ parentId: 'parent' });
  });

  it('is refused to an owner whose session another has: nothing of it lands below the new one', async () => {
    const { registry, storage } = await openWorld(open);
    const others = join(storage).registry;
    const [taken, ended, killed] = [
      await quiet(registry, 'taken'),
      await quiet(registry, 'ended'),
      await quiet(registry, 'killed'),
    ];
    await others.register({ id: 'taken', takeover: true });
    await others.end('ended');
    await others.register({ id: 'ended' });
    await others.kill('killed', { force: true });
    await others.register({ id: 'killed', takeover: true });
    for (const zombie of [taken, ended, killed]) {
      await expect(zombie.spawn(), zombie.id).rejects.toMatchObject({ code: 'lease_lost' });
      expect((await registry.list({ parentId: zombie.id })).items, zombie.id).toEqual([]);
    }
  });

  describe('while something happens to the parent between its look and its commit', () => {
    type Interfere = (world: World, parent: SessionHandle) => Promise<unknown> | unknown;
    const interferences: Record<string, { readonly act: Interfere; readonly code: string }> = {
      'a kill order': { act: ({ registry }) => registry.kill('parent', { timeoutMs: 0 }), code: 'not_alive' },
      'its kill': { act: ({ registry }) => registry.kill('parent', { force: true }), code: 'lease_lost' },
      'its end': { act: ({ registry }) => registry.end('parent'), code: 'lease_lost' },
      'a takeover': { act: ({ registry }) => registry.register({ id: 'parent', takeover: true }), code: 'lease_lost' },
      'a lapse': { act: ({ clock }) => clock.set(clock.now() + 300_001), code: 'not_alive' },
    };

    it.each(Object.keys(interferences))('is refused: %s', async (what) => {
      const { act, code } = interferences[what] as (typeof interferences)[string];
      const world = await openWorld(open);
      let interfere: (() => Promise<unknown> | unknown) | undefined;
      const view: Storage = wrapped(world.storage, async (call, run) => {
        const isChild = call.commit?.puts?.some(({ partition, key }) => partition === 'sessions' && key === 'child');
        const now = isChild ? interfere : undefined;
        if (now) {
          interfere = undefined;
          await now();
        }
        return run();
      });
      const parent = await quiet(join(view, { onError: () => {} }).registry, 'parent');
      interfere = () => act(world, parent);
      await expect(parent.spawn({ id: 'child' })).rejects.toMatchObject({ code });
      expect(interfere).toBeUndefined();
      expect(await world.registry.get('child')).toBeUndefined();
      const by = await world.registry.list({ parentId: 'parent', state: 'all' });
      expect(by.items).toEqual([]);
    });

    it('lands when the parent was only revived meanwhile', async () => {
      const world = await openWorld(open);
      let interfere: (() => Promise<unknown>) | undefined;
      const view = wrapped(world.storage, async (call, run) => {
        const isChild = call.commit?.puts?.some(({ partition, key }) => partition === 'sessions' && key === 'child');
        const now = isChild ? interfere : undefined;
        if (now) {
          interfere = undefined;
          await now();
        }
        return run();
      });
      const parent = await quiet(join(view).registry, 'parent', undefined, 1000);
      interfere = async () => {
        world.clock.set(world.clock.now() + 1001);
        await world.registry.heartbeat('parent');
      };
      await parent.spawn({ id: 'child', heartbeat: 'manual' });
      expect(await world.registry.get('child')).toMatchObject({ state: 'alive', parentId: 'parent' });
    });
  });
});

describe('sessions that are put below each other at the same time', () => {
  it('never close a circle, in 500 interleavings', async () => {
    for (let seed = 1; seed <= 500; seed++) {
      const clock = new VirtualClock();
      const memory = new InMemoryStorage({ clock });
      const random = new SeededRandom(seed);
      const planter = new SessionRegistry({ storage: memory });
      const ids = ['a', 'b', 'c', 'd'];
      for (const id of ids) await quiet(planter, id);
      const storage = new Shuffle(seed).over(memory);
      const registries = [
        new SessionRegistry({ storage, onError: () => {} }),
        new SessionRegistry({ storage, onError: () => {} }),
      ];
      const moves = Array.from({ length: 4 }, () => {
        return random
          .pick(registries)
          .register({ id: random.pick(ids), parentId: random.pick(ids), takeover: true, heartbeat: 'manual' });
      });
      await Promise.allSettled(moves);
      const { items } = await planter.list({ state: 'all' });
      const parents = new Map(items.map(({ id, parentId }) => [id, parentId]));
      for (const id of ids) {
        let steps = 0;
        for (let at = parents.get(id); at !== undefined; at = parents.get(at)) {
          steps += 1;
          expect(steps, `steps up from ${id} with seed ${seed}`).toBeLessThan(ids.length);
        }
      }
    }
  });
});

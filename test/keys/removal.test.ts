import { describe, expect, it } from 'vitest';
import type { Storage } from '../../src/storage/storage.ts';
import { DAY_MS, join, jump, leftOf, openWorld, outcomeOf, register, storages } from '../support/keys/world.ts';

const WEEK_MS = 7 * DAY_MS;
const HOUR_MS = 3_600_000;

/** A session that nobody holds here, so that nothing is followed while weeks pass. */
async function registerElsewhere(storage: Storage): Promise<void> {
  const there = join(storage);
  await register(there.registry, 's', { ttlMs: 30 * DAY_MS, retentionMs: 30 * DAY_MS });
  await there.mesh.close();
}

describe.each(storages)('a key that is over, on %s', (_name, open) => {
  it('stays to be seen for seven days after its revocation, and then goes with everything that belongs to it', async () => {
    const world = await openWorld(open);
    const { clock, storage, keys } = world;
    const key = await keys.issue({ maxUses: 5, ttlMs: 300 * DAY_MS });
    await keys.verify(key.token);
    await clock.advance(5000);
    await keys.revoke(key.apiKey.id, { reason: 'lost' });
    await jump(world, WEEK_MS - 4 * HOUR_MS);
    expect((await keys.list()).items).toMatchObject([{ id: key.apiKey.id, uses: 1, revokeReason: 'lost' }]);
    await jump(world, 4 * HOUR_MS);
    expect((await keys.list()).items).toEqual([]);
    expect(await leftOf(storage, [key])).toEqual([]);
    expect(await outcomeOf(keys.verify(key.token))).toBe('unknown');
    expect(await keys.stats()).toMatchObject({ total: 0, active: 0 });
  });

  it('goes seven days after it expired', async () => {
    const world = await openWorld(open);
    const { storage, keys } = world;
    const key = await keys.issue({ ttlMs: 30 * DAY_MS });
    await jump(world, 30 * DAY_MS);
    await jump(world, WEEK_MS - 8 * HOUR_MS);
    expect((await keys.list()).items).toHaveLength(1);
    await jump(world, 8 * HOUR_MS);
    expect(await leftOf(storage, [key])).toEqual([]);
  });

  it('goes seven days after it was used up, as a key for each interaction is', async () => {
    const world = await openWorld(open);
    const { storage, keys } = world;
    const made = await Promise.all(Array.from({ length: 10 }, () => keys.issue({ maxUses: 2 })));
    for (const { token } of made.slice(1)) await Promise.all([keys.verify(token), keys.verify(token), keys.verify(token)]);
    await jump(world, WEEK_MS - 4 * HOUR_MS);
    expect((await keys.list()).items).toHaveLength(10);
    await jump(world, 4 * HOUR_MS);
    // The first one has its uses left.
    expect((await keys.list()).items.map(({ id }) => id)).toEqual([made[0]?.apiKey.id]);
    expect(await leftOf(storage, made.slice(1))).toHaveLength(1);
  });

  it('goes after its session is over, also when the session has been forgotten long since', async () => {
    const world = await openWorld(open);
    const { storage, keys, registry } = world;
    await registerElsewhere(storage);
    const made = [await keys.issue({ session: 's' }), await keys.issue({ session: 's', ttlMs: 300 * DAY_MS })];
    const derived = await keys.derive((made[0] as (typeof made)[number]).token, { maxUses: 3 });
    made.push(derived);
    await jump(world, 8 * DAY_MS);
    expect(await outcomeOf(keys.verify(derived.token))).toBe('valid');
    await registry.unregister('s');
    // It is looked at every seven days, and stays for seven more once it was found over.
    await jump(world, WEEK_MS);
    expect((await keys.list({ session: 's' })).items).toHaveLength(3);
    await jump(world, WEEK_MS - DAY_MS);
    expect((await keys.list({ session: 's' })).items).toHaveLength(3);
    await jump(world, DAY_MS);
    expect(await leftOf(storage, made, ['s'])).toEqual([]);
  });

  it('goes after the key that it was derived from is over', async () => {
    const world = await openWorld(open);
    const { storage, keys } = world;
    const root = await keys.issue();
    const child = await keys.derive(root.token);
    const grandchild = await keys.derive(child.token);
    await jump(world, 8 * DAY_MS);
    expect(await outcomeOf(keys.verify(grandchild.token))).toBe('valid');
    await keys.revoke(root.apiKey.id);
    await jump(world, WEEK_MS);
    expect((await keys.list()).items.map(({ id }) => id).sort()).toEqual([child.apiKey.id, grandchild.apiKey.id].sort());
    expect(await outcomeOf(keys.verify(grandchild.token))).toBe('revoked');
    await jump(world, WEEK_MS);
    expect(await leftOf(storage, [root, child, grandchild])).toEqual([]);
  });

  it('goes once, however many processes sweep', async () => {
    const world = await openWorld(open);
    const { storage, keys } = world;
    for (let n = 0; n < 3; n++) join(storage);
    const made = await Promise.all(Array.from({ length: 30 }, () => keys.issue({ ttlMs: DAY_MS })));
    await jump(world, 9 * DAY_MS);
    expect(await leftOf(storage, made)).toEqual([]);
  });

  it('stays when it is not over: on its own, derived, bound to a session that lives, or not valid yet', async () => {
    const world = await openWorld(open);
    const { clock, storage, keys } = world;
    await registerElsewhere(storage);
    const alone = await keys.issue();
    const bound = await keys.issue({ session: 's' });
    const derived = await keys.derive(alone.token);
    const early = await keys.issue({ session: 's', notBefore: clock.now() + 40 * DAY_MS });
    const late = await keys.issue({ ttlMs: 366 * DAY_MS });
    for (let week = 0; week < 4; week++) await jump(world, WEEK_MS);
    for (const { token } of [alone, bound, derived, late]) expect(await outcomeOf(keys.verify(token))).toBe('valid');
    expect(await outcomeOf(keys.verify(early.token))).toBe('not_yet_valid');
    // One entry each for those that may end by themselves.
    expect((await leftOf(storage, [])).filter(({ partition }) => partition === 'due')).toHaveLength(4);
  });
});

import { describe, expect, it } from 'vitest';
import type { KeyManager } from '../../src/index.ts';
import { newToken } from '../../src/keys/token.ts';
import { withFaults } from '../../src/testing/faults.ts';
import { SeededRandom } from '../../src/testing/random.ts';
import {
  counted,
  errorOf,
  hooked,
  join,
  leftOf,
  openWorld,
  outcomeOf,
  refusal,
  storages,
  type World,
} from '../support/keys/world.ts';

/** How many of so many parallel verifications had each outcome. */
async function tally(managers: readonly KeyManager[], token: string, times: number): Promise<Record<string, number>> {
  const outcomes = await Promise.all(
    Array.from({ length: times }, (_, n) =>
      outcomeOf((managers[n % managers.length] as KeyManager).verify(token)).catch(() => 'failed'),
    ),
  );
  const counts: Record<string, number> = {};
  for (const outcome of outcomes) counts[outcome] = (counts[outcome] ?? 0) + 1;
  return counts;
}

async function usesOf({ keys }: { readonly keys: KeyManager }, id: string): Promise<number | undefined> {
  return (await keys.list({ limit: 1000 })).items.find((key) => key.id === id)?.uses;
}

describe.each(storages)('a key with maxUses on %s', (_name, open) => {
  it.each([1, 2, 100])('passes exactly %i of 1,000 parallel verifications in one process', async (maxUses) => {
    const world = await openWorld(open);
    const { token, apiKey } = await world.keys.issue({ maxUses });
    expect(apiKey).toMatchObject({ maxUses, uses: 0 });
    expect(await tally([world.keys], token, 1000)).toEqual({ valid: maxUses, exhausted: 1000 - maxUses });
    expect(await outcomeOf(world.keys.verify(token))).toBe('exhausted');
    expect(await usesOf(world, apiKey.id)).toBe(maxUses);
  });

  it('passes exactly as many when several processes verify at the same time', async () => {
    const world = await openWorld(open);
    const others = Array.from({ length: 4 }, () => join(world.storage).keys);
    const { token, apiKey } = await world.keys.issue({ maxUses: 100 });
    expect(await tally(others, token, 1000)).toEqual({ valid: 100, exhausted: 900 });
    expect(await usesOf(world, apiKey.id)).toBe(100);
  });

  it.each([
    ['commits lose races', { conflictRate: 0.4 }],
    ['outcomes of commits are unknown', { unknownRate: 0.15 }],
  ])('passes exactly as many when %s', async (_what, faults) => {
    const { clock, storage, keys } = await openWorld(open);
    const { token, apiKey } = await keys.issue({ maxUses: 30 });
    const processes = [1, 2, 3].map((seed) => {
      const faulty = withFaults(storage, { seed, ...faults });
      return { faulty, keys: join(faulty).keys };
    });
    // Few at a time, so that there are many commits to go wrong.
    const stream = async (there: KeyManager): Promise<string[]> => {
      const outcomes: string[] = [];
      for (let n = 0; n < 20; n++) outcomes.push(await outcomeOf(there.verify(token)));
      return outcomes;
    };
    const total = Promise.all(processes.flatMap((one) => [stream(one.keys), stream(one.keys)]));
    let isDone = false;
    total.finally(() => (isDone = true)).catch(() => {});
    while (!isDone) await clock.advance(10);
    const outcomes = (await total).flat();
    expect(outcomes.filter((outcome) => outcome === 'valid')).toHaveLength(30);
    expect(outcomes.filter((outcome) => outcome === 'exhausted')).toHaveLength(90);
    expect(await usesOf({ keys }, apiKey.id)).toBe(30);
    for (const { faulty } of processes) {
      const { conflicts, unknownApplied, unknownNotApplied } = faulty.faults.counts;
      expect(conflicts + unknownApplied + unknownNotApplied).toBeGreaterThan(0);
      faulty.faults.pause();
    }
  });

  it('loses no use to a token that is wrong, a scope that is not granted, a time that has not come or a derivation', async () => {
    const world = await openWorld(open);
    const { clock, keys } = world;
    const start = clock.now();
    const { token, apiKey } = await keys.issue({ maxUses: 1, scopes: ['a'], notBefore: start + 1000 });
    expect(await outcomeOf(keys.verify(token))).toBe('not_yet_valid');
    clock.set(start + 1000);
    expect(await outcomeOf(keys.verify(token, { scope: 'b' }))).toBe('insufficient_scope');
    expect(await outcomeOf(keys.verify(newToken(apiKey.id).token))).toBe('unknown');
    expect(await outcomeOf(keys.verify(`${token.slice(0, -1)}_`))).toBe('malformed');
    await expect(keys.derive(token)).rejects.toEqual(refusal('forbidden', 'number of uses'));
    expect(await usesOf(world, apiKey.id)).toBe(0);
    expect(await outcomeOf(keys.verify(token, { scope: 'a' }))).toBe('valid');
    expect(await outcomeOf(keys.verify(token, { scope: 'a' }))).toBe('exhausted');
  });

  it('stays used up after a rotation', async () => {
    const { keys } = await openWorld(open);
    const { token, apiKey } = await keys.issue({ maxUses: 2 });
    await keys.verify(token);
    const rotated = await keys.rotate(apiKey.id, { overlapMs: 1000 });
    expect(rotated.apiKey).toMatchObject({ maxUses: 2, uses: 1 });
    expect(await outcomeOf(keys.verify(token))).toBe('valid');
    expect(await outcomeOf(keys.verify(rotated.token))).toBe('exhausted');
  });

  it('counts the uses of a derived key by themselves', async () => {
    const { keys } = await openWorld(open);
    const parent = await keys.issue();
    const once = await keys.derive(parent.token, { maxUses: 1 });
    expect([await outcomeOf(keys.verify(once.token)), await outcomeOf(keys.verify(once.token))]).toEqual(['valid', 'exhausted']);
    expect(await outcomeOf(keys.verify(parent.token))).toBe('valid');
  });

  it('passes nobody once its revocation is acknowledged, also those who were judged before', async () => {
    let reached = (): void => {};
    let open_ = (): void => {};
    const isReached = new Promise<void>((resolve) => (reached = resolve));
    const isOpen = new Promise<void>((resolve) => (open_ = resolve));
    const { storage, keys } = await openWorld(open);
    const slow = hooked(storage, {
      commit: ({ puts = [] }) => {
        if (!puts.some(({ partition }) => partition === 'keys.uses')) return;
        reached();
        return isOpen;
      },
    });
    const there = join(slow).keys;
    const { token, apiKey } = await keys.issue({ maxUses: 10 });
    const waiting = Promise.all([there.verify(token), there.verify(token)].map(outcomeOf));
    await isReached;
    await keys.revoke(apiKey.id);
    open_();
    expect(await waiting).toEqual(['revoked', 'revoked']);
    expect(await usesOf({ keys }, apiKey.id)).toBe(0);
  });

  it('judges those again who wait while it is rotated, and passes the token that is good then', async () => {
    const { keys } = await openWorld(open);
    const { token, apiKey } = await keys.issue({ maxUses: 10 });
    const [first, rotated, second] = await Promise.all([
      outcomeOf(keys.verify(token)),
      keys.rotate(apiKey.id),
      outcomeOf(keys.verify(token)),
    ]);
    expect(['valid', 'unknown']).toContain(first);
    expect(['valid', 'unknown']).toContain(second);
    const passed = [first, second].filter((outcome) => outcome === 'valid').length;
    expect(await usesOf({ keys }, apiKey.id)).toBe(passed);
    expect(await outcomeOf(keys.verify(rotated.token))).toBe('valid');
    expect(await outcomeOf(keys.verify(token))).toBe('unknown');
  });

  it('passes as many as it counts while others revoke and rotate it', async () => {
    const random = new SeededRandom(11);
    const { storage, keys } = await openWorld(open);
    for (let round = 0; round < 10; round++) {
      const there = join(storage).keys;
      const issued = await keys.issue({ maxUses: 40 });
      const { id } = issued.apiKey;
      const acceptances: Promise<string>[] = [];
      let { token } = issued;
      let passedAfter = 0;
      for (let step = 0; step < 6; step++) {
        for (let n = random.below(6); n >= 0; n--) acceptances.push(outcomeOf((n % 2 ? keys : there).verify(token)));
        if (random.chance(0.4)) ({ token } = await keys.rotate(id));
      }
      await keys.revoke(id);
      for (let n = 0; n < 10; n++) if ((await outcomeOf((n % 2 ? keys : there).verify(token))) === 'valid') passedAfter += 1;
      const passed = (await Promise.all(acceptances)).filter((outcome) => outcome === 'valid').length;
      expect([passedAfter, await usesOf({ keys }, id)]).toEqual([0, passed]);
    }
  });
});

describe.each(storages)('when a key was used last, on %s', (_name, open) => {
  const lastUsedAt = async ({ keys }: World): Promise<(number | undefined)[]> =>
    (await keys.list()).items.map((key) => key.lastUsedAt);

  async function openCounted() {
    let take = (): { readonly commit: number } => ({ commit: 0 });
    const world = await openWorld(open, (storage) => {
      const view = counted(storage);
      take = view.take;
      return view.storage;
    });
    return { ...world, commits: () => take().commit };
  }

  it('is written a little later, once a minute and key at most, and for all keys together', async () => {
    const world = await openCounted();
    const { clock, keys, commits } = world;
    const issued = await Promise.all(Array.from({ length: 20 }, () => keys.issue()));
    const verifyAll = async (): Promise<void> => {
      for (const { token } of issued) expect(await outcomeOf(keys.verify(token))).toBe('valid');
    };
    commits();
    const start = clock.now();
    await verifyAll();
    await clock.advance(4999);
    await verifyAll();
    expect(commits()).toBe(0);
    expect(await lastUsedAt(world)).toEqual(issued.map(() => undefined));
    await clock.advance(1);
    expect(commits()).toBe(1);
    expect(await lastUsedAt(world)).toEqual(issued.map(() => start + 4999));
    for (let second = 6; second < 64; second++) {
      await clock.advance(1000);
      await verifyAll();
    }
    expect(commits()).toBe(0);
    await clock.advance(2000);
    await verifyAll();
    const last = clock.now();
    await clock.advance(5000);
    expect(commits()).toBe(1);
    expect(await lastUsedAt(world)).toEqual(issued.map(() => last));
  });

  it('is noted of counted uses and of derivations, and not of refusals', async () => {
    const world = await openCounted();
    const { clock, keys } = world;
    const once = await keys.issue({ maxUses: 1 });
    const parent = await keys.issue();
    const refused = await keys.issue({ scopes: ['a'] });
    const at = clock.now();
    await keys.verify(once.token);
    await keys.derive(parent.token);
    await keys.verify(refused.token, { scope: 'b' });
    await keys.verify(newToken(refused.apiKey.id).token);
    await clock.advance(5000);
    const found = new Map((await keys.list()).items.map((key) => [key.id, key.lastUsedAt]));
    expect([once, parent, refused].map(({ apiKey }) => found.get(apiKey.id))).toEqual([at, at, undefined]);
  });

  it('is written when the mesh closes', async () => {
    const { clock, storage, keys } = await openCounted();
    const there = join(storage);
    const { token } = await keys.issue();
    await there.keys.verify(token);
    await there.mesh.close();
    expect((await keys.list()).items[0]?.lastUsedAt).toBe(clock.now());
  });

  it('is never an earlier one than another process has written', async () => {
    const world = await openCounted();
    const { clock, storage, keys } = world;
    const early = join(storage);
    const late = join(storage);
    const { token } = await keys.issue();
    await early.keys.verify(token);
    await clock.advance(3000);
    await late.keys.verify(token);
    const at = clock.now();
    await late.mesh.close();
    await clock.advance(2000);
    expect(await lastUsedAt(world)).toEqual([at]);
  });

  it('leaves nothing behind of a key that was removed meanwhile', async () => {
    const { clock, storage, keys } = await openCounted();
    const key = await keys.issue();
    await keys.verify(key.token);
    await storage.commit({ deletes: [{ partition: 'keys', key: key.apiKey.id }] });
    await clock.advance(5000);
    expect(await leftOf(storage, [key])).toEqual([]);
  });

  it('is written in spite of a rotation in between', async () => {
    const world = await openCounted();
    const { clock, keys } = world;
    const { token, apiKey } = await keys.issue();
    const at = clock.now();
    await keys.verify(token);
    await keys.rotate(apiKey.id);
    await clock.advance(5000);
    expect(await lastUsedAt(world)).toEqual([at]);
  });

  it('is noted again after the clock was set back', async () => {
    const world = await openCounted();
    const { clock, keys } = world;
    const first = await keys.issue();
    await keys.verify(first.token);
    await clock.advance(5000);
    clock.set(clock.now() - 3_600_000);
    const second = await keys.issue();
    await keys.verify(second.token);
    const at = clock.now();
    await keys.verify(first.token);
    await clock.advance(5000);
    expect(await lastUsedAt(world)).toContain(at);
  });

  it('is not lost when the storage fails for a while, and its failure is no failure of anybody', async () => {
    let isFailing = false;
    const world = await openWorld(open, (storage) =>
      hooked(storage, {
        commit: () => {
          if (isFailing) throw new Error('no disk');
        },
      }),
    );
    const { clock, keys, errors } = world;
    const { token } = await keys.issue();
    isFailing = true;
    expect(await outcomeOf(keys.verify(token))).toBe('valid');
    const at = clock.now();
    await clock.advance(5000);
    expect(errors.splice(0).map(String)).toEqual(['Error: no disk']);
    isFailing = false;
    const other = await keys.issue();
    await keys.verify(other.token);
    await clock.advance(5000);
    expect((await keys.list()).items.find(({ id }) => id !== other.apiKey.id)?.lastUsedAt).toBe(at);
  });

  it('keeps no mesh from closing', async () => {
    let isFailing = false;
    const world = await openWorld(open, (storage) =>
      hooked(storage, {
        commit: () => {
          if (isFailing) throw new Error('no disk');
        },
      }),
    );
    const { token } = await world.keys.issue();
    await world.keys.verify(token);
    isFailing = true;
    await world.mesh.close();
    expect(world.errors.splice(0).map(String)).toEqual(['Error: no disk']);
    expect((await errorOf(world.keys.verify(token))).code).toBe('closed');
  });
});

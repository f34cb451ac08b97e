import { describe, expect, it } from 'vitest';
import type { IssuedKey, KeyManager, SessionHandle } from '../../src/index.ts';
import { newKeyId, newToken } from '../../src/keys/token.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { withFaults } from '../../src/testing/faults.ts';
import {
  counted,
  errorOf,
  hooked,
  join,
  openWorld,
  outcomeOf,
  patch,
  refusal,
  register,
  storages,
  type World,
} from '../support/keys/world.ts';

const LATER_MS = 10_000;
const SCOPE = 'memory:read';

/** What may have become of the session of a key, and whether that ends the key. */
const SESSIONS: Record<string, { readonly isOver: boolean; become?(world: World, handle: SessionHandle): Promise<unknown> }> = {
  none: { isOver: false },
  alive: { isOver: false },
  offline: { isOver: false },
  stopping: { isOver: false, become: ({ registry }, { id }) => registry.kill(id, { graceMs: 60_000, timeoutMs: 0 }) },
  'past its deadline': { isOver: true, become: ({ registry }, { id }) => registry.kill(id, { graceMs: 5000, timeoutMs: 0 }) },
  ended: { isOver: true, become: (_world, handle) => handle.end() },
  killed: { isOver: true, become: ({ registry }, { id }) => registry.kill(id, { force: true }) },
  'taken over': {
    isOver: true,
    become: ({ registry }, { id }) => registry.register({ id, heartbeat: 'manual', takeover: true }),
  },
  removed: { isOver: true, become: ({ registry }, { id }) => registry.unregister(id) },
  'registered again': {
    isOver: true,
    become: async ({ registry }, { id }) => {
      await registry.unregister(id);
      await register(registry, id);
    },
  },
  'offline for longer than its retention': { isOver: true },
};
/** Sessions that have lapsed by the time of the verification. */
const TIMES: Record<string, { readonly ttlMs?: number; readonly retentionMs?: number }> = {
  offline: { ttlMs: 1000 },
  'offline for longer than its retention': { ttlMs: 1000, retentionMs: 1000 },
};

const STATES = ['good', 'revoked', 'expired', 'not yet valid', 'revoked and expired'] as const;
const PARENTS = ['none', 'good', 'revoked', 'expired', 'not yet valid', 'removed'] as const;
const USES = ['unlimited', 'left', 'used up'] as const;

interface Case {
  readonly session: string;
  readonly state: (typeof STATES)[number];
  readonly parent: (typeof PARENTS)[number];
  readonly isCovered: boolean;
  readonly uses: (typeof USES)[number];
}

const CASES: readonly Case[] = STATES.flatMap((state) =>
  PARENTS.flatMap((parent) =>
    USES.flatMap((uses) => [true, false].map((isCovered) => ({ session: '', state, parent, uses, isCovered }))),
  ),
);

/** The conditions in the order in which the first that fails is named. */
function expected({ session, state, parent, isCovered, uses }: Case): string {
  if (state === 'revoked' || state === 'revoked and expired') return 'revoked';
  if (state === 'expired') return 'expired';
  if (state === 'not yet valid') return 'not_yet_valid';
  if (SESSIONS[session]?.isOver) return 'session_ended';
  if (parent === 'revoked' || parent === 'removed') return 'revoked';
  if (parent === 'expired') return 'expired';
  if (parent === 'not yet valid') return 'not_yet_valid';
  if (uses === 'used up') return 'exhausted';
  return isCovered ? 'valid' : 'insufficient_scope';
}

function members(state: string, now: number): Record<string, unknown> {
  const at = now + LATER_MS;
  if (state === 'revoked') return { revoked: { at: now } };
  if (state === 'expired') return { expiresAt: at };
  if (state === 'not yet valid') return { notBefore: at + 1 };
  if (state === 'revoked and expired') return { revoked: { at: now }, expiresAt: at };
  return { expiresAt: at + 1, notBefore: at };
}

async function makeKey(
  world: World,
  one: Case,
  handle: SessionHandle | undefined,
  parents: Map<string, IssuedKey>,
): Promise<IssuedKey> {
  const { keys, storage, clock } = world;
  const options = { scopes: [one.isCovered ? 'memory:*' : 'memoryx:read'], ...(one.uses !== 'unlimited' && { maxUses: 1 }) };
  const parent = parents.get(one.parent);
  const key = await (parent
    ? keys.derive(parent.token, options)
    : keys.issue({ ...options, ...(handle && { session: handle.id }) }));
  await patch(storage, key, members(one.state, clock.now()));
  if (one.uses === 'used up') await storage.commit({ puts: [{ partition: 'keys.uses', key: key.apiKey.id, value: 1 }] });
  return key;
}

describe.each(storages)('a verification on %s', (_name, open) => {
  it.each(Object.keys(SESSIONS))(
    'passes only when every condition holds, and names the first that does not: session %s',
    async (session) => {
      const world = await openWorld(open);
      const { clock, storage, keys } = world;
      const handle = session === 'none' ? undefined : await register(world.registry, 's', TIMES[session]);
      const parents = new Map<string, IssuedKey>();
      for (const parent of PARENTS) {
        if (parent !== 'none')
          parents.set(parent, await keys.issue({ scopes: ['memory:*', 'memoryx:*'], ...(handle && { session: 's' }) }));
      }
      const cases = CASES.map((one) => ({ ...one, session }));
      const made = await Promise.all(cases.map((one) => makeKey(world, one, handle, parents)));
      for (const [parent, key] of parents) {
        if (parent === 'removed') await storage.commit({ deletes: [{ partition: 'keys', key: key.apiKey.id }] });
        else await patch(storage, key, members(parent, clock.now()));
      }
      if (handle) await SESSIONS[session]?.become?.(world, handle);
      // Nothing is swept meanwhile: it is the verification that judges.
      clock.set(clock.now() + LATER_MS);
      const cold = join(storage).keys;
      const found: string[] = [];
      for (const [n, one] of cases.entries()) {
        const key = made[n] as IssuedKey;
        const { id } = key.apiKey;
        const codes = [
          await outcomeOf(cold.verify(`${key.token}0`, { scope: SCOPE })),
          await outcomeOf(cold.verify(newToken(newKeyId()).token, { scope: SCOPE })),
          await outcomeOf(cold.verify(newToken(id).token, { scope: SCOPE })),
          await outcomeOf(cold.verify(key.token, { scope: SCOPE })),
        ];
        const right = ['malformed', 'unknown', 'unknown', expected(one)];
        if (codes.join() !== right.join()) found.push(`${JSON.stringify(one)}: ${codes} instead of ${right}`);
      }
      expect(found).toEqual([]);
      // A second time with warm caches: only what was used up meanwhile is told otherwise.
      for (const [n, one] of cases.entries()) {
        const right = expected(one) === 'valid' && one.uses === 'left' ? 'exhausted' : expected(one);
        const code = await outcomeOf(cold.verify((made[n] as IssuedKey).token, { scope: SCOPE }));
        if (code !== right) found.push(`${JSON.stringify(one)}: ${code} instead of ${right} when warm`);
      }
      expect(found).toEqual([]);
      const { refused } = await cold.stats();
      const unused = cases.filter((one) => one.uses === 'left' && expected(one) === 'valid').length;
      expect(refused.malformed).toBe(cases.length);
      expect(refused.unknown).toBe(2 * cases.length);
      expect(refused.exhausted ?? 0).toBe(2 * cases.filter((one) => expected(one) === 'exhausted').length + unused);
    },
  );

  it('begins at notBefore and ends at expiresAt, to the millisecond', async () => {
    const { clock, keys } = await openWorld(open);
    const start = clock.now();
    const { token, apiKey } = await keys.issue({ ttlMs: 5000, notBefore: start + 1000 });
    expect(apiKey).toMatchObject({ createdAt: start, notBefore: start + 1000, expiresAt: start + 5000 });
    const codes: string[] = [];
    for (const at of [0, 999, 1000, 4999, 5000]) {
      clock.set(start + at);
      codes.push(await outcomeOf(keys.verify(token)));
    }
    expect(codes).toEqual(['not_yet_valid', 'not_yet_valid', 'valid', 'valid', 'expired']);
  });

  it('ends with the grace of a kill, to the millisecond and with no sweeper', async () => {
    const { clock, keys, registry } = await openWorld(open);
    await register(registry, 's');
    const { token } = await keys.issue({ session: 's' });
    await registry.kill('s', { graceMs: 2000, timeoutMs: 0 });
    const start = clock.now();
    const seen: string[] = [];
    for (const at of [0, 1999, 2000, 2001]) {
      clock.set(start + at);
      seen.push(`${(await registry.get('s'))?.state} ${await outcomeOf(keys.verify(token))}`);
    }
    expect(seen).toEqual(['stopping valid', 'stopping valid', 'stopping valid', 'killed session_ended']);
  });

  it('ends with the retention of a session that stays offline, when everybody else sees it ended', async () => {
    const { clock, keys, registry } = await openWorld(open);
    await register(registry, 's', { ttlMs: 1000, retentionMs: 5000 });
    const { token } = await keys.issue({ session: 's' });
    const start = clock.now();
    const seen: string[] = [];
    for (const at of [1000, 1001, 5999, 6000]) {
      clock.set(start + at);
      seen.push(`${(await registry.get('s'))?.state} ${await outcomeOf(keys.verify(token))}`);
    }
    expect(seen).toEqual(['alive valid', 'offline valid', 'offline valid', 'ended session_ended']);
  });

  it('is bound to one incarnation, also of an id that is used again in the same millisecond with the same epoch', async () => {
    const { keys, registry } = await openWorld(open);
    const first = await register(registry, 's');
    const old = await keys.issue({ session: first });
    expect(await outcomeOf(keys.verify(old.token))).toBe('valid');
    await registry.unregister('s');
    const second = await register(registry, 's');
    expect(second.epoch).toBe(first.epoch);
    expect(await outcomeOf(keys.verify(old.token))).toBe('session_ended');
    const fresh = await keys.issue({ session: second });
    expect(await outcomeOf(keys.verify(fresh.token))).toBe('valid');
  });

  it('goes on after a session that was offline is revived', async () => {
    const { clock, keys, registry } = await openWorld(open);
    const handle = await register(registry, 's', { ttlMs: 1000 });
    const { token } = await keys.issue({ session: handle });
    clock.set(clock.now() + 60_000);
    expect(await outcomeOf(keys.verify(token))).toBe('valid');
    expect(await handle.heartbeat()).toMatchObject({ alive: true });
    expect(await outcomeOf(keys.verify(token))).toBe('valid');
  });

  it('answers whom the token proves, frozen and without a secret', async () => {
    const { clock, keys, registry } = await openWorld(open);
    await register(registry, 's');
    const { token, apiKey } = await keys.issue({
      session: 's',
      scopes: ['a', 'b:*'],
      name: 'ci',
      metadata: { team: ['x'] },
      ttlMs: 60_000,
    });
    const verification = await keys.verify(token, { scope: 'b:c' });
    expect(verification).toEqual({
      valid: true,
      principal: {
        keyId: apiKey.id,
        name: 'ci',
        session: 's',
        scopes: ['a', 'b:*'],
        metadata: { team: ['x'] },
        expiresAt: clock.now() + 60_000,
      },
    });
    if (!verification.valid) return;
    const { principal } = verification;
    for (const part of [principal, principal.scopes, principal.metadata, principal.metadata['team']])
      expect(Object.isFrozen(part)).toBe(true);
  });
});

describe.each(storages)('what a verification costs on %s', (_name, open) => {
  async function openCounted() {
    let take = (): object => ({});
    const world = await openWorld(open, (storage) => {
      const view = counted(storage);
      take = view.take;
      return view.storage;
    });
    await register(world.registry, 's');
    return { ...world, take: () => take() };
  }

  it('is nothing for a malformed token, whatever is wrong with it, and for hostile options', async () => {
    const { keys, take } = await openCounted();
    const { token } = await keys.issue();
    take();
    const letters = [...'0Aaz_ .é'];
    const answers = new Set<string>();
    for (let place = 0; place < token.length; place++) {
      for (const letter of letters) {
        if (token[place] === letter) continue;
        answers.add(await outcomeOf(keys.verify(token.slice(0, place) + letter + token.slice(place + 1))));
      }
    }
    for (const strange of ['', ' ', `${token}\n`, token.slice(1), null, undefined, 7, {}, [token], new String(token)]) {
      answers.add(await outcomeOf(keys.verify(strange as string)));
    }
    expect([...answers]).toEqual(['malformed']);
    expect(take()).toEqual({ get: 0, list: 0, commit: 0 });
  });

  it('is one read of a key on its own, cold or warm, and never a write', async () => {
    const { storage, keys, take } = await openCounted();
    const { token, apiKey } = await keys.issue({ scopes: [SCOPE] });
    const cold = join(storage).keys;
    take();
    for (const options of [undefined, { scope: SCOPE }, { scope: 'other' }]) {
      await cold.verify(token, options);
      expect(take()).toEqual({ get: 1, list: 0, commit: 0 });
    }
    await cold.verify(newToken(apiKey.id).token);
    expect(take()).toEqual({ get: 1, list: 0, commit: 0 });
    await cold.verify(newToken(newKeyId()).token);
    expect(take()).toEqual({ get: 1, list: 0, commit: 0 });
  });

  it('is one read of a key with a session or ancestors, and two the first time', async () => {
    const { storage, keys, take } = await openCounted();
    const bound = await keys.issue({ session: 's', scopes: ['a:*'] });
    let derived = bound;
    for (let level = 0; level < 5; level++) derived = await keys.derive(derived.token, { scopes: ['a:*'] });
    const free = await keys.derive((await keys.issue()).token);
    for (const { token } of [bound, derived, free]) {
      const cold = join(storage).keys;
      take();
      expect(await outcomeOf(cold.verify(token))).toBe('valid');
      expect(take()).toEqual({ get: 2, list: 0, commit: 0 });
      expect(await outcomeOf(cold.verify(token))).toBe('valid');
      expect(take()).toEqual({ get: 1, list: 0, commit: 0 });
      expect(await outcomeOf(cold.verify(token, { scope: 'a:b' }))).toBe(token === free.token ? 'insufficient_scope' : 'valid');
      expect(take()).toEqual({ get: 1, list: 0, commit: 0 });
    }
  });

  it('is one commit more for a use that is counted, whatever number of verifications goes together', async () => {
    const { keys, take } = await openCounted();
    const { token } = await keys.issue({ maxUses: 100 });
    await keys.verify(token);
    take();
    const answers = await Promise.all(Array.from({ length: 50 }, () => outcomeOf(keys.verify(token))));
    expect(answers).toEqual(Array.from({ length: 50 }, () => 'valid'));
    expect(take()).toEqual({ get: 51, list: 0, commit: 1 });
  });
});

describe.each(storages)('with warm caches in another process on %s', (_name, open) => {
  /** Verifies in the second process, has the first one do something, and verifies again at once. */
  async function judgedAround(
    world: World,
    token: string,
    act: (there: KeyManager) => Promise<unknown>,
  ): Promise<[string, string]> {
    const { keys } = join(world.storage);
    await keys.verify(token);
    const first = await outcomeOf(keys.verify(token));
    await act(keys);
    return [first, await outcomeOf(keys.verify(token))];
  }

  it('a revocation holds at once', async () => {
    const world = await openWorld(open);
    const { token, apiKey } = await world.keys.issue();
    expect(await judgedAround(world, token, () => world.keys.revoke(apiKey.id))).toEqual(['valid', 'revoked']);
  });

  it('the revocation of an ancestor holds at once', async () => {
    const world = await openWorld(open);
    const root = await world.keys.issue();
    const middle = await world.keys.derive(root.token);
    const { token } = await world.keys.derive(middle.token);
    expect(await judgedAround(world, token, () => world.keys.revoke(root.apiKey.id))).toEqual(['valid', 'revoked']);
  });

  it('a rotation holds at once', async () => {
    const world = await openWorld(open);
    const { token, apiKey } = await world.keys.issue();
    expect(await judgedAround(world, token, () => world.keys.rotate(apiKey.id))).toEqual(['valid', 'unknown']);
  });

  it.each([
    ['a kill', (world: World) => world.registry.kill('s', { force: true })],
    ['a kill of the parent session', (world: World) => world.registry.kill('root', { force: true })],
    ['a takeover', (world: World) => world.registry.register({ id: 's', takeover: true, heartbeat: 'manual' })],
    ['an end', (world: World) => world.registry.end('s')],
    ['a removal', (world: World) => world.registry.unregister('s')],
  ])('%s of the session holds at once, also for derived keys', async (_what, act) => {
    const world = await openWorld(open);
    const root = await register(world.registry, 'root');
    await root.spawn({ id: 's', heartbeat: 'manual' });
    const { token } = await world.keys.issue({ session: 's' });
    const derived = await world.keys.derive(token);
    const there = join(world.storage).keys;
    expect(await outcomeOf(there.verify(derived.token))).toBe('valid');
    expect(await judgedAround(world, token, () => act(world))).toEqual(['valid', 'session_ended']);
    expect(await outcomeOf(there.verify(derived.token))).toBe('session_ended');
  });

  it('a kill with grace holds from the millisecond after its deadline on', async () => {
    const world = await openWorld(open);
    await register(world.registry, 's');
    const { token } = await world.keys.issue({ session: 's' });
    const there = join(world.storage).keys;
    expect(await outcomeOf(there.verify(token))).toBe('valid');
    const killed = world.registry.kill('s', { graceMs: 3000 });
    await world.clock.advance(3000);
    expect(await outcomeOf(there.verify(token))).toBe('valid');
    await world.clock.advance(1);
    expect(await outcomeOf(there.verify(token))).toBe('session_ended');
    expect(await killed).toMatchObject({ killed: [{ session: 's', graceful: false }] });
    expect(await outcomeOf(there.verify(token))).toBe('session_ended');
  });

  it('a key that was removed and every other id stays unknown', async () => {
    const world = await openWorld(open);
    const { token, apiKey } = await world.keys.issue();
    const act = async (): Promise<void> => {
      await world.storage.commit({ deletes: [{ partition: 'keys', key: apiKey.id }] });
    };
    expect(await judgedAround(world, token, act)).toEqual(['valid', 'unknown']);
  });
});

describe.each(storages)('when the storage fails on %s', (_name, open) => {
  const failure = new Error('the disk is on fire');

  it('a verification rejects and is never valid', async () => {
    let failing: string[] = [];
    const fail = (name: string) => (): void => {
      if (failing.includes(name)) throw failure;
    };
    const world = await openWorld(open, (storage) => hooked(storage, { get: fail('get'), commit: fail('commit') }));
    await register(world.registry, 's');
    const bound = await world.keys.issue({ session: 's' });
    const counting = await world.keys.issue({ maxUses: 5 });
    failing = ['get'];
    await expect(world.keys.verify(bound.token)).rejects.toBe(failure);
    await expect(world.keys.authenticate(bound.token)).rejects.toBe(failure);
    await expect(world.keys.derive(bound.token)).rejects.toBe(failure);
    await expect(world.keys.verify(counting.token)).rejects.toBe(failure);
    failing = ['commit'];
    expect(await outcomeOf(world.keys.verify(bound.token))).toBe('valid');
    await expect(Promise.all([world.keys.verify(counting.token), world.keys.verify(counting.token)])).rejects.toBe(failure);
    await expect(world.keys.authenticate(counting.token)).rejects.toBe(failure);
    failing = [];
    expect(await outcomeOf(world.keys.verify(counting.token))).toBe('valid');
    expect((await world.keys.list()).items.find(({ id }) => id === counting.apiKey.id)?.uses).toBe(1);
    expect((await world.keys.stats()).refused).toEqual({});
  });

  it('a verification on a closed mesh rejects', async () => {
    const world = await openWorld(open);
    const { token } = await world.keys.issue();
    await world.mesh.close();
    expect((await errorOf(world.keys.verify(token))).code).toBe('closed');
    expect((await errorOf(world.keys.authenticate(token))).code).toBe('closed');
  });

  it('a slow storage whose answers come late and in disorder tells the same', async () => {
    let slow: Storage | undefined;
    const world = await openWorld(open, (storage) => (slow = withFaults(storage, { latencyMs: 20, seed: 7 })));
    const { keys, clock } = world;
    const pass = async <T>(promise: Promise<T>): Promise<T> => {
      let isDone = false;
      promise.finally(() => (isDone = true)).catch(() => {});
      while (!isDone) await clock.advance(1);
      return promise;
    };
    const { token } = await pass(keys.issue({ scopes: ['a:*'] }));
    const child = await pass(keys.derive(token, { scopes: ['a:b'] }));
    const answers = await pass(
      Promise.all(Array.from({ length: 20 }, (_, n) => outcomeOf(keys.verify(n % 2 ? token : child.token, { scope: 'a:b' })))),
    );
    expect(new Set(answers)).toEqual(new Set(['valid']));
    expect(slow).toBeDefined();
    (slow as ReturnType<typeof withFaults>).faults.pause();
  });
});

describe('authenticate', () => {
  it('throws one and the same error whatever the reason, and forbidden for the scope alone', async () => {
    const world = await openWorld(storages[0]?.[1] as (typeof storages)[number][1]);
    const { clock, keys, registry } = world;
    await register(registry, 's');
    const revoked = await keys.issue();
    await keys.revoke(revoked.apiKey.id, { reason: 'because of secrets' });
    const expired = await keys.issue({ ttlMs: 1000 });
    const early = await keys.issue({ notBefore: clock.now() + 60_000 });
    const bound = await keys.issue({ session: 's' });
    const usedUp = await keys.issue({ maxUses: 1, scopes: ['a'] });
    await keys.authenticate(usedUp.token);
    await registry.kill('s', { force: true });
    clock.set(clock.now() + 1000);
    const tokens = {
      malformed: 'smk_x',
      unknown: newToken(newKeyId()).token,
      'wrong secret': newToken(early.apiKey.id).token,
      revoked: revoked.token,
      expired: expired.token,
      early: early.token,
      ended: bound.token,
      'used up': usedUp.token,
    };
    const told = new Set<string>();
    for (const token of Object.values(tokens)) {
      for (const options of [undefined, { scope: 'a' }, { scope: 'other' }]) {
        const error = await errorOf(keys.authenticate(token, options));
        told.add(
          JSON.stringify([error.name, error.code, error.message, error.details, error.cause ?? null, Object.keys(error).sort()]),
        );
        told.add(JSON.stringify((error.stack ?? '').split('\n').length));
      }
    }
    expect([...told]).toHaveLength(2);
    expect([...told][0]).toContain('"unauthorized","expected a valid token, got none",{}');
    const good = await keys.issue({ scopes: ['a'] });
    const error = await errorOf(keys.authenticate(good.token, { scope: 'other' }));
    expect([error.code, error.message, error.details]).toEqual([
      'forbidden',
      'expected a token with this scope, got one without',
      {},
    ]);
    expect(await keys.authenticate(good.token, { scope: 'a' })).toMatchObject({ keyId: good.apiKey.id });
  });

  it('says forbidden only of a token that is good otherwise: used up comes before the scope', async () => {
    const { keys } = await openWorld(storages[0]?.[1] as (typeof storages)[number][1]);
    const { token } = await keys.issue({ maxUses: 1, scopes: ['a'] });
    await expect(keys.authenticate(token, { scope: 'b' })).rejects.toEqual(refusal('forbidden'));
    await keys.authenticate(token, { scope: 'a' });
    await expect(keys.authenticate(token, { scope: 'b' })).rejects.toEqual(refusal('unauthorized'));
  });
});

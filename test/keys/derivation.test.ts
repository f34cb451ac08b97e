import { describe, expect, it } from 'vitest';
import type { IssuedKey } from '../../src/index.ts';
import { covers } from '../../src/keys/api-key.ts';
import { newToken } from '../../src/keys/token.ts';
import { SeededRandom } from '../../src/testing/random.ts';
import { DAY_MS, hooked, join, openWorld, outcomeOf, refusal, register, storages } from '../support/keys/world.ts';

describe.each(storages)('a derived key on %s', (_name, open) => {
  it.each<[parent: string[], child: string[], isAllowed: boolean]>([
    [['a'], ['a'], true],
    [['a'], [], true],
    [[], [], true],
    [[], ['a'], false],
    [['a'], ['b'], false],
    [['a'], ['a:b'], false],
    [['a', 'b'], ['b'], true],
    [['a', 'b'], ['b', 'c'], false],
    [['memory:*'], ['memory:read'], true],
    [['memory:*'], ['memory'], false],
    [['memory:*'], ['memoryx:a'], false],
    [['memory:read'], ['memory:*'], false],
    [['memory:*'], ['memory:*'], true],
    [['a:*'], ['a:b:*'], true],
    [['a:b:*'], ['a:*'], false],
    [['a:*', 'c'], ['a:b', 'c', 'a:*'], true],
  ])('of one with %j may have %j: %s', async (parentScopes, scopes, isAllowed) => {
    const { keys } = await openWorld(open);
    const parent = await keys.issue({ scopes: parentScopes });
    const derived = keys.derive(parent.token, { scopes });
    if (!isAllowed) {
      await expect(derived).rejects.toEqual(refusal('forbidden', 'scopes'));
      expect((await keys.stats()).total).toBe(1);
      return;
    }
    const { token, apiKey } = await derived;
    expect(apiKey).toMatchObject({ scopes, parentId: parent.apiKey.id });
    expect(await outcomeOf(keys.verify(token))).toBe('valid');
  });

  it('never does what its parent may not, whatever the scopes', async () => {
    const random = new SeededRandom(3);
    const { keys } = await openWorld(open);
    const names = ['a', 'a:*', 'a:b', 'a:b:*', 'a:b:c', 'ab', 'ab:c', 'b', 'b:*', 'b:a'];
    const some = (): string[] => names.filter(() => random.chance(0.3));
    const wrong: string[] = [];
    for (let round = 0; round < 60; round++) {
      const parent = await keys.issue({ scopes: some() });
      const scopes = some();
      const child = await keys.derive(parent.token, { scopes }).catch(() => undefined);
      if (!child) {
        if (scopes.every((scope) => covers(parent.apiKey.scopes, scope))) wrong.push(`${parent.apiKey.scopes} refuses ${scopes}`);
        continue;
      }
      for (const scope of names) {
        const may = await outcomeOf(keys.verify(child.token, { scope }));
        if (may === 'valid' && (await outcomeOf(keys.verify(parent.token, { scope }))) !== 'valid') {
          wrong.push(`${parent.apiKey.scopes} → ${scopes}: ${scope}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  it('lives no longer than its parent, and as long when nothing is said', async () => {
    const { clock, keys } = await openWorld(open);
    const start = clock.now();
    const parent = await keys.issue({ ttlMs: 10_000 });
    clock.set(start + 1000);
    await expect(keys.derive(parent.token, { ttlMs: 9001 })).rejects.toEqual(refusal('forbidden', 'time to live'));
    expect((await keys.derive(parent.token, { ttlMs: 9000 })).apiKey.expiresAt).toBe(start + 10_000);
    expect((await keys.derive(parent.token, { ttlMs: 1000 })).apiKey.expiresAt).toBe(start + 2000);
    const child = await keys.derive(parent.token);
    expect(child.apiKey).toMatchObject({ createdAt: start + 1000, expiresAt: start + 10_000 });
    const grandchild = await keys.derive(child.token);
    expect(grandchild.apiKey.expiresAt).toBe(start + 10_000);
    clock.set(start + 9999);
    expect(await outcomeOf(keys.verify(grandchild.token))).toBe('valid');
    clock.set(start + 10_000);
    expect(await outcomeOf(keys.verify(grandchild.token))).toBe('expired');
    const forever = await keys.derive((await keys.issue()).token, { ttlMs: 366 * DAY_MS });
    expect(forever.apiKey.expiresAt).toBe(clock.now() + 366 * DAY_MS);
  });

  it('begins no earlier than its parent, and may begin later', async () => {
    const { clock, keys } = await openWorld(open);
    const start = clock.now();
    const parent = await keys.issue({ notBefore: start + 5000 });
    await expect(keys.derive(parent.token)).rejects.toEqual(refusal('unauthorized'));
    clock.set(start + 5000);
    const early = await keys.derive(parent.token, { notBefore: start });
    const late = await keys.derive(parent.token, { notBefore: start + 6000 });
    expect([await outcomeOf(keys.verify(early.token)), await outcomeOf(keys.verify(late.token))]).toEqual([
      'valid',
      'not_yet_valid',
    ]);
    // As a clock that is set back, or another process's clock that lags.
    clock.set(start + 4999);
    expect([await outcomeOf(keys.verify(early.token)), await outcomeOf(keys.verify(late.token))]).toEqual([
      'not_yet_valid',
      'not_yet_valid',
    ]);
    await expect(keys.derive((await keys.issue({ ttlMs: 1000 })).token, { notBefore: start + 4999 + 1000 })).rejects.toEqual(
      refusal('invalid_input', 'before the key expires'),
    );
  });

  it('is bound to the session of its parent, and over with it', async () => {
    const { keys, registry } = await openWorld(open);
    const handle = await register(registry, 's');
    const parent = await keys.issue({ session: handle });
    const child = await keys.derive(parent.token);
    const grandchild = await keys.derive(child.token);
    expect([child, grandchild].map(({ apiKey }) => apiKey.session)).toEqual(['s', 's']);
    expect((await keys.list({ session: 's' })).items).toHaveLength(3);
    await registry.register({ id: 's', heartbeat: 'manual', takeover: true });
    expect(await outcomeOf(keys.verify(grandchild.token))).toBe('session_ended');
    await expect(keys.derive(child.token)).rejects.toEqual(refusal('unauthorized'));
  });

  it('is revoked with every one of its 16 ancestors, and a 17th is refused', async () => {
    const { storage, keys } = await openWorld(open);
    const there = join(storage).keys;
    for (const depth of [0, 7, 15]) {
      const chain: IssuedKey[] = [await keys.issue({ scopes: ['a:*'] })];
      for (let level = 1; level <= 16; level++)
        chain.push(await keys.derive((chain[level - 1] as IssuedKey).token, { scopes: ['a:*'] }));
      const last = chain[16] as IssuedKey;
      await expect(keys.derive(last.token)).rejects.toEqual(refusal('forbidden', '16 ancestors'));
      expect(await outcomeOf(there.verify(last.token, { scope: 'a:b' }))).toBe('valid');
      await keys.revoke((chain[depth] as IssuedKey).apiKey.id);
      const outcomes = await Promise.all(chain.map(({ token }) => outcomeOf(there.verify(token))));
      expect(outcomes).toEqual(chain.map((_, level) => (level < depth ? 'valid' : 'revoked')));
      await expect(keys.derive(last.token)).rejects.toEqual(refusal('unauthorized'));
    }
  });

  it('stays good when an ancestor is rotated, and is over when one is removed', async () => {
    const { storage, keys } = await openWorld(open);
    const root = await keys.issue();
    const middle = await keys.derive(root.token);
    const last = await keys.derive(middle.token);
    await keys.rotate(root.apiKey.id);
    const rotated = await keys.rotate(middle.apiKey.id);
    expect(await outcomeOf(keys.verify(last.token))).toBe('valid');
    expect((await keys.derive(rotated.token)).apiKey.parentId).toBe(middle.apiKey.id);
    await storage.commit({ deletes: [{ partition: 'keys', key: root.apiKey.id }] });
    for (const { token } of [last, rotated]) expect(await outcomeOf(keys.verify(token))).toBe('revoked');
    await expect(keys.derive(rotated.token)).rejects.toEqual(refusal('unauthorized'));
  });

  it('does not come into being while its parent or an ancestor is revoked', async () => {
    for (const which of [0, 1]) {
      let act: (() => Promise<unknown>) | undefined;
      const { storage, keys } = await openWorld(open);
      const slow = hooked(storage, {
        commit: ({ puts = [] }) => {
          const first = act;
          if (!first || !puts.some(({ partition }) => partition === 'keys')) return;
          act = undefined;
          return first().then(() => {});
        },
      });
      const root = await keys.issue();
      const parent = await keys.derive(root.token);
      const revoked = [root, parent][which] as IssuedKey;
      act = () => keys.revoke(revoked.apiKey.id);
      await expect(join(slow).keys.derive(parent.token)).rejects.toEqual(refusal('unauthorized'));
      expect((await keys.stats()).total).toBe(2);
    }
  });

  it('comes into being although its parent is rotated at the same time with an overlap', async () => {
    let act: (() => Promise<unknown>) | undefined;
    const { storage, keys } = await openWorld(open);
    const slow = hooked(storage, {
      commit: ({ puts = [] }) => {
        const first = act;
        if (!first || !puts.some(({ partition }) => partition === 'keys')) return;
        act = undefined;
        return first().then(() => {});
      },
    });
    const parent = await keys.issue();
    act = () => keys.rotate(parent.apiKey.id, { overlapMs: 1000 });
    const { token } = await join(slow).keys.derive(parent.token);
    expect(await outcomeOf(keys.verify(token))).toBe('valid');
  });

  it('is over when its session ends while it is derived', async () => {
    let act: (() => Promise<unknown>) | undefined;
    const { storage, keys, registry } = await openWorld(open);
    const slow = hooked(storage, {
      commit: ({ puts = [] }) => {
        const first = act;
        if (!first || !puts.some(({ partition }) => partition === 'keys')) return;
        act = undefined;
        return first().then(() => {});
      },
    });
    await register(registry, 's');
    const parent = await keys.issue({ session: 's' });
    act = () => registry.kill('s', { force: true });
    const { token } = await join(slow).keys.derive(parent.token);
    expect(await outcomeOf(keys.verify(token))).toBe('session_ended');
  });

  it('is made of a good token only, and every bad one is answered alike', async () => {
    const { clock, keys } = await openWorld(open);
    const good = await keys.issue();
    const expired = await keys.issue({ ttlMs: 1000 });
    const revoked = await keys.issue();
    await keys.revoke(revoked.apiKey.id);
    clock.set(clock.now() + 1000);
    const told = new Set<string>();
    for (const token of [
      '',
      'smk_',
      newToken(good.apiKey.id).token,
      newToken('0'.repeat(16)).token,
      expired.token,
      revoked.token,
    ]) {
      const error = await keys.derive(token).catch((reason: Error) => reason);
      told.add(JSON.stringify(error) + String(error));
    }
    expect([...told]).toHaveLength(1);
    expect([...told][0]).toContain('expected a valid token, got none');
  });

  it('inherits no name, no metadata, no scopes and no number of uses', async () => {
    const { keys } = await openWorld(open);
    const parent = await keys.issue({ name: 'n', metadata: { m: 1 }, scopes: ['a'] });
    const { apiKey } = await keys.derive(parent.token);
    expect(apiKey).toEqual({ id: apiKey.id, parentId: parent.apiKey.id, scopes: [], metadata: {}, createdAt: apiKey.createdAt });
    const own = await keys.derive(parent.token, { name: 'own', metadata: { o: 2 }, scopes: parent.apiKey.scopes, maxUses: 2 });
    expect(own.apiKey).toMatchObject({ name: 'own', metadata: { o: 2 }, scopes: ['a'], maxUses: 2, uses: 0 });
    await expect(keys.derive(own.token)).rejects.toEqual(refusal('forbidden', 'number of uses'));
  });
});

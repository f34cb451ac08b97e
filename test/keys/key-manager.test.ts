import { describe, expect, it } from 'vitest';
import { type IssuedKey, KeyManager, MeshError } from '../../src/index.ts';
import type { Commit, Storage } from '../../src/storage/storage.ts';
import { withFaults } from '../../src/testing/faults.ts';
import { createTestMesh } from '../../src/testing/test-mesh.ts';
import {
  counted,
  DAY_MS,
  errorOf,
  hear,
  hooked,
  join,
  openWorld,
  outcomeOf,
  plain,
  refusal,
  register,
  storages,
} from '../support/keys/world.ts';

describe.each(storages)('issue on %s', (_name, open) => {
  it('answers the token and the key, which is what list shows', async () => {
    const { clock, keys, registry } = await openWorld(open);
    await register(registry, 's');
    const at = clock.now();
    const { token, apiKey, ...rest } = await keys.issue({
      session: 's',
      scopes: ['a', 'b:*'],
      ttlMs: 60_000,
      notBefore: at + 1000,
      maxUses: 3,
      name: 'ci',
      metadata: { team: 'x' },
    });
    expect(rest).toEqual({});
    expect(token.split('_')[1]).toBe(apiKey.id);
    expect(apiKey).toEqual({
      id: apiKey.id,
      session: 's',
      scopes: ['a', 'b:*'],
      createdAt: at,
      expiresAt: at + 60_000,
      notBefore: at + 1000,
      maxUses: 3,
      uses: 0,
      name: 'ci',
      metadata: { team: 'x' },
    });
    expect((await keys.list()).items).toEqual([apiKey]);
  });

  it('makes a key that is good for ever when nothing is asked for', async () => {
    const { clock, keys } = await openWorld(open);
    const { token, apiKey } = await keys.issue();
    expect(apiKey).toEqual({ id: apiKey.id, scopes: [], metadata: {}, createdAt: clock.now() });
    clock.set(clock.now() + 10_000 * DAY_MS);
    expect(await outcomeOf(keys.verify(token))).toBe('valid');
    expect(await outcomeOf(keys.verify(token, { scope: 'a' }))).toBe('insufficient_scope');
  });

  it('lives through the bounds of its time to live', async () => {
    const { clock, keys } = await openWorld(open);
    const start = clock.now();
    for (const ttlMs of [1000, 366 * DAY_MS]) {
      clock.set(start);
      const { token } = await keys.issue({ ttlMs });
      clock.set(start + ttlMs - 1);
      expect(await outcomeOf(keys.verify(token))).toBe('valid');
      clock.set(start + ttlMs);
      expect(await outcomeOf(keys.verify(token))).toBe('expired');
    }
  });

  it('binds to a session that is there and not over, named by its id', async () => {
    const { clock, keys, registry } = await openWorld(open);
    await expect(keys.issue({ session: 'nobody' })).rejects.toEqual(refusal('not_found'));
    await register(registry, 'offline', { ttlMs: 1000 });
    await register(registry, 'gone', { ttlMs: 1000, retentionMs: 1000 });
    await register(registry, 'ended');
    await registry.end('ended');
    await register(registry, 'killed');
    await registry.kill('killed', { force: true });
    await register(registry, 'stopping');
    await registry.kill('stopping', { graceMs: 60_000, timeoutMs: 0 });
    clock.set(clock.now() + 5000);
    for (const session of ['offline', 'stopping']) {
      const { token } = await keys.issue({ session });
      expect(await outcomeOf(keys.verify(token))).toBe('valid');
    }
    for (const session of ['ended', 'killed', 'gone'])
      await expect(keys.issue({ session })).rejects.toEqual(refusal('not_alive', session));
    expect((await keys.stats()).total).toBe(2);
  });

  it('lets a handle act only while it holds, so that a replaced owner gets no key of its successor', async () => {
    const { clock, keys, registry } = await openWorld(open);
    const first = await register(registry, 's', { ttlMs: 1000 });
    const { token } = await keys.issue({ session: first });
    expect(await outcomeOf(keys.verify(token))).toBe('valid');
    clock.set(clock.now() + 1001);
    await expect(keys.issue({ session: first })).rejects.toEqual(refusal('not_alive'));
    const second = await registry.register({ id: 's', heartbeat: 'manual', takeover: true });
    await expect(keys.issue({ session: first })).rejects.toEqual(refusal('lease_lost'));
    const successor = await keys.issue({ session: second });
    expect(await outcomeOf(keys.verify(successor.token))).toBe('valid');
    await second.end();
    await expect(keys.issue({ session: second })).rejects.toEqual(refusal('lease_lost'));
    expect((await keys.list({ session: 's' })).items).toHaveLength(2);
  });

  it.each(['kill', 'takeover'] as const)('binds to nothing that a %s replaces while the key is issued', async (what) => {
    let act: (() => Promise<unknown>) | undefined;
    const world = await openWorld(open);
    const slow = hooked(world.storage, {
      commit: ({ puts = [] }) => {
        const first = act;
        if (!first || !puts.some(({ partition }) => partition === 'keys')) return;
        act = undefined;
        return first().then(() => {});
      },
    });
    await register(world.registry, 's');
    act = () =>
      what === 'kill'
        ? world.registry.kill('s', { force: true })
        : world.registry.register({ id: 's', heartbeat: 'manual', takeover: true });
    const issued = join(slow).keys.issue({ session: 's' });
    if (what === 'kill') await expect(issued).rejects.toEqual(refusal('not_alive'));
    // The host's authority is over the id: the key is its present owner's, or nobody's.
    else expect(await outcomeOf(world.keys.verify((await issued).token))).toBe('valid');
  });

  it('gives up when no commit ever passes', async () => {
    const { storage } = await openWorld(open);
    const faulty = withFaults(storage, { conflictRate: 1 });
    const { keys } = join(faulty);
    expect((await errorOf(keys.issue())).code).toBe('conflict');
    faulty.faults.pause();
    const { token, apiKey } = await keys.issue();
    const counting = await keys.issue({ maxUses: 3 });
    faulty.faults.resume();
    const attempts = [keys.derive(token), keys.rotate(apiKey.id), keys.revoke(apiKey.id), keys.verify(counting.token)];
    for (const attempt of attempts) expect((await errorOf(attempt)).code).toBe('conflict');
    faulty.faults.pause();
    for (const shown of [token, counting.token]) expect(await outcomeOf(keys.verify(shown))).toBe('valid');
  });
});

describe.each(storages)('revoke on %s', (_name, open) => {
  it('keeps the first reason and time, and tells once', async () => {
    const world = await openWorld(open);
    const { clock, mesh, keys } = world;
    const { token, apiKey } = await keys.issue();
    const events = hear(mesh);
    const at = clock.now();
    await keys.revoke(apiKey.id, { reason: 'lost' });
    clock.set(at + 1000);
    await keys.revoke(apiKey.id, { reason: 'again' });
    await keys.revoke(apiKey.id);
    await mesh.settled();
    expect((await keys.list()).items).toMatchObject([{ revokedAt: at, revokeReason: 'lost' }]);
    expect(plain(events)).toEqual([{ name: 'key_revoked', key: apiKey.id }]);
    expect(await outcomeOf(keys.verify(token))).toBe('revoked');
  });

  it('is one revocation when many revoke at the same time', async () => {
    const world = await openWorld(open);
    const there = join(world.storage).keys;
    const { apiKey } = await world.keys.issue();
    const events = hear(world.mesh);
    await Promise.all(Array.from({ length: 20 }, (_, n) => (n % 2 ? world.keys : there).revoke(apiKey.id, { reason: `${n}` })));
    await world.mesh.settled();
    expect(events.map(({ name }) => name)).toEqual(['key_revoked']);
  });

  it('knows nothing of an id that is not there', async () => {
    const { keys } = await openWorld(open);
    await expect(keys.revoke('0'.repeat(16))).rejects.toEqual(refusal('not_found'));
    await expect(keys.rotate('0'.repeat(16))).rejects.toEqual(refusal('not_found'));
  });
});

describe.each(storages)('revokeAll on %s', (_name, open) => {
  it('revokes every key of a session, derived ones too, and no other', async () => {
    const { keys, registry } = await openWorld(open);
    await register(registry, 'a');
    await register(registry, 'b');
    const ofA = await Promise.all(Array.from({ length: 250 }, () => keys.issue({ session: 'a' })));
    ofA.push(await keys.derive((ofA[0] as IssuedKey).token));
    const others = [await keys.issue({ session: 'b' }), await keys.issue()];
    await keys.revoke((ofA[5] as IssuedKey).apiKey.id, { reason: 'before' });
    expect(await keys.revokeAll({ session: 'a', reason: 'leak' })).toBe(250);
    for (const { token } of ofA) expect(await outcomeOf(keys.verify(token))).toBe('revoked');
    for (const { token } of others) expect(await outcomeOf(keys.verify(token))).toBe('valid');
    const reasons = (await keys.list({ session: 'a', limit: 1000 })).items.map(({ revokeReason }) => revokeReason).sort();
    expect(reasons).toEqual(['before', ...Array.from({ length: 250 }, () => 'leak')]);
    expect(await keys.revokeAll({ session: 'a' })).toBe(0);
    expect(await keys.revokeAll({ session: 'nobody' })).toBe(0);
  });

  it('counts each key once when two revoke at the same time', async () => {
    const { storage, keys, registry } = await openWorld(open);
    await register(registry, 's');
    await Promise.all(Array.from({ length: 30 }, () => keys.issue({ session: 's' })));
    const counts = await Promise.all([keys.revokeAll({ session: 's' }), join(storage).keys.revokeAll({ session: 's' })]);
    expect((counts[0] as number) + (counts[1] as number)).toBe(30);
  });

  it('reaches all incarnations of an id, but only its own through a handle', async () => {
    const { keys, registry } = await openWorld(open);
    const first = await register(registry, 's');
    await keys.issue({ session: first });
    const second = await registry.register({ id: 's', heartbeat: 'manual', takeover: true });
    const { token } = await keys.issue({ session: second });
    expect(await keys.revokeAll({ session: first })).toBe(1);
    expect(await outcomeOf(keys.verify(token))).toBe('valid');
    expect(await keys.revokeAll({ session: 's' })).toBe(1);
    expect(await outcomeOf(keys.verify(token))).toBe('revoked');
  });

  it('goes on when a key is removed meanwhile', async () => {
    let remove: (() => Promise<unknown>) | undefined;
    const world = await openWorld(open, (storage) =>
      hooked(storage, {
        list: (partition) => {
          const first = remove;
          if (!first || !partition.startsWith('keys.session')) return;
          remove = undefined;
          // After the list was answered.
          setImmediate(() => void first());
        },
        get: () => new Promise<void>((resolve) => setImmediate(resolve)),
      }),
    );
    await register(world.registry, 's');
    const made = await Promise.all(Array.from({ length: 5 }, () => world.keys.issue({ session: 's' })));
    const [gone] = made as [IssuedKey];
    remove = async () => world.storage.commit({ deletes: [{ partition: 'keys', key: gone.apiKey.id }] });
    expect([4, 5]).toContain(await world.keys.revokeAll({ session: 's' }));
    for (const { token } of made.slice(1)) expect(await outcomeOf(world.keys.verify(token))).toBe('revoked');
  });
});

describe.each(storages)('list on %s', (_name, open) => {
  it('pages through all keys in the order of their ids, each once', async () => {
    const { keys, registry } = await openWorld(open);
    await register(registry, 's');
    const made = await Promise.all(Array.from({ length: 37 }, (_, n) => keys.issue(n % 2 ? { session: 's' } : {})));
    const ids = made.map(({ apiKey }) => apiKey.id).sort();
    for (const limit of [1, 5, 36, 37, 1000]) {
      const found: string[] = [];
      let after: string | undefined;
      do {
        const page = await keys.list({ limit, after });
        expect(page.items.length).toBeLessThanOrEqual(limit);
        found.push(...page.items.map(({ id }) => id));
        after = page.next;
      } while (after !== undefined);
      expect(found).toEqual(ids);
    }
    const ofSession = await keys.list({ session: 's' });
    expect(ofSession.items.map(({ id }) => id)).toEqual(
      made
        .filter((_, n) => n % 2)
        .map(({ apiKey }) => apiKey.id)
        .sort(),
    );
    expect(ofSession.items.every(({ session }) => session === 's')).toBe(true);
    expect((await keys.list({ session: 'nobody' })).items).toEqual([]);
  });

  it('costs the same few reads for a page of one key and of two hundred', async () => {
    let take = (): object => ({});
    const { keys } = await openWorld(open, (storage) => {
      const view = counted(storage);
      take = view.take;
      return view.storage;
    });
    await Promise.all(Array.from({ length: 250 }, () => keys.issue()));
    take();
    await keys.list({ limit: 1 });
    expect(take()).toEqual({ get: 1, list: 1, commit: 0 });
    await keys.list({ limit: 200 });
    expect(take()).toEqual({ get: 1, list: 1, commit: 0 });
  });

  it('answers what nobody else can change', async () => {
    const { keys } = await openWorld(open);
    const scopes = ['a'];
    const metadata = { team: ['x'] };
    const options = { scopes, metadata };
    const { token, apiKey } = await keys.issue(options);
    scopes.push('admin');
    metadata.team.push('y');
    expect(options).toEqual({ scopes: ['a', 'admin'], metadata: { team: ['x', 'y'] } });
    expect(apiKey).toMatchObject({ scopes: ['a'], metadata: { team: ['x'] } });
    const [listed] = (await keys.list()).items;
    expect(listed).toEqual(apiKey);
    for (const part of [apiKey, apiKey.scopes, apiKey.metadata, listed, listed?.scopes, listed?.metadata['team']]) {
      expect(Object.isFrozen(part)).toBe(true);
    }
    expect(await outcomeOf(keys.verify(token, { scope: 'admin' }))).toBe('insufficient_scope');
  });

  it('stores what was asked for and not what the caller makes of it before the commit', async () => {
    const { keys } = await openWorld(open);
    const parent = await keys.issue({ scopes: ['a'] });
    const scopes = ['a'];
    const metadata: Record<string, unknown> = { team: 'x' };
    const made = [keys.issue({ scopes, metadata }), keys.derive(parent.token, { scopes, metadata })];
    scopes[0] = 'admin';
    metadata['team'] = () => 'y';
    for (const { token, apiKey } of await Promise.all(made)) {
      expect(apiKey).toMatchObject({ scopes: ['a'], metadata: { team: 'x' } });
      expect(await outcomeOf(keys.verify(token, { scope: 'admin' }))).toBe('insufficient_scope');
      expect((await keys.list()).items.find(({ id }) => id === apiKey.id)).toEqual(apiKey);
    }
  });
});

describe.each(storages)('a long list on %s', (_name, open) => {
  it('answers as many as it may be asked for', async () => {
    const { keys } = await openWorld(open);
    await Promise.all(Array.from({ length: 501 }, () => keys.issue()));
    expect((await keys.list({ limit: 1000 })).items).toHaveLength(501);
  });
});

describe.each(storages)('stats on %s', (_name, open) => {
  it('counts keys in the store, and refusals by reason in this process', async () => {
    const { clock, storage, mesh, keys } = await openWorld(open);
    const there = join(storage).keys;
    expect(await keys.stats()).toEqual({ total: 0, active: 0, refused: {} });
    const made = await Promise.all(Array.from({ length: 12 }, (_, n) => keys.issue(n < 4 ? { ttlMs: 1000 } : { scopes: ['a'] })));
    await keys.revoke((made[11] as IssuedKey).apiKey.id);
    clock.set(clock.now() + 1000);
    await keys.verify('x');
    await keys.verify('y');
    await keys.authenticate((made[0] as IssuedKey).token).catch(() => {});
    await keys.derive((made[11] as IssuedKey).token).catch(() => {});
    await keys.verify((made[5] as IssuedKey).token, { scope: 'b' });
    await keys.verify((made[5] as IssuedKey).token, { scope: 'a' });
    const stats = await keys.stats();
    expect(stats).toEqual({ total: 12, active: 7, refused: { malformed: 2, expired: 1, revoked: 1, insufficient_scope: 1 } });
    expect(await there.stats()).toEqual({ total: 12, active: 7, refused: {} });
    (stats.refused as Record<string, number>)['malformed'] = 99;
    expect((await keys.stats()).refused.malformed).toBe(2);
    expect((await mesh.stats()).keys).toMatchObject({ total: 12, active: 7 });
  });
});

describe.each(storages)('events of keys on %s', (_name, open) => {
  it('tell what was done in its order, in every process, with ids and nothing else', async () => {
    const { storage, mesh, keys, registry } = await openWorld(open);
    await register(registry, 's');
    const there = join(storage);
    const heard = { here: hear(mesh), there: hear(there.mesh) };
    const own: string[] = [];
    keys.on('key_issued', ({ key, session, parent }) => own.push(`issued ${key} ${session} ${parent}`));
    keys.on('*', ({ name }) => own.push(name));
    const root = await keys.issue({ name: 'secret name', scopes: ['a'], metadata: { secret: 'x' } });
    const bound = await there.keys.issue({ session: 's', maxUses: 3 });
    const child = await keys.derive(root.token, { ttlMs: 5000 });
    const grandchild = await keys.derive((await keys.derive((await keys.issue({ session: 's' })).token)).token);
    await keys.rotate(root.apiKey.id, { overlapMs: 1000 });
    await keys.rotate(bound.apiKey.id);
    await keys.verify(child.token);
    await keys.verify('nothing');
    await keys.revoke(child.apiKey.id, { reason: 'secret reason' });
    await keys.revokeAll({ session: 's' });
    await mesh.settled();
    await there.mesh.settled();
    expect(plain(heard.there)).toEqual(plain(heard.here));
    const told = plain(heard.here);
    expect(told.slice(0, 3)).toEqual([
      { name: 'key_issued', key: root.apiKey.id },
      { name: 'key_issued', key: bound.apiKey.id, session: 's' },
      { name: 'key_issued', key: child.apiKey.id, parent: root.apiKey.id },
    ]);
    expect(told[5]).toEqual({ name: 'key_issued', key: grandchild.apiKey.id, session: 's', parent: grandchild.apiKey.parentId });
    expect(told.slice(6, 9)).toEqual([
      { name: 'key_rotated', key: root.apiKey.id },
      { name: 'key_rotated', key: bound.apiKey.id, session: 's' },
      { name: 'key_revoked', key: child.apiKey.id },
    ]);
    expect(told.slice(9).map(({ name, session }) => `${name} ${session}`)).toEqual(
      Array.from({ length: 4 }, () => 'key_revoked s'),
    );
    expect(own).toHaveLength(told.length + 6);
    expect(own[0]).toBe(`issued ${root.apiKey.id} undefined undefined`);
    expect(JSON.stringify(heard)).not.toContain('secret');
  });

  it.each(['issue', 'rotate', 'revoke'] as const)('are heard by whoever began to listen just before: %s', async (what) => {
    const { storage, keys } = await openWorld(open);
    const { apiKey } = await keys.issue();
    let release = (): void => {};
    const isReleased = new Promise<void>((resolve) => (release = resolve));
    let commits = 0;
    // The end of the log, from which a listener hears, is long in coming.
    const there = join(
      hooked(storage, {
        list: (partition) => (partition === 'events' ? isReleased : undefined),
        commit: () => void (commits += 1),
      }),
    );
    const heard: string[] = [];
    there.keys.on('*', ({ name }) => heard.push(name));
    const change = what === 'issue' ? there.keys.issue() : there.keys[what](apiKey.id);
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    expect(commits).toBe(0);
    release();
    await change;
    await there.mesh.settled();
    expect(heard).toEqual([{ issue: 'key_issued', rotate: 'key_rotated', revoke: 'key_revoked' }[what]]);
  });
});

describe.each(storages)('what a change of keys costs on %s', (_name, open) => {
  it('is as the design says: reads, checks and writes', async () => {
    const commits: Commit[] = [];
    let reads = 0;
    const { keys, registry } = await openWorld(open, (storage) =>
      hooked(storage, { get: () => void (reads += 1), commit: (commit) => void commits.push(commit) }),
    );
    const handle = await register(registry, 's');
    const cost = async <T>(call: () => Promise<T>): Promise<[T, string]> => {
      [reads, commits.length] = [0, 0];
      const answer = await call();
      const [{ checks = [], deletes = [], puts = [] } = {} as Commit] = commits;
      return [
        answer,
        `${reads} reads, ${commits.length} commit: ${checks.length} checks, ${puts.length + deletes.length} writes`,
      ];
    };
    const [root, issue] = await cost(() => keys.issue());
    expect(issue).toBe('0 reads, 1 commit: 1 checks, 2 writes');
    expect((await cost(() => keys.issue({ ttlMs: 5000 })))[1]).toBe('0 reads, 1 commit: 1 checks, 3 writes');
    const [bound, issueBound] = await cost(() => keys.issue({ session: 's' }));
    expect(issueBound).toBe('1 reads, 1 commit: 2 checks, 4 writes');
    expect((await cost(() => keys.issue({ session: handle })))[1]).toBe('2 reads, 1 commit: 3 checks, 4 writes');
    expect((await cost(() => keys.derive(root.token)))[1]).toBe('1 reads, 1 commit: 2 checks, 4 writes');
    expect((await cost(() => keys.rotate(root.apiKey.id)))[1]).toBe('1 reads, 1 commit: 1 checks, 2 writes');
    expect((await cost(() => keys.rotate(bound.apiKey.id)))[1]).toBe('2 reads, 1 commit: 1 checks, 2 writes');
    expect((await cost(() => keys.revoke(bound.apiKey.id)))[1]).toBe('1 reads, 1 commit: 1 checks, 3 writes');
    const [, again] = await cost(() => keys.revoke(bound.apiKey.id));
    expect(again).toBe('1 reads, 0 commit: 0 checks, 0 writes');
  });
});

describe('a KeyManager by itself', () => {
  it('works on a storage alone, and leaves it open when it closes', async () => {
    const { clock, storage, keys } = await openWorld(storages[0]?.[1] as (typeof storages)[number][1]);
    const alone = new KeyManager({ storage });
    const { token } = await alone.issue();
    expect(await outcomeOf(keys.verify(token))).toBe('valid');
    await alone.verify(token);
    const at = clock.now();
    await alone.close();
    await alone.close();
    expect((await errorOf(alone.verify(token))).code).toBe('closed');
    expect((await errorOf(alone.issue())).code).toBe('closed');
    expect((await keys.list()).items[0]?.lastUsedAt).toBe(at);
  });

  it('leaves no timer when it closes', async () => {
    const { mesh, clock } = createTestMesh();
    const { token } = await mesh.keys.issue({ ttlMs: 5000 });
    await mesh.keys.verify(token);
    expect(clock.pending).toBeGreaterThan(0);
    await mesh.close();
    expect(clock.pending).toBe(0);
  });

  it('keeps the keys of two namespaces of one store apart', async () => {
    const { storage } = await openWorld(storages[0]?.[1] as (typeof storages)[number][1]);
    const a = join(storage, { namespace: 'a' }).keys;
    const b = join(storage, { namespace: 'b' }).keys;
    const { token, apiKey } = await a.issue({ maxUses: 2 });
    expect(await outcomeOf(b.verify(token))).toBe('unknown');
    await expect(b.revoke(apiKey.id)).rejects.toEqual(refusal('not_found'));
    expect((await b.list()).items).toEqual([]);
    expect([await outcomeOf(a.verify(token)), await outcomeOf(a.verify(token)), await outcomeOf(a.verify(token))]).toEqual([
      'valid',
      'valid',
      'exhausted',
    ]);
    await a.revoke(apiKey.id);
    expect(await outcomeOf(a.verify(token))).toBe('revoked');
  });

  it('refuses to be made of something else', () => {
    for (const strange of [undefined, null, {}, { storage: {} }, 'storage', { storage: undefined }]) {
      expect(() => new KeyManager(strange as unknown as { storage: Storage })).toThrow(MeshError);
    }
  });
});

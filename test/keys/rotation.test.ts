import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../src/testing/random.ts';
import { DAY_MS, errorOf, hooked, join, openWorld, outcomeOf, refusal, register, storages } from '../support/keys/world.ts';

describe.each(storages)('a rotation on %s', (_name, open) => {
  it('gives another token for the same key, with everything else as it was', async () => {
    const { keys, registry } = await openWorld(open);
    await register(registry, 's');
    const first = await keys.issue({ session: 's', scopes: ['a'], name: 'n', metadata: { m: 1 }, ttlMs: 60_000, maxUses: 5 });
    await keys.verify(first.token);
    const second = await keys.rotate(first.apiKey.id);
    expect(second.token).not.toBe(first.token);
    expect(second.token.slice(0, 21)).toBe(first.token.slice(0, 21));
    expect(second.apiKey).toEqual({ ...first.apiKey, uses: 1 });
    expect(Object.keys(second).sort()).toEqual(['apiKey', 'token']);
  });

  it('refuses the old token at once without an overlap', async () => {
    const { keys } = await openWorld(open);
    const first = await keys.issue();
    const second = await keys.rotate(first.apiKey.id);
    expect([await outcomeOf(keys.verify(first.token)), await outcomeOf(keys.verify(second.token))]).toEqual(['unknown', 'valid']);
    const third = await keys.rotate(first.apiKey.id, { overlapMs: 0 });
    expect([await outcomeOf(keys.verify(second.token)), await outcomeOf(keys.verify(third.token))]).toEqual(['unknown', 'valid']);
  });

  it('accepts both tokens during the overlap, to the millisecond', async () => {
    const { clock, keys } = await openWorld(open);
    const first = await keys.issue();
    const start = clock.now();
    const second = await keys.rotate(first.apiKey.id, { overlapMs: 5000 });
    const seen: string[] = [];
    for (const at of [0, 4999, 5000]) {
      clock.set(start + at);
      seen.push(`${await outcomeOf(keys.verify(first.token))} ${await outcomeOf(keys.verify(second.token))}`);
    }
    expect(seen).toEqual(['valid valid', 'valid valid', 'unknown valid']);
  });

  it('keeps only the last old token when it is repeated within an overlap', async () => {
    const { clock, keys } = await openWorld(open);
    const first = await keys.issue();
    const { id } = first.apiKey;
    const second = await keys.rotate(id, { overlapMs: 10_000 });
    clock.set(clock.now() + 1000);
    const third = await keys.rotate(id, { overlapMs: 10_000 });
    const outcomes = (): Promise<string[]> =>
      Promise.all([first, second, third].map(({ token }) => outcomeOf(keys.verify(token))));
    expect(await outcomes()).toEqual(['unknown', 'valid', 'valid']);
    const fourth = await keys.rotate(id);
    expect(await outcomes()).toEqual(['unknown', 'unknown', 'unknown']);
    expect(await outcomeOf(keys.verify(fourth.token))).toBe('valid');
  });

  it('does not let the overlap outlive the key', async () => {
    const { clock, keys } = await openWorld(open);
    const first = await keys.issue({ ttlMs: 2000 });
    const second = await keys.rotate(first.apiKey.id, { overlapMs: 366 * DAY_MS });
    expect(second.apiKey.expiresAt).toBe(first.apiKey.expiresAt);
    clock.set(clock.now() + 2000);
    expect([await outcomeOf(keys.verify(first.token)), await outcomeOf(keys.verify(second.token))]).toEqual([
      'expired',
      'expired',
    ]);
  });

  it('is refused for a key that is revoked or has expired, of which no token would be good', async () => {
    const { clock, keys } = await openWorld(open);
    const revoked = await keys.issue();
    await keys.revoke(revoked.apiKey.id);
    await expect(keys.rotate(revoked.apiKey.id)).rejects.toEqual(refusal('unauthorized', 'revoked'));
    const expired = await keys.issue({ ttlMs: 1000 });
    clock.set(clock.now() + 1000);
    await expect(keys.rotate(expired.apiKey.id, { overlapMs: 1000 })).rejects.toEqual(refusal('unauthorized', 'expired'));
    expect(await outcomeOf(keys.verify(expired.token))).toBe('expired');
  });

  it('is refused for a key whose session is over, and for one that was derived from a revoked one', async () => {
    const { keys, registry } = await openWorld(open);
    const owner = await registry.register({ id: 'owner', heartbeat: 'manual' });
    const bound = await keys.issue({ session: owner });
    const parent = await keys.issue({ scopes: ['a', 'b'] });
    const derived = await keys.derive(parent.token, { scopes: ['a'] });
    await owner.end();
    await keys.revoke(parent.apiKey.id);
    await expect(keys.rotate(bound.apiKey.id)).rejects.toEqual(refusal('unauthorized', 'session has ended'));
    await expect(keys.rotate(derived.apiKey.id)).rejects.toEqual(refusal('unauthorized', 'derived'));
    expect(await outcomeOf(keys.verify(bound.token))).toBe('session_ended');
  });

  it('ends with a revocation for both tokens', async () => {
    const { keys } = await openWorld(open);
    const first = await keys.issue();
    const second = await keys.rotate(first.apiKey.id, { overlapMs: 60_000 });
    await keys.revoke(first.apiKey.id);
    expect([await outcomeOf(keys.verify(first.token)), await outcomeOf(keys.verify(second.token))]).toEqual([
      'revoked',
      'revoked',
    ]);
  });

  it('leaves no instant without a good token, whenever a holder changes over', async () => {
    const { clock, storage, keys } = await openWorld(open);
    const there = join(storage).keys;
    const issued = await keys.issue();
    let { token } = issued;
    const refused: string[] = [];
    for (let round = 0; round < 12; round++) {
      const rotated = await keys.rotate(issued.apiKey.id, { overlapMs: 1000 });
      const changesAt = clock.now() + [0, 1, 500, 999][round % 4]!;
      for (const step of [0, 1, 250, 248, 499, 1, 1]) {
        clock.set(clock.now() + step);
        const shown = clock.now() <= changesAt ? token : rotated.token;
        const outcome = await outcomeOf(there.verify(shown));
        if (outcome !== 'valid') refused.push(`round ${round} at ${clock.now()}: ${outcome}`);
      }
      ({ token } = rotated);
    }
    expect(refused).toEqual([]);
  });

  it('has no gap for verifications that are under way at the same time', async () => {
    const random = new SeededRandom(5);
    const { storage, keys } = await openWorld(open);
    const turns = async (): Promise<void> => {
      for (let left = random.below(4); left > 0; left--) await new Promise(setImmediate);
    };
    const there = join(hooked(storage, { get: turns })).keys;
    const issued = await keys.issue();
    const { id } = issued.apiKey;
    let { token } = issued;
    let isOver = false;
    const outcomes: string[] = [];
    const verifier = async (): Promise<void> => {
      while (!isOver) outcomes.push(await outcomeOf(there.verify(token)));
    };
    const verifiers = Promise.all([verifier(), verifier(), verifier(), verifier()]);
    for (let round = 0; round < 20; round++) {
      ({ token } = await keys.rotate(id, { overlapMs: 10_000 }));
      // Whoever read the token before this turn holds the last old one at most.
      const before = outcomes.length;
      while (outcomes.length < before + 8) await new Promise(setImmediate);
    }
    isOver = true;
    await verifiers;
    expect(outcomes.length).toBeGreaterThan(100);
    expect(new Set(outcomes)).toEqual(new Set(['valid']));
  });

  it('of several at the same time each is a rotation, and the last token is the good one', async () => {
    const { storage, keys } = await openWorld(open);
    const there = join(storage).keys;
    const issued = await keys.issue();
    const rotated = await Promise.all(Array.from({ length: 8 }, (_, n) => (n % 2 ? keys : there).rotate(issued.apiKey.id)));
    const outcomes = await Promise.all(rotated.map(({ token }) => outcomeOf(keys.verify(token))));
    expect(outcomes.filter((outcome) => outcome === 'valid')).toHaveLength(1);
    expect(new Set(rotated.map(({ token }) => token)).size).toBe(8);
  });

  it('answers its token although the storage fails right after it', async () => {
    let isFailing = false;
    const { keys } = await openWorld(open, (storage) => {
      const view = hooked(storage, {
        get: () => {
          if (isFailing) throw new Error('no disk');
        },
      });
      return {
        ...view,
        commit: async (commit) => {
          const result = await storage.commit(commit);
          isFailing ||= (commit.puts ?? []).some(({ value }) => (value as { name?: unknown } | null)?.name === 'key_rotated');
          return result;
        },
      };
    });
    const issued = await keys.issue();
    const { token } = await keys.rotate(issued.apiKey.id);
    isFailing = false;
    expect(await outcomeOf(keys.verify(token))).toBe('valid');
  });

  it('tells in its error nothing of a token that was given for an id', async () => {
    const { keys } = await openWorld(open);
    const { token } = await keys.issue();
    const error = await errorOf(keys.rotate(token));
    expect([error.code, error.message]).toEqual([
      'invalid_input',
      'expected id to be the id of a key, got a string of 70 characters',
    ]);
  });
});

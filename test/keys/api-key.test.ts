import { describe, expect, it } from 'vitest';
import { apiKeyOf, covers, type KeyRecord, principalOf, refusalOf } from '../../src/keys/api-key.ts';

const RECORD: KeyRecord = { digest: 'the digest', scopes: ['a'], metadata: { team: 'x' }, ancestors: [], createdAt: 1 };

describe('covers', () => {
  it.each<[granted: string[], wanted: string, is: boolean]>([
    [['a'], 'a', true],
    [['a'], 'A', false],
    [['a'], 'a:b', false],
    [['a:b'], 'a', false],
    [['a', 'b'], 'b', true],
    [[], 'a', false],
    [['memory:*'], 'memory:read', true],
    [['memory:*'], 'memory:read:all', true],
    [['memory:*'], 'memory', false],
    [['memory:*'], 'memoryx:a', false],
    [['memory:*'], 'memory:*', true],
    [['memory:read'], 'memory:*', false],
    [['a:*'], 'a:b:*', true],
    [['a:b:*'], 'a:*', false],
    [['a:b:*'], 'a:bc', false],
    [['x', 'a:*'], 'a:b', true],
  ])('%j of %s is %s', (granted, wanted, is) => {
    expect(covers(granted, wanted)).toBe(is);
  });
});

describe('refusalOf', () => {
  it('judges to the millisecond: good from notBefore on, and no more at expiresAt', () => {
    const record: KeyRecord = { ...RECORD, notBefore: 1000, expiresAt: 2000 };
    expect([999, 1000, 1999, 2000].map((now) => refusalOf(record, now))).toEqual([
      'not_yet_valid',
      undefined,
      undefined,
      'expired',
    ]);
  });

  it('names a revocation first', () => {
    const record: KeyRecord = { ...RECORD, notBefore: 1000, expiresAt: 2000, revoked: { at: 1 } };
    expect([999, 1500, 2000].map((now) => refusalOf(record, now))).toEqual(['revoked', 'revoked', 'revoked']);
  });

  it('lets a key without times be good for ever', () => {
    expect(refusalOf(RECORD, 0)).toBeUndefined();
    expect(refusalOf(RECORD, Number.MAX_SAFE_INTEGER)).toBeUndefined();
  });
});

describe('what a user sees of a key', () => {
  const full: KeyRecord = {
    ...RECORD,
    previous: { digest: 'the old digest', until: 9 },
    name: 'n',
    session: 's',
    incarnation: 'i',
    ancestors: ['p', 'g'],
    notBefore: 2,
    expiresAt: 3,
    maxUses: 4,
    revoked: { at: 5, reason: 'r' },
  };

  it('has everything but the digests and the incarnation', () => {
    expect(apiKeyOf('k', full, 1, 6)).toEqual({
      id: 'k',
      name: 'n',
      scopes: ['a'],
      metadata: { team: 'x' },
      session: 's',
      parentId: 'p',
      createdAt: 1,
      notBefore: 2,
      expiresAt: 3,
      maxUses: 4,
      uses: 1,
      lastUsedAt: 6,
      revokedAt: 5,
      revokeReason: 'r',
    });
    expect(apiKeyOf('k', RECORD, undefined, undefined)).toEqual({
      id: 'k',
      scopes: ['a'],
      metadata: { team: 'x' },
      createdAt: 1,
    });
    expect(apiKeyOf('k', { ...RECORD, maxUses: 2 }, undefined, undefined).uses).toBe(0);
  });

  it('is frozen', () => {
    expect(Object.isFrozen(apiKeyOf('k', full, 1, 6))).toBe(true);
    expect(Object.isFrozen(principalOf('k', full))).toBe(true);
  });

  it('names in a principal only whom the token proves', () => {
    expect(principalOf('k', full)).toEqual({
      keyId: 'k',
      name: 'n',
      session: 's',
      scopes: ['a'],
      metadata: { team: 'x' },
      expiresAt: 3,
    });
    expect(principalOf('k', RECORD)).toEqual({ keyId: 'k', scopes: ['a'], metadata: { team: 'x' } });
  });
});

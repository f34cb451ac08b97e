import { createHash } from 'node:crypto';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { sameDigest, sha256 } from '../../src/keys/digest.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';

const TEXTS = ['', 'abc', 'x'.repeat(43), 'x'.repeat(10_000), 'é😀'];
const builtin = process.getBuiltinModule;

afterEach(() => {
  process.getBuiltinModule = builtin;
  vi.resetModules();
});

/** The module as it is on a host with this crypto. */
async function digestWith(crypto: object | undefined): Promise<typeof import('../../src/keys/digest.ts')> {
  process.getBuiltinModule = (() => crypto) as typeof builtin;
  vi.resetModules();
  return import('../../src/keys/digest.ts');
}

describe('sha256', () => {
  it('is SHA-256 in hexadecimal', () => {
    expect(sha256('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });

  it('gives the same digests with the crypto of an older Node and of the web', async () => {
    const older = await digestWith({ createHash });
    const web = await digestWith(undefined);
    const none = await (async () => {
      (process as { getBuiltinModule?: unknown }).getBuiltinModule = undefined;
      vi.resetModules();
      return import('../../src/keys/digest.ts');
    })();
    for (const text of TEXTS) {
      const expected = createHash('sha256').update(text).digest('hex');
      expect(sha256(text)).toBe(expected);
      expect(older.sha256(text)).toBe(expected);
      expect(web.sha256(text)).toBeInstanceOf(Promise);
      expect(await web.sha256(text)).toBe(expected);
      expect(await none.sha256(text)).toBe(expected);
    }
  });
});

describe('keys on a host that has only the crypto of the web', () => {
  it('are issued, verified, rotated, derived from, used up and revoked as elsewhere', async () => {
    await digestWith(undefined);
    const { createMesh, InMemoryStorage } = await import('../../src/index.ts');
    const clock = new VirtualClock();
    const storage = new InMemoryStorage({ clock });
    const mesh = createMesh({ storage });
    const { keys } = mesh;
    const parent = await keys.issue({ scopes: ['a:*'] });
    const child = await keys.derive(parent.token, { scopes: ['a:b'] });
    const once = await keys.issue({ maxUses: 1 });
    expect(await keys.verify(child.token, { scope: 'a:b' })).toMatchObject({ valid: true });
    expect(await keys.verify(child.token, { scope: 'a:c' })).toEqual({ valid: false, code: 'insufficient_scope' });
    const uses = await Promise.all([keys.verify(once.token), keys.verify(once.token), keys.verify(once.token)]);
    expect(uses.filter(({ valid }) => valid)).toHaveLength(1);
    const rotated = await keys.rotate(parent.apiKey.id);
    expect(await keys.verify(parent.token)).toEqual({ valid: false, code: 'unknown' });
    expect(await keys.verify(rotated.token)).toMatchObject({ valid: true });
    await keys.revoke(parent.apiKey.id);
    expect(await keys.verify(child.token)).toEqual({ valid: false, code: 'revoked' });
    expect(await keys.verify('smk_')).toEqual({ valid: false, code: 'malformed' });
    await storage.close();
    await expect(keys.verify(child.token)).rejects.toMatchObject({ code: 'closed' });
    await mesh.close();
  });
});

describe('sameDigest', () => {
  const digest = createHash('sha256').update('x').digest('hex');

  it('tells any difference, wherever it is', () => {
    expect(sameDigest(digest, `${digest}`)).toBe(true);
    for (let place = 0; place < digest.length; place++) {
      const other = digest.slice(0, place) + (digest[place] === '0' ? '1' : '0') + digest.slice(place + 1);
      expect(sameDigest(digest, other)).toBe(false);
      expect(sameDigest(other, digest)).toBe(false);
    }
  });

  it('tells texts of other lengths apart', () => {
    for (const other of ['', digest.slice(1), digest.slice(0, -1), `${digest}0`, digest + digest]) {
      expect(sameDigest(digest, other)).toBe(false);
      expect(sameDigest(other, digest)).toBe(false);
    }
  });
});

import { describe, expect, it } from 'vitest';
import { SqliteStorage } from '../../src/adapters/sqlite/index.ts';
import { createMesh } from '../../src/index.ts';
import { startChild } from '../support/children.ts';
import { temporaryFile } from '../support/keys/world.ts';

const SCOPES = ['a:*'];

// These tests are about processes that share nothing but a file, so they run by the clock on the wall.
describe('keys of several processes on one file', () => {
  it('pass nobody who begins after a revocation, a rotation, a kill, a takeover or an end was acknowledged elsewhere', async () => {
    const file = temporaryFile();
    const mesh = createMesh({ storage: await SqliteStorage.open(file) });
    const { keys, registry } = mesh;
    for (const id of ['killed', 'taken', 'ended']) await registry.register({ id, heartbeat: 'manual' });
    const revoked = await keys.issue({ scopes: SCOPES });
    const root = await keys.issue({ scopes: SCOPES });
    const derived = await keys.derive((await keys.derive(root.token, { scopes: SCOPES })).token, { scopes: SCOPES });
    const rotated = await keys.issue({ scopes: SCOPES });
    const bound = await Promise.all(['killed', 'taken', 'ended'].map((session) => keys.issue({ session, scopes: SCOPES })));
    const tokens = [revoked, derived, rotated, ...bound].map(({ token }) => token);

    const children = [startChild('keys/verifying', [file, ...tokens]), startChild('keys/verifying', [file, ...tokens])];
    for (const child of children) expect(await child.line()).toBe('passed');
    const acknowledged: bigint[] = [];
    const acts = [
      () => keys.revoke(revoked.apiKey.id),
      () => keys.revoke(root.apiKey.id),
      () => keys.rotate(rotated.apiKey.id),
      () => registry.kill('killed', { force: true }),
      () => registry.register({ id: 'taken', heartbeat: 'manual', takeover: true }),
      () => registry.end('ended'),
    ];
    for (const act of acts) {
      await act();
      acknowledged.push(process.hrtime.bigint());
    }
    for (const child of children) expect(await child.line()).toBe('refused');
    for (const child of children) {
      child.say('stop');
      const seen = JSON.parse(await child.line()) as { passed: number; last: string; refused: Record<string, number> }[];
      const reasons = seen.map(({ refused }) => Object.keys(refused).join());
      expect(reasons).toEqual(['revoked', 'revoked', 'unknown', 'session_ended', 'session_ended', 'session_ended']);
      // Both clocks are the host's.
      const late = seen.filter(({ last }, n) => BigInt(last) > (acknowledged[n] as bigint));
      expect(late).toEqual([]);
      expect(await child.ended).toBe(0);
    }
    await mesh.close();
  });

  it('pass exactly 100 of 1,000 verifications that four processes make at the same time', async () => {
    const file = temporaryFile();
    const mesh = createMesh({ storage: await SqliteStorage.open(file) });
    const { token } = await mesh.keys.issue({ maxUses: 100 });
    const once = await mesh.keys.issue({ maxUses: 1 });
    const children = [token, token, token, token].map((shown) => startChild('keys/spending', [file, shown, '250']));
    for (const child of children) expect(await child.line()).toBe('ready');
    for (const child of children) child.say('go');
    const counts = await Promise.all(children.map(async (child) => JSON.parse(await child.line()) as Record<string, number>));
    const total: Record<string, number> = {};
    for (const count of counts)
      for (const [outcome, times] of Object.entries(count)) total[outcome] = (total[outcome] ?? 0) + times;
    expect(total).toEqual({ valid: 100, exhausted: 900 });
    const found = (await mesh.keys.list()).items;
    expect(found.find(({ id }) => id === token.slice(4, 20))?.uses).toBe(100);
    expect(found.find(({ id }) => id === once.apiKey.id)?.uses).toBe(0);
    await mesh.close();
  });
});

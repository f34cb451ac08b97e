import { describe, expect, it } from 'vitest';
import type { KillOptions } from '../../src/index.ts';
import { expectRefused, NO_IDS, named } from '../support/registry-kill/hostile.ts';
import { countedWorld, quiet } from '../support/registry-kill/world.ts';
import { storages } from '../support/storages.ts';

const NO_OPTIONS: readonly unknown[] = [
  null,
  'now',
  42,
  [],
  { reason: 1 },
  { reason: 'x'.repeat(1025) },
  { reason: '\ud800' },
  { reason: null },
  { graceMs: -1 },
  { graceMs: 0.5 },
  { graceMs: Number.NaN },
  { graceMs: Number.POSITIVE_INFINITY },
  { graceMs: 2 ** 31 },
  { graceMs: '5000' },
  { graceMs: 5000n },
  { force: 'yes' },
  { force: 1 },
  { cascade: null },
  { cascade: 'false' },
  { timeoutMs: -1 },
  { timeoutMs: 2 ** 31 },
  { timeoutMs: '1' },
  { timeoutMs: new Date() },
  { signal: {} },
  { signal: 'abort' },
  { signal: null },
  { signal: new AbortController() },
  { by: 42 },
  { by: null },
  { by: 'a b' },
  { by: {} },
  { by: { id: '*' } },
  { by: ['a'] },
  { grace: 5000 },
  { reason: 'x', onKill: () => {} },
  JSON.parse('{"__proto__": {"force": true}}'),
];

describe.each(storages)('what kill accepts on %s', (_name, open) => {
  it('are ids, and nothing is asked of the storage for anything else', async () => {
    const { registry, counter } = await countedWorld(open);
    const agent = await quiet(registry, 'agent');
    await counter.storage.list('sessions');
    for (const id of NO_IDS) await expectRefused(counter, () => registry.kill(id as string), `kill ${named(id)}`);
    expect(agent.signal.aborted).toBe(false);
  });

  it('are known options within their bounds', async () => {
    const { registry, counter } = await countedWorld(open);
    await quiet(registry, 'agent');
    for (const options of NO_OPTIONS) {
      await expectRefused(counter, () => registry.kill('agent', options as KillOptions), `kill with ${named(options)}`);
    }
    expect(await registry.get('agent')).toMatchObject({ state: 'alive' });
    expect(await counter.storage.list('kills')).toEqual([]);
  });

  it('may be named by a handle, by what looks like a session, or not at all', async () => {
    const { registry } = await countedWorld(open);
    const agent = await quiet(registry, 'agent');
    const boss = await quiet(registry, 'boss');
    for (const by of [undefined, boss, 'boss', 'nobody-known', (await registry.get('boss')) ?? '']) {
      expect((await registry.kill('agent', { by, timeoutMs: 0, signal: undefined, reason: undefined })).root).toBe('agent');
    }
    // An owner may kill itself: its lease is checked twice in one commit, and holds.
    expect((await registry.kill('boss', { by: boss, force: true })).killed).toEqual([{ session: 'boss', graceful: false }]);
    expect((await registry.kill('agent', { by: agent, force: true })).killed).toHaveLength(1);
  });

  it('are options that stay as they were', async () => {
    const { registry } = await countedWorld(open);
    await quiet(registry, 'agent');
    const options = Object.freeze({ reason: 'budget', graceMs: 1000, timeoutMs: 0 });
    const before = structuredClone(options);
    await registry.kill('agent', options);
    expect(options).toEqual(before);
  });

  it('are the extremes: no grace, the longest grace, a reason of a kilobyte, an id of 128 characters', async () => {
    const { registry } = await countedWorld(open);
    const id = `a${'.:/@+-_x'.repeat(15)}.......`.slice(0, 128);
    for (const options of [{ graceMs: 2 ** 31 - 1, timeoutMs: 0, reason: '💥'.repeat(256) }, { graceMs: 0 }]) {
      if (!(await registry.get(id))) await quiet(registry, id);
      expect((await registry.kill(id, options)).root).toBe(id);
    }
    expect(await registry.get(id)).toMatchObject({ state: 'killed', reason: '💥'.repeat(256) });
    await quiet(registry, 'other');
    await registry.kill('other', { reason: '', force: true });
    expect(await registry.get('other')).toMatchObject({ reason: '' });
  });

  it('is an id only: an order for one whose name the other begins with leaves that one alone', async () => {
    const { clock, registry } = await countedWorld(open);
    for (const id of ['a', 'a/b', 'a.b', 'a:b', 'ab']) await quiet(registry, id);
    await registry.kill('a', { force: true });
    await registry.kill('a/b', { timeoutMs: 0 });
    await clock.advance(10_000);
    const states = await Promise.all(['a', 'a/b', 'a.b', 'a:b', 'ab'].map(async (id) => (await registry.get(id))?.state));
    expect(states).toEqual(['killed', 'killed', 'alive', 'alive', 'alive']);
  });
});

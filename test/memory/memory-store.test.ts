import { describe, expect, it } from 'vitest';
import { audit, partOf } from '../support/memory/audit.ts';
import { hooked, once } from '../support/memory/observed.ts';
import { quiet, refusal, worldOn } from '../support/memory/worlds.ts';
import { storages } from '../support/storages.ts';

/** Names that would meet if names were just joined, and names that look like what the library itself appends. */
const NAMES = [
  'a',
  'b',
  'a:b',
  'a.b',
  'a/b',
  'a.gone',
  'a.tag',
  'a.session',
  'a.owner',
  'a.history',
  'gone',
  'tag',
  'history',
  'memory',
  'a.tag.x',
];
const KEYS = [
  'key',
  'a',
  'b',
  'a:b',
  'a>b',
  '>a',
  'a=b',
  '.gone=',
  'a.tag=x',
  'gone',
  '=',
  '>',
  '|',
  'a|memory',
  'memory',
  '0000000000000001',
];

describe.each(storages)('namespaces on %s', (_name, open) => {
  it('have keys of their own', async () => {
    const { memory, mesh } = await worldOn(open);
    const inner = memory.namespace('inner');
    await memory.set('key', 'outer', { tags: ['tag'], by: 'agent' });
    await inner.set('key', 'inner', { tags: ['tag'], by: 'agent' });
    await inner.set('only', 1);
    expect([await memory.get('key'), await inner.get('key')]).toEqual(['outer', 'inner']);
    expect(await memory.get('only')).toBeUndefined();
    expect((await memory.search({ tags: ['tag'] })).items.map(({ value }) => value)).toEqual(['outer']);
    expect((await inner.search({ session: 'agent' })).items.map(({ value }) => value)).toEqual(['inner']);
    expect((await memory.stats()).entries).toBe(1);
    expect(await inner.clear()).toBe(2);
    expect(await memory.get('key')).toBe('outer');
    expect(await mesh.memory.namespace('inner').history('key')).toHaveLength(2);
  });

  it('of the same name are the same, in every mesh of the storage', async () => {
    const { memory, another } = await worldOn(open);
    await memory.namespace('a').namespace('b').set('key', 1);
    expect(await another().memory.namespace('a').namespace('b').get('key')).toBe(1);
    expect(await memory.namespace('b').namespace('a').get('key')).toBeUndefined();
  });

  it('never meet, whatever they and their keys are called', async () => {
    const { memory, registry, another, seen, storage } = await worldOn(open);
    const agent = await quiet(registry, 'a.tag');
    const roots = [memory, another(storage, { namespace: 'memory' }).memory];
    const levels = roots.flatMap((root) => [
      root,
      ...NAMES.map((name) => root.namespace(name)),
      ...['a', 'a.tag'].flatMap((outer) => ['b', 'gone', 'tag'].map((name) => root.namespace(outer).namespace(name))),
    ]);
    for (const [n, level] of levels.entries()) {
      const owned = n < levels.length / 2 && { by: agent, untilSessionEnds: true };
      for (const key of KEYS) {
        await level.set(key, `old ${n}`);
        await level.set(key, n, { tags: ['a', 'x'], by: 'a.tag', ...owned });
      }
      await level.set('deleted', n);
      await level.delete('deleted');
    }
    for (const [n, level] of levels.entries()) {
      for (const key of KEYS) {
        expect(await level.get(key)).toBe(n);
        expect((await level.history(key)).map((version) => 'value' in version && version.value)).toEqual([n, `old ${n}`]);
      }
      expect((await level.search({ tags: ['x'], limit: 1000 })).items.map(({ value }) => value)).toEqual(KEYS.map(() => n));
      expect((await level.stats()).entries).toBe(KEYS.length);
    }
    expect(await audit(seen)).toEqual([]);
  });

  it('use no partition of another, nor of anything else', async () => {
    const { memory, registry, seen, mesh } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    await mesh.keys.issue({ scopes: ['a'] });
    const used = new Map<string, string>([...seen.partitions].map((partition) => [partition, 'something else']));
    const paths = [
      [],
      ...NAMES.map((name) => [name]),
      ...['a', 'a.tag', 'tag', 'memory'].flatMap((outer) => NAMES.map((name) => [outer, name])),
    ];
    for (const path of paths) {
      const level = path.reduce((outer, name) => outer.namespace(name), memory);
      const before = new Set(seen.partitions);
      for (const key of ['key', 'a.tag=x', '>b']) {
        await level.set(key, 1);
        await level.set(key, 2, { tags: ['gone', 'x'], by: agent, untilSessionEnds: true, ttlMs: 60_000 });
      }
      await level.delete('key');
      for (const partition of seen.partitions) {
        if (before.has(partition)) continue;
        expect([partition, used.get(partition)]).toEqual([partition, undefined]);
        used.set(partition, path.join('>'));
      }
      // Entries, tombstones, three indexes (two tags) and three histories: none of them was there before.
      expect([...used.values()].filter((owner) => owner === path.join('>'))).toHaveLength(9);
    }
    for (const [partition, owner] of used) {
      if (owner === 'something else') continue;
      expect(partOf(partition)?.base).toBe(owner === '' ? 'memory' : `memory>${owner}`);
    }
  });

  it('have a name by the rule of ids', async () => {
    const { memory, seen } = await worldOn(open);
    seen.take();
    for (const name of [
      '',
      'a>b',
      'a b',
      '>',
      '.a',
      'a=b',
      'a|b',
      'a#b',
      'é',
      'a'.repeat(129),
      null,
      5,
      undefined,
      ['a'],
      { id: 'a' },
    ]) {
      expect(() => memory.namespace(name as string)).toThrow(refusal('invalid_input', 'expected name to be an id') as Error);
    }
    expect(seen.take()).toMatchObject({ get: 0, commit: 0 });
  });

  it('hold the longest keys at every depth that they can have', async () => {
    const { storage, another, seen } = await worldOn(open);
    const { memory, registry } = another(storage, { namespace: 'n'.repeat(128) });
    const agent = await quiet(registry, 's'.repeat(128));
    const deepest = memory.namespace('a'.repeat(128)).namespace('b'.repeat(128)).namespace('c'.repeat(102));
    expect(() => deepest.namespace('d')).toThrow(refusal('limit_exceeded', 'at most 360 characters together, got 362') as Error);
    for (const key of ['k'.repeat(512), '€'.repeat(170), '😀'.repeat(128)]) {
      for (let n = 1; n <= 3; n++) {
        await deepest.set(key, n, { by: agent, tags: ['t'.repeat(64)], ttlMs: 60_000, untilSessionEnds: true });
      }
      expect(await deepest.get(key)).toBe(3);
      expect(await deepest.history(key)).toHaveLength(3);
      expect(await deepest.delete(key)).toBe(true);
    }
    expect(await audit(seen)).toEqual([]);
  });
});

describe.each(storages)('a read on %s', (_name, open) => {
  it.each(['get', 'getEntry'] as const)(
    'by %s finds a key that always had a value, whatever took its place meanwhile',
    async (how) => {
      const { clock, memory, registry, storage, another } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
      const agent = await quiet(registry, 'agent');
      await memory.set('owned', 'old', { by: agent, untilSessionEnds: true });
      // After the entry was read, and before its session is.
      const replace = once(async () => {
        await memory.set('owned', 'new');
        await agent.end();
      });
      const reader = another(
        hooked(storage, { get: (partitions) => (partitions.includes('sessions') ? replace.run() : undefined) }),
      ).memory;
      replace.arm();
      const found = await reader[how]('owned');
      expect(how === 'get' ? found : (found as { value: unknown }).value).toBe('new');
      await memory.set('expires', 'old', { ttlMs: 1000 });
      await clock.advance(999);
      // After the entry was read, and before its time is looked at.
      const expire = once(async () => {
        await memory.set('expires', 'new');
        await clock.advance(1);
      });
      const late = another(lateAnswers(storage, expire.run)).memory;
      expire.arm();
      const read = await late[how]('expires');
      expect(how === 'get' ? read : (read as { value: unknown }).value).toBe('new');
    },
  );

  it('finds nothing where something was deleted, and what was set since', async () => {
    const { memory } = await worldOn(open);
    await memory.set('key', 1);
    await memory.delete('key');
    expect([await memory.get('key'), await memory.getEntry('key')]).toEqual([undefined, undefined]);
    await memory.set('key', 2);
    expect([await memory.get('key'), (await memory.getEntry('key'))?.version]).toEqual([2, 3]);
  });
});

/** The same storage, where something happens between a read and its answer. */
function lateAnswers(storage: Parameters<typeof hooked>[0], work: () => Promise<void>): Parameters<typeof hooked>[0] {
  return {
    ...hooked(storage, {}),
    async get(addresses) {
      const records = await storage.get(addresses);
      await work();
      return records;
    },
  };
}

describe.each(storages)('what it costs on %s:', (_name, open) => {
  it('a read is one get, a write one get and one commit', async () => {
    const { memory, registry, seen } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    const cost = async (work: () => Promise<unknown>): Promise<string> => {
      seen.take();
      await work();
      const { get, list, commit, writes } = seen.take();
      return `${get} get, ${list} list, ${commit} commit, ${writes} writes`;
    };
    expect(await cost(() => memory.get('key'))).toBe('1 get, 0 list, 0 commit, 0 writes');
    // The record and the event.
    expect(await cost(() => memory.set('key', 1))).toBe('1 get, 0 list, 1 commit, 2 writes');
    // And the version before.
    expect(await cost(() => memory.set('key', 2))).toBe('1 get, 0 list, 1 commit, 3 writes');
    expect(await cost(() => memory.update('key', () => 3))).toBe('1 get, 0 list, 1 commit, 3 writes');
    // And an index entry for the session, once.
    expect(await cost(() => memory.set('key', 4, { by: agent }))).toBe('1 get, 0 list, 1 commit, 4 writes');
    expect(await cost(() => memory.set('key', 5, { by: agent }))).toBe('1 get, 0 list, 1 commit, 3 writes');
    expect(await cost(() => memory.set('key', 5, { by: agent, tags: ['a', 'b'] }))).toBe('1 get, 0 list, 1 commit, 5 writes');
    expect(await cost(() => memory.set('key', 5, { by: agent, tags: ['b', 'c'] }))).toBe('1 get, 0 list, 1 commit, 5 writes');
    expect(await cost(() => memory.get('key'))).toBe('1 get, 0 list, 0 commit, 0 writes');
    expect(await cost(() => memory.getEntry('key'))).toBe('1 get, 0 list, 0 commit, 0 writes');
    expect(await cost(() => memory.history('key'))).toBe('1 get, 1 list, 0 commit, 0 writes');
    // The record, two tags and the session removed; tombstone, the version before, event.
    expect(await cost(() => memory.delete('key', { by: agent }))).toBe('1 get, 0 list, 1 commit, 7 writes');
    expect(await cost(() => memory.delete('key'))).toBe('1 get, 0 list, 0 commit, 0 writes');
    // The tombstone goes from its place into history.
    expect(await cost(() => memory.set('key', 1))).toBe('1 get, 0 list, 1 commit, 4 writes');
  });

  it('a time to live costs a due entry, and one that stays nothing', async () => {
    const { memory, seen } = await worldOn(open);
    await memory.set('key', 0);
    seen.take();
    await memory.set('key', 1, { ttlMs: 1000 });
    expect(seen.take()).toMatchObject({ get: 1, commit: 1, writes: 4 });
    await memory.update('key', () => 2);
    expect(seen.take()).toMatchObject({ get: 1, commit: 1, writes: 3 });
    await memory.set('key', 3, { ttlMs: 2000 });
    expect(seen.take()).toMatchObject({ get: 1, commit: 1, writes: 5 });
    await memory.set('key', 4);
    expect(seen.take()).toMatchObject({ get: 1, commit: 1, writes: 4 });
  });

  it('an entry of a session costs one more get to read, and through a handle none to write', async () => {
    const { memory, registry, seen } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    seen.take();
    await memory.set('key', 1, { by: agent, untilSessionEnds: true });
    expect(seen.take()).toMatchObject({ get: 1, commit: 1 });
    await memory.get('key');
    expect(seen.take()).toMatchObject({ get: 2, commit: 0 });
  });

  it('a full history costs one removal more for each ninth version', async () => {
    const { memory, seen } = await worldOn(open);
    for (let n = 0; n < 100; n++) await memory.set('key', n);
    seen.take();
    for (let n = 0; n < 90; n++) await memory.set('key', n);
    expect(seen.take()).toMatchObject({ get: 90, commit: 90, writes: 90 * 3 + 10 });
  });
});

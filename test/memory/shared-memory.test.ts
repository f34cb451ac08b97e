import { describe, expect, it } from 'vitest';
import { SharedMemory } from '../../src/memory/shared-memory.ts';
import type { LoggedEvent } from '../../src/storage/events/event-reader.ts';
import { audit } from '../support/memory/audit.ts';
import { hooked, once } from '../support/memory/observed.ts';
import { quiet, refusal, together, toldBy, worldOn } from '../support/memory/worlds.ts';
import { storages } from '../support/storages.ts';

function isFrozen(value: unknown): boolean {
  return typeof value !== 'object' || value === null || (Object.isFrozen(value) && Object.values(value).every(isFrozen));
}

describe.each(storages)('shared memory on %s', (_name, open) => {
  it('keeps a value under a key, with what was given to it', async () => {
    const { clock, memory, registry } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    const entry = await memory.set(
      'current_task',
      { name: 'Build', steps: [1, 2] },
      { by: agent, type: 'task', tags: ['active', 'b#1'], ttlMs: 60_000, metadata: { source: 'test' } },
    );
    expect(entry).toEqual({
      key: 'current_task',
      value: { name: 'Build', steps: [1, 2] },
      version: 1,
      type: 'task',
      tags: ['active', 'b#1'],
      session: 'agent',
      at: clock.now(),
      expiresAt: clock.now() + 60_000,
      metadata: { source: 'test' },
    });
    expect(await memory.getEntry('current_task')).toEqual(entry);
    const plan: { name: string } | undefined = await memory.get<{ name: string }>('current_task');
    expect(plan?.name).toBe('Build');
    expect(await memory.set('plain', 1)).toEqual({
      key: 'plain',
      value: 1,
      version: 1,
      type: 'state',
      tags: [],
      at: clock.now(),
      metadata: {},
    });
  });

  it('has nothing where nothing was set', async () => {
    const { memory } = await worldOn(open);
    expect(await memory.get('key')).toBeUndefined();
    expect(await memory.getEntry('key')).toBeUndefined();
    expect(await memory.history('key')).toEqual([]);
    expect(await memory.search()).toEqual({ items: [] });
    expect(await memory.delete('key')).toBe(false);
    expect(await memory.clear()).toBe(0);
    expect(await memory.stats()).toEqual({ entries: 0, byType: {}, bySession: {} });
  });

  it('takes null for a value', async () => {
    const { memory } = await worldOn(open);
    await memory.set('key', null);
    expect(await memory.get('key')).toBeNull();
    expect(await memory.getEntry('key')).toMatchObject({ value: null, version: 1 });
    expect((await memory.search()).items).toHaveLength(1);
  });

  it('forgets with a set what the version before had', async () => {
    const { memory } = await worldOn(open);
    await memory.set('key', 1, { type: 'fact', tags: ['a'], ttlMs: 5000, metadata: { a: 1 }, by: 'agent' });
    const { at } = await memory.set('key', 2);
    expect(await memory.getEntry('key')).toEqual({ key: 'key', value: 2, version: 2, type: 'state', tags: [], at, metadata: {} });
  });

  it('is seen by every mesh of the storage at once', async () => {
    const { memory, another } = await worldOn(open);
    const other = another().memory;
    await memory.set('key', 1);
    expect(await other.get('key')).toBe(1);
    await other.delete('key');
    expect(await memory.get('key')).toBeUndefined();
  });

  it('hands out what nobody can change', async () => {
    const { memory } = await worldOn(open);
    const options = { tags: ['a'], metadata: { deep: { a: [1] } }, type: 'fact', by: 'agent' } as const;
    const answers = [
      await memory.set('key', { deep: [{ a: 1 }] }, options),
      await memory.set('bare', [[]]),
      await memory.update('key', (value) => [value]),
      await memory.getEntry('key'),
      await memory.getEntry('bare'),
      ...(await memory.history('key')),
      ...(await memory.search()).items,
      await memory.get('key'),
    ];
    expect(answers.every(isFrozen)).toBe(true);
    await memory.update<{ a: number }[]>('key', (value) => {
      expect(isFrozen(value)).toBe(true);
      return undefined;
    });
  });

  it('keeps what was given when it was given, and leaves it as it was', async () => {
    const { memory } = await worldOn(open);
    const value: { list: unknown[]; text: string } = { list: [1, { a: 1 }], text: 'old' };
    const options = { tags: ['a', 'b'], metadata: { list: [1] }, type: 'fact' as const };
    const before = JSON.stringify([value, options]);
    const writing = memory.set('key', value, options);
    expect(JSON.stringify([value, options])).toBe(before);
    expect([value, value.list, options, options.tags, options.metadata.list].some((part) => Object.isFrozen(part))).toBe(false);
    value.list.push('later');
    value.text = 'new';
    options.tags[0] = 'not a tag!';
    options.metadata.list.push(2);
    const entry = await writing;
    const wanted = { value: { list: [1, { a: 1 }], text: 'old' }, tags: ['a', 'b'], metadata: { list: [1] } };
    expect(entry).toMatchObject(wanted);
    value.list.pop();
    options.tags.pop();
    expect(entry).toMatchObject(wanted);
    expect(await memory.getEntry('key')).toMatchObject(wanted);
    const made = { n: 1 };
    const updated = await memory.update<unknown>('key', () => made);
    made.n = 2;
    expect([updated?.value, await memory.get('key')]).toEqual([{ n: 1 }, { n: 1 }]);
  });

  it('stands alone on a storage, and leaves it open when it is closed', async () => {
    const { storage, memory } = await worldOn(open);
    const alone = new SharedMemory({ storage });
    await alone.namespace('a').set('key', 1);
    expect(await memory.namespace('a').get('key')).toBe(1);
    await alone.namespace('a').close();
    expect(await alone.get('key')).toBeUndefined();
    await alone.close();
    await expect(alone.get('key')).rejects.toEqual(refusal('closed'));
    await expect(alone.set('key', 1)).rejects.toEqual(refusal('closed'));
    expect(await memory.namespace('a').get('key')).toBe(1);
    await memory.close();
    expect(await memory.get('key')).toBeUndefined();
  });

  it('needs a storage to stand on', async () => {
    const { storage } = await worldOn(open);
    for (const options of [
      undefined,
      null,
      5,
      'storage',
      {},
      { storage: {} },
      { storage, unknown: 1 },
      { storage, namespace: 'a b' },
    ]) {
      expect(() => new SharedMemory(options as never)).toThrow(refusal('invalid_input', 'expected options') as Error);
    }
  });

  it('tells its own listeners of its own namespace only, and those of the mesh of all', async () => {
    const { mesh, memory, another } = await worldOn(open);
    const other = another();
    const heard: string[] = [];
    const hear =
      (where: string) =>
      ({ name, ['namespace']: namespace, ['key']: key }: LoggedEvent): void => {
        heard.push(`${where}: ${name} ${namespace}/${key}`);
      };
    const inner = other.memory.namespace('a');
    other.memory.on('*', hear('root'));
    inner.on('*', hear('a'));
    inner.namespace('b').on('*', hear('a>b'));
    other.on('*', hear('mesh'));
    await memory.set('key', 1);
    await memory.namespace('a').set('key', 1);
    await memory.namespace('a').namespace('b').delete('none');
    await memory.namespace('a').namespace('b').set('key', 1);
    await memory.namespace('ab').set('key', 1);
    await mesh.settled();
    await other.settled();
    expect(heard.filter((line) => !line.startsWith('mesh')).sort()).toEqual([
      'a: memory_set a/key',
      'a>b: memory_set a>b/key',
      'root: memory_set /key',
    ]);
    expect(heard.filter((line) => line.startsWith('mesh'))).toHaveLength(4);
  });

  it('tells listeners of every change, whoever made it', async () => {
    const { clock, memory, another } = await worldOn(open);
    const heard: string[] = [];
    const other = another();
    other.memory.on('memory_set', ({ key, version }) => heard.push(`set ${key} ${version}`));
    other.memory.on('memory_deleted', ({ key, version }) => heard.push(`deleted ${key} ${version}`));
    other.memory.on('memory_expired', ({ key, version }) => heard.push(`expired ${key} ${version}`));
    await memory.set('a', 1);
    await memory.set('b', 1, { ttlMs: 1000 });
    await memory.delete('a');
    await clock.advance(3000);
    await other.settled();
    expect(heard).toEqual(['set a 1', 'set b 1', 'deleted a 2', 'expired b 2']);
  });
});

describe.each(storages)('delete on %s', (_name, open) => {
  it('says whether there was something', async () => {
    const { memory, storage } = await worldOn(open);
    await memory.set('key', null);
    expect(await memory.delete('key')).toBe(true);
    expect(await memory.delete('key')).toBe(false);
    expect(await memory.get('key')).toBeUndefined();
    expect(await toldBy(storage)).toEqual(['set key 1', 'deleted key 2']);
  });

  it('of one session deletes what that session wrote last, and nothing else', async () => {
    const { memory } = await worldOn(open);
    await memory.set('key', 1, { by: 'one' });
    await memory.set('key', 2, { by: 'two' });
    expect(await memory.delete('key', { session: 'one' })).toBe(false);
    expect(await memory.get('key')).toBe(2);
    expect(await memory.delete('key', { session: 'two', by: 'janitor' })).toBe(true);
    await memory.set('key', 3);
    expect(await memory.delete('key', { session: 'two' })).toBe(false);
  });

  it('succeeds once, whoever else deletes', async () => {
    const { memory, another, seen } = await worldOn(open);
    await memory.set('key', 1);
    const meshes = [memory, another().memory];
    const outcomes = await together(20, (n) => (meshes[n % 2] as SharedMemory).delete('key'));
    expect(outcomes.filter(Boolean)).toHaveLength(1);
    expect((await memory.history('key')).map(({ version }) => version)).toEqual([2, 1]);
    expect(await audit(seen)).toEqual([]);
  });

  it('of one session leaves what another has written since it was looked at', async () => {
    const { storage, memory, another } = await worldOn(open);
    await memory.set('key', 1, { by: 'one' });
    const overwrite = once(() => memory.set('key', 2, { by: 'two' }));
    const { memory: slow } = another(hooked(storage, { commit: () => overwrite.run() }));
    overwrite.arm();
    expect(await slow.delete('key', { session: 'one' })).toBe(false);
    expect(await memory.get('key')).toBe(2);
  });
});

describe.each(storages)('clear on %s', (_name, open) => {
  it('deletes every key, and says how many', async () => {
    const { memory, seen } = await worldOn(open);
    await together(150, (n) => memory.set(`key${n}`, n, { tags: ['tag'] }));
    expect(await memory.clear({ by: 'janitor' })).toBe(150);
    expect(await memory.search({ tags: ['tag'] })).toEqual({ items: [] });
    expect((await memory.history('key7')).map(({ version, session }) => [version, session])).toEqual([
      [2, 'janitor'],
      [1, undefined],
    ]);
    expect(await audit(seen)).toEqual([]);
  });

  it('of one session deletes what that session wrote last', async () => {
    const { memory, seen } = await worldOn(open);
    await together(90, (n) => memory.set(`key${n}`, n, { by: n % 3 === 0 ? 'one' : 'two' }));
    await memory.set('key0', 'taken', { by: 'two' });
    expect(await memory.clear({ session: 'one' })).toBe(29);
    expect((await memory.stats()).bySession).toEqual({ two: 61 });
    expect(await memory.clear({ session: 'nobody' })).toBe(0);
    expect(await audit(seen)).toEqual([]);
  });

  it('comes to an end while others write what it deletes', async () => {
    const { memory, another, seen } = await worldOn(open);
    const other = another().memory;
    await together(200, (n) => memory.set(`key${n}`, n));
    let cleared = false;
    const writer = (async () => {
      for (let n = 0; !cleared; n++) {
        await other.set(`key${n % 200}`, 'again');
        await new Promise(setImmediate);
      }
    })();
    expect(await memory.clear()).toBeGreaterThanOrEqual(200);
    cleared = true;
    await writer;
    expect((await memory.search({ limit: 1000 })).items.every(({ value }) => value === 'again')).toBe(true);
    expect(await audit(seen)).toEqual([]);
  });

  it('of one session leaves what others write meanwhile', async () => {
    const { storage, memory, another } = await worldOn(open);
    await together(10, (n) => memory.set(`key${n}`, n, { by: 'one' }));
    // Everything was looked at, and nothing is deleted yet.
    let overwriting: Promise<unknown> | undefined;
    const commit = async (): Promise<void> => {
      overwriting ??= together(5, (n) => memory.set(`key${n}`, 'other', { by: 'two' }));
      await overwriting;
    };
    const { memory: slow } = another(hooked(storage, { commit }));
    expect(await slow.clear({ session: 'one' })).toBe(5);
    expect((await memory.stats()).bySession).toEqual({ two: 5 });
  });

  it('lets others have their turn', async () => {
    const { memory } = await worldOn(open);
    await together(1000, (n) => memory.set(`key${n}`, n));
    let turns = 0;
    let running = true;
    const turn = (): void => {
      turns += 1;
      if (running) setImmediate(turn);
    };
    turn();
    await memory.clear();
    running = false;
    expect(turns).toBeGreaterThanOrEqual(10);
  });
});

describe.each(storages)('stats on %s', (_name, open) => {
  it('count what there is, by type and by who wrote it', async () => {
    const { clock, memory } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    await memory.set('a', 1, { type: 'fact', by: 'one' });
    await memory.set('b', 1, { type: 'fact', by: 'constructor' });
    await memory.set('c', 1, { by: 'toString' });
    await memory.set('c', 2, { by: 'toString' });
    await memory.set('d', 1);
    await memory.set('gone', 1);
    await memory.delete('gone');
    await memory.set('expired', 1, { ttlMs: 1000 });
    await memory.namespace('other').set('a', 1);
    await clock.advance(1000);
    expect(await memory.stats()).toEqual({
      entries: 4,
      byType: { fact: 2, state: 2 },
      bySession: { one: 1, constructor: 1, toString: 1 },
    });
  });

  it('count thousands', async () => {
    const { memory } = await worldOn(open);
    await together(2100, (n) => memory.set(`key${n}`, n, { by: `s${n % 7}` }));
    expect(await memory.stats()).toMatchObject({ entries: 2100, byType: { state: 2100 }, bySession: { s3: 300 } });
  });
});

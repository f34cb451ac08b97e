import { describe, expect, it } from 'vitest';
import { MEMORY_TYPES, type MemoryEntry } from '../../src/memory/entry.ts';
import type { SearchOptions } from '../../src/memory/memory-inputs.ts';
import type { SharedMemory } from '../../src/memory/shared-memory.ts';
import { SeededRandom } from '../../src/testing/random.ts';
import { audit } from '../support/memory/audit.ts';
import { MemoryModel, type Wanted } from '../support/memory/model.ts';
import { hooked, once } from '../support/memory/observed.ts';
import { quiet, refusal, together, worldOn } from '../support/memory/worlds.ts';
import { storages } from '../support/storages.ts';

async function keysOf(memory: SharedMemory, options: SearchOptions): Promise<string[]> {
  return (await memory.search(options)).items.map(({ key }) => key);
}

/** All pages together. */
async function walk(memory: SharedMemory, options: SearchOptions): Promise<MemoryEntry[]> {
  const found: MemoryEntry[] = [];
  let after: string | undefined;
  do {
    const page = await memory.search({ ...options, after });
    expect(page.items.length).toBeLessThanOrEqual(options.limit ?? 100);
    if (page.next !== undefined) expect(page.items).toHaveLength(options.limit ?? 100);
    found.push(...page.items);
    after = page.next;
  } while (after !== undefined);
  return found;
}

describe.each(storages)('a search on %s', (_name, open) => {
  it('answers newest versions with everything that belongs to them, in the order of their keys', async () => {
    const { memory } = await worldOn(open);
    await memory.set('b', 1, { tags: ['x'] });
    await memory.set('a', { n: null }, { type: 'fact', by: 'agent', metadata: { m: 1 } });
    await memory.set('b', 2);
    await memory.set('gone', 1);
    await memory.delete('gone');
    const { items, next } = await memory.search();
    expect(items).toEqual([await memory.getEntry('a'), await memory.getEntry('b')]);
    expect(next).toBeUndefined();
  });

  it('finds keys by pattern', async () => {
    const { memory } = await worldOn(open);
    for (const key of ['task_1', 'task_10', 'task_2', 'task', 'Task_1', 'my task_1', 'task_[1]', 'task_\\1', '日本語', '日本'])
      await memory.set(key, 1);
    expect(await keysOf(memory, { pattern: 'task_*' })).toEqual(['task_1', 'task_10', 'task_2', 'task_[1]', 'task_\\1']);
    expect(await keysOf(memory, { pattern: 'task_?' })).toEqual(['task_1', 'task_2']);
    expect(await keysOf(memory, { pattern: 'task' })).toEqual(['task']);
    expect(await keysOf(memory, { pattern: '*_1' })).toEqual(['Task_1', 'my task_1', 'task_1']);
    expect(await keysOf(memory, { pattern: 'task_[1]' })).toEqual(['task_[1]']);
    expect(await keysOf(memory, { pattern: 'task_\\?' })).toEqual(['task_\\1']);
    expect(await keysOf(memory, { pattern: '日本?' })).toEqual(['日本語']);
    expect(await keysOf(memory, { pattern: 'nothing*' })).toEqual([]);
  });

  it('finds entries by all tags or any, by who wrote them and by type', async () => {
    const { memory } = await worldOn(open);
    await memory.set('ab', 1, { tags: ['a', 'b'], by: 'one', type: 'fact' });
    await memory.set('b', 1, { tags: ['b'], by: 'two', type: 'fact' });
    await memory.set('c', 1, { tags: ['c'], by: 'two', type: 'note' });
    await memory.set('none', 1);
    expect(await keysOf(memory, { tags: ['b'] })).toEqual(['ab', 'b']);
    expect(await keysOf(memory, { tags: ['a', 'b'] })).toEqual(['ab']);
    expect(await keysOf(memory, { tags: ['a', 'b'], match: 'all' })).toEqual(['ab']);
    expect(await keysOf(memory, { tags: ['a', 'c'], match: 'any' })).toEqual(['ab', 'c']);
    expect(await keysOf(memory, { tags: ['a', 'c'] })).toEqual([]);
    expect(await keysOf(memory, { session: 'two' })).toEqual(['b', 'c']);
    expect(await keysOf(memory, { type: 'fact' })).toEqual(['ab', 'b']);
    expect(await keysOf(memory, { session: 'two', type: 'fact', tags: ['b'], pattern: '?' })).toEqual(['b']);
    expect(await keysOf(memory, { session: 'two', tags: ['a', 'b'], match: 'any' })).toEqual(['b']);
    expect(await keysOf(memory, { tags: [] })).toEqual(['ab', 'b', 'c', 'none']);
    expect(await keysOf(memory, { tags: [], match: 'any' })).toEqual([]);
  });

  it('finds what the newest version says, not what an older one said', async () => {
    const { memory, seen } = await worldOn(open);
    await memory.set('key', 1, { tags: ['old', 'both'], by: 'old', type: 'fact' });
    await memory.set('key', 2, { tags: ['new', 'both'], by: 'new', type: 'note' });
    expect(await keysOf(memory, { tags: ['old'] })).toEqual([]);
    expect(await keysOf(memory, { session: 'old' })).toEqual([]);
    expect(await keysOf(memory, { tags: ['new', 'both'], session: 'new', type: 'note' })).toEqual(['key']);
    await memory.delete('key');
    expect(await keysOf(memory, { tags: ['both'] })).toEqual([]);
    expect(await audit(seen)).toEqual([]);
  });

  it('goes through pages, each entry once, also while others write', async () => {
    const { memory } = await worldOn(open);
    await together(40, (n) => memory.set(`key${String(n).padStart(2, '0')}`, n, { tags: ['tag'] }));
    for (const options of [{}, { tags: ['tag'] }, { pattern: 'key*' }]) {
      const found: string[] = [];
      let after: string | undefined;
      for (let page = 0; page < 10; page++) {
        const { items, next } = await memory.search({ ...options, limit: 7, after });
        found.push(...items.map(({ key }) => key));
        // Neither what comes before the page nor what goes changes what stood throughout.
        await memory.set(`key00${page}`, 'new', { tags: ['tag'] });
        await memory.delete(`key00${page - 1}`);
        after = next;
        if (next === undefined) break;
      }
      expect(found.filter((key) => key.length === 5)).toEqual(
        Array.from({ length: 40 }, (_, n) => `key${String(n).padStart(2, '0')}`),
      );
    }
  });

  it('ends with a full page and no next when nothing is left', async () => {
    const { memory } = await worldOn(open);
    for (const key of ['a', 'b', 'c', 'd']) await memory.set(key, 1);
    const first = await memory.search({ limit: 2 });
    expect([first.items.map(({ key }) => key), first.next]).toEqual([['a', 'b'], 'b']);
    expect(await memory.search({ limit: 2, after: first.next })).toEqual({
      items: [await memory.getEntry('c'), await memory.getEntry('d')],
    });
    expect(await keysOf(memory, { after: 'zzz' })).toEqual([]);
    expect(await keysOf(memory, { pattern: 'b*', after: 'a' })).toEqual(['b']);
    expect(await keysOf(memory, { pattern: 'b*', after: 'c' })).toEqual([]);
  });

  it('fills a page although much of what it walks over is gone', async () => {
    const { clock, memory, registry } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    const agent = await quiet(registry, 'agent');
    await together(300, (n) => memory.set(`a${n}`, n, { ttlMs: 1000 }));
    await together(300, (n) => memory.set(`b${n}`, n, { by: agent, untilSessionEnds: true }));
    await together(5, (n) => memory.set(`c${n}`, n));
    await clock.advance(1000);
    await agent.end();
    const page = await memory.search({ limit: 3 });
    expect([page.items.map(({ key }) => key), page.next]).toEqual([['c0', 'c1', 'c2'], 'c2']);
  });

  it('by a beginning reads what begins so and nothing else', async () => {
    const { memory, seen } = await worldOn(open);
    await together(300, (n) => memory.set(`${'abc'[n % 3]}_${n}`, n));
    seen.take();
    await memory.search({ pattern: 'b_*', limit: 10 });
    // Eleven entries, to know whether there is a next page.
    expect(seen.take()).toEqual({ get: 0, list: 1, records: 11, commit: 0, writes: 0 });
    await memory.search({ pattern: 'b_1', limit: 10 });
    expect(seen.take()).toMatchObject({ records: 1 });
    await memory.search({ pattern: 'b_10?', limit: 10 });
    expect(seen.take().records).toBeLessThanOrEqual(10);
    await memory.search({ pattern: 'd*' });
    expect(seen.take()).toMatchObject({ records: 0 });
  });

  it('by a tag or a writer reads through the index, the smaller of two', async () => {
    const { memory, seen } = await worldOn(open);
    await together(300, (n) => memory.set(`key${n}`, n, { tags: ['all', `tag${n % 100}`], by: n < 200 ? 'many' : 'few' }));
    seen.take();
    expect((await memory.search({ tags: ['tag7'] })).items).toHaveLength(3);
    expect(seen.take()).toMatchObject({ list: 1, get: 1, records: 6 });
    expect((await memory.search({ tags: ['all', 'tag7'], session: 'many' })).items).toHaveLength(2);
    // 64 of each index at most are counted.
    expect(seen.take().records).toBeLessThanOrEqual(64 + 64 + 3 + 6);
    expect((await memory.search({ tags: ['tag1', 'tag2'], match: 'any' })).items).toHaveLength(6);
    expect(seen.take()).toMatchObject({ records: 12 });
  });

  it('reads the sessions of a page at once', async () => {
    const { memory, registry, seen } = await worldOn(open);
    const agents = await together(5, (n) => quiet(registry, `agent${n}`));
    await together(100, (n) => memory.set(`key${n}`, n, { by: agents[n % 5], untilSessionEnds: true }));
    seen.take();
    expect((await memory.search({ limit: 1000 })).items).toHaveLength(100);
    expect(seen.take()).toMatchObject({ list: 1, get: 1 });
  });

  it('finds a key that always had a value, whatever took its place meanwhile', async () => {
    const { clock, memory, registry, storage, another } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    const agent = await quiet(registry, 'agent');
    await memory.set('expires', 'old', { ttlMs: 1000, tags: ['tag'] });
    await memory.set('owned', 'old', { by: agent, untilSessionEnds: true, tags: ['tag'] });
    await memory.set('changes', 'old', { by: agent, untilSessionEnds: true, tags: ['tag'] });
    await clock.advance(999);
    // Between the records and the sessions that they belong to.
    const replace = once(async () => {
      await memory.set('expires', 'new', { tags: ['tag'] });
      await memory.set('owned', 'new', { tags: ['tag'] });
      await memory.set('changes', 'new', { tags: ['other'] });
      await agent.end();
      await clock.advance(1);
    });
    const reader = another(
      hooked(storage, { get: (partitions) => (partitions.includes('sessions') ? replace.run() : undefined) }),
    ).memory;
    replace.arm();
    const { items } = await reader.search({ tags: ['tag'] });
    expect(items.map(({ key, value }) => [key, value])).toEqual([
      ['expires', 'new'],
      ['owned', 'new'],
    ]);
  });

  it.each([
    { pattern: '' },
    { pattern: 'a'.repeat(257) },
    { pattern: 'a\u0000' },
    { pattern: '\ud800*' },
    { pattern: /a/ },
    { tags: 'a' },
    { tags: ['a', 'a'] },
    { tags: ['not a tag'] },
    { match: 'some' },
    { session: 'not an id' },
    { type: 'other' },
    { limit: 0 },
    { limit: 1001 },
    { after: '' },
    { after: 5 },
    { unknown: 1 },
    { tag: ['a'] },
    null,
    'task_*',
    [],
  ])('is refused with %j before anything is read', async (options) => {
    const { memory, seen } = await worldOn(open);
    seen.take();
    await expect(memory.search(options as SearchOptions)).rejects.toEqual(refusal('invalid_input', 'expected options'));
    expect(seen.take()).toMatchObject({ get: 0, list: 0 });
  });
});

describe.each(storages)('a random run on %s', (_name, open) => {
  const keys = [
    'a',
    'ab',
    'abc',
    'b',
    '__proto__',
    'constructor',
    'a>b',
    'x=y',
    'a.gone',
    '\ud7ff',
    '\ue000',
    '😀',
    '0000000000000005>a',
    ' ',
  ];
  const tags = ['red', 'green', 'blue', 'toString'];
  const patterns = ['*', 'a*', '?', 'a?*', '*b', '\ud7ff*', '_*', 'abc', '*o*o*', '😀', 'x=*'];

  it.each([1, 2, 3])(
    'finds, reads and remembers what a plain model does, and keeps its indexes exact (seed %i)',
    async (seed) => {
      const { clock, seen, another } = await worldOn(open);
      const random = new SeededRandom(seed);
      const model = new MemoryModel();
      const memories = [another().memory, another().memory];
      const maybe = <T>(value: T): T | undefined => (random.chance(0.5) ? value : undefined);
      const some = (): string[] => tags.filter(() => random.chance(0.4));
      const compare = async (memory: SharedMemory): Promise<void> => {
        const now = clock.now();
        for (const key of keys) expect(await memory.getEntry(key)).toEqual(model.get(key, now));
        const wanted: Wanted = {
          pattern: maybe(random.pick(patterns)),
          tags: maybe(some()),
          match: random.pick(['all', 'any', undefined] as const),
          session: maybe(random.pick(['one', 'two'])),
          type: random.chance(0.2) ? random.pick(MEMORY_TYPES) : undefined,
        };
        if (wanted.match === 'any' && !wanted.tags) return;
        const found = await walk(memory, { ...wanted, limit: 1 + random.below(4) });
        expect(found).toEqual(model.search(wanted, now));
      };
      for (let step = 0; step < 250; step++) {
        const memory = random.pick(memories);
        const key = random.pick(keys);
        const by = maybe(random.pick(['one', 'two']));
        const dice = random.below(10);
        if (dice < 4) {
          const written = {
            value: step,
            type: maybe(random.pick(MEMORY_TYPES)),
            tags: some(),
            ttlMs: random.chance(0.3) ? 1000 + random.below(2000) : undefined,
          };
          const { value, ...options } = written;
          expect(await memory.set(key, value, { ...options, by })).toEqual(
            model.set(key, { ...written, session: by }, clock.now()),
          );
        } else if (dice < 6) {
          const change = (value: unknown): unknown => (random.chance(0.2) ? undefined : [step, value === undefined]);
          const next = change(model.get(key, clock.now())?.value);
          await memory.update(key, () => next, { by });
          model.update(key, () => next, by, clock.now());
        } else if (dice === 6) {
          const session = maybe(random.pick(['one', 'two']));
          expect(await memory.delete(key, { by, session })).toBe(model.delete(key, by, session, clock.now()));
        } else if (dice === 7 && random.chance(0.3)) {
          const session = maybe(random.pick(['one', 'two']));
          const deleted = keys.filter((each) => model.delete(each, by, session, clock.now()));
          expect(await memory.clear({ by, session })).toBe(deleted.length);
        } else {
          await clock.advance(random.pick([1, 100, 500, 1500]));
        }
        if (step % 3 === 0) await compare(memory);
      }
      expect(await audit(seen)).toEqual([]);
      await clock.advance(10_000);
      for (const key of keys) {
        const history = await (memories[0] as SharedMemory).history(key);
        // The model does not know when a sweep came.
        const expected = model.history(key, clock.now(), 100) as { at: number }[];
        expect(history.map((version, n) => (Number.isNaN(expected[n]?.at) ? { ...version, at: Number.NaN } : version))).toEqual(
          expected,
        );
      }
      expect(await audit(seen)).toEqual([]);
    },
  );
});

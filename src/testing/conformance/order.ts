import { ensure, equal } from './expect.ts';
import { commit, everything, fill, keysOf, read, story } from './story.ts';

const encoder = new TextEncoder();

/** Keys that order by JavaScript's `<`, by locale or by normalised form puts elsewhere than UTF-8 bytes do. */
export const HOSTILE_KEYS: readonly string[] = [
  '\u0001',
  '\t',
  ' ',
  '!',
  '0',
  '10',
  '9',
  'A',
  'Z',
  '_',
  '__proto__',
  'a',
  'a\u0001',
  'a b',
  'aa',
  'constructor',
  'e\u0301',
  'z',
  '\u007f',
  '\u0080',
  'ä',
  '\u00e9',
  'ß',
  '\u07ff',
  '\u0800',
  '\u200b',
  '\u212b',
  '漢',
  '\ud7ff',
  '\ue000',
  '\ufdd0',
  '\ufeff',
  '\ufffd',
  '\uffff',
  '\u{10000}',
  '😀',
  '😀a',
  '👩‍👩‍👧',
  '👩🏽',
  '\u{10ffff}',
  `${'k'.repeat(1023)}a`,
  `${'k'.repeat(1023)}b`,
];

function byBytes(a: string, b: string): number {
  const left = encoder.encode(a);
  const right = encoder.encode(b);
  for (let index = 0; index < left.length && index < right.length; index++) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

const SORTED = [...HOSTILE_KEYS].sort(byBytes);
/** Neither in order nor in reverse. */
const SHUFFLED = [...SORTED.filter((_, index) => index % 3 === 1), ...SORTED.filter((_, index) => index % 3 !== 1).reverse()];

export const orderCases = [
  story('order: keys are listed by their UTF-8 bytes, whatever is in them', async ({ storage }) => {
    await fill(storage, 'p', SHUFFLED);
    equal(await keysOf(storage, 'p'), SORTED, 'all keys');
    for (const key of SORTED) equal((await read(storage, 'p', key))?.value, key, `the record of ${JSON.stringify(key)}`);
  }),

  story('order: reverse is the same list from its end', async ({ storage }) => {
    await fill(storage, 'p', SHUFFLED);
    equal(await keysOf(storage, 'p', { reverse: true }), [...SORTED].reverse(), 'all keys in reverse');
    equal(await keysOf(storage, 'p', { reverse: true, limit: 3 }), SORTED.slice(-3).reverse(), 'the last three');
  }),

  story('order: every key can begin and end a range, and the end is outside of it', async ({ storage }) => {
    await fill(storage, 'p', SHUFFLED);
    for (const [index, key] of SORTED.entries()) {
      const name = JSON.stringify(key);
      equal(await keysOf(storage, 'p', { start: key }), SORTED.slice(index), `keys from ${name} on`);
      equal(await keysOf(storage, 'p', { end: key }), SORTED.slice(0, index), `keys before ${name}`);
      equal(
        await keysOf(storage, 'p', { end: key, reverse: true, limit: 1 }),
        SORTED.slice(0, index).slice(-1),
        `the one before ${name}`,
      );
      const next = { start: key, end: `${key}\u0001` };
      equal(await keysOf(storage, 'p', next), [key], `the range of ${name} alone`);
    }
  }),

  story('order: a range of several keys has the same content in both directions', async ({ storage }) => {
    await fill(storage, 'p', SHUFFLED);
    for (let from = 0; from < SORTED.length; from += 5) {
      const to = Math.min(from + 7, SORTED.length - 1);
      const range = { start: SORTED[from] ?? '', end: SORTED[to] ?? '' };
      const expected = SORTED.slice(from, to);
      equal(await keysOf(storage, 'p', range), expected, 'the range');
      equal(await keysOf(storage, 'p', { ...range, reverse: true }), [...expected].reverse(), 'the range in reverse');
      equal(await keysOf(storage, 'p', { ...range, limit: 2 }), expected.slice(0, 2), 'its first two');
      equal(
        await keysOf(storage, 'p', { ...range, limit: 2, reverse: true }),
        [...expected].reverse().slice(0, 2),
        'its last two',
      );
    }
  }),

  story('order: the ends of a range need not be keys, and an empty range is empty', async ({ storage }) => {
    await fill(storage, 'p', ['b', 'd', 'f']);
    equal(await keysOf(storage, 'p', { start: 'c', end: 'e' }), ['d'], 'from c to e');
    equal(await keysOf(storage, 'p', { start: '' }), ['b', 'd', 'f'], 'from the empty string on');
    equal(await keysOf(storage, 'p', { end: '' }), [], 'before the empty string');
    equal(await keysOf(storage, 'p', { start: 'd', end: 'd' }), [], 'from d to d');
    equal(await keysOf(storage, 'p', { start: 'f', end: 'b' }), [], 'from f to b');
    equal(await keysOf(storage, 'p', { start: 'f', end: 'b', reverse: true }), [], 'from f to b in reverse');
    equal(await keysOf(storage, 'p', { start: 'g' }), [], 'behind all');
    equal(await keysOf(storage, 'p', { end: 'a', reverse: true }), [], 'before all, in reverse');
    equal(await keysOf(storage, 'p', { start: 'a', end: 'z', reverse: true }), ['f', 'd', 'b'], 'around all, in reverse');
  }),

  story('order: a walk in pages meets every record once, however long the pages', async ({ storage }) => {
    const keys = Array.from({ length: 2500 }, (_, index) => `k${String((index * 7919) % 2500).padStart(4, '0')}`);
    for (let from = 0; from < keys.length; from += 1000) await fill(storage, 'p', keys.slice(from, from + 1000));
    keys.sort();
    for (const limit of [1000, 999, 613]) {
      equal(
        (await everything(storage, 'p', limit)).map(({ key }) => key),
        keys,
        `the walk in pages of ${limit}`,
      );
    }
    equal((await keysOf(storage, 'p')).length, 1000, 'the length of a list without limit');
    let back: string[] = [];
    for (let end: string | undefined; back.length < keys.length; end = back.at(-1)) {
      const page = await keysOf(storage, 'p', { limit: 700, reverse: true, ...(end !== undefined && { end }) });
      ensure(page.length > 0, 'a page on the way back');
      back = [...back, ...page];
    }
    equal(back, [...keys].reverse(), 'the walk back');
  }),

  story('order: a walk in pages meets what stood all the time once, whatever comes and goes', async ({ storage }) => {
    const stays = Array.from({ length: 200 }, (_, index) => `k${String(index * 10).padStart(5, '0')}`);
    await fill(storage, 'p', stays);
    const met: string[] = [];
    for (let start = '', round = 0; ; round++) {
      const page = await keysOf(storage, 'p', { start, limit: 7 });
      met.push(...page);
      ensure(round < 1_000, 'a walk that ends', round);
      const last = page.at(-1);
      if (last === undefined) break;
      start = `${last}\u0001`;
      // One comes behind the reader and one before it; one that came earlier goes.
      const ahead = stays.includes(last) ? [{ partition: 'p', key: `${last}+`, value: null }] : [];
      await commit(storage, {
        puts: [{ partition: 'p', key: `k00000+${round}`, value: null }, ...ahead],
        deletes: round > 0 ? [{ partition: 'p', key: `k00000+${round - 1}` }] : [],
      });
    }
    equal(
      met.filter((key) => stays.includes(key)),
      stays,
      'the records that stood',
    );
    equal(met, [...new Set(met)], 'all that was met');
  }),

  story('order: partitions with names that begin alike are apart', async ({ storage }) => {
    const partitions = ['a', 'a/', 'a/b', 'aa', 'ab', 'A', 'ä', '__proto__', 'p%', 'p_', "p'", 'p"', 'p\\', 'a\u0001'];
    for (const partition of partitions) await fill(storage, partition, [`key of ${partition}`]);
    for (const partition of partitions) {
      const records = await storage.list(partition);
      equal(
        records.map((record) => [record.partition, record.key]),
        [[partition, `key of ${partition}`]],
        `the list of ${partition}`,
      );
    }
    equal(await keysOf(storage, 'nothing here'), [], 'the list of a partition that nobody wrote to');
  }),
];

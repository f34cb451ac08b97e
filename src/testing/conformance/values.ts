import type { JsonValue } from '../../kernel/json.ts';
import { ensure, equal } from './expect.ts';
import { commit, everything, read, story } from './story.ts';

/** `levels` containers, one inside the other. */
export function nested(levels: number): JsonValue {
  let value: JsonValue = levels % 2 ? [] : {};
  for (let level = 1; level < levels; level++) value = (levels - level) % 2 ? [value] : { inside: value };
  return value;
}

const VALUES: Readonly<Record<string, JsonValue>> = {
  null: null,
  true: true,
  false: false,
  zero: 0,
  'a fraction': 0.1,
  'the largest safe integer': Number.MAX_SAFE_INTEGER,
  'the largest number': Number.MAX_VALUE,
  'the smallest number': Number.MIN_VALUE,
  'a negative number': -1.5e-7,
  'an empty string': '',
  'text of all kinds': 'ä\u0000\u001f"\\/\u2028\u2029 漢 😀 \ud7ff\ue000\uffff e\u0301',
  'a large string': '0123456789€😀'.repeat(20_000),
  'an empty array': [],
  'an empty object': {},
  'mixed data': {
    list: [1, 'two', null, [false], { three: 3 }],
    'a name with "quotes"': { '': 'no name', '1': 'a number as name' },
  },
  '72 levels': nested(72),
  'a long array': Array.from({ length: 10_000 }, (_, index) => index),
};

export const valueCases = [
  story('values: all JSON comes back as it went in', async ({ storage }) => {
    for (const [name, value] of Object.entries(VALUES)) {
      await commit(storage, { puts: [{ partition: 'p', key: name, value }] });
      equal((await read(storage, 'p', name))?.value, value, `the value of ${name}, got`);
    }
    for (const { key, value } of await everything(storage, 'p')) equal(value, VALUES[key], `the value of ${key}, listed`);
  }),

  story('values: -0 becomes 0', async ({ storage }) => {
    await commit(storage, { puts: [{ partition: 'p', key: 'k', value: { zero: -0, list: [-0] } }] });
    equal((await read(storage, 'p', 'k'))?.value, { zero: 0, list: [0] }, 'the value');
  }),

  story('values: null is a value, and not the absence of the record', async ({ storage }) => {
    const { revision } = await commit(storage, { puts: [{ partition: 'p', key: 'k', value: null }] });
    equal(await read(storage, 'p', 'k'), { partition: 'p', key: 'k', value: null, revision }, 'the record');
  }),

  story('values: __proto__, constructor and the like are data, and change no prototype', async ({ storage }) => {
    const text =
      '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},"toString":1,"hasOwnProperty":null}';
    for (const key of ['__proto__', 'constructor', 'prototype', 'toString']) {
      const put = { partition: key, key, value: JSON.parse(text) as JsonValue };
      await commit(storage, { checks: [{ partition: key, key, revision: null }], puts: [put] });
      const record = await read(storage, key, key);
      const value = record?.value as object;
      equal(JSON.stringify(value), text, `the value at ${key}`);
      ensure(Object.getPrototypeOf(value) === Object.prototype, 'a plain object as value');
      equal((await everything(storage, key)).length, 1, `records in the partition ${key}`);
    }
    ensure(!('polluted' in {}), 'Object.prototype as it was');
  }),

  story('values: are frozen to the depth', async ({ storage }) => {
    await commit(storage, { puts: [{ partition: 'p', key: 'k', value: { list: [{ deep: [1] }], text: 'x' } }] });
    const [listed] = await storage.list('p');
    for (const record of [await read(storage, 'p', 'k'), listed]) ensureFrozen(record?.value, 'value');
    const { taken } = await commit(storage, { takes: [{ from: 'p', to: 'q', limit: 1 }] });
    ensureFrozen(taken[0]?.value, 'taken value');
  }),

  story('values: what the caller changes after the call is not stored', async ({ storage }) => {
    const inner = { count: 1 };
    const value = { inner, list: [inner, 2] };
    const puts = [{ partition: 'p', key: 'k', value }];
    const answer = storage.commit({ puts });
    inner.count = 99;
    value.list.length = 0;
    ensure((await answer).committed, 'a commit without conflict');
    Object.assign(puts[0] ?? {}, { key: 'other', value: 'other' });
    Object.assign(value, { added: true });
    equal((await read(storage, 'p', 'k'))?.value, { inner: { count: 1 }, list: [{ count: 1 }, 2] }, 'the stored value');
    ensure(!Object.isFrozen(value) && !Object.isFrozen(inner), 'the caller\u2019s own objects unfrozen');
  }),

  story('values: what was read can be written again, as it is and as part of more', async ({ storage }) => {
    const value = { list: [1, { two: 2 }] };
    await commit(storage, { puts: [{ partition: 'p', key: 'a', value }] });
    const first = (await read(storage, 'p', 'a'))?.value ?? null;
    const both = { partition: 'p', key: 'c', value: { before: first, again: [first, first] } };
    await commit(storage, { puts: [{ partition: 'p', key: 'b', value: first }, both] });
    equal((await read(storage, 'p', 'b'))?.value, value, 'the copy');
    equal((await read(storage, 'p', 'c'))?.value, { before: value, again: [value, value] }, 'the larger value');
  }),

  story('values: an object without prototype is stored as data', async ({ storage }) => {
    const value = Object.assign(Object.create(null) as Record<string, JsonValue>, { a: 1 });
    await commit(storage, { puts: [{ partition: 'p', key: 'k', value }] });
    equal((await read(storage, 'p', 'k'))?.value, { a: 1 }, 'the value');
  }),
];

function ensureFrozen(value: unknown, path: string): void {
  if (typeof value !== 'object' || value === null) return;
  ensure(Object.isFrozen(value), `${path} to be frozen`, value);
  for (const [name, item] of Object.entries(value)) ensureFrozen(item, `${path}.${name}`);
}

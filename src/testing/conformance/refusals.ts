import type { JsonValue } from '../../kernel/json.ts';
import type { Commit, ListRange } from '../../storage/storage.ts';
import { equal, refuses } from './expect.ts';
import { fill, newest, read, story, unchanged } from './story.ts';
import { nested } from './values.ts';

const INVALID = ['invalid_input'] as const;
/** Out of range: of the wrong kind or over a limit, which a store may tell apart or not. */
const OUT_OF_RANGE = ['invalid_input', 'limit_exceeded'] as const;

/** What no TypeScript would let pass, and JavaScript does. */
function wrong<T>(value: unknown): T {
  return value as T;
}

const BAD_NAMES: readonly (readonly [string, unknown])[] = [
  ['an empty one', ''],
  ['U+0000', 'a\0b'],
  ['a lone high surrogate', 'a\ud800'],
  ['a lone low surrogate', '\udc00a'],
  ['surrogates in the wrong order', '\udc00\ud800'],
  ['a number', 7],
  ['nothing', undefined],
  ['null', null],
  ['a String object', new String('a')],
  ['a list', ['a']],
];

/** One commit for each place where a name stands. */
function commitsNaming(partition: string, key: string): Record<string, Commit> {
  return {
    put: { puts: [{ partition, key, value: 1 }] },
    delete: { deletes: [{ partition, key }] },
    touch: { touches: [{ partition, key, revision: 1, ttlMs: 1000 }] },
    check: { checks: [{ partition, key, revision: null }] },
  };
}

export const refusalCases = [
  story('refusals: names that are empty, not well-formed or no strings, wherever they stand', async ({ storage }) => {
    const verify = await unchanged(storage, ['p', 'q']);
    for (const [what, bad] of BAD_NAMES) {
      const name = wrong<string>(bad);
      for (const [place, commit] of Object.entries({
        ...commitsNaming('p', name),
        ...prefixed('partition of ', commitsNaming(name, 'k')),
      })) {
        await refuses(() => storage.commit(commit), INVALID, `${what} as name in a ${place}`);
      }
      const others: Record<string, Commit> = {
        bound: { checks: [{ partition: name, fewerThan: 5 }] },
        'range delete': { deletes: [{ partition: name, limit: 1 }] },
        'take from': { takes: [{ from: name, to: 'q', limit: 1 }] },
        'take to': { takes: [{ from: 'p', to: name, limit: 1 }] },
        'stamped put': { puts: [{ partition: name, key: 'k', value: 1, stamped: true }] },
      };
      for (const [place, commit] of Object.entries(others))
        await refuses(() => storage.commit(commit), INVALID, `${what} in a ${place}`);
      await refuses(() => storage.get([{ partition: 'p', key: name }]), INVALID, `${what} as key in get`);
      await refuses(() => storage.get([{ partition: name, key: 'k' }]), INVALID, `${what} as partition in get`);
      await refuses(() => storage.list(name), INVALID, `${what} as partition in list`);
    }
    await verify('refused names');
  }),

  story('refusals: ends of ranges that are not well-formed or no strings', async ({ storage }) => {
    const verify = await unchanged(storage, ['p', 'q']);
    for (const [what, bad] of BAD_NAMES) {
      // The empty string and nothing are ends that mean something.
      if (bad === '' || bad === undefined) continue;
      for (const end of ['start', 'end'] as const) {
        const range = { [end]: wrong<string>(bad) };
        await refuses(() => storage.list('p', range), INVALID, `${what} as ${end} of a list`);
        await refuses(
          () => storage.commit({ deletes: [{ partition: 'p', limit: 1, ...range }] }),
          INVALID,
          `${what} as ${end} of a delete`,
        );
        await refuses(
          () => storage.commit({ takes: [{ from: 'p', to: 'q', limit: 1, ...range }] }),
          INVALID,
          `${what} as ${end} of a take`,
        );
      }
      const bound = { partition: 'p', start: wrong<string>(bad), fewerThan: 1 };
      await refuses(() => storage.commit({ checks: [bound] }), INVALID, `${what} as start of a bound`);
    }
    await verify('refused ranges');
  }),

  story('refusals: values that are no JSON', async ({ storage }) => {
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    const cases: readonly (readonly [string, unknown])[] = [
      ['undefined', undefined],
      ['NaN', Number.NaN],
      ['infinity', Number.POSITIVE_INFINITY],
      ['a bigint', 1n],
      ['a function', () => {}],
      ['a symbol', Symbol('s')],
      ['a map', new Map([['a', 1]])],
      ['a boxed string', new String('a')],
      ['an instance of a class', new (class Point {})()],
      ['a regular expression', /a/],
      ['bytes', new Uint8Array(3)],
      ['a cycle', cycle],
      ['a list with a hole', new Array(1)],
      ['a lone surrogate', 'a\ud800'],
      [
        'an accessor',
        {
          get a() {
            throw new Error('expected the accessor not to run');
          },
        },
      ],
      ['73 levels', nested(73)],
    ];
    const verify = await unchanged(storage, ['p']);
    for (const [what, value] of cases) {
      for (const [place, put] of [
        ['value', value],
        ['member', { good: 1, bad: value }],
        ['item', [1, value]],
      ] as const) {
        const puts = [
          { partition: 'p', key: 'good', value: 1 },
          { partition: 'p', key: 'k', value: wrong<JsonValue>(put) },
        ];
        await refuses(() => storage.commit({ puts }), OUT_OF_RANGE, `${what} as ${place}`);
      }
    }
    const name = { partition: 'p', key: 'k', value: { 'a\ud800': 1 } };
    await refuses(() => storage.commit({ puts: [name] }), INVALID, 'a lone surrogate in the name of a member');
    await verify('refused values');
  }),

  story('refusals: numbers out of range', async ({ storage }) => {
    await fill(storage, 'p', ['a']);
    const verify = await unchanged(storage, ['p', 'q']);
    const year = 366 * 86_400_000;
    const ranges: readonly (readonly [string, readonly number[], (number: number) => unknown])[] = [
      ['ttlMs of a put', [0, -1, year + 1], (ttlMs) => storage.commit({ puts: [{ partition: 'p', key: 'k', value: 1, ttlMs }] })],
      [
        'ttlMs of a touch',
        [0, -1, year + 1],
        (ttlMs) => storage.commit({ touches: [{ partition: 'p', key: 'a', revision: 1, ttlMs }] }),
      ],
      ['leaseMs of a take', [-1, year + 1], (leaseMs) => storage.commit({ takes: [{ from: 'p', to: 'q', limit: 1, leaseMs }] })],
      ['limit of a take', [0, -1, 1001], (limit) => storage.commit({ takes: [{ from: 'p', to: 'q', limit }] })],
      ['limit of a delete', [0, -1, 1001], (limit) => storage.commit({ deletes: [{ partition: 'p', limit }] })],
      ['limit of a list', [0, -1, 1001], (limit) => storage.list('p', { limit })],
      ['a bound', [0, -1, 100_001], (fewerThan) => storage.commit({ checks: [{ partition: 'p', fewerThan }] })],
      ['revision of a check', [-1], (revision) => storage.commit({ checks: [{ partition: 'p', key: 'a', revision }] })],
      [
        'revision of a touch',
        [-1],
        (revision) => storage.commit({ touches: [{ partition: 'p', key: 'a', revision, ttlMs: 1 }] }),
      ],
    ];
    for (const [what, outside, attempt] of ranges) {
      for (const number of outside) await refuses(() => attempt(number), OUT_OF_RANGE, `${what} of ${number}`);
      for (const bad of [1.5, Number.NaN, Number.POSITIVE_INFINITY, '5', null, {}, true]) {
        // A check of null asks for absence.
        if (bad === null && what === 'revision of a check') continue;
        await refuses(() => attempt(wrong<number>(bad)), OUT_OF_RANGE, `${what} of ${String(bad)}`);
      }
    }
    await refuses(() => storage.list('p', { reverse: wrong(1) }), INVALID, 'reverse that is neither true nor false');
    await refuses(() => storage.list('p', { values: wrong('no') }), INVALID, 'values that is neither true nor false');
    const stamped = { partition: 'p', key: 'k', value: 1, stamped: wrong<boolean>('yes') };
    await refuses(() => storage.commit({ puts: [stamped] }), INVALID, 'stamped that is neither true nor false');
    await verify('refused numbers');
  }),

  story('refusals: fields that nobody would read, and lists that are none', async ({ storage }) => {
    await fill(storage, 'p', ['a']);
    const revision = await newest(storage);
    const verify = await unchanged(storage, ['p', 'q']);
    const address = { partition: 'p', key: 'a' };
    const commits: Record<string, unknown> = {
      'a commit': { puts: [], token: 'x' },
      'a commit (sets)': { sets: [] },
      'a put': { puts: [{ ...address, value: 1, ttl: 5 }] },
      'a put that expires at a time': { puts: [{ ...address, value: 1, expiresAt: 5 }] },
      'a delete': { deletes: [{ ...address, revision }] },
      'a delete of an address with a limit': { deletes: [{ ...address, limit: 1 }] },
      'a range delete': { deletes: [{ partition: 'p', limit: 1, reverse: true }] },
      'a take': { takes: [{ from: 'p', to: 'q', limit: 1, key: 'a' }] },
      'a touch': { touches: [{ ...address, revision, ttlMs: 5, value: 1 }] },
      'a check': { checks: [{ ...address, revision, value: 1 }] },
      'a bound with a revision': { checks: [{ partition: 'p', fewerThan: 5, revision }] },
      'a bound with an end': { checks: [{ partition: 'p', fewerThan: 5, end: 'z' }] },
    };
    for (const [what, commit] of Object.entries(commits)) {
      await refuses(() => storage.commit(wrong<Commit>(commit)), INVALID, `an unknown field in ${what}`);
    }
    await refuses(() => storage.list('p', wrong<ListRange>({ prefix: 'a' })), INVALID, 'an unknown field in a list');
    for (const list of ['checks', 'deletes', 'takes', 'touches', 'puts']) {
      for (const bad of [null, {}, 'a', 1, [null], [undefined], [5], ['a'], [[]], [{}]]) {
        await refuses(() => storage.commit(wrong<Commit>({ [list]: bad })), INVALID, `${JSON.stringify(bad)} as ${list}`);
      }
    }
    for (const bad of [null, 1, 'a', undefined]) {
      await refuses(() => storage.commit(wrong<Commit>(bad)), INVALID, `${String(bad)} as a commit`);
      await refuses(() => storage.get(wrong([bad])), INVALID, `${String(bad)} as an address`);
      if (bad !== undefined) await refuses(() => storage.list('p', wrong<ListRange>(bad)), INVALID, `${String(bad)} as a range`);
    }
    await refuses(() => storage.get(wrong({ partition: 'p', key: 'a' })), INVALID, 'an address instead of a list of them');
    await verify('refused fields');
  }),

  story('refusals: an address that is written twice', async ({ storage }) => {
    const { revision } = await fill(storage, 'p', ['a']);
    const verify = await unchanged(storage, ['p']);
    const address = { partition: 'p', key: 'a' };
    const put = { ...address, value: 1 };
    const touch = { ...address, revision, ttlMs: 1000 };
    const twice: Record<string, Commit> = {
      'two puts': { puts: [put, put] },
      'put and delete': { puts: [put], deletes: [address] },
      'put and touch': { puts: [put], touches: [touch] },
      'touch and delete': { touches: [touch], deletes: [address] },
      'two deletes': { deletes: [address, address] },
      'two touches': { touches: [touch, touch] },
    };
    const others = Array.from({ length: 20 }, (_, index) => ({ partition: 'p', key: `other ${index}`, value: 1 }));
    for (const [what, commit] of Object.entries(twice)) {
      await refuses(() => storage.commit(commit), INVALID, what);
      await refuses(
        () => storage.commit({ ...commit, puts: [...others, ...(commit.puts ?? [])] }),
        INVALID,
        `${what}, among others`,
      );
    }
    await verify('refused commits');
    const result = await storage.commit({ checks: [{ ...address, revision }], puts: [put, { ...put, partition: 'a' }] });
    equal(result.committed, true, 'a commit that checks what it writes, and writes the same key to two partitions');
    equal((await read(storage, 'p', 'a'))?.value, 1, 'the value');
  }),
];

function prefixed<T>(prefix: string, record: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [prefix + name, value]));
}

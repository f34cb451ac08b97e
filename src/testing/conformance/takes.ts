import type { StoredRecord, Take } from '../../storage/storage.ts';
import { ensure, equal } from './expect.ts';
import { atOnce, commit, everything, fill, keysOf, newest, read, story } from './story.ts';

const LEASE = 30_000;

/** The key that a record has while it is taken. */
export function leased(deadline: number, key: string): string {
  return `${String(deadline).padStart(16, '0')}>${key}`;
}

export const takeCases = [
  story('takes: move the first records of a partition, and answer them', async ({ storage }) => {
    const filled = await commit(storage, {
      puts: ['a', 'b', 'c', 'd'].map((key) => ({ partition: 'queue', key, value: { of: [key] } })),
    });
    const { revision, taken } = await commit(storage, { takes: [{ from: 'queue', to: 'claims', limit: 2 }] });
    ensure(revision > filled.revision, 'a new revision', revision);
    const expected = ['a', 'b'].map((key) => ({ partition: 'claims', key, value: { of: [key] }, revision }));
    equal(taken, expected, 'what was taken');
    equal(await everything(storage, 'claims'), expected, 'the records of the target');
    equal(await keysOf(storage, 'queue'), ['c', 'd'], 'what is left');
    equal(await read(storage, 'queue', 'a'), undefined, 'the record at its old address');
  }),

  story('takes: of a range move only what is in it', async ({ storage }) => {
    await fill(storage, 'queue', ['a', 'b', 'c', '\ue000', '😀']);
    const take = async (range: Partial<Take>): Promise<string[]> => {
      const { taken } = await commit(storage, { takes: [{ from: 'queue', to: 'claims', limit: 10, ...range }] });
      return taken.map(({ key }) => key);
    };
    equal(await take({ start: 'b', end: 'c' }), ['b'], 'taken from b to c');
    equal(await take({ start: '\ue000', end: '😀' }), ['\ue000'], 'taken before the emoji');
    equal(await take({ start: 'b', limit: 1 }), ['c'], 'taken from b on, at most one');
    equal(await take({ end: 'a' }), [], 'taken before the first');
    equal(await take({}), ['a', '😀'], 'the rest');
    equal(await keysOf(storage, 'claims'), ['a', 'b', 'c', '\ue000', '😀'], 'the records of the target');
  }),

  story('takes: with leaseMs lead the key by the deadline in 16 digits', async ({ storage }) => {
    await fill(storage, 'queue', ['a', '😀']);
    const { at, taken } = await commit(storage, { takes: [{ from: 'queue', to: 'claims', limit: 5, leaseMs: LEASE }] });
    equal(
      taken.map(({ key }) => key),
      [leased(at + LEASE, 'a'), leased(at + LEASE, '😀')],
      'the keys',
    );
    for (const record of taken) equal(await read(storage, 'claims', record.key), record, 'the record at its new address');
    const none = await fill(storage, 'queue', ['b']);
    const soon = await commit(storage, { takes: [{ from: 'queue', to: 'claims', limit: 1, leaseMs: 0 }] });
    equal(soon.taken[0]?.key, leased(soon.at, 'b'), 'the key of a lease of 0 ms');
    ensure(soon.revision > none.revision, 'a new revision');
  }),

  story('takes: order what was taken by its deadline, so that the head has lapsed first', async ({ storage }) => {
    await fill(storage, 'queue', ['a', 'b', 'c', 'd']);
    const deadlines: number[] = [];
    for (const leaseMs of [LEASE, 1000, 100 * LEASE, 2000]) {
      const { at } = await commit(storage, { takes: [{ from: 'queue', to: 'claims', limit: 1, leaseMs }] });
      deadlines.push(at + leaseMs);
    }
    const [first = 0, second = 0, third = 0, fourth = 0] = deadlines;
    const order = [leased(second, 'b'), leased(fourth, 'd'), leased(first, 'a'), leased(third, 'c')];
    equal(await keysOf(storage, 'claims'), order, 'the keys');
    // All that has lapsed at an instant stands before the next one.
    const lapsed = { from: 'claims', to: 'queue', end: leased(second + 1, ''), limit: 10 };
    equal(
      (await commit(storage, { takes: [lapsed] })).taken.map(({ key }) => key),
      ['b'],
      'what was taken back',
    );
  }),

  story('takes: of what is taken already replace its deadline', async ({ storage }) => {
    await fill(storage, 'queue', ['a']);
    const first = await commit(storage, { takes: [{ from: 'queue', to: 'claims', limit: 1, leaseMs: LEASE }] });
    const second = await commit(storage, { takes: [{ from: 'claims', to: 'claims', limit: 1, leaseMs: 2 * LEASE }] });
    const expected = { partition: 'claims', key: leased(second.at + 2 * LEASE, 'a'), value: 'a', revision: second.revision };
    equal(second.taken, [expected], 'what was taken again');
    equal(await everything(storage, 'claims'), [expected], 'the records');
    ensure(second.revision > first.revision, 'a new revision', second.revision);
  }),

  story('takes: without leaseMs give the key back that a record had before', async ({ storage }) => {
    const keys = [
      'a',
      '😀',
      '0000000000000001',
      '000000000000001>x',
      '00000000000000001>x',
      'x>0000000000000001',
      'abcdefghijklmnop>x',
    ];
    await fill(storage, 'queue', keys);
    await commit(storage, { takes: [{ from: 'queue', to: 'claims', limit: 10, leaseMs: LEASE }] });
    const { taken } = await commit(storage, { takes: [{ from: 'claims', to: 'queue', limit: 10 }] });
    equal(taken.map(({ key }) => key).sort(), [...keys].sort(), 'the keys');
    equal(
      (await everything(storage, 'queue')).map(({ key, value }) => [key, value]),
      [...keys].sort().map((key) => [key, key]),
      'the records',
    );
    equal(await keysOf(storage, 'claims'), [], 'what is left at the claims');
  }),

  story('takes: keep a key that is nothing but a deadline', async ({ storage }) => {
    const key = leased(1, '');
    await fill(storage, 'p', [key]);
    const { taken } = await commit(storage, { takes: [{ from: 'p', to: 'q', limit: 1 }] });
    equal(taken[0]?.key, key, 'the key');
    const again = await commit(storage, { takes: [{ from: 'q', to: 'p', limit: 1, leaseMs: LEASE }] });
    equal(again.taken[0]?.key, leased(again.at + LEASE, key), 'the leased key');
    equal((await read(storage, 'p', again.taken[0]?.key ?? ''))?.value, key, 'the record');
  }),

  story('takes: keep the expiry, and skip what has expired', async ({ storage, time }) => {
    const { at } = await fill(storage, 'queue', ['a', 'b'], { ttlMs: 500 });
    const long = await fill(storage, 'queue', ['c'], { ttlMs: LEASE });
    await fill(storage, 'queue', ['d', 'e']);
    await time.reach(at + 500);
    const { taken, revision } = await commit(storage, { takes: [{ from: 'queue', to: 'claims', limit: 2, leaseMs: LEASE }] });
    equal(
      taken.map(({ value, expiresAt }) => [value, expiresAt]),
      [
        ['c', long.at + LEASE],
        ['d', undefined],
      ],
      'what was taken',
    );
    equal(await everything(storage, 'claims'), taken, 'the records of the target');
    equal(
      taken.map((record) => record.revision),
      [revision, revision],
      'the revisions',
    );
    equal(await keysOf(storage, 'queue'), ['e'], 'what is left');
  }),

  story('takes: what was taken expires as it would have', async ({ storage, time }) => {
    const { at } = await fill(storage, 'queue', ['a'], { ttlMs: 500 });
    await time.before(at + 500, async () => {
      const { taken } = await commit(storage, { takes: [{ from: 'queue', to: 'claims', limit: 1, leaseMs: LEASE }] });
      equal(await everything(storage, 'claims'), taken, 'the record one millisecond before');
      equal(taken.length, 1, 'the number of records taken');
    });
    await time.reach(at + 500);
    equal([await keysOf(storage, 'claims'), await keysOf(storage, 'queue')], [[], []], 'what is left');
  }),

  story('takes: of consumers that compete never share a record, and leave none', async ({ storage }) => {
    const values = Array.from({ length: 300 }, (_, value) => value);
    await commit(storage, { puts: values.map((value) => ({ partition: 'queue', key: 'm', value, stamped: true })) });
    const all: StoredRecord[][] = await atOnce(8, async (consumer) => {
      const mine: StoredRecord[] = [];
      for (;;) {
        const { taken } = await commit(storage, {
          takes: [{ from: 'queue', to: `claims ${consumer}`, limit: 7, leaseMs: LEASE }],
        });
        equal(
          taken.map(({ value }) => value),
          taken.map(({ value }) => value).sort((x, y) => Number(x) - Number(y)),
          'the order',
        );
        if (taken.length === 0) return mine;
        mine.push(...taken);
        ensure(mine.length <= values.length, 'no more to take than there is', mine.length);
      }
    });
    const taken = all.flat().map(({ value }) => Number(value));
    equal(
      taken.sort((x, y) => x - y),
      values,
      'what all consumers took together',
    );
    for (const [consumer, mine] of all.entries()) {
      const held = await everything(storage, `claims ${consumer}`);
      equal(
        held.map(({ value }) => value),
        mine.map(({ value }) => value),
        `the claims of consumer ${consumer}`,
      );
    }
  }),

  story('takes: an empty one changes nothing', async ({ storage }) => {
    await fill(storage, 'p', ['a']);
    const before = await newest(storage);
    const takes = [{ from: 'p', to: 'q', start: 'b', limit: 5, leaseMs: LEASE }];
    const result = await commit(storage, { takes });
    equal([result.revision, result.taken], [before, []], 'its result');
    const beside = await commit(storage, { takes, puts: [{ partition: 'p', key: 'c', value: 1 }] });
    equal([beside.revision > before, beside.taken], [true, []], 'its result beside a put');
  }),
];

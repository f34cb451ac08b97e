import { equal } from './expect.ts';
import { commit, conflict, everything, fill, keysOf, read, story, unchanged } from './story.ts';
import { leased } from './takes.ts';

const LEASE = 30_000;

/** How the writes of one commit meet each other. */
export const writeCases = [
  story('writes: deletes come before takes, and takes before puts', async ({ storage }) => {
    await fill(storage, 'queue', ['a', 'b', 'c']);
    const { taken } = await commit(storage, {
      puts: [{ partition: 'queue', key: 'a0', value: 'put' }],
      takes: [{ from: 'queue', to: 'claims', limit: 2 }],
      deletes: [{ partition: 'queue', limit: 1 }],
    });
    equal(
      taken.map(({ key }) => key),
      ['b', 'c'],
      'what was taken, after the first was deleted and before the put',
    );
    equal(await keysOf(storage, 'queue'), ['a0'], 'the records of the queue');
  }),

  story('writes: touches come after deletes and takes, and touch nothing that these removed', async ({ storage }) => {
    const { revision } = await fill(storage, 'p', ['a', 'b']);
    const touch = (key: string) => ({ partition: 'p', key, revision, ttlMs: 1000 });
    const result = await commit(storage, {
      deletes: [{ partition: 'p', end: 'b', limit: 5 }],
      takes: [{ from: 'p', to: 'q', limit: 5 }],
      touches: [touch('a'), touch('b')],
    });
    equal(await everything(storage, 'p'), [], 'the records');
    equal(
      await everything(storage, 'q'),
      [{ partition: 'q', key: 'b', value: 'b', revision: result.revision }],
      'what was taken',
    );
  }),

  story('writes: a record may be put where a take or a range delete of the same commit made room', async ({ storage }) => {
    await fill(storage, 'p', ['a', 'b']);
    const { revision } = await commit(storage, {
      deletes: [{ partition: 'p', start: 'b', limit: 1 }],
      takes: [{ from: 'p', to: 'q', limit: 1 }],
      puts: ['a', 'b'].map((key) => ({ partition: 'p', key, value: 'new' })),
    });
    equal(
      await everything(storage, 'p'),
      ['a', 'b'].map((key) => ({ partition: 'p', key, value: 'new', revision })),
      'the records of p',
    );
    equal(await keysOf(storage, 'q'), ['a'], 'what was taken');
  }),

  story('writes: two takes of one commit share no record', async ({ storage }) => {
    await fill(storage, 'queue', ['a', 'b', 'c', 'd', 'e']);
    const { at, taken } = await commit(storage, {
      takes: [
        { from: 'queue', to: 'x', limit: 2, leaseMs: LEASE },
        { from: 'queue', to: 'y', limit: 2 },
      ],
    });
    const expected = [
      ['x', leased(at + LEASE, 'a')],
      ['x', leased(at + LEASE, 'b')],
      ['y', 'c'],
      ['y', 'd'],
    ];
    equal(
      taken.map(({ partition, key }) => [partition, key]),
      expected,
      'what was taken, in the order of the takes',
    );
    equal(await keysOf(storage, 'queue'), ['e'], 'what is left');
  }),

  story('writes: a take that would overwrite a record is a conflict at its address, and nothing changes', async ({ storage }) => {
    await fill(storage, 'queue', ['a', 'b', 'c', 'd']);
    await fill(storage, 'q', ['b', 'd']);
    await fill(storage, 'p', ['x', 'y'], { ttlMs: LEASE });
    const verify = await unchanged(storage, ['queue', 'q', 'p', 'r']);
    const conflicts = await conflict(storage, {
      deletes: [
        { partition: 'p', key: 'x' },
        { partition: 'queue', key: 'a' },
      ],
      takes: [
        { from: 'p', to: 'r', limit: 5, leaseMs: LEASE },
        { from: 'queue', to: 'q', limit: 4 },
      ],
      puts: [
        { partition: 'p', key: 'z', value: 1 },
        { partition: 'queue', key: 'b', value: 'new' },
      ],
    });
    equal(
      conflicts,
      ['b', 'd'].map((key) => ({ partition: 'q', key })),
      'the conflicts',
    );
    await verify('a take that met a record');
    const { taken } = await commit(storage, {
      deletes: [{ partition: 'q', limit: 2 }],
      takes: [{ from: 'queue', to: 'q', limit: 4 }],
    });
    equal(
      taken.map(({ key }) => key),
      ['a', 'b', 'c', 'd'],
      'what is taken once there is room',
    );
  }),

  story('writes: a take that would put two records at one address is a conflict, and nothing changes', async ({ storage }) => {
    await fill(storage, 'p', ['a', leased(5, 'a'), leased(7, 'a'), 'b']);
    const verify = await unchanged(storage, ['p', 'q']);
    const twice = { from: 'p', to: 'q', limit: 3 };
    const address = { partition: 'q', key: 'a' };
    const [first, ...others] = await conflict(storage, { takes: [twice] });
    equal([first, ...others], [address, ...others.map(() => address)], 'the conflicts');
    await verify('a take of two records to one address');
    await commit(storage, { takes: [{ ...twice, limit: 1 }] });
    equal((await read(storage, 'q', 'a'))?.value, leased(5, 'a'), 'the first of them, taken alone');
  }),

  story('writes: checks that failed are named before any take is tried', async ({ storage }) => {
    await fill(storage, 'queue', ['a']);
    await fill(storage, 'q', ['a']);
    const verify = await unchanged(storage, ['queue', 'q']);
    const check = { partition: 'p', key: 'x', revision: 1 };
    const conflicts = await conflict(storage, { checks: [check], takes: [{ from: 'queue', to: 'q', limit: 1 }] });
    equal(conflicts, [{ partition: 'p', key: 'x' }], 'the conflicts');
    await verify('a commit with a failed check');
  }),

  story('writes: a put, a delete, a take and a touch of different records all land together', async ({ storage }) => {
    const { revision } = await fill(storage, 'p', ['a', 'b', 'c', 'd']);
    const result = await commit(storage, {
      checks: [{ partition: 'p', key: 'a', revision }],
      deletes: [{ partition: 'p', key: 'b' }],
      takes: [{ from: 'p', to: 'q', start: 'd', limit: 1 }],
      touches: [{ partition: 'p', key: 'c', revision, ttlMs: LEASE }],
      puts: [{ partition: 'p', key: 'a', value: 'new', ttlMs: 2 * LEASE }],
    });
    equal(
      [...(await everything(storage, 'p')), ...(await everything(storage, 'q'))],
      [
        { partition: 'p', key: 'a', value: 'new', revision: result.revision, expiresAt: result.at + 2 * LEASE },
        { partition: 'p', key: 'c', value: 'c', revision, expiresAt: result.at + LEASE },
        { partition: 'q', key: 'd', value: 'd', revision: result.revision },
      ],
      'the records',
    );
  }),

  story('writes: a conflict keeps every expiry as it was', async ({ storage }) => {
    const { revision, at } = await fill(storage, 'p', ['a', 'b'], { ttlMs: LEASE });
    await fill(storage, 'q', ['b']);
    await conflict(storage, {
      takes: [{ from: 'p', to: 'q', start: 'b', limit: 1 }],
      touches: [{ partition: 'p', key: 'a', revision, ttlMs: 2 * LEASE }],
      puts: [{ partition: 'p', key: 'c', value: 1, ttlMs: 5 }],
    });
    const kept = ['a', 'b'].map((key) => ({ partition: 'p', key, value: key, revision, expiresAt: at + LEASE }));
    equal(await everything(storage, 'p'), kept, 'the records');
  }),
];

import type { Check } from '../../storage/storage.ts';
import { ensure, equal } from './expect.ts';
import { atOnce, commit, conflict, everything, fill, keysOf, newest, read, story, unchanged, winners } from './story.ts';

export const checkCases = [
  story('checks: absent means absent, and a revision means this one', async ({ storage }) => {
    const a = { partition: 'p', key: 'a' };
    const first = await commit(storage, { checks: [{ ...a, revision: null }], puts: [{ ...a, value: 1 }] });
    const second = await commit(storage, { checks: [{ ...a, revision: first.revision }], puts: [{ ...a, value: 2 }] });
    const verify = await unchanged(storage, ['p']);
    for (const revision of [null, first.revision, second.revision + 1, 0]) {
      equal(
        await conflict(storage, { checks: [{ ...a, revision }], puts: [{ ...a, value: 3 }] }),
        [a],
        `conflicts of revision ${revision}`,
      );
    }
    const b = { partition: 'p', key: 'b' };
    equal(await conflict(storage, { checks: [{ ...b, revision: second.revision }] }), [b], 'conflicts of an absent record');
    await verify('lost races');
  }),

  story('checks: a stale one loses after every kind of write', async ({ storage }) => {
    const a = { partition: 'p', key: 'a' };
    const stale = async (what: string, revision: number): Promise<void> => {
      equal(
        await conflict(storage, { checks: [{ ...a, revision }], puts: [{ ...a, value: 'stale' }] }),
        [a],
        `conflicts after ${what}`,
      );
    };
    const { revision: created } = await fill(storage, 'p', ['a']);
    const { revision: written } = await commit(storage, { puts: [{ ...a, value: 'a' }] });
    await stale('a put of the same value', created);
    await commit(storage, { deletes: [a] });
    await stale('a delete', written);
    const { revision: again } = await fill(storage, 'p', ['a']);
    await stale('a delete and a new put', written);
    await commit(storage, { takes: [{ from: 'p', to: 'q', limit: 1 }] });
    await stale('a take', again);
    await commit(storage, { takes: [{ from: 'q', to: 'p', limit: 1 }] });
    await stale('a take there and back', again);
    equal((await read(storage, 'p', 'a'))?.value, 'a', 'the value');
  }),

  story('checks: without writes they say whether something is so', async ({ storage }) => {
    const { revision } = await fill(storage, 'p', ['a']);
    const checks: Check[] = [
      { partition: 'p', key: 'a', revision },
      { partition: 'p', key: 'b', revision: null },
      { partition: 'p', fewerThan: 2 },
    ];
    equal((await commit(storage, { checks })).revision, revision, 'the revision of a commit of checks alone');
  }),

  story('checks: a conflict names every check and touch that failed, in their order, and no other', async ({ storage }) => {
    const { revision } = await fill(storage, 'p', ['a', 'b', 'c']);
    const at = (key: string) => ({ partition: 'p', key });
    const conflicts = await conflict(storage, {
      checks: [
        { ...at('c'), revision: null },
        { ...at('a'), revision },
        { partition: 'p', fewerThan: 3 },
        { ...at('x'), revision },
        { partition: 'p', start: 'b', fewerThan: 2 },
        { partition: 'p', start: 'b', fewerThan: 3 },
        { ...at('b'), revision: revision + 7 },
      ],
      touches: [
        { ...at('b'), revision: revision + 7, ttlMs: 1000 },
        { ...at('a'), revision, ttlMs: 1000 },
        { ...at('y'), revision, ttlMs: 1000 },
      ],
      puts: [{ ...at('z'), value: 1 }],
    });
    const bound = { partition: 'p', key: '' };
    equal(conflicts, [at('c'), bound, at('x'), at('b'), at('b'), at('b'), at('y')], 'the conflicts');
    equal(await keysOf(storage, 'p'), ['a', 'b', 'c'], 'the records');
    equal((await read(storage, 'p', 'a'))?.expiresAt, undefined, 'the expiry of what a lost commit would have touched');
  }),

  story('checks: are judged on the state before the commit', async ({ storage }) => {
    const { revision } = await fill(storage, 'p', ['a', 'b']);
    const at = (key: string) => ({ partition: 'p', key });
    await commit(storage, {
      checks: [
        { ...at('a'), revision },
        { ...at('c'), revision: null },
        { partition: 'p', fewerThan: 3 },
      ],
      deletes: [at('a')],
      puts: [
        { ...at('c'), value: 1 },
        { ...at('d'), value: 1 },
        { ...at('e'), value: 1 },
      ],
    });
    equal(await keysOf(storage, 'p'), ['b', 'c', 'd', 'e'], 'the records');
    const tooMany = { checks: [{ partition: 'p', fewerThan: 4 }], deletes: [at('b'), at('c')] };
    equal(await conflict(storage, tooMany), [at('')], 'conflicts of a bound that the deletes would have mended');
    const notYet = { checks: [{ ...at('b'), revision: null }], deletes: [at('b')] };
    equal(await conflict(storage, notYet), [at('b')], 'conflicts of an absence that the delete would have made');
  }),

  story('checks: of twenty creations at once one wins', async ({ storage }) => {
    for (let round = 0; round < 10; round++) {
      const address = { partition: 'p', key: `k${round}` };
      const results = await atOnce(20, (index) =>
        storage.commit({ checks: [{ ...address, revision: null }], puts: [{ ...address, value: index }] }),
      );
      const [winner, ...others] = winners(results);
      equal(others.length, 0, 'winners besides the first');
      const record = await read(storage, 'p', address.key);
      equal(record?.revision, winner?.revision, 'the revision of the record');
      equal(
        results.findIndex(({ committed }) => committed),
        record?.value,
        'the winner, by what it wrote',
      );
      for (const result of results) if (!result.committed) equal(result.conflicts, [address], 'the conflicts of a loser');
    }
  }),

  story('checks: increments of many writers are all counted', async ({ storage }) => {
    const counter = { partition: 'p', key: 'counter' };
    await commit(storage, { puts: [{ ...counter, value: 0 }] });
    await atOnce(10, async () => {
      for (let done = 0, tries = 0; done < 20; tries++) {
        ensure(tries < 5_000, 'one writer of ten to win each round', `${done} increments in ${tries} tries of one writer`);
        const record = await read(storage, 'p', 'counter');
        const value = Number(record?.value) + 1;
        const checks = [{ ...counter, revision: record?.revision ?? null }];
        if ((await storage.commit({ checks, puts: [{ ...counter, value }] })).committed) done += 1;
      }
    });
    equal((await read(storage, 'p', 'counter'))?.value, 200, 'the count');
  }),

  story('checks: of two commits that each check what the other writes, one loses', async ({ storage }) => {
    const x = { partition: 'p', key: 'x' };
    const y = { partition: 'q', key: 'y' };
    for (let round = 0; round < 100; round++) {
      const { revision } = await commit(storage, {
        puts: [
          { ...x, value: 'on call' },
          { ...y, value: 'on call' },
        ],
      });
      const leave = [
        { checks: [{ ...x, revision }], puts: [{ ...y, value: 'gone' }] },
        { checks: [{ ...y, revision }], puts: [{ ...x, value: 'gone' }] },
      ];
      const results = await atOnce(2, (index) => storage.commit(leave[(index + round) % 2] ?? {}));
      equal(winners(results).length, 1, `winners of round ${round}`);
      const values = (await storage.get([x, y])).map((record) => record?.value);
      ensure(values.includes('on call'), 'one that stays', values);
    }
  }),

  story('checks: of two commits that each look for absence where the other writes, one loses', async ({ storage }) => {
    for (let round = 0; round < 50; round++) {
      const a = { partition: 'p', key: `a${round}` };
      const b = { partition: 'p', key: `b${round}` };
      const results = await atOnce(2, (index) =>
        storage.commit(
          index === 0
            ? { checks: [{ ...a, revision: null }], puts: [{ ...b, value: 1 }] }
            : { checks: [{ ...b, revision: null }], puts: [{ ...a, value: 1 }] },
        ),
      );
      equal(winners(results).length, 1, `winners of round ${round}`);
    }
  }),
];

export const boundCases = [
  story('bounds: of fifty appends at once exactly as many pass as there is room', async ({ storage }) => {
    await fill(storage, 'p', ['a', 'b', 'c']);
    const results = await atOnce(50, (index) =>
      storage.commit({
        checks: [{ partition: 'p', fewerThan: 10 }],
        puts: [{ partition: 'p', key: 'm', value: index, stamped: true }],
      }),
    );
    equal(winners(results).length, 7, 'appends that passed');
    equal((await everything(storage, 'p')).length, 10, 'records');
    for (const result of results) {
      if (!result.committed) equal(result.conflicts, [{ partition: 'p', key: '' }], 'the conflicts of a loser');
    }
  }),

  story('bounds: are exact on both sides, and count from start on', async ({ storage }) => {
    await fill(storage, 'p', ['a', 'b', 'ä', '\ue000', '😀']);
    await fill(storage, 'pp', ['z']);
    const revision = await newest(storage);
    for (const [start, count] of [
      [undefined, 5],
      ['', 5],
      ['a', 5],
      ['a\u0001', 4],
      ['ä', 3],
      ['\ue000', 2],
      ['\uffff', 1],
    ] as const) {
      const bound = (fewerThan: number) => ({ checks: [{ partition: 'p', ...(start !== undefined && { start }), fewerThan }] });
      const what = `from ${start ?? 'the first key'} on`;
      equal((await commit(storage, bound(count + 1))).revision, revision, `a bound above the count ${what}`);
      equal(
        await conflict(storage, bound(count)),
        [{ partition: 'p', key: start ?? '' }],
        `conflicts of a bound at the count ${what}`,
      );
    }
    await commit(storage, {
      checks: [
        { partition: 'p', start: '\u{1f601}', fewerThan: 1 },
        { partition: 'nothing here', fewerThan: 1 },
      ],
    });
  }),

  story('bounds: are exact above a thousand records, too', async ({ storage }) => {
    const keys = Array.from({ length: 500 }, (_, index) => `k${String(index).padStart(3, '0')}`);
    for (const letter of ['a', 'b', 'c'])
      await fill(
        storage,
        'p',
        keys.map((key) => letter + key),
      );
    await commit(storage, {
      checks: [
        { partition: 'p', fewerThan: 1501 },
        { partition: 'p', fewerThan: 100_000 },
      ],
    });
    equal(await conflict(storage, { checks: [{ partition: 'p', fewerThan: 1500 }] }), [{ partition: 'p', key: '' }], 'conflicts');
    await commit(storage, {
      checks: [{ partition: 'p', start: 'b', fewerThan: 1001 }],
      deletes: [{ partition: 'p', key: 'ck000' }],
    });
    await commit(storage, { checks: [{ partition: 'p', fewerThan: 1500 }] });
  }),
];

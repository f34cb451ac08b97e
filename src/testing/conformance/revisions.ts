import { ensure, equal } from './expect.ts';
import { atOnce, commit, conflict, everything, fill, newest, read, story, turn, winners } from './story.ts';

export const revisionCases = [
  story('revisions: grow with every commit that changes something, also with those that only remove', async ({ storage }) => {
    const address = { partition: 'p', key: 'a' };
    let last = await newest(storage);
    ensure(Number.isSafeInteger(last) && last >= 0, 'a whole number as revision', last);
    const grows = async (what: string, changes: Parameters<typeof commit>[1]): Promise<void> => {
      const { revision } = await commit(storage, changes);
      ensure(Number.isSafeInteger(revision) && revision > last, `a revision above ${last} after ${what}`, revision);
      equal(await newest(storage), revision, `the newest revision after ${what}`);
      last = revision;
    };
    await grows('a put', { puts: [{ ...address, value: 1 }] });
    await grows('a put of the same value', { puts: [{ ...address, value: 1 }] });
    await grows('a take', { takes: [{ from: 'p', to: 'p', limit: 1, leaseMs: 1000 }] });
    await grows('a take back', { takes: [{ from: 'p', to: 'p', limit: 1 }] });
    await grows('a delete', { deletes: [address] });
    await grows('a stamped put', { puts: [{ ...address, value: 1, stamped: true }] });
    await grows('a range delete', { deletes: [{ partition: 'p', limit: 5 }] });
    await grows('a put where a record was deleted', { puts: [{ ...address, value: 1 }] });
  }),

  story('revisions: are shared by all that one commit wrote', async ({ storage }) => {
    await fill(storage, 'queue', ['a', 'b']);
    const { revision, taken } = await commit(storage, {
      takes: [{ from: 'queue', to: 'claims', limit: 1, leaseMs: 1000 }],
      puts: [
        { partition: 'p', key: 'k', value: 1 },
        { partition: 'p', key: 'm', value: 1, stamped: true },
      ],
    });
    const written = [...(await everything(storage, 'p')), ...(await everything(storage, 'claims')), ...taken];
    equal(
      written.map((record) => record.revision),
      [revision, revision, revision, revision],
      'the revisions',
    );
  }),

  story('revisions: none is spent by what changes nothing', async ({ storage, time }) => {
    const { revision } = await fill(storage, 'p', ['a']);
    const touch = { partition: 'p', key: 'a', revision, ttlMs: 60_000 };
    const nothing = {
      'an empty commit': {},
      'a commit of empty lists': { checks: [], deletes: [], takes: [], touches: [], puts: [] },
      'checks alone': { checks: [{ partition: 'p', key: 'a', revision }] },
      'a delete of what is absent': { deletes: [{ partition: 'p', key: 'x' }] },
      'a range delete of nothing': { deletes: [{ partition: 'x', limit: 5 }] },
      'an empty take': { takes: [{ from: 'x', to: 'y', limit: 5, leaseMs: 1000 }] },
      'several empty takes': {
        takes: [
          { from: 'x', to: 'y', limit: 5 },
          { from: 'p', to: 'y', start: 'b', limit: 5 },
        ],
      },
      'a touch': { touches: [touch] },
      'a touch and an empty take': { touches: [touch], takes: [{ from: 'x', to: 'y', limit: 5 }] },
    };
    for (const [what, changes] of Object.entries(nothing)) {
      const result = await commit(storage, changes);
      equal(result.revision, revision, `the revision that ${what} answers`);
      equal(result.taken, [], `what ${what} took`);
      ensure(Math.abs(result.at - storage.now()) < 60_000, `the store's time as time of ${what}`, result.at);
    }
    await conflict(storage, {
      checks: [{ partition: 'p', key: 'a', revision: null }],
      puts: [{ partition: 'p', key: 'b', value: 1 }],
    });
    equal(await newest(storage), revision, 'the newest revision after a conflict');

    const gone = await commit(storage, { puts: [{ partition: 'p', key: 'gone', value: 1, ttlMs: 200 }] });
    await time.reach(gone.at + 200);
    const removal = await commit(storage, {
      deletes: [
        { partition: 'p', key: 'gone' },
        { partition: 'p', start: 'g', limit: 5 },
      ],
    });
    equal(removal.revision, gone.revision, 'the revision that a delete of what has expired answers');
  }),

  story('revisions: are not used again after a delete', async ({ storage }) => {
    const address = { partition: 'p', key: 'a' };
    const seen = new Set<number>();
    for (let round = 0; round < 50; round++) {
      const { revision } = await commit(storage, { puts: [{ ...address, value: round }] });
      ensure(!seen.has(revision), 'a revision that was not there before', revision);
      seen.add(revision);
      equal((await read(storage, 'p', 'a'))?.revision, revision, 'the revision of the record');
      await commit(storage, { deletes: [address] });
    }
  }),

  story(
    'revisions: of commits at once are all different, and later ones are larger than what was acknowledged',
    async ({ storage }) => {
      let acknowledged = 0;
      const revisions: number[] = [];
      await atOnce(20, async (index) => {
        for (let round = 0; round < 10; round++) {
          const before = acknowledged;
          const { revision } = await commit(storage, { puts: [{ partition: 'p', key: `k${index}`, value: round }] });
          ensure(revision > before, `a revision above ${before}, which was acknowledged before`, revision);
          acknowledged = Math.max(acknowledged, revision);
          revisions.push(revision);
        }
      });
      equal(new Set(revisions).size, 200, 'different revisions');
    },
  ),

  story('revisions: the time of a commit is the store\u2019s and does not go back', async ({ storage }) => {
    let last = 0;
    for (let round = 0; round < 20; round++) {
      const { at } = await commit(storage, { puts: [{ partition: 'p', key: 'k', value: round }] });
      // A process may know the clock of a store that is far away only roughly.
      const near = Math.abs(at - storage.now()) < 5_000;
      ensure(Number.isInteger(at) && at >= last && near, `a whole number of milliseconds, near now and from ${last} on`, at);
      last = at;
    }
  }),
];

export const stampCases = [
  story('stamps: are the revision in 16 digits and the position in 4, behind the key', async ({ storage }) => {
    const { revision } = await commit(storage, {
      puts: [
        { partition: 'p', key: 'plain', value: 0 },
        { partition: 'p', key: 'log/', value: 1, stamped: true },
        { partition: 'q', key: '', value: 2, stamped: true },
        { partition: 'p', key: 'plain 2', value: 3, stamped: false },
        { partition: 'p', key: 'log/', value: 4, stamped: true },
        { partition: 'p', key: '😀', value: 5, stamped: true },
      ],
    });
    const stamp = String(revision).padStart(16, '0');
    const of = (key: string, value: number) => ({ partition: 'p', key, value, revision });
    const logged = [of(`log/${stamp}0001`, 1), of(`log/${stamp}0004`, 4)];
    equal(
      await everything(storage, 'p'),
      [...logged, of('plain', 0), of('plain 2', 3), of(`😀${stamp}0005`, 5)],
      'the records of p',
    );
    equal(await everything(storage, 'q'), [{ partition: 'q', key: `${stamp}0002`, value: 2, revision }], 'the records of q');
    equal(await read(storage, 'p', `log/${stamp}0004`), logged[1], 'a stamped record by its key');
  }),

  story('stamps: the position counts all puts of a commit, up to the last', async ({ storage }) => {
    const puts = Array.from({ length: 1000 }, (_, value) => ({
      partition: 'p',
      key: 'm',
      value,
      stamped: value % 2 === 0 || value === 999,
    }));
    const plain = puts.map((put, index) => (put.stamped ? put : { ...put, key: `plain ${index}` }));
    const { revision } = await commit(storage, { puts: plain });
    const stamp = String(revision).padStart(16, '0');
    const stamped = (await everything(storage, 'p')).filter(({ key }) => key.startsWith('m'));
    equal(
      stamped.map(({ value }) => value),
      puts.filter((put) => put.stamped).map(({ value }) => value),
      'the stamped values',
    );
    equal(stamped.at(-1)?.key, `m${stamp}0999`, 'the last key');
  }),

  story('stamps: take the place of a record that somebody put at their key before', async ({ storage }) => {
    const next = (await newest(storage)) + 2;
    const forged = [0, 1, 2].map((ahead) => `m${String(next + ahead).padStart(16, '0')}0000`);
    await fill(storage, 'p', forged, { ttlMs: 60_000 });
    const { revision } = await commit(storage, { puts: [{ partition: 'p', key: 'm', value: 'new', stamped: true }] });
    const key = `m${String(revision).padStart(16, '0')}0000`;
    equal(await read(storage, 'p', key), { partition: 'p', key, value: 'new', revision }, 'the stamped record');
    const others = forged.filter((name) => name !== key);
    equal(
      (await everything(storage, 'p')).map((record) => record.key),
      [...others, key].sort(),
      'the keys',
    );
  }),

  story(
    'stamps: of one key in two commits are two records, of which each can expire and be deleted',
    async ({ storage, time }) => {
      const put = { partition: 'p', key: 'm', value: 1, stamped: true };
      const first = await commit(storage, { puts: [{ ...put, ttlMs: 200 }] });
      const second = await commit(storage, { puts: [put] });
      await time.before(first.at + 200, async () => {
        const expiries = (await everything(storage, 'p')).map(({ expiresAt }) => expiresAt);
        equal(expiries, [first.at + 200, undefined], 'the expiry of both');
      });
      await time.reach(first.at + 200);
      const [two, ...others] = await everything(storage, 'p');
      equal([two?.revision, others], [second.revision, []], 'what is left after the expiry of the first');
      await commit(storage, { deletes: [{ partition: 'p', key: two?.key ?? '' }] });
      equal(await everything(storage, 'p'), [], 'what is left after the delete of the second');
    },
  ),

  story('stamps: of 200 commits at once are in the order of the revisions', async ({ storage }) => {
    const results = await atOnce(200, (index) =>
      storage.commit({ puts: [{ partition: 'p', key: 'm', value: index, stamped: true }] }),
    );
    const order = winners(results)
      .map(({ revision }, index) => ({ revision, index }))
      .sort((a, b) => a.revision - b.revision);
    const records = await everything(storage, 'p');
    equal(
      records.map(({ revision, value }) => ({ revision, index: value })),
      order,
      'the records in order',
    );
  }),

  story('stamps: never become visible behind what a reader has seen', async ({ storage }) => {
    const seen: unknown[] = [];
    let writing = true;
    const follow = async (): Promise<void> => {
      for (let start = 'm'; ; ) {
        const done = !writing;
        const page = await storage.list('p', { start, limit: 9 });
        seen.push(...page.map(({ value }) => value));
        ensure(seen.length <= 400, 'no record to be seen twice', seen.length);
        const last = page.at(-1);
        if (last) start = `${last.key}\u0001`;
        else if (done) return;
        await turn();
      }
    };
    const write = async (): Promise<void> => {
      await atOnce(8, async (writer) => {
        for (let round = 0; round < 25; round++) {
          const puts = [0, 1].map((part) => ({ partition: 'p', key: 'm', value: [writer, round, part], stamped: true }));
          await commit(storage, { puts });
        }
      });
      writing = false;
    };
    await Promise.all([follow(), write()]);
    equal(
      seen,
      (await everything(storage, 'p')).map(({ value }) => value),
      'what the follower saw',
    );
    equal(seen.length, 400, 'the number of records');
  }),
];

import { ensure, equal } from './expect.ts';
import { commit, conflict, everything, fill, keysOf, newest, read, story } from './story.ts';

/** Short enough to wait for, where a storage has a clock of its own. */
const TTL = 500;
const LONG = 60_000;
const a = { partition: 'p', key: 'a' };

export const expiryCases = [
  story('expiry: a record is there until its last millisecond and never again from its expiry on', async ({ storage, time }) => {
    const { revision, at } = await fill(storage, 'p', ['a'], { ttlMs: TTL });
    await fill(storage, 'p', ['b']);
    const record = { ...a, value: 'a', revision, expiresAt: at + TTL };
    await time.before(at + TTL, async () => {
      equal(await read(storage, 'p', 'a'), record, 'what get answers one millisecond before');
      equal((await everything(storage, 'p'))[0], record, 'what list answers one millisecond before');
      equal(await keysOf(storage, 'p', { reverse: true }), ['b', 'a'], 'the list in reverse one millisecond before');
    });
    for (const later of [0, 1, 100]) {
      await time.reach(at + TTL + later);
      equal(await read(storage, 'p', 'a'), undefined, `what get answers ${later} ms after`);
      equal(await keysOf(storage, 'p'), ['b'], `what list answers ${later} ms after`);
      equal(
        await keysOf(storage, 'p', { reverse: true, limit: 2, values: false }),
        ['b'],
        `the list in reverse ${later} ms after`,
      );
    }
  }),

  story('expiry: does not count against the limit of a list', async ({ storage, time }) => {
    const { at } = await fill(storage, 'p', ['a', 'b', 'y', 'z'], { ttlMs: TTL });
    await fill(storage, 'p', ['c', 'd', 'e']);
    await time.reach(at + TTL);
    equal(await keysOf(storage, 'p', { limit: 2 }), ['c', 'd'], 'the first two');
    equal(await keysOf(storage, 'p', { limit: 2, reverse: true }), ['e', 'd'], 'the last two');
  }),

  story(
    'expiry: a check sees the record until its last millisecond, and its absence from its expiry on',
    async ({ storage, time }) => {
      const { revision, at } = await fill(storage, 'p', ['a'], { ttlMs: TTL });
      const present = { checks: [{ ...a, revision }] };
      const absent = { checks: [{ ...a, revision: null }] };
      await time.before(at + TTL, async () => {
        await commit(storage, present);
        equal(await conflict(storage, absent), [a], 'conflicts of absence one millisecond before');
      });
      await time.reach(at + TTL);
      equal(await conflict(storage, present), [a], 'conflicts of presence at the expiry');
      const again = await commit(storage, { ...absent, puts: [{ ...a, value: 'new' }] });
      equal(await read(storage, 'p', 'a'), { ...a, value: 'new', revision: again.revision }, 'the new record');
    },
  ),

  story('expiry: a bound counts the record until its last millisecond', async ({ storage, time }) => {
    const { at } = await fill(storage, 'p', ['a', 'b'], { ttlMs: TTL });
    await fill(storage, 'p', ['c']);
    const bound = (fewerThan: number) => ({ checks: [{ partition: 'p', fewerThan }] });
    await time.before(at + TTL, async () => {
      equal(await conflict(storage, bound(3)), [{ partition: 'p', key: '' }], 'conflicts one millisecond before');
    });
    await time.reach(at + TTL);
    await commit(storage, bound(2));
    equal(await conflict(storage, bound(1)), [{ partition: 'p', key: '' }], 'conflicts of a bound of one');
  }),

  story('expiry: a put without ttlMs stays for ever, also where the record had an expiry', async ({ storage, time }) => {
    const { at } = await fill(storage, 'p', ['a', 'b'], { ttlMs: TTL });
    const { revision } = await fill(storage, 'p', ['a']);
    equal(await read(storage, 'p', 'a'), { ...a, value: 'a', revision }, 'the record');
    await time.reach(at + TTL + 1);
    equal(await keysOf(storage, 'p'), ['a'], 'the records afterwards');
  }),

  story('expiry: a put with ttlMs sets a new one, sooner or later than before', async ({ storage, time }) => {
    const first = await fill(storage, 'p', ['a'], { ttlMs: LONG });
    const { at } = await fill(storage, 'p', ['a', 'b'], { ttlMs: TTL });
    ensure(at + TTL < first.at + LONG, 'the second expiry to be the sooner one');
    await time.before(at + TTL, async () => equal((await read(storage, 'p', 'a'))?.expiresAt, at + TTL, 'the second expiry'));
    const later = await fill(storage, 'p', ['b'], { ttlMs: LONG });
    await time.reach(at + TTL);
    equal(await keysOf(storage, 'p'), ['b'], 'the records afterwards');
    equal((await read(storage, 'p', 'b'))?.expiresAt, later.at + LONG, 'the later expiry');
  }),

  story('expiry: a ttl of one millisecond and one of 366 days are kept', async ({ storage, time }) => {
    const year = 366 * 86_400_000;
    const { at } = await commit(storage, {
      puts: [
        { ...a, value: 1, ttlMs: 1 },
        { partition: 'p', key: 'b', value: 1, ttlMs: year },
      ],
    });
    await time.before(at + 1, async () => equal(await keysOf(storage, 'p'), ['a', 'b'], 'the records at once'));
    await time.reach(at + 1);
    equal(await keysOf(storage, 'p'), ['b'], 'the records one millisecond later');
    equal((await read(storage, 'p', 'b'))?.expiresAt, at + year, 'the expiry in a year');
  }),

  story('expiry: of many records, each at its own millisecond', async ({ storage, time }) => {
    const puts = Array.from({ length: 100 }, (_, index) => {
      return { partition: 'p', key: `k${index}`, value: 1, ttlMs: TTL + ((index * 37) % 100) };
    });
    const { at } = await commit(storage, { puts });
    for (let later = TTL; later <= TTL + 100; later += 7) {
      await time.reach(at + later);
      const before = storage.now();
      const listed = await keysOf(storage, 'p');
      const after = storage.now();
      const early = puts.filter(({ key, ttlMs }) => at + ttlMs > after && !listed.includes(key));
      const late = puts.filter(({ key, ttlMs }) => at + ttlMs <= before && listed.includes(key));
      equal([early, late], [[], []], `what was gone too early, and what was there too late, ${later} ms after the commit`);
    }
  }),

  story('expiry: what has expired makes room for everything', async ({ storage, time }) => {
    const { at } = await fill(storage, 'p', ['a', 'b', 'c'], { ttlMs: TTL });
    await fill(storage, 'queue', ['a']);
    await time.reach(at + TTL);
    const before = await newest(storage);
    equal(
      (await commit(storage, { takes: [{ from: 'p', to: 'q', limit: 5 }] })).revision,
      before,
      'the revision of a take of the expired',
    );
    const { taken, revision } = await commit(storage, { takes: [{ from: 'queue', to: 'p', limit: 1 }] });
    equal(taken, [{ ...a, value: 'a', revision }], 'what was taken to the place of an expired record');
    const put = await commit(storage, { puts: [{ partition: 'p', key: 'b', value: 'new' }] });
    equal((await read(storage, 'p', 'b'))?.revision, put.revision, 'the revision of what was put where one had expired');
    equal(await keysOf(storage, 'p'), ['a', 'b'], 'the records');
  }),
];

export const touchCases = [
  story('touches: renew the time to live, and keep value and revision', async ({ storage, time }) => {
    const { revision, at } = await fill(storage, 'p', ['a', 'b'], { ttlMs: TTL });
    let expiresAt: number | undefined;
    await time.before(at + TTL, async () => {
      expiresAt = (await commit(storage, { touches: [{ ...a, revision, ttlMs: LONG }] })).at + LONG;
    });
    if (expiresAt === undefined) return;
    equal(await read(storage, 'p', 'a'), { ...a, value: 'a', revision, expiresAt }, 'the record');
    await time.reach(at + TTL);
    equal(await keysOf(storage, 'p'), ['a'], 'the records at the first expiry');
    await commit(storage, { checks: [{ ...a, revision }], touches: [{ ...a, revision, ttlMs: LONG }] });
  }),

  story('touches: can shorten it, to the millisecond, and give one to a record that had none', async ({ storage, time }) => {
    const b = { partition: 'p', key: 'b' };
    const { revision } = await commit(storage, {
      puts: [
        { ...a, value: 1, ttlMs: LONG },
        { ...b, value: 1 },
      ],
    });
    const { at } = await commit(storage, {
      touches: [
        { ...a, revision, ttlMs: TTL },
        { ...b, revision, ttlMs: TTL },
      ],
    });
    await time.before(at + TTL, async () => equal(await keysOf(storage, 'p'), ['a', 'b'], 'the records one millisecond before'));
    await time.reach(at + TTL);
    equal(await keysOf(storage, 'p'), [], 'the records at the new expiry');
  }),

  story('touches: again and again keep a record alive for as long', async ({ storage, time }) => {
    const { revision, at } = await fill(storage, 'p', ['a'], { ttlMs: LONG });
    let expiresAt = at + LONG;
    for (let beat = 0; beat < 20; beat++) {
      await time.before(storage.now() + 25, async () => {
        const result = await commit(storage, { touches: [{ ...a, revision, ttlMs: LONG + beat }] });
        expiresAt = result.at + LONG + beat;
      });
      equal(await read(storage, 'p', 'a'), { ...a, value: 'a', revision, expiresAt }, `the record after beat ${beat}`);
    }
  }),

  story('touches: of what is absent, expired or of another revision conflict, and renew nothing', async ({ storage, time }) => {
    const { revision, at } = await fill(storage, 'p', ['a'], { ttlMs: TTL });
    const b = { partition: 'p', key: 'b' };
    const kept = await fill(storage, 'p', ['b'], { ttlMs: LONG });
    const expiresAt = kept.at + LONG;
    const good = { ...b, revision: kept.revision, ttlMs: 2 * LONG };
    await time.reach(at + TTL);
    equal(await conflict(storage, { touches: [{ ...a, revision, ttlMs: LONG }, good] }), [a], 'conflicts of an expired record');
    const absent = { partition: 'p', key: 'x' };
    equal(
      await conflict(storage, { touches: [good, { ...absent, revision, ttlMs: LONG }] }),
      [absent],
      'conflicts of an absent record',
    );
    for (const other of [revision, kept.revision + 1, 0]) {
      equal(
        await conflict(storage, { touches: [{ ...b, revision: other, ttlMs: LONG }] }),
        [b],
        `conflicts of revision ${other}`,
      );
    }
    equal(await everything(storage, 'p'), [{ ...b, value: 'b', revision: kept.revision, expiresAt }], 'the records');
  }),

  story('touches: succeed until the last millisecond', async ({ storage, time }) => {
    const { revision, at } = await fill(storage, 'p', ['a'], { ttlMs: TTL });
    await time.before(at + TTL, async () => {
      const touched = await commit(storage, { touches: [{ ...a, revision, ttlMs: LONG }] });
      equal((await read(storage, 'p', 'a'))?.expiresAt, touched.at + LONG, 'the new expiry');
    });
  }),

  story('touches: five hundred records in one commit, with writes beside them', async ({ storage }) => {
    const keys = Array.from({ length: 500 }, (_, index) => `k${String(index).padStart(3, '0')}`);
    const { revision } = await fill(storage, 'p', keys, { ttlMs: LONG });
    const touches = keys.map((key) => ({ partition: 'p', key, revision, ttlMs: 2 * LONG }));
    const { at, revision: next } = await commit(storage, { touches, puts: [{ partition: 'q', key: 'k', value: 1 }] });
    ensure(next > revision, 'a revision for the put', next);
    const records = await everything(storage, 'p');
    equal(
      records.map((record) => record.revision),
      keys.map(() => revision),
      'the revisions of what was touched',
    );
    ensure(
      records.every(({ expiresAt }) => expiresAt === at + 2 * LONG),
      'the new expiry in all records',
      records[0],
    );
  }),
];

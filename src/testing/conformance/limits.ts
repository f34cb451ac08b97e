import { ensure, equal, refuses } from './expect.ts';
import { commit, everything, fill, keysOf, newest, read, story, unchanged } from './story.ts';

const KIB = 1024;
const MAX_VALUE = 1024 * KIB + 64 * KIB;
const LIMIT = ['limit_exceeded'] as const;

/** Each of 1,024 bytes, in characters of one to four bytes. */
const LONGEST = ['k', 'é', '漢', '😀'].map((character, index) => {
  const bytes = index + 1;
  return character.repeat(Math.floor(KIB / bytes)) + 'x'.repeat(KIB % bytes);
});

export const limitCases = [
  story('limits: a sort key may have 1,024 bytes of UTF-8 and no more', async ({ storage }) => {
    await fill(storage, 'p', LONGEST);
    const verify = await unchanged(storage, ['p']);
    for (const key of LONGEST) {
      const long = `${key}x`;
      equal((await read(storage, 'p', key))?.value, key, 'the record of a longest key');
      equal(await keysOf(storage, 'p', { start: key, end: `${key}\u0001` }), [key], 'the range of a longest key');
      await refuses(() => storage.commit({ puts: [{ partition: 'p', key: long, value: 1 }] }), LIMIT, 'a longer key in a put');
      await refuses(() => storage.commit({ deletes: [{ partition: 'p', key: long }] }), LIMIT, 'a longer key in a delete');
      await refuses(
        () => storage.commit({ checks: [{ partition: 'p', key: long, revision: null }] }),
        LIMIT,
        'a longer key in a check',
      );
      await refuses(() => storage.get([{ partition: 'p', key: long }]), LIMIT, 'a longer key in get');
    }
    await verify('longer keys');
  }),

  // How many bytes more, a view that keeps a name of its own before each partition could not say.
  story('limits: a partition may have 800 bytes of UTF-8 and no more than 1,024', async ({ storage }) => {
    const name = '😀'.repeat(200);
    await fill(storage, name, ['k']);
    equal(await keysOf(storage, name), ['k'], 'the list of a partition with a long name');
    for (const key of LONGEST) {
      const long = `${key}x`;
      await refuses(
        () => storage.commit({ puts: [{ partition: long, key: 'k', value: 1 }] }),
        LIMIT,
        'a longer partition in a put',
      );
      await refuses(() => storage.commit({ takes: [{ from: name, to: long, limit: 1 }] }), LIMIT, 'a longer partition in a take');
      await refuses(() => storage.list(long), LIMIT, 'a longer partition in a list');
    }
  }),

  story('limits: the stamp and the deadline find room behind and before long keys', async ({ storage }) => {
    const prefix = 'k'.repeat(KIB - 20);
    await commit(storage, { puts: [{ partition: 's', key: prefix, value: 1, stamped: true }] });
    const [stamped] = await keysOf(storage, 's');
    equal(stamped?.length, KIB, 'the length of the stamped key');
    equal((await read(storage, 's', stamped ?? ''))?.value, 1, 'the record of the stamped key');
    const longer = { partition: 's', key: `${prefix}k`, value: 1, stamped: true };
    await refuses(() => storage.commit({ puts: [longer] }), LIMIT, 'a prefix that leaves no room for the stamp');

    await fill(storage, 'p', LONGEST);
    const { taken } = await commit(storage, { takes: [{ from: 'p', to: 'q', limit: 10, leaseMs: 1000 }] });
    equal(taken.length, LONGEST.length, 'the number of records taken');
    for (const record of taken) {
      equal(await read(storage, 'q', record.key), record, 'the record of a leased key');
      equal(
        await keysOf(storage, 'q', { start: record.key, end: `${record.key}\u0001` }),
        [record.key],
        'the range of a leased key',
      );
    }
    await commit(storage, { deletes: taken.map(({ partition, key }) => ({ partition, key })) });
    equal(await keysOf(storage, 'q'), [], 'what is left');
  }),

  story('limits: a value may have 1,088 KiB as JSON and no more', async ({ storage }) => {
    const fits: Record<string, string> = {
      'plain text': 'x'.repeat(MAX_VALUE - 2),
      'two bytes': `${'é'.repeat(MAX_VALUE / 2 - 1)}`,
      'four bytes': `${'😀'.repeat(MAX_VALUE / 4 - 1)}xx`,
      escapes: `${'"'.repeat(MAX_VALUE / 2 - 1)}`,
    };
    for (const [what, value] of Object.entries(fits)) {
      await commit(storage, { puts: [{ partition: 'p', key: 'k', value }] });
      const stored = (await read(storage, 'p', 'k'))?.value;
      ensure(stored === value, `the largest value of ${what} as it was put`);
      const verify = await unchanged(storage, ['q']);
      const puts = [
        { partition: 'q', key: 'small', value: 1 },
        { partition: 'q', key: 'large', value: `${value}x` },
      ];
      await refuses(() => storage.commit({ puts }), LIMIT, `one byte more of ${what}`);
      await verify('a value that is too large');
    }
  }),

  story('limits: a commit may have 1,000 writes of all kinds and no more', async ({ storage }) => {
    const keys = Array.from({ length: 1000 }, (_, index) => `k${String(index).padStart(4, '0')}`);
    const { revision } = await fill(storage, 'p', keys);
    ensure(
      (await everything(storage, 'p')).every((record) => record.revision === revision),
      'one revision for 1,000 records',
    );
    const verify = await unchanged(storage, ['p', 'q']);
    const puts = keys.map((key) => ({ partition: 'q', key, value: 1 }));
    await refuses(() => storage.commit({ puts: [...puts, { partition: 'q', key: 'one more', value: 1 }] }), LIMIT, '1,001 puts');
    await refuses(() => storage.commit({ puts, deletes: [{ partition: 'p', key: 'k0000' }] }), LIMIT, '1,000 puts and a delete');
    await refuses(() => storage.commit({ puts, takes: [{ from: 'p', to: 'q', limit: 1 }] }), LIMIT, '1,000 puts and a take');
    const touch = { partition: 'p', key: 'k0000', revision, ttlMs: 1000 };
    await refuses(() => storage.commit({ puts, touches: [touch] }), LIMIT, '1,000 puts and a touch');
    await verify('commits that are too large');
    await commit(storage, {
      deletes: keys.slice(0, 250).map((key) => ({ partition: 'p', key })),
      touches: keys.slice(250, 500).map((key) => ({ partition: 'p', key, revision, ttlMs: 1000 })),
      puts: keys.slice(500).map((key) => ({ partition: 'p', key, value: 'new' })),
    });
    equal((await keysOf(storage, 'p')).length, 750, 'the records after a commit of 1,000 mixed writes');
    await commit(storage, { deletes: [{ partition: 'p', limit: 1000 }] });
    equal(await keysOf(storage, 'p'), [], 'the records after a range delete of 1,000');
  }),

  story('limits: a commit may have 1,000 checks and no more', async ({ storage }) => {
    const checks = Array.from({ length: 1000 }, (_, index) => ({ partition: 'p', key: `k${index}`, revision: null }));
    await commit(storage, { checks, puts: [{ partition: 'p', key: 'k', value: 1 }] });
    const verify = await unchanged(storage, ['p']);
    const one = { partition: 'p', key: 'one more', revision: null };
    const puts = [{ partition: 'p', key: 'other', value: 1 }];
    await refuses(() => storage.commit({ checks: [...checks, one], puts }), LIMIT, '1,001 checks');
    await verify('a commit with too many checks');
  }),

  story('limits: a commit may have 16 MiB of values and no more', async ({ storage }) => {
    const value = 'x'.repeat(1024 * KIB - 2);
    const puts = Array.from({ length: 16 }, (_, index) => ({ partition: 'p', key: `k${index}`, value }));
    const before = await newest(storage);
    await refuses(
      () => storage.commit({ puts: [...puts, { partition: 'p', key: 'small', value: 1 }] }),
      LIMIT,
      'one byte more than 16 MiB',
    );
    equal([await newest(storage), await keysOf(storage, 'p')], [before, []], 'revision and records afterwards');
    await commit(storage, { puts });
    equal((await keysOf(storage, 'p', { values: false })).length, 16, 'the number of records of 1 MiB');
  }),
];

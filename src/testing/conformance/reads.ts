import { ensure, equal, refuses } from './expect.ts';
import { atOnce, commit, fill, read, story, turn } from './story.ts';

export const readCases = [
  story('reads: get answers in the order asked, also for addresses asked twice or absent', async ({ storage }) => {
    const { revision } = await fill(storage, 'p', ['a', 'b']);
    const a = { partition: 'p', key: 'a', value: 'a', revision };
    const b = { partition: 'p', key: 'b', value: 'b', revision };
    const asked = ['b', 'x', 'a', 'b'].map((key) => ({ partition: 'p', key }));
    const answer = await storage.get([...asked, { partition: 'q', key: 'a' }]);
    equal(answer, [b, undefined, a, b, undefined], 'the records');
    ensure(1 in answer && answer[1] === undefined, 'undefined for what is absent');
    equal(await storage.get([]), [], 'the answer to no address');
  }),

  story('reads: get takes 1,000 addresses and refuses 1,001', async ({ storage }) => {
    const keys = Array.from({ length: 1000 }, (_, index) => `k${index}`);
    await fill(storage, 'p', keys);
    const addresses = keys.map((key) => ({ partition: 'p', key }));
    const records = await storage.get(addresses);
    equal(
      records.map((record) => record?.value),
      keys,
      'the values',
    );
    await refuses(() => storage.get([...addresses, { partition: 'p', key: 'k0' }]), ['limit_exceeded'], '1,001 addresses');
  }),

  story('reads: a record can be given back as an address', async ({ storage }) => {
    await fill(storage, 'p', ['a', 'b']);
    const records = await storage.list('p');
    equal(await storage.get(records), records, 'what was read again');
  }),

  story('reads: list without values has everything else', async ({ storage }) => {
    await fill(storage, 'p', ['a', 'b'], { ttlMs: 60_000 });
    const full = await storage.list('p');
    equal(
      await storage.list('p', { values: false }),
      full.map((record) => ({ ...record, value: null })),
      'the list without values',
    );
    equal(await storage.list('p', { values: true }), full, 'the list with values');
    ensure(
      full.every(({ expiresAt }) => typeof expiresAt === 'number'),
      'expiresAt in lists',
      full,
    );
  }),

  story('reads: an answer is the caller\u2019s own, and changes no other', async ({ storage }) => {
    await fill(storage, 'p', ['a', 'b']);
    const before = await storage.list('p');
    const copy = JSON.stringify(before);
    const mine = (await storage.list('p')) as { key: string; revision: number }[];
    const [got] = (await storage.get([{ partition: 'p', key: 'a' }])) as ({ key: string } | undefined)[];
    try {
      if (mine[0]) Object.assign(mine[0], { key: 'hijacked', revision: 0 });
      if (got) got.key = 'hijacked';
      mine.length = 0;
    } catch {
      // A store may freeze what it answers, too.
    }
    equal(JSON.stringify(await storage.list('p')), copy, 'the list afterwards');
    equal(JSON.stringify(await read(storage, 'p', 'a')), JSON.stringify(before[0]), 'the record afterwards');
  }),

  story('reads: what begins after an acknowledged commit sees it', async ({ storage }) => {
    for (let round = 1; round <= 50; round++) {
      await commit(storage, { puts: [{ partition: 'p', key: 'k', value: round }] });
      const [records, listed] = await Promise.all([storage.get([{ partition: 'p', key: 'k' }]), storage.list('p')]);
      equal([records[0]?.value, listed[0]?.value], [round, round], 'what was read after the commit');
    }
  }),

  story('reads: get and list are snapshots, so two keys written together are never seen apart', async ({ storage }) => {
    const write = (value: number) =>
      commit(storage, {
        puts: [
          { partition: 'p', key: 'a', value },
          { partition: 'p', key: 'z', value },
          { partition: 'q', key: 'a', value },
        ],
      });
    await write(0);
    let done = false;
    const writer = (async () => {
      for (let value = 1; value <= 200; value++) await write(value);
      done = true;
    })();
    const reader = async (): Promise<void> => {
      let last = 0;
      while (!done) {
        const [a, z, other] = await storage.get([
          { partition: 'p', key: 'a' },
          { partition: 'p', key: 'z' },
          { partition: 'q', key: 'a' },
        ]);
        equal([z?.value, other?.value], [a?.value, a?.value], 'the values of one get');
        const [first, second] = await storage.list('p');
        equal(second?.value, first?.value, 'the values of one list');
        ensure(Number(first?.value) >= last, `values that do not go back behind ${last}`, first?.value);
        last = Number(first?.value);
        await turn();
      }
    };
    await Promise.all([writer, atOnce(3, reader)]);
  }),

  story('reads: lists and gets of many readers at once are right', async ({ storage }) => {
    const keys = Array.from({ length: 100 }, (_, index) => String(index).padStart(3, '0'));
    await fill(storage, 'p', keys);
    await atOnce(50, async (index) => {
      const key = keys[index] ?? '';
      equal((await read(storage, 'p', key))?.value, key, 'the record');
      const page = await storage.list('p', { start: key, limit: 5 });
      equal(
        page.map(({ value }) => value),
        keys.slice(index, index + 5),
        'the page',
      );
    });
  }),
];

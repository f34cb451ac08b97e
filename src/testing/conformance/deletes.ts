import { equal } from './expect.ts';
import { commit, everything, fill, keysOf, newest, story } from './story.ts';

export const deleteCases = [
  story('deletes: remove one record, or nothing where there is none', async ({ storage }) => {
    await fill(storage, 'p', ['a', 'b', 'c']);
    await fill(storage, 'q', ['b']);
    await commit(storage, {
      deletes: [
        { partition: 'p', key: 'b' },
        { partition: 'p', key: 'x' },
      ],
    });
    equal(await keysOf(storage, 'p'), ['a', 'c'], 'the records of p');
    equal(await keysOf(storage, 'q'), ['b'], 'the records of q');
    equal(await storage.get([{ partition: 'p', key: 'b' }]), [undefined], 'the deleted record');
  }),

  story('deletes: of a range remove its first records, up to the limit', async ({ storage }) => {
    const keys = ['a', 'b', 'c', 'd', 'ä', '\ue000', '😀'];
    await fill(storage, 'p', keys);
    await commit(storage, { deletes: [{ partition: 'p', start: 'b', end: 'd', limit: 1 }] });
    equal(await keysOf(storage, 'p'), ['a', 'c', 'd', 'ä', '\ue000', '😀'], 'what the first delete left');
    await commit(storage, { deletes: [{ partition: 'p', start: 'b', end: 'd', limit: 10 }] });
    equal(await keysOf(storage, 'p'), ['a', 'd', 'ä', '\ue000', '😀'], 'what the second delete left');
    await commit(storage, { deletes: [{ partition: 'p', start: '\ue000', end: '😀', limit: 10 }] });
    equal(await keysOf(storage, 'p'), ['a', 'd', 'ä', '😀'], 'what the third delete left');
    await commit(storage, { deletes: [{ partition: 'p', limit: 2 }] });
    equal(await keysOf(storage, 'p'), ['ä', '😀'], 'what the fourth delete left');
    await commit(storage, { deletes: [{ partition: 'p', end: '😀', limit: 1000 }] });
    equal(await keysOf(storage, 'p'), ['😀'], 'what the fifth delete left');
    const before = await newest(storage);
    await commit(storage, { deletes: [{ partition: 'p', start: 'z', end: 'b', limit: 5 }] });
    equal([await keysOf(storage, 'p'), await newest(storage)], [['😀'], before], 'what the delete of an empty range left');
  }),

  story('deletes: several in one commit apply one after the other', async ({ storage }) => {
    await fill(storage, 'p', ['a', 'b', 'c', 'd', 'e', 'f']);
    const range = { partition: 'p', limit: 2 };
    await commit(storage, { deletes: [range, { partition: 'p', key: 'c' }, range] });
    equal(await keysOf(storage, 'p'), ['f'], 'the records');
  }),

  story('deletes: of a range do not count what has expired', async ({ storage, time }) => {
    const { at } = await fill(storage, 'p', ['a', 'b', 'c'], { ttlMs: 500 });
    await fill(storage, 'p', ['d', 'e', 'f']);
    await time.reach(at + 500);
    await commit(storage, { deletes: [{ partition: 'p', limit: 2 }] });
    equal(await keysOf(storage, 'p'), ['f'], 'the records');
  }),

  story('deletes: trim a long partition from its front', async ({ storage }) => {
    for (let batch = 0; batch < 3; batch++) {
      await commit(storage, {
        puts: Array.from({ length: 800 }, (_, value) => ({ partition: 'p', key: 'e', value, stamped: true })),
      });
    }
    const all = await everything(storage, 'p');
    let left = all.length;
    while (left > 0) {
      await commit(storage, { deletes: [{ partition: 'p', limit: 700 }] });
      left = Math.max(0, left - 700);
      equal(
        (await everything(storage, 'p')).map(({ key }) => key),
        all.slice(all.length - left).map(({ key }) => key),
        'what is left',
      );
    }
  }),

  story('deletes: a record may be deleted and put under another key, and back, in single commits', async ({ storage }) => {
    await fill(storage, 'p', ['a']);
    for (let round = 0; round < 5; round++) {
      const [from, to] = round % 2 ? ['b', 'a'] : ['a', 'b'];
      const checks = [{ partition: 'p', key: to ?? '', revision: null }];
      const puts = [{ partition: 'p', key: to ?? '', value: round }];
      await commit(storage, { checks, deletes: [{ partition: 'p', key: from ?? '' }], puts });
      equal(
        (await everything(storage, 'p')).map(({ key, value }) => [key, value]),
        [[to, round]],
        'the record',
      );
    }
  }),
];

import type { Hint } from '../../storage/storage.ts';
import { ensure, equal } from './expect.ts';
import { atOnce, commit, conflict, fill, read, story } from './story.ts';

/** What a hint says of a partition: nothing, when it names others. */
function names(hint: Hint, partition: string): boolean {
  return hint.partitions === undefined || hint.partitions.includes(partition);
}

export const hintCases = [
  story('hints: come after every kind of change, and name its partitions or none', async ({ storage, time }) => {
    const hints: Hint[] = [];
    storage.watch((hint) => hints.push(hint));
    const changes = {
      put: { puts: [{ partition: 'p', key: 'a', value: 1 }] },
      'stamped put': { puts: [{ partition: 'p', key: 'm', value: 1, stamped: true }] },
      'take to another partition': { takes: [{ from: 'x', to: 'p', limit: 1 }] },
      'take from another partition': { takes: [{ from: 'p', to: 'y', limit: 1 }] },
      delete: { deletes: [{ partition: 'p', key: 'd' }] },
      'range delete': { deletes: [{ partition: 'p', limit: 1 }] },
    };
    await fill(storage, 'x', ['x']);
    await fill(storage, 'p', ['b', 'c', 'd']);
    await time.until(
      () => hints.some((hint) => names(hint, 'x')) && hints.some((hint) => names(hint, 'p')),
      'hints of the first commits',
    );
    for (const [what, change] of Object.entries(changes)) {
      hints.length = 0;
      await commit(storage, change);
      await time.until(() => hints.some((hint) => names(hint, 'p')), `a hint of a ${what}`);
    }
  }),

  story('hints: never come inside the call of commit', async ({ storage, time }) => {
    let inside = false;
    let heard = 0;
    const early: unknown[] = [];
    storage.watch((hint) => {
      heard += 1;
      if (inside) early.push(hint);
    });
    for (let round = 0; round < 20; round++) {
      inside = true;
      const answer = storage.commit({ puts: [{ partition: 'p', key: 'a', value: round }] });
      inside = false;
      await answer;
    }
    await time.until(() => heard > 0, 'a hint');
    equal(early, [], 'the hints inside of commit');
  }),

  story('hints: what a listener reads then is at least as new as the change', async ({ storage, time }) => {
    const seen: unknown[] = [];
    storage.watch(() => void read(storage, 'p', 'a').then((record) => seen.push(record?.value)));
    await commit(storage, { puts: [{ partition: 'p', key: 'a', value: 'new' }] });
    await time.until(() => seen.length > 0, 'a hint');
    equal(seen[0], 'new', 'what the listener read');
  }),

  story('hints: a listener may commit', async ({ storage, time }) => {
    let rounds = 0;
    const unsubscribe = storage.watch(() => {
      if (rounds++ < 3) void commit(storage, { puts: [{ partition: 'p', key: 'a', value: rounds }] });
    });
    await commit(storage, { puts: [{ partition: 'p', key: 'a', value: 0 }] });
    await time.until(() => rounds > 3, 'hints of the listener\u2019s own commits');
    unsubscribe();
  }),

  story('hints: none names a partition that was only touched, read, checked or fought for', async ({ storage, time }) => {
    const hints: Hint[] = [];
    storage.watch((hint) => hints.push(hint));
    const { revision } = await fill(storage, 'quiet', ['a'], { ttlMs: 60_000 });
    await time.until(() => hints.some((hint) => names(hint, 'quiet')), 'a hint of the first commit');
    hints.length = 0;
    const a = { partition: 'quiet', key: 'a' };
    await commit(storage, { checks: [{ ...a, revision }], touches: [{ ...a, revision, ttlMs: 90_000 }] });
    await commit(storage, {
      deletes: [{ partition: 'quiet', key: 'x' }],
      takes: [{ from: 'quiet', to: 'quiet', start: 'b', limit: 1 }],
    });
    await conflict(storage, { checks: [{ ...a, revision: null }], puts: [{ ...a, value: 1 }] });
    await storage.list('quiet');
    await commit(storage, { puts: [{ partition: 'loud', key: 'a', value: 1 }] });
    await time.until(() => hints.some((hint) => names(hint, 'loud')), 'a hint of the last commit');
    equal(
      hints.filter(({ partitions }) => partitions?.includes('quiet')),
      [],
      'the hints that name the quiet partition',
    );
  }),

  story('hints: end with the watch', async ({ storage, time }) => {
    let first = 0;
    let second = 0;
    const unsubscribe = storage.watch(() => {
      first += 1;
    });
    storage.watch(() => {
      second += 1;
    });
    await fill(storage, 'p', ['a']);
    await time.until(() => first > 0 && second > 0, 'a hint for both listeners');
    unsubscribe();
    unsubscribe();
    const before = first;
    second = 0;
    await fill(storage, 'p', ['b']);
    await time.until(() => second > 0, 'a hint for the listener that stayed');
    equal(first, before, 'the hints that the other one heard');
  }),

  story('hints: a listener that ends the watch of another is obeyed at once', async ({ storage, time }) => {
    const ended: (() => void)[] = [];
    let after = 0;
    let heard = 0;
    const listen = (): void => {
      if (heard > 0) after += 1;
      heard += 1;
      for (const unsubscribe of ended) unsubscribe();
    };
    ended.push(storage.watch(listen), storage.watch(listen), storage.watch(listen));
    await fill(storage, 'p', ['a']);
    await time.until(() => heard > 0, 'a hint');
    await fill(storage, 'p', ['b']);
    await storage.list('p');
    equal([heard, after], [1, 0], 'the calls, and those after the first had ended all watches');
  }),

  story('hints: a listener that throws harms neither the commit nor other listeners', async ({ storage, time }) => {
    let heard = 0;
    storage.watch(() => {
      throw new Error('thrown on purpose by a listener of the conformance cases');
    });
    storage.watch(async () => {
      throw new Error('rejected on purpose by a listener of the conformance cases');
    });
    storage.watch(() => {
      heard += 1;
    });
    await fill(storage, 'p', ['a']);
    await time.until(() => heard > 0, 'a hint for the third listener');
    equal((await read(storage, 'p', 'a'))?.value, 'a', 'the record');
    const before = heard;
    await fill(storage, 'p', ['b']);
    await time.until(() => heard > before, 'another hint for it');
  }),

  story('hints: of many commits at once may be merged, and miss no partition', async ({ storage, time }) => {
    const missing = new Set(Array.from({ length: 50 }, (_, index) => `p${index}`));
    storage.watch(({ partitions }) => {
      if (!partitions) missing.clear();
      for (const partition of partitions ?? []) missing.delete(partition);
    });
    const all = [...missing];
    await atOnce(all.length, (index) => fill(storage, all[index] ?? '', ['a']));
    await time.until(() => missing.size === 0, 'a hint of every partition');
    ensure(missing.size === 0, 'no partition without a hint', [...missing]);
  }),
];

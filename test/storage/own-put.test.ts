import { describe, expect, it } from 'vitest';
import { Draft } from '../../src/storage/draft.ts';
import { namespaced } from '../../src/storage/namespaced-storage.ts';
import { OwnPut } from '../../src/storage/own-put.ts';
import type { Commit, Put } from '../../src/storage/storage.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { refusal } from '../support/refusal.ts';
import { storages } from '../support/storages.ts';

const MEGABYTES = 1024 * 1024;

/** As a caller gives a commit, and as the library does. */
const commits: readonly (readonly [string, (put: Put) => Commit])[] = [
  ['a commit', (put) => ({ puts: [put] })],
  ['a draft', (put) => new Draft({ puts: [put] })],
];

describe.each(storages)('what the library has made itself, on %s', (_name, open) => {
  describe.each(commits)('in %s', (_kind, commitOf) => {
    it('is stored and frozen', async () => {
      const storage = await open(new VirtualClock());
      const value = { text: 'a', list: Object.freeze([1]) };
      await storage.commit(commitOf(new OwnPut('p', 'k', value, 40, false)));
      const [record] = await storage.list('p');
      expect(record).toMatchObject({ key: 'k', value: { text: 'a', list: [1] } });
      expect(Object.isFrozen(record?.value)).toBe(true);
      expect(Object.isFrozen(value)).toBe(true);
    });

    it('may be said to be larger than a record, and be measured then', async () => {
      const storage = await open(new VirtualClock());
      await storage.commit(commitOf(new OwnPut('p', 'k', { text: 'x'.repeat(MEGABYTES) }, 6 * MEGABYTES, false)));
      expect((await storage.list('p', { values: false })).map(({ key }) => key)).toEqual(['k']);
      const tooLarge = new OwnPut('p', 'l', { text: 'x'.repeat(2 * MEGABYTES) }, 12 * MEGABYTES, false);
      await expect(async () => storage.commit(commitOf(tooLarge))).rejects.toEqual(refusal('limit_exceeded'));
      expect(await storage.list('p')).toHaveLength(1);
    });

    it('counts in the size of the commit', async () => {
      const storage = await open(new VirtualClock());
      const { puts = [] } = commitOf(new OwnPut('p', '0', { text: 'x'.repeat(MEGABYTES) }, MEGABYTES + 16, false));
      const more = Array.from(
        { length: 16 },
        (_, n) => new OwnPut('p', String(n + 1), { text: 'x'.repeat(MEGABYTES) }, MEGABYTES + 16, false),
      );
      const commit = { ...commitOf(more[0] as Put), puts: [...puts, ...more] };
      await expect(async () => storage.commit(commit)).rejects.toEqual(refusal('limit_exceeded'));
    });
  });

  it('stays what it is in a namespace', async () => {
    const storage = await open(new VirtualClock());
    await namespaced(storage, 'inner').commit({ puts: [new OwnPut('p', 'a', { n: 1 }, 20, true)] });
    const [record] = await storage.list('inner|p');
    expect(record?.value).toEqual({ n: 1 });
    expect(record?.key).toMatch(/^a\d{20}$/);
  });

  it('is looked at like any other once somebody has copied it', async () => {
    const storage = await open(new VirtualClock());
    const put = { ...new OwnPut('p', 'k', { n: undefined }, 20, false) };
    await expect(async () => storage.commit({ puts: [put] })).rejects.toEqual(refusal('invalid_input'));
  });
});

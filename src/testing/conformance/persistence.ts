import type { Storage } from '../../storage/storage.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { ensure, equal } from './expect.ts';
import {
  atOnce,
  commit,
  conflict,
  everything,
  fill,
  heldOpen,
  keysOf,
  newest,
  type OpenStorage,
  read,
  StoryTime,
  winners,
} from './story.ts';

/** How a case gets at a storage that outlives its process. */
export interface PersistentStore {
  /** Opens a storage that is new and empty. */
  readonly open: OpenStorage;
  /** Opens again what `open` has opened last, after the case has closed it. */
  readonly reopen: OpenStorage;
}

/** A promise about what is still there after the storage was closed and opened again. */
export interface PersistenceCase {
  readonly name: string;
  /** @throws Error that says what was expected, and what the storage did instead */
  run(store: PersistentStore): Promise<void>;
}

interface Stage {
  readonly storage: Storage;
  readonly time: StoryTime;
  /** Closes the storage and opens it again. */
  again(): Promise<Storage>;
}

const TTL = 500;
const LONG = 60_000;

export const persistenceCases: readonly PersistenceCase[] = [
  story('reopen: all records are as they were', async ({ storage, again }) => {
    const value = { text: 'ä\u0000\ufeff漢😀', list: [1, null, { deep: true }], n: 0 };
    await fill(storage, 'p', ['a', '\ue000', '\ufeff', '😀', '__proto__'], { value });
    await fill(storage, 'p', ['ttl'], { ttlMs: LONG });
    await fill(storage, 'queue', ['m', 'n']);
    await commit(storage, { takes: [{ from: 'queue', to: 'claims', limit: 1, leaseMs: LONG }] });
    await commit(storage, { puts: [{ partition: 'log', key: 'e', value: 1, stamped: true }] });
    const partitions = ['p', 'queue', 'claims', 'log'];
    const before = [];
    for (const partition of partitions) before.push(await everything(storage, partition));
    const reopened = await again();
    for (const [index, partition] of partitions.entries()) {
      equal(await everything(reopened, partition), before[index], `the records of ${partition}`);
    }
    const [record] = await reopened.list('p');
    ensure(Object.isFrozen(record?.value), 'a frozen value');
    equal((await read(reopened, 'p', 'a'))?.value, value, 'a value that get reads');
  }),

  story('reopen: revisions go on above all that were ever given', async ({ storage, again }) => {
    await fill(storage, 'p', ['a', 'b']);
    const { revision: deleted } = await commit(storage, { deletes: [{ partition: 'p', limit: 5 }] });
    const reopened = await again();
    equal(await newest(reopened), deleted, 'the newest revision');
    const { revision } = await fill(reopened, 'p', ['a']);
    ensure(revision > deleted, `a revision above ${deleted}, whose records are all deleted`, revision);
    const third = await again();
    equal(await newest(third), revision, 'the newest revision after another time');
    equal((await read(third, 'p', 'a'))?.revision, revision, 'the revision of the record');
  }),

  story('reopen: checks, touches and bounds judge what was there before', async ({ storage, again }) => {
    const a = { partition: 'p', key: 'a' };
    const { revision } = await fill(storage, 'p', ['a'], { ttlMs: LONG });
    const reopened = await again();
    equal(await conflict(reopened, { checks: [{ ...a, revision: null }] }), [a], 'conflicts of absence');
    equal(await conflict(reopened, { checks: [{ partition: 'p', fewerThan: 1 }] }), [{ ...a, key: '' }], 'conflicts of a bound');
    const { at } = await commit(reopened, { checks: [{ ...a, revision }], touches: [{ ...a, revision, ttlMs: 2 * LONG }] });
    const third = await again();
    equal(await read(third, 'p', 'a'), { ...a, value: 'a', revision, expiresAt: at + 2 * LONG }, 'the touched record');
  }),

  story('reopen: expiry goes on meanwhile, and is exact afterwards', async ({ storage, time, again }) => {
    const { at } = await fill(storage, 'p', ['a'], { ttlMs: TTL });
    await fill(storage, 'p', ['b'], { ttlMs: LONG });
    const reopened = await again();
    await time.before(at + TTL, async () => equal(await keysOf(reopened, 'p'), ['a', 'b'], 'the records one millisecond before'));
    await time.reach(at + TTL);
    equal(await keysOf(reopened, 'p'), ['b'], 'the records at the expiry');
    const third = await again();
    equal(await keysOf(third, 'p'), ['b'], 'the records after another time');
    const checks = [{ partition: 'p', key: 'a', revision: null }];
    await commit(third, { checks, puts: [{ partition: 'p', key: 'a', value: 'new' }] });
  }),

  story('reopen: stamps go on behind those that are there', async ({ storage, again }) => {
    const put = { partition: 'log', key: 'e', stamped: true };
    const append = (to: Storage, value: number) => commit(to, { puts: [{ ...put, value }] });
    for (let value = 0; value < 5; value++) await append(storage, value);
    const reopened = await again();
    for (let value = 5; value < 10; value++) await append(reopened, value);
    equal(
      (await everything(reopened, 'log')).map(({ value }) => value),
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
      'the values in order',
    );
  }),

  story('reopen: what was taken can be given back', async ({ storage, again }) => {
    await fill(storage, 'queue', ['a', 'b']);
    await commit(storage, { takes: [{ from: 'queue', to: 'claims', limit: 2, leaseMs: LONG }] });
    const reopened = await again();
    const { taken } = await commit(reopened, { takes: [{ from: 'claims', to: 'queue', limit: 2 }] });
    equal(
      taken.map(({ key, value }) => [key, value]),
      [
        ['a', 'a'],
        ['b', 'b'],
      ],
      'what was given back',
    );
  }),

  story('reopen: whatever was acknowledged is there, also from the last moment before close', async ({ storage, again }) => {
    const answers = atOnce(100, (index) => storage.commit({ puts: [{ partition: 'p', key: 'k', value: index, stamped: true }] }));
    const reopening = again();
    const revisions = winners(await answers).map(({ revision }) => revision);
    const records = await everything(await reopening, 'p');
    equal(
      records.map(({ revision }) => revision),
      revisions.sort((x, y) => x - y),
      'the revisions that are there',
    );
    equal(revisions.length, 100, 'the commits that were acknowledged');
  }),
];

function story(name: string, tell: (stage: Stage) => Promise<void>): PersistenceCase {
  return {
    name,
    async run({ open, reopen }) {
      const clock = new VirtualClock();
      await heldOpen(async () => {
        let storage = await open({ clock });
        const again = async (): Promise<Storage> => {
          await storage.close();
          storage = await reopen({ clock });
          return storage;
        };
        try {
          await tell({ storage, time: new StoryTime(() => storage.now(), clock), again });
        } finally {
          await storage.close();
        }
      });
    },
  };
}

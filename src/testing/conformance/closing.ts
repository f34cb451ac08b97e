import { ensure, equal, refuses } from './expect.ts';
import { atOnce, fill, read, story, turn } from './story.ts';

export const closingCases = [
  story('store: says what survives, and tells the time', async ({ storage }) => {
    ensure(['memory', 'process', 'os'].includes(storage.durability), 'a durability that the contract names', storage.durability);
    ensure(Number.isInteger(storage.now()) && storage.now() > 0, 'whole milliseconds as the time', storage.now());
    if (storage.clock) {
      const apart = Math.abs(storage.clock.now() - storage.now());
      ensure(apart < 5_000, 'a clock that tells the store\u2019s own time', `${apart} ms of difference`);
    }
    for (const name of ['uncertain', 'reliableHints'] as const)
      equal(typeof (storage[name] ?? false), 'boolean', `the type of ${name}`);
  }),

  story('close: refuses everything afterwards, and may be called again', async ({ storage }) => {
    const { revision } = await fill(storage, 'p', ['a']);
    await Promise.all([storage.close(), storage.close()]);
    await storage.close();
    const address = { partition: 'p', key: 'a' };
    const calls: Record<string, () => unknown> = {
      get: () => storage.get([address]),
      list: () => storage.list('p'),
      'a commit': () => storage.commit({ puts: [{ ...address, value: 1 }] }),
      'an empty commit': () => storage.commit({}),
      'a touch': () => storage.commit({ touches: [{ ...address, revision, ttlMs: 1000 }] }),
      watch: () => storage.watch(() => {}),
    };
    for (const [what, call] of Object.entries(calls)) await refuses(call, ['closed'], `${what} after close`);
  }),

  story('close: lets commits under way end, and they are applied', async ({ storage }) => {
    const answers = atOnce(20, (index) => storage.commit({ puts: [{ partition: 'p', key: `k${index}`, value: index }] }));
    await Promise.all([storage.close(), answers]);
    equal(
      (await answers).map(({ committed }) => committed),
      Array.from({ length: 20 }, () => true),
      'the answers',
    );
  }),

  story('close: ends all watches', async ({ storage, time }) => {
    let heard = 0;
    const unsubscribe = storage.watch(() => {
      heard += 1;
    });
    await fill(storage, 'p', ['a']);
    await time.until(() => heard > 0, 'a hint');
    equal((await read(storage, 'p', 'a'))?.value, 'a', 'the record');
    await storage.close();
    const before = heard;
    for (let turns = 0; turns < 5; turns++) await turn();
    equal(heard, before, 'the hints after close');
    unsubscribe();
  }),

  story('close: nobody hears afterwards of what was committed right before', async ({ storage }) => {
    let isClosed = false;
    let late = 0;
    storage.watch(() => {
      if (isClosed) late += 1;
    });
    // Not awaited, which would give the hint its time.
    const answer = storage.commit({ puts: [{ partition: 'p', key: 'a', value: 'a' }] });
    await storage.close();
    isClosed = true;
    equal((await answer).committed, true, 'whether the commit was applied');
    for (let turns = 0; turns < 5; turns++) await turn();
    equal(late, 0, 'the hints after close');
  }),
];

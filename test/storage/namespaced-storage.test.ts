import { describe, expect, it } from 'vitest';
import { namespaced } from '../../src/storage/namespaced-storage.ts';
import type { Hint } from '../../src/storage/storage.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { storages } from '../support/storages.ts';

describe.each(storages)('namespaces on %s', (_name, open) => {
  it('never meet, whatever their names and the names inside', async () => {
    const storage = await open(new VirtualClock());
    const views = [
      storage,
      namespaced(storage, 'a'),
      namespaced(storage, 'a:b'),
      namespaced(namespaced(storage, 'a'), 'b'),
      namespaced(namespaced(storage, 'a'), 'a'),
    ];
    for (const [n, view] of views.entries()) await view.commit({ puts: [{ partition: 'p', key: 'k', value: n }] });
    for (const [n, view] of views.entries()) {
      expect(await view.list('p')).toEqual([{ partition: 'p', key: 'k', value: n, revision: n + 1 }]);
      await view.commit({ deletes: [{ partition: 'p', limit: 1000 }], puts: [{ partition: 'q', key: 'k', value: n }] });
    }
    for (const view of views) expect((await view.list('p')).length + (await view.list('q')).length).toBe(1);
  });

  it('hear only their own hints, by their own names', async () => {
    const storage = await open(new VirtualClock());
    const [a, b] = [namespaced(storage, 'a'), namespaced(storage, 'b')];
    const hints: [string, Hint][] = [];
    a.watch((hint) => hints.push(['a', hint]));
    b.watch((hint) => hints.push(['b', hint]));
    await a.commit({ puts: [{ partition: 'p', key: 'k', value: 1 }] });
    await new Promise(setImmediate);
    expect(hints).toEqual([['a', { partitions: ['p'] }]]);
  });

  it('report conflicts and what was taken by their own names', async () => {
    const view = namespaced(await open(new VirtualClock()), 'a');
    const conflict = await view.commit({
      checks: [
        { partition: 'p', key: 'k', revision: 7 },
        { partition: 'p', fewerThan: 1 },
      ],
    });
    expect(conflict).toEqual({ committed: false, conflicts: [{ partition: 'p', key: 'k' }] });
    await view.commit({ puts: [{ partition: 'p', key: 'k', value: 1 }] });
    const result = await view.commit({ takes: [{ from: 'p', to: 'q', limit: 1 }] });
    expect(result).toMatchObject({ committed: true, taken: [{ partition: 'q', key: 'k', value: 1 }] });
  });

  it('are closed without the storage', async () => {
    const storage = await open(new VirtualClock());
    const view = namespaced(storage, 'a');
    await view.close();
    expect(() => view.list('p')).toThrow(expect.objectContaining({ code: 'closed' }));
    expect(await storage.list('p')).toEqual([]);
  });

  it.each(['', '|', 'a|b', '-a', 'ü', 'x'.repeat(129), 7, undefined, null, {}])('refuse the name %o', async (name) => {
    const storage = await open(new VirtualClock());
    expect(() => namespaced(storage, name as string)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
  });
});

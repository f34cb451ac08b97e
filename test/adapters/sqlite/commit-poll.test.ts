import { describe, expect, it } from 'vitest';
import type { Hint } from '../../../src/storage/storage.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { startChild } from '../../support/children.ts';
import { openStorage, temporaryFile } from '../../support/sqlite/files.ts';

/** Commits of another process, one at a time. */
async function otherProcess(file: string): Promise<(key: string) => Promise<number>> {
  const child = startChild('sqlite/commit', [file]);
  await child.line();
  return async (key) => {
    child.say(key);
    return Number(await child.line());
  };
}

describe('a watcher', () => {
  it('hears of what another process commits, not of which partitions', async () => {
    const file = temporaryFile();
    const clock = new VirtualClock();
    const storage = await openStorage(file, { clock });
    const commit = await otherProcess(file);
    const hints: Hint[] = [];
    storage.watch((hint) => hints.push(hint));
    await commit('a');
    await clock.advance(5);
    expect(hints).toEqual([{}]);
    await clock.advance(1000);
    expect(hints).toEqual([{}]);
  });

  it('hears of it within 100 ms, however long nothing happened', async () => {
    const file = temporaryFile();
    const clock = new VirtualClock();
    const storage = await openStorage(file, { clock });
    const commit = await otherProcess(file);
    let hints = 0;
    storage.watch(() => {
      hints += 1;
    });
    await clock.advance(10_000);
    await commit('a');
    for (let waitedMs = 0; waitedMs < 100 && hints === 0; waitedMs++) await clock.advance(1);
    expect(hints).toBe(1);
    // And of the next one soon.
    await commit('b');
    await clock.advance(5);
    expect(hints).toBe(2);
  });

  it('hears of what happens while it has only just begun to watch', async () => {
    const file = temporaryFile();
    const clock = new VirtualClock();
    const storage = await openStorage(file, { clock });
    const commit = await otherProcess(file);
    await commit('before');
    let hints = 0;
    storage.watch(() => {
      hints += 1;
    });
    await clock.advance(1000);
    expect(hints).toBe(0);
    await commit('after');
    await clock.advance(100);
    expect(hints).toBe(1);
  });

  it('hears by the system’s clock too', async () => {
    const file = temporaryFile();
    const storage = await openStorage(file);
    const commit = await otherProcess(file);
    const hint = new Promise<Hint>((resolve) => storage.watch(resolve));
    await commit('a');
    expect(await hint).toEqual({});
  });

  it('hears of this process’s own commits with their partitions, after they have answered', async () => {
    const storage = await openStorage(temporaryFile());
    const hints: Hint[] = [];
    storage.watch((hint) => hints.push(hint));
    const commit = storage.commit({
      puts: [
        { partition: 'a', key: 'k', value: 1 },
        { partition: 'b', key: 'k', value: 1 },
      ],
    });
    expect(hints).toEqual([]);
    await commit;
    await Promise.resolve();
    expect(hints).toEqual([{ partitions: ['a', 'b'] }]);
    await storage.commit({
      checks: [{ partition: 'a', key: 'k', revision: 99 }],
      puts: [{ partition: 'a', key: 'k', value: 1 }],
    });
    await storage.commit({ touches: [{ partition: 'a', key: 'k', revision: 1, ttlMs: 1000 }] });
    await storage.commit({ takes: [{ from: 'none', to: 'a', limit: 1 }] });
    await Promise.resolve();
    expect(hints).toHaveLength(1);
  });

  it('costs no timer once the last one is gone', async () => {
    const clock = new VirtualClock();
    const storage = await openStorage(temporaryFile(), { clock });
    expect(clock.pending).toBe(0);
    const stops = [storage.watch(() => {}), storage.watch(() => {})];
    expect(clock.pending).toBe(1);
    stops[0]?.();
    stops[0]?.();
    await clock.advance(1000);
    expect(clock.pending).toBe(1);
    stops[1]?.();
    expect(clock.pending).toBe(0);
    const stop = storage.watch(() => {});
    expect(clock.pending).toBe(1);
    stop();
    storage.watch(() => {});
    await storage.close();
    expect(clock.pending).toBe(0);
  });

  it('does not keep the process alive', async () => {
    const child = startChild('sqlite/watch', [temporaryFile()]);
    expect(await child.line()).toBe('watching');
    expect(await child.ended).toBe(0);
  });
});

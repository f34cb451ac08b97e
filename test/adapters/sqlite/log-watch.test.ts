import { watch } from 'node:fs';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { startChild } from '../../support/children.ts';
import { openStorage, temporaryFile } from '../../support/sqlite/files.ts';

vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  return { ...fs, watch: vi.fn((...args: Parameters<typeof fs.watch>) => fs.watch(...args)) };
});

const watched = vi.mocked(watch);

beforeEach(() => {
  watched.mockClear();
});

/** A storage at rest, watched, with another process that commits when told to. */
async function atRest(): Promise<{ clock: VirtualClock; hints: () => number; commit: (key: string) => Promise<void> }> {
  const file = temporaryFile();
  const clock = new VirtualClock();
  const storage = await openStorage(file, { clock });
  let hints = 0;
  storage.watch(() => {
    hints += 1;
  });
  const child = startChild('sqlite/commit', [file]);
  await child.line();
  await clock.advance(10_000);
  return {
    clock,
    hints: () => hints,
    commit: async (key) => {
      child.say(key);
      await child.line();
    },
  };
}

describe('a storage at rest', () => {
  // A watch of the file system may miss a change, so there are several; it takes real time.
  it('is woken early by what another process writes', async () => {
    let early = 0;
    for (let attempt = 0; attempt < 10 && early === 0; attempt++) {
      const { clock, hints, commit } = await atRest();
      await commit('a');
      await new Promise((resolve) => setTimeout(resolve, 50));
      // Without the watch it would be 100.
      await clock.advance(3);
      early += hints();
    }
    expect(early).toBe(1);
  });

  it('hears of everything when files cannot be watched', async () => {
    watched.mockImplementation(() => {
      throw Object.assign(new Error('no more watches'), { code: 'ENOSPC' });
    });
    const { clock, hints, commit } = await atRest();
    expect(watched).toHaveBeenCalled();
    for (let count = 1; count <= 3; count++) {
      await commit(String(count));
      await clock.advance(100);
      expect(hints()).toBe(count);
      await clock.advance(5000);
    }
  });

  it('hears of everything when its watch breaks', async () => {
    const { watch: real } = await vi.importActual<typeof import('node:fs')>('node:fs');
    const watchers: ReturnType<typeof watch>[] = [];
    watched.mockImplementation(((file: string, options: object) => {
      const watcher = real(file, options);
      watchers.push(watcher);
      return watcher;
    }) as typeof watch);
    const { clock, hints, commit } = await atRest();
    watchers.at(-1)?.emit('error', new Error('the watch broke'));
    await commit('a');
    await clock.advance(100);
    expect(hints()).toBe(1);
  });
});

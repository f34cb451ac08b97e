import { expect, it } from 'vitest';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';
import { Sweeper } from '../../src/storage/sweeper.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';

interface Setup {
  readonly chores: (() => Promise<unknown>)[];
  readonly reliable?: boolean;
  readonly next?: () => number | undefined;
}

function sweeping({ chores, reliable = false, next = () => undefined }: Setup) {
  const clock = new VirtualClock();
  const errors: unknown[] = [];
  const memory = new InMemoryStorage({ clock });
  const storage = reliable ? memory : Object.create(memory, { reliableHints: { value: false } });
  const sweeper = new Sweeper({ storage, clock, report: (error) => errors.push(error), intervalMs: 100, next, chores });
  sweeper.start();
  return { clock, errors, sweeper, memory };
}

it('does its chores every interval, and goes on after one fails', async () => {
  const runs: string[] = [];
  const { clock, errors, sweeper } = sweeping({
    chores: [
      async () => {
        runs.push('first');
        throw new Error('first failed');
      },
      async () => runs.push('second'),
    ],
  });
  await clock.advance(250);
  expect(runs).toEqual(['first', 'second', 'first', 'second']);
  expect(errors).toHaveLength(2);
  await sweeper.close();
  await clock.advance(1000);
  expect(runs).toHaveLength(4);
  expect(clock.pending).toBe(0);
});

it('goes on when the store can not be watched, and says so', async () => {
  const ranAt: number[] = [];
  const { clock, errors, sweeper, memory } = sweeping({ chores: [async () => ranAt.push(clock.now())], reliable: true });
  const { watch } = memory;
  memory.watch = () => {
    throw new Error('no watch');
  };
  await clock.advance(250);
  expect(ranAt).toHaveLength(2);
  expect(errors).toHaveLength(2);
  memory.watch = watch;
  await clock.advance(1000);
  expect(ranAt).toHaveLength(3);
  await sweeper.close();
});

it('waits one more interval after the process has stalled, before it judges anything', async () => {
  const ranAt: number[] = [];
  const { clock, sweeper } = sweeping({ chores: [async () => ranAt.push(clock.now())] });
  // A process that was stopped finds that the clock has gone on without it when its timer fires at last.
  const wokenAt = clock.now() + 5000;
  clock.set(wokenAt);
  await clock.advance(199);
  expect(ranAt).toEqual([]);
  await clock.advance(1);
  expect(ranAt).toEqual([wokenAt + 200]);
  await sweeper.close();
});

it('never runs a chore twice at the same time, however long it takes', async () => {
  let running = 0;
  let most = 0;
  const { clock, sweeper } = sweeping({
    chores: [
      async () => {
        running += 1;
        most = Math.max(most, running);
        await new Promise<void>((resolve) => clock.setTimeout(resolve, 350));
        running -= 1;
      },
    ],
  });
  await clock.advance(2000);
  expect(most).toBe(1);
  const closing = sweeper.close();
  await clock.advance(1000);
  await closing;
});

it('rests while nothing changes and nothing is due, where the store hints every change', async () => {
  const ranAt: number[] = [];
  const next: number[] = [];
  const setup = sweeping({ reliable: true, chores: [async () => ranAt.push(clock.now() - start)], next: () => next[0] });
  const { clock, sweeper, memory } = setup;
  const start = clock.now();
  await clock.advance(86_400_000);
  expect(ranAt).toEqual([100]);
  next.push(clock.now() + 5000);
  memory.commit({ puts: [{ partition: 'p', key: 'k', value: 1 }] });
  await clock.advance(100);
  expect(ranAt).toEqual([100, 86_400_100]);
  await clock.advance(4899);
  expect(ranAt).toHaveLength(2);
  await clock.advance(1);
  expect(ranAt).toEqual([100, 86_400_100, 86_405_000]);
  next.pop();
  await sweeper.close();
  expect(clock.pending).toBe(0);
});

it('looks again after a chore failed, though nothing changes', async () => {
  const ranAt: number[] = [];
  const chore = async (): Promise<void> => {
    if (ranAt.push(clock.now()) < 3) throw new Error('failed');
  };
  const { clock, errors, sweeper } = sweeping({ chores: [chore], reliable: true });
  await clock.advance(1000);
  expect(ranAt).toHaveLength(3);
  expect(errors).toHaveLength(2);
  await sweeper.close();
});

import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/kernel/clock.ts';
import { MeshError } from '../../src/kernel/errors.ts';
import { GroupCommit } from '../../src/storage/group-commit.ts';

const SMALL = { bytes: 10, steps: 1 };

function nextTurn(): Promise<void> {
  return new Promise((resolve) => systemClock.nextTurn(resolve));
}

/** Answers each number with its double, and remembers the groups. */
function doubling(): { groups: number[][]; commits: GroupCommit<number, number> } {
  const groups: number[][] = [];
  const commits = new GroupCommit<number, number>({
    send: (items) => {
      groups.push([...items]);
      return items.map((item) => item * 2);
    },
  });
  return { groups, commits };
}

/** A backend whose every group waits until the test lets it through. */
function slow(): { groups: number[][]; commits: GroupCommit<number, number>; letThrough: () => Promise<void> } {
  const groups: number[][] = [];
  const waiting: (() => void)[] = [];
  const commits = new GroupCommit<number, number>({
    send: async (items) => {
      groups.push([...items]);
      await new Promise<void>((resolve) => waiting.push(resolve));
      return items.map((item) => item * 2);
    },
  });
  return {
    groups,
    commits,
    letThrough: async () => {
      // On a busy machine a group may be sent a turn later.
      while (waiting.length === 0) await nextTurn();
      waiting.shift()?.();
      await nextTurn();
    },
  };
}

describe('a group of commits', () => {
  it('is everything that was added in the same turn, in the order it was added', async () => {
    const { groups, commits } = doubling();
    const answers = await Promise.all([1, 2, 3].map((item) => commits.add(item, SMALL)));
    expect(answers).toEqual([2, 4, 6]);
    expect(groups).toEqual([[1, 2, 3]]);
  });

  it('goes on its way without waiting for a timer or a turn of the event loop', async () => {
    const { commits } = doubling();
    let turned = false;
    systemClock.nextTurn(() => {
      turned = true;
    });
    await commits.add(1, SMALL);
    expect(turned).toBe(false);
  });

  it('holds all of 64 loops that each wait for their own commit', async () => {
    const { groups, commits } = doubling();
    await Promise.all(
      Array.from({ length: 64 }, async (_, loop) => {
        for (let round = 0; round < 10; round++) {
          // Loops come back after a few awaits of their own, not all after the same number.
          for (let hop = 0; hop < loop % 3; hop++) await undefined;
          await commits.add(loop, SMALL);
        }
      }),
    );
    expect(groups.map(({ length }) => length)).toEqual(Array(10).fill(64));
  });

  it('holds what was added while the one before it was under way', async () => {
    const { groups, commits, letThrough } = slow();
    const first = commits.add(1, SMALL);
    await nextTurn();
    const rest = [2, 3, 4].map((item) => commits.add(item, SMALL));
    await nextTurn();
    expect(groups).toEqual([[1]]);
    await letThrough();
    expect(groups).toEqual([[1], [2, 3, 4]]);
    await letThrough();
    expect(await Promise.all([first, ...rest])).toEqual([2, 4, 6, 8]);
  });

  it('has at most 256 commits', async () => {
    const { groups, commits } = doubling();
    await Promise.all(Array.from({ length: 600 }, (_, item) => commits.add(item, SMALL)));
    expect(groups.map(({ length }) => length)).toEqual([256, 256, 88]);
    expect(groups.flat()).toEqual(Array.from({ length: 600 }, (_, item) => item));
  });

  it('has at most 1 MiB, or one commit that alone has more', async () => {
    const { groups, commits } = doubling();
    const sizes = [400_000, 400_000, 400_000, 5_000_000, 10];
    await Promise.all(sizes.map((bytes, item) => commits.add(item, { bytes, steps: 1 })));
    expect(groups).toEqual([[0, 1], [2], [3], [4]]);
  });

  it('has at most 4,096 steps, or one commit that alone has more', async () => {
    const { groups, commits } = doubling();
    await Promise.all([2000, 2000, 2000, 9000].map((steps, item) => commits.add(item, { bytes: 10, steps })));
    expect(groups).toEqual([[0, 1], [2], [3]]);
  });
});

describe('the result of a commit in a group', () => {
  it('is its own, also when others fail', async () => {
    const commits = new GroupCommit<number, string>({
      send: (items) => items.map((item) => (item === 2 ? new MeshError('storage_full', 'no room for two') : `done ${item}`)),
    });
    const answers = await Promise.allSettled([1, 2, 3].map((item) => commits.add(item, SMALL)));
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(answers[1]).toMatchObject({ reason: { code: 'storage_full' } });
  });

  it.each([
    [
      'throws',
      () => {
        throw new MeshError('unavailable', 'gone');
      },
    ],
    ['rejects', async () => Promise.reject(new MeshError('unavailable', 'gone'))],
  ])('is everybody’s error when the backend %s, and the next group is tried', async (_, fail) => {
    let attempts = 0;
    const commits = new GroupCommit<number, number>({
      send: (items) => {
        attempts += 1;
        return attempts === 1 ? fail() : [...items];
      },
    });
    const failed = await Promise.allSettled([commits.add(1, SMALL), commits.add(2, SMALL)]);
    expect(failed.map((answer) => answer.status === 'rejected' && answer.reason.code)).toEqual(['unavailable', 'unavailable']);
    expect(await commits.add(3, SMALL)).toBe(3);
  });
});

describe('commits without end', () => {
  // It is real timers that are kept waiting, so it goes by the wall clock.
  it('let timers fire', async () => {
    const { commits } = doubling();
    let fired = 0;
    const tick = (): void => {
      fired += 1;
      if (fired < 5) systemClock.setTimeout(tick, 1);
    };
    systemClock.setTimeout(tick, 1);
    // Far more than fit between a few ticks.
    for (let count = 0; fired < 5 && count < 2_000_000; count++) await commits.add(1, SMALL);
    expect(fired).toBe(5);
  });
});

describe('closing', () => {
  it('answers what was added before, and refuses what comes after', async () => {
    const { groups, commits, letThrough } = slow();
    const added = [1, 2].map((item) => commits.add(item, SMALL));
    await nextTurn();
    const late = commits.add(3, SMALL);
    let closed = false;
    const closing = commits.close().then(() => {
      closed = true;
    });
    expect(() => commits.add(4, SMALL)).toThrow(expect.objectContaining({ code: 'closed' }));
    await letThrough();
    expect(closed).toBe(false);
    await letThrough();
    await closing;
    expect(await Promise.all([...added, late])).toEqual([2, 4, 6]);
    expect(groups).toEqual([[1, 2], [3]]);
  });

  it('is done at once when nothing was added, and may be asked for again', async () => {
    const { commits } = doubling();
    await commits.close();
    await commits.close();
  });

  it('leaves nothing behind that keeps the process alive', async () => {
    const { commits } = doubling();
    const before = process.getActiveResourcesInfo().filter((name) => name === 'Immediate').length;
    await commits.add(1, SMALL);
    await commits.close();
    expect(process.getActiveResourcesInfo().filter((name) => name === 'Immediate').length).toBeLessThanOrEqual(before);
  });
});

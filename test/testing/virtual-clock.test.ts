import { readFile } from 'node:fs/promises';
import { describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/kernel/clock.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';

const START = Date.UTC(2026, 0, 1);

/** A clock and the list of what happened, each with its time since the start. */
function scene() {
  const clock = new VirtualClock();
  const log: [string, number][] = [];
  const note = (what: string) => (): void => void log.push([what, clock.now() - START]);
  const turn = (): Promise<void> => new Promise((resolve) => clock.nextTurn(resolve));
  return { clock, log, note, turn };
}

describe('a VirtualClock', () => {
  it('starts at a fixed instant, or where it is told to, and stands still', async () => {
    const { clock } = scene();
    expect(clock.now()).toBe(START);
    expect(new VirtualClock({ now: 0 }).now()).toBe(0);
    await new Promise((resolve) => setImmediate(resolve));
    await clock.settle();
    expect(clock.now()).toBe(START);
  });

  it('fires timers in due order, each at its own time, ties in order of creation', async () => {
    const { clock, log, note } = scene();
    clock.setTimeout(note('c'), 30);
    clock.setTimeout(note('a'), 10);
    clock.setTimeout(note('b'), 20);
    clock.setTimeout(note('a2'), 10);
    clock.setTimeout(note('never'), 31);
    expect(clock.pending).toBe(5);
    await clock.advance(30);
    expect(log).toEqual([
      ['a', 10],
      ['a2', 10],
      ['b', 20],
      ['c', 30],
    ]);
    expect([clock.now(), clock.pending]).toEqual([START + 30, 1]);
  });

  it('fires no timer early, and none that was cleared, also by another timer', async () => {
    const { clock, log, note } = scene();
    const doomed = clock.setTimeout(note('doomed'), 10);
    clock.setTimeout(() => clock.clearTimeout(doomed), 10);
    const other = clock.setTimeout(note('other'), 20);
    clock.setTimeout(() => clock.clearTimeout(other), 15);
    await clock.advance(9);
    expect(log).toEqual([]);
    await clock.advance(1);
    expect(log).toEqual([['doomed', 10]]);
    await clock.advance(100);
    expect([log.length, clock.pending]).toEqual([1, 0]);
    clock.clearTimeout(doomed);
    clock.clearTimeout({});
  });

  it('does not clear the timer of another clock', async () => {
    const { clock, log, note } = scene();
    const foreign = new VirtualClock().setTimeout(() => {}, 10);
    clock.setTimeout(note('mine'), 10);
    clock.clearTimeout(foreign);
    await clock.advance(10);
    expect(log).toEqual([['mine', 10]]);
  });

  it('fires what timers set, when it is due by then', async () => {
    const { clock, log, note } = scene();
    clock.setTimeout(() => {
      note('first')();
      clock.setTimeout(note('second'), 10);
      clock.setTimeout(note('at once'), 0);
      clock.setTimeout(note('too late'), 11);
    }, 10);
    await clock.advance(20);
    expect(log).toEqual([
      ['first', 10],
      ['at once', 10],
      ['second', 20],
    ]);
  });

  it('goes on without timers, and by no time at all', async () => {
    const { clock, log, note } = scene();
    await clock.advance(1_000);
    expect(clock.now()).toBe(START + 1_000);
    clock.setTimeout(note('due now'), 0);
    clock.setTimeout(note('negative'), -5);
    clock.setTimeout(note('no number'), Number.NaN);
    await clock.advance(0);
    expect(log.map(([what]) => what)).toEqual(['due now', 'negative', 'no number']);
  });

  it('rounds a fraction up, and cuts a delay that no timer can have', async () => {
    const { clock, log, note } = scene();
    clock.setTimeout(note('fraction'), 10.2);
    clock.setTimeout(note('for ever'), Number.POSITIVE_INFINITY);
    await clock.advance(10);
    expect(log).toEqual([]);
    await clock.advance(1);
    expect(log).toEqual([['fraction', 11]]);
    await clock.advanceTo(START + 2 ** 31 - 1);
    expect(log[1]).toEqual(['for ever', 2 ** 31 - 1]);
  });

  it('advances to a time', async () => {
    const { clock, log, note } = scene();
    clock.setTimeout(note('a'), 10);
    await clock.advanceTo(START + 10);
    expect([log, clock.now()]).toEqual([[['a', 10]], START + 10]);
    await clock.advanceTo(START + 10);
    await expect(clock.advanceTo(START + 9)).rejects.toMatchObject({ code: 'invalid_input' });
    expect(clock.now()).toBe(START + 10);
  });
});

describe('settling', () => {
  it('lets promise chains run before time moves, and between timers', async () => {
    const { clock, log, note } = scene();
    const chain = async (what: string, links: number): Promise<void> => {
      for (let link = 0; link < links; link++) await Promise.resolve();
      note(what)();
    };
    void chain('before', 500);
    clock.setTimeout(() => void chain('of the first', 500), 10);
    clock.setTimeout(note('second'), 10);
    clock.setTimeout(() => void chain('of the third', 500), 20);
    await clock.advance(25);
    expect(log).toEqual([
      ['before', 0],
      ['of the first', 10],
      ['second', 10],
      ['of the third', 20],
    ]);
  });

  it('lets chains of nextTurn run to their end, however many turns they take', async () => {
    const { clock, log, note, turn } = scene();
    const loop = async (what: string, turns: number): Promise<void> => {
      for (let count = 0; count < turns; count++) {
        await turn();
        await Promise.resolve();
      }
      note(what)();
    };
    void loop('before', 100);
    clock.setTimeout(() => void loop('a', 500), 10);
    clock.setTimeout(() => void loop('b', 1), 11);
    await clock.advance(20);
    expect(log).toEqual([
      ['before', 0],
      ['a', 10],
      ['b', 11],
    ]);
  });

  it('finds the timers that a chain sets at its end', async () => {
    const { clock, log, note, turn } = scene();
    void (async () => {
      for (let round = 0; round < 5; round++) {
        await turn();
        await new Promise<void>((resolve) => clock.setTimeout(resolve, 10));
        await turn();
      }
      note('done')();
    })();
    await clock.advance(1_000);
    expect(log).toEqual([['done', 50]]);
  });

  it('moves no time and fires no timer by itself', async () => {
    const { clock, log, note, turn } = scene();
    clock.setTimeout(note('due'), 0);
    void turn().then(note('turned'));
    await clock.settle();
    expect([log, clock.pending, clock.now()]).toEqual([[['turned', 0]], 1, START]);
  });

  it('calls nextTurn back also while nobody settles', async () => {
    const { turn } = scene();
    await turn();
  });

  it('gives a chain that waits for real a few turns, and more as long as it uses the clock', async () => {
    const { clock, log, note } = scene();
    const realTurn = (): Promise<void> => new Promise((resolve) => systemClock.nextTurn(resolve));
    void (async () => {
      for (let round = 0; round < 50; round++) {
        await realTurn();
        clock.clearTimeout(clock.setTimeout(() => {}, 5));
      }
      note('done')();
    })();
    await clock.settle();
    expect(log).toEqual([['done', 0]]);
  });

  it('does not wait for the disk: who needs it awaits it', async () => {
    const { clock, log, note } = scene();
    const read = readFile(import.meta.filename).then(note('read'));
    await clock.advance(10);
    await read;
    expect(log).toHaveLength(1);
  });
});

describe('calls that overlap', () => {
  it('run one after another', async () => {
    const { clock, log, note, turn } = scene();
    const first = clock.advance(10).then(note('first'));
    const second = clock.advance(10).then(note('second'));
    const third = clock.advanceTo(START + 30).then(note('third'));
    const settled = clock.settle().then(note('settled'));
    clock.setTimeout(async () => {
      await turn();
      note('timer')();
    }, 15);
    await Promise.all([first, second, third, settled]);
    expect(log).toEqual([
      ['first', 10],
      ['timer', 15],
      ['second', 20],
      ['third', 30],
      ['settled', 30],
    ]);
  });

  it('may come from a timer, and then follow', async () => {
    const { clock, log, note } = scene();
    let inner: Promise<void> | undefined;
    clock.setTimeout(() => {
      inner = clock.advance(5).then(note('inner'));
    }, 10);
    await clock.advance(20).then(note('outer'));
    await inner;
    expect(log).toEqual([
      ['outer', 20],
      ['inner', 25],
    ]);
  });

  it('are not held up by one that failed', async () => {
    const { clock, log, note } = scene();
    clock.setTimeout(() => {
      throw new Error('broken');
    }, 5);
    const failed = clock.advance(10);
    const next = clock.advance(10).then(note('next'));
    await expect(failed).rejects.toThrow('broken');
    await next;
    expect(log).toEqual([['next', 20]]);
  });
});

describe('a step of the clock', () => {
  it('changes the time and fires nothing', async () => {
    const { clock, log, note } = scene();
    clock.setTimeout(note('a'), 10);
    clock.set(START + 1_000);
    await clock.settle();
    expect([log, clock.now(), clock.pending]).toEqual([[], START + 1_000, 1]);
    clock.set(START - 1_000);
    expect(clock.now()).toBe(START - 1_000);
  });

  it('leaves timers the delay they had', async () => {
    const { clock, log, note } = scene();
    clock.setTimeout(note('a'), 10);
    await clock.advance(4);
    clock.set(START - 500);
    await clock.advance(5);
    expect(log).toEqual([]);
    await clock.advance(1);
    expect(log).toEqual([['a', -494]]);
  });

  it('may come from a timer', async () => {
    const { clock, log, note } = scene();
    clock.setTimeout(() => clock.set(START + 5_000), 10);
    clock.setTimeout(note('b'), 20);
    await clock.advance(30);
    expect([log, clock.now()]).toEqual([[['b', 5_010]], START + 5_020]);
  });
});

describe('what a callback throws', () => {
  it('stops nothing, and advance rejects with it once it has arrived', async () => {
    const { clock, log, note } = scene();
    const broken = new Error('broken');
    clock.setTimeout(() => {
      throw broken;
    }, 10);
    clock.setTimeout(note('after'), 20);
    await expect(clock.advance(30)).rejects.toBe(broken);
    expect([log, clock.now()]).toEqual([[['after', 20]], START + 30]);
    await clock.advance(10);
  });

  it('is gathered when there is more of it', async () => {
    const { clock } = scene();
    for (const name of ['one', 'two']) {
      clock.setTimeout(() => {
        throw new Error(name);
      }, 10);
    }
    const error = await clock.advance(10).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(AggregateError);
    expect((error as AggregateError).errors).toEqual([new Error('one'), new Error('two')]);
  });

  it('reaches settle from nextTurn', async () => {
    const { clock } = scene();
    clock.nextTurn(() => {
      throw new Error('in a turn');
    });
    await expect(clock.settle()).rejects.toThrow('in a turn');
  });
});

describe('what never comes to rest', () => {
  it('is told as an error: a timer of 0 ms that sets itself again', async () => {
    const { clock } = scene();
    const again = (): void => void clock.setTimeout(again, 0);
    const before = vi.fn();
    clock.setTimeout(before, 10);
    clock.setTimeout(again, 20);
    await expect(clock.advance(30)).rejects.toMatchObject({
      code: 'limit_exceeded',
      message: 'expected timers that let time pass, got 100000 timers of 0 ms in a row',
    });
    expect([before.mock.calls.length, clock.now()]).toEqual([1, START + 20]);
  });

  it('is told as an error: a turn that asks for the next one', async () => {
    const { clock } = scene();
    let stopped = false;
    const again = (): void => {
      if (!stopped) clock.nextTurn(again);
    };
    again();
    await expect(clock.advance(30)).rejects.toMatchObject({ code: 'limit_exceeded' });
    stopped = true;
    await clock.advance(30);
  });

  it('is not many timers at one time', async () => {
    const { clock } = scene();
    let fired = 0;
    for (let count = 0; count < 2_000; count++) clock.setTimeout(() => fired++, 10);
    await clock.advance(10);
    expect(fired).toBe(2_000);
  });
});

describe('bad input', () => {
  it.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '5', undefined, null, 2 ** 60])('is refused: %o', async (bad) => {
    const { clock } = scene();
    const number = bad as number;
    await expect(clock.advance(number)).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(clock.advanceTo(number)).rejects.toMatchObject({ code: 'invalid_input' });
    expect(() => clock.set(number)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
    if (bad !== undefined)
      expect(() => new VirtualClock({ now: number })).toThrow(expect.objectContaining({ code: 'invalid_input' }));
    expect(clock.now()).toBe(START);
  });
});

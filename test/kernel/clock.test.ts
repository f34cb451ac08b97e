import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { abortedBy, holdProcess, MAX_TIMER_MS, sleep, systemClock } from '../../src/kernel/clock.ts';
import { MeshError } from '../../src/kernel/errors.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';

describe('systemClock', () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: 1_000 });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('tells the host\u2019s time', () => {
    expect(systemClock.now()).toBe(1_000);
    vi.advanceTimersByTime(5);
    expect(systemClock.now()).toBe(1_005);
  });

  it('calls back once, when it is time', () => {
    const callback = vi.fn();
    systemClock.setTimeout(callback, 10);
    vi.advanceTimersByTime(9);
    expect(callback).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1000);
    expect(callback).toHaveBeenCalledTimes(1);
  });

  it('does not call back what was cleared', () => {
    const callback = vi.fn();
    systemClock.clearTimeout(systemClock.setTimeout(callback, 10));
    vi.advanceTimersByTime(1000);
    expect(callback).not.toHaveBeenCalled();
  });

  it('cuts a delay that no timer can have, instead of calling back at once', () => {
    const callback = vi.fn();
    systemClock.setTimeout(callback, MAX_TIMER_MS * 10);
    vi.advanceTimersByTime(MAX_TIMER_MS - 1);
    expect(callback).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(callback).toHaveBeenCalledTimes(1);
  });

  it('boxes the timers of hosts whose timers are numbers, and clears them', () => {
    const cleared = vi.fn();
    vi.stubGlobal('setTimeout', () => 7);
    vi.stubGlobal('clearTimeout', cleared);
    const timer = systemClock.setTimeout(() => {}, 10);
    systemClock.clearTimeout(timer);
    vi.unstubAllGlobals();
    expect(typeof timer).toBe('object');
    expect(cleared).toHaveBeenCalledWith(7);
  });
});

describe('the timers of systemClock', () => {
  it('let the process end', () => {
    const timer = systemClock.setTimeout(() => {}, 60_000) as NodeJS.Timeout;
    expect(timer.hasRef()).toBe(false);
    systemClock.clearTimeout(timer);
  });

  it('are not what nextTurn uses: it comes after all promises of this turn', async () => {
    const order: string[] = [];
    const turned = new Promise<void>((resolve) =>
      systemClock.nextTurn(() => {
        order.push('turn');
        resolve();
      }),
    );
    for (let count = 0; count < 5; count++) await Promise.resolve();
    order.push('promises');
    await turned;
    expect(order).toEqual(['promises', 'turn']);
  });
});

describe('sleep', () => {
  it('ends when the time has come', async () => {
    const clock = new VirtualClock();
    const woken = vi.fn();
    void sleep(clock, 100).then(woken);
    await clock.advance(99);
    expect(woken).not.toHaveBeenCalled();
    await clock.advance(1);
    expect(woken).toHaveBeenCalledTimes(1);
  });

  it('ends with `aborted` as soon as its signal aborts, and leaves no timer', async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const slept = sleep(clock, 100, controller.signal);
    controller.abort('enough');
    await expect(slept).rejects.toMatchObject({ code: 'aborted', cause: 'enough' });
    expect(clock.pending).toBe(0);
  });

  it('does not begin when its signal has aborted before', async () => {
    const clock = new VirtualClock();
    await expect(sleep(clock, 100, AbortSignal.abort())).rejects.toMatchObject({ code: 'aborted' });
    expect(clock.pending).toBe(0);
  });

  it('leaves no listener on its signal', async () => {
    const clock = new VirtualClock();
    const { signal } = new AbortController();
    const added = vi.spyOn(signal, 'addEventListener');
    const removed = vi.spyOn(signal, 'removeEventListener');
    const slept = sleep(clock, 100, signal);
    await clock.advance(100);
    await slept;
    expect(removed.mock.calls.map(([, listener]) => listener)).toEqual(added.mock.calls.map(([, listener]) => listener));
  });
});

describe('abortedBy', () => {
  it('is a MeshError with the reason as cause', () => {
    const error = abortedBy(AbortSignal.abort('because'));
    expect(MeshError.is(error, 'aborted')).toBe(true);
    expect(error.cause).toBe('because');
  });
});

describe('holdProcess', () => {
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

  it('keeps the process alive until the last hold is released', () => {
    const before = timers();
    const first = holdProcess();
    const second = holdProcess();
    expect(timers()).toBe(before + 1);
    first();
    first();
    expect(timers()).toBe(before + 1);
    second();
    expect(timers()).toBe(before);
    const third = holdProcess();
    expect(timers()).toBe(before + 1);
    third();
    expect(timers()).toBe(before);
  });
});

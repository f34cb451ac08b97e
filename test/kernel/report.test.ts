import { afterEach, describe, expect, it, vi } from 'vitest';
import { guarded, reliable, warnProcess } from '../../src/kernel/report.ts';
import { oddErrors } from '../support/odd-errors.ts';

const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
afterEach(() => warned.mockClear());

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('guarded', () => {
  it('passes arguments on and reports nothing when all is well', async () => {
    const report = vi.fn();
    const callback = vi.fn(async (..._: unknown[]) => 'fine');
    guarded(callback, report)(1, 'two');
    await turn();
    expect(callback).toHaveBeenCalledWith(1, 'two');
    expect(report).not.toHaveBeenCalled();
  });

  it('reports what a callback throws, and throws nothing itself', () => {
    const report = vi.fn();
    const error = new Error('thrown');
    guarded(() => {
      throw error;
    }, report)();
    expect(report.mock.calls).toEqual([[error]]);
  });

  it('reports what a callback rejects with', async () => {
    const report = vi.fn();
    const error = new Error('rejected');
    guarded(() => Promise.reject(error), report)();
    await turn();
    expect(report.mock.calls).toEqual([[error]]);
  });

  it('reports for anything that can be awaited, also when asking it throws', async () => {
    const report = vi.fn();
    const late = Object.fromEntries([['then', (_: unknown, reject: (error: unknown) => void) => reject('late')]]);
    const hostile = Object.defineProperty({}, 'then', {
      get() {
        throw new Error('hostile');
      },
    });
    guarded(() => late, report)();
    guarded(() => hostile, report)();
    await turn();
    expect(report.mock.calls).toEqual([['late'], [new Error('hostile')]]);
  });

  it.each([new Error('plain'), 'text', undefined, null, 7, Object.create(null), Symbol('s'), () => 'code'])(
    'survives a reporter that throws, whatever the error: %o',
    async (error) => {
      const report = (): never => {
        throw new Error('the reporter is broken');
      };
      guarded(() => {
        throw error;
      }, report)();
      guarded(() => Promise.reject(error), report)();
      await turn();
      expect(warned).toHaveBeenCalledTimes(2);
    },
  );
});

describe('warnProcess', () => {
  it('hands an error over as it is', () => {
    const error = new Error('lost');
    warnProcess(error);
    expect(warned.mock.calls).toEqual([[error]]);
  });

  it.each([
    ['text', 'session-mesh: text'],
    [undefined, 'session-mesh: undefined'],
    [Object.create(null), 'session-mesh: an object'],
    [{ secret: 1 }, 'session-mesh: an object'],
    [Symbol('s'), 'session-mesh: a symbol'],
  ])('says what else was thrown: %o', (thrown, message) => {
    warnProcess(thrown);
    expect(warned.mock.calls).toEqual([[expect.objectContaining({ message })]]);
  });

  it.each(oddErrors())('never throws, nor lets Node throw later: %s', (_what, thrown) => {
    warnProcess(thrown);
    const [[warning]] = warned.mock.calls as [[Error]];
    for (const text of [warning.name, warning.message, warning.stack]) expect(typeof text).toBe('string');
  });
});

describe('reliable', () => {
  it.each([
    [
      'throws',
      () => {
        throw new Error('broken');
      },
    ],
    ['rejects', () => Promise.reject(new Error('broken'))],
  ])('warns of what a reporter that %s was told', async (_what, report) => {
    const error = new Error('lost');
    reliable(report as () => void)(error);
    await turn();
    expect(warned.mock.calls).toEqual([[error]]);
  });
});

import { saidBy } from './describe.ts';

/**
 * What becomes of an error that has no caller: a listener's, a background loop's. The host gives `onError`; without
 * one the process is warned, since an error that nobody hears of is worse than a line on stderr.
 */
export type ReportError = (error: unknown) => void;

/** Never throws, whatever it is given. */
export const warnProcess: ReportError = (error) => {
  const host = (globalThis as { process?: { emitWarning?: (warning: Error) => void } }).process;
  host?.emitWarning?.(isPlain(error) ? error : new Error(`session-mesh: ${saidBy(error, MESSAGE_LENGTH)}`));
};

const MESSAGE_LENGTH = 1000;

/** Whether it is an error that Node can print: it reads these, some of them later, where a throwing accessor ends the process. */
function isPlain(error: unknown): error is Error {
  try {
    if (!(error instanceof Error)) return false;
    return [error.name, error.message, error.stack ?? ''].every((text: unknown) => typeof text === 'string');
  } catch {
    return false;
  }
}

/** Calls back, and reports what it throws or rejects with instead of passing it on. */
export function guarded<Args extends readonly unknown[]>(
  callback: (...args: Args) => unknown,
  report: ReportError,
): (...args: Args) => void {
  return (...args) => {
    try {
      const answer = callback(...args);
      if (isThenable(answer)) answer.then(undefined, (error: unknown) => safely(report, error));
    } catch (error) {
      safely(report, error);
    }
  };
}

/** A reporter that throws has nobody left to tell. */
function safely(report: ReportError, error: unknown): void {
  try {
    report(error);
  } catch {
    warnProcess(error);
  }
}

/** The reporter of a host, which never throws: the process is warned of what it could not report. */
export function reliable(report: ReportError): ReportError {
  return (error) => guarded(report, () => warnProcess(error))(error);
}

/** Whether it is waited for. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  const isObject = (typeof value === 'object' && value !== null) || typeof value === 'function';
  return isObject && typeof (value as { then?: unknown }).then === 'function';
}

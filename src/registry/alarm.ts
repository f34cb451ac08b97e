import { onAbort } from '../kernel/on-abort.ts';
import type { Engine } from '../storage/engine.ts';
import type { Unsubscribe } from '../storage/storage.ts';
import { sessionTopic } from './events.ts';

export interface Alarm {
  readonly ring: Promise<void>;
  cancel(): void;
}

export interface AlarmOptions {
  readonly sessions: readonly string[];
  readonly signals?: readonly (AbortSignal | undefined)[];
  readonly ms?: number | undefined;
}

/** Whoever waits by a timer looks that often: not everything that a wait may be for is told at once. */
const LOOK_MS = 1000;

/**
 * Rings once: when an event names one of the sessions, a signal aborts, the log is closed, or `ms` have passed (a second
 * at the latest, if there are any). Set it, then look, then wait: what happens in between is not missed. Set, it is only
 * once the log knows from where on it is followed, for which a store may need time: hence the promise.
 */
export async function setAlarm({ clock, log }: Engine, { sessions, signals = [], ms }: AlarmOptions): Promise<Alarm> {
  let resolve = (): void => {};
  const ring = new Promise<void>((onRing) => {
    resolve = onRing;
  });
  const stops = sessions.map((session) => log.wakeOn(sessionTopic(session), resolve));
  stops.push(log.onClose(resolve));
  const timer = ms === undefined ? undefined : clock.setTimeout(resolve, Math.max(0, Math.min(ms, LOOK_MS)));
  for (const signal of signals) stops.push(onAbort(signal, resolve));
  const cancel = (): void => {
    for (const stop of stops) stop();
    if (timer) clock.clearTimeout(timer);
  };
  await log.ready();
  return { ring, cancel };
}

/** For a wait for many sessions: remembers which of them events have named, so that only these need to be looked at. */
export class SessionWatch {
  readonly #engine: Engine;
  readonly #unsubscribe: Unsubscribe;
  #named = new Set<string>();
  #wake = (): void => {};

  constructor(engine: Engine, concerns: (session: string) => boolean) {
    this.#engine = engine;
    this.#unsubscribe = engine.log.subscribe((event) => {
      const session = String(event['session']);
      if (!concerns(session)) return;
      this.#named.add(session);
      this.#wake();
    });
  }

  /** Those that were named since the last call. */
  take(): ReadonlySet<string> {
    const named = this.#named;
    this.#named = new Set();
    return named;
  }

  /**
   * Resolves when one is named, the signal aborts or `ms` have passed, and at the latest after a second.
   * @throws MeshError `closed`
   */
  async wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.#named.size > 0) return;
    const named = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    const alarm = await setAlarm(this.#engine, { sessions: [], signals: [signal], ms });
    try {
      await Promise.race([alarm.ring, named]);
    } finally {
      alarm.cancel();
    }
    this.#engine.log.assertOpen();
  }

  close(): void {
    this.#unsubscribe();
  }
}

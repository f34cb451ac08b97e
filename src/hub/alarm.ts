import { onAbort } from '../kernel/on-abort.ts';
import type { StoredEvent } from '../storage/events/event-reader.ts';
import type { HubCore } from './hub-core.ts';

export interface HubAlarm {
  /** Resolves once: an event named a topic, a signal aborted, the time has come, or the hub was closed. */
  readonly ring: Promise<void>;
  cancel(): void;
}

export interface HubAlarmOptions {
  readonly topics: readonly string[];
  /** Sees each event that names a topic, and answers whether it is one to ring for. Default: each is. */
  readonly concerns?: ((event: StoredEvent) => boolean) | undefined;
  readonly signals?: readonly (AbortSignal | undefined)[];
  /** When to ring at the latest, by the store's clock. */
  readonly at?: number | undefined;
}

/** Set it, await `ready`, then look, then wait: what happens in between is not missed. */
export function setHubAlarm(core: HubCore, { topics, concerns, signals = [], at }: HubAlarmOptions): HubAlarm {
  const { clock, log } = core.engine;
  let resolve = (): void => {};
  const ring = new Promise<void>((onRing) => {
    resolve = onRing;
  });
  const wake = (event: StoredEvent): void => {
    if (!concerns || concerns(event)) resolve();
  };
  const stops = topics.map((topic) => log.wakeOn(topic, wake));
  stops.push(core.onClose(resolve));
  const timer = at === undefined ? undefined : clock.setTimeout(resolve, Math.max(0, at - core.engine.now()));
  for (const signal of signals) {
    if (signal?.aborted) resolve();
    stops.push(onAbort(signal, resolve));
  }
  const cancel = (): void => {
    for (const stop of stops) stop();
    if (timer) clock.clearTimeout(timer);
  };
  return { ring, cancel };
}

import { abortedBy, holdProcess } from '../kernel/clock.ts';
import { MeshError } from '../kernel/errors.ts';
import { onAbort } from '../kernel/on-abort.ts';
import { sessionTopic } from '../registry/events.ts';
import type { LoggedEvent } from '../storage/events/event-reader.ts';
import { isTransient } from '../storage/steady-storage.ts';
import type { EntryRecord } from './entry.ts';
import { keyTopic, MEMORY_EVENTS } from './events.ts';
import { matchesGlob } from './glob.ts';
import type { MemoryStore } from './memory-store.ts';

/** A change of a key, as `memory.watch` yields it. */
export interface MemoryChange {
  readonly kind: 'set' | 'deleted' | 'expired';
  readonly key: string;
  readonly version: number;
  /** Who made it. */
  readonly session?: string;
  readonly at: number;
  /** Give it as `after` to go on behind this change. */
  readonly cursor: string;
}

export function watchChanges(
  store: MemoryStore,
  pattern: string,
  options: { readonly after?: string | undefined; readonly signal?: AbortSignal | undefined },
): AsyncGenerator<MemoryChange, void, undefined> {
  // Begins now and not at the first step, so that nothing in between is missed.
  const events = store.engine.log.follow(options);
  return changesIn(events, store.namespace, pattern);
}

async function* changesIn(
  events: AsyncGenerator<LoggedEvent, void, undefined>,
  namespace: string,
  pattern: string,
): AsyncGenerator<MemoryChange, void, undefined> {
  for await (const event of events) {
    if (!MEMORY_EVENTS.has(event.name) || event['namespace'] !== namespace) continue;
    const key = String(event['key']);
    if (!matchesGlob(pattern, key)) continue;
    yield {
      kind: event.name.slice('memory_'.length) as MemoryChange['kind'],
      key,
      version: Number(event['version']),
      ...(event['session'] !== undefined && { session: String(event['session']) }),
      at: event.at,
      cursor: event.cursor,
    };
  }
}

/** How often to look without an event: a session may be over before anybody tells it, and its entries with it. */
const LOOK_MS = 1000;

/**
 * Waits until the value of a key fits. Looks when an event names the key or the session that the entry vanishes with, when
 * the entry expires, when the mesh is closed, and now and then; asks `fits` once for each version.
 */
export async function waitForValue<Value>(
  store: MemoryStore,
  key: string,
  fits: (value: Value | undefined) => boolean | Promise<boolean>,
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
): Promise<Value | undefined> {
  const { clock, log, storage } = store.engine;
  let ring = (): void => {};
  const wake = (): void => ring();
  // The alarm is set, and known to be, before the first look, so that no change between a look and a wait is missed.
  const stops = [log.wakeOn(keyTopic(store.namespace, key), wake), log.onClose(wake)];
  let owner: string | undefined;
  const release = holdProcess();
  let isLate = false;
  const deadline = clock.setTimeout(() => {
    isLate = true;
    wake();
  }, timeoutMs);
  stops.push(onAbort(signal, wake));
  try {
    await log.ready();
    for (let refused: number | undefined; ; ) {
      const news = new Promise<void>((resolve) => {
        ring = resolve;
      });
      if (signal?.aborted) throw abortedBy(signal);
      const isLast = isLate || timeoutMs === 0;
      const { entry, isKnown } = await look(store, key, isLast);
      if (entry?.owner && entry.owner.session !== owner) {
        // Its end is heard from now on, so it is to be looked at again.
        owner = entry.owner.session;
        stops.push(log.wakeOn(sessionTopic(owner), wake));
        await log.ready();
        continue;
      }
      const version = entry?.version ?? 0;
      const value = entry?.value as Value | undefined;
      if (isKnown && version !== refused && (await fits(value))) return value;
      if (isKnown) refused = version;
      if (isLast) throw new MeshError('timed_out', `expected the value to fit within ${timeoutMs} ms, got none that did`);
      const untilExpiry = entry?.expiresAt === undefined ? LOOK_MS : entry.expiresAt - storage.now();
      const timer = clock.setTimeout(wake, Math.max(0, Math.min(LOOK_MS, untilExpiry)));
      try {
        await news;
      } finally {
        clock.clearTimeout(timer);
      }
    }
  } finally {
    for (const stop of stops) stop();
    clock.clearTimeout(deadline);
    release();
  }
}

/** Whoever waits waits on when the storage is out of reach for a while. */
async function look(
  store: MemoryStore,
  key: string,
  isLast: boolean,
): Promise<{ readonly entry?: EntryRecord | undefined; readonly isKnown: boolean }> {
  try {
    return { entry: await store.current(key), isKnown: true };
  } catch (error) {
    if (isLast || !isTransient(error)) throw error;
    store.engine.report(error);
    return { isKnown: false };
  }
}

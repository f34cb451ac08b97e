import type { LoggedEvent } from '../storage/events/event-reader.ts';

interface MemoryEvent extends LoggedEvent {
  /** `''` at the root, else the names of the namespaces from the root down, joined by `>`. */
  readonly namespace: string;
  readonly key: string;
  readonly version: number;
  readonly session?: string;
}

/** What shared memory tells. Keys and versions, never values. */
export type MemoryEvents = {
  memory_set: MemoryEvent;
  /** Deleted on request, or with the session that it belonged to. */
  memory_deleted: MemoryEvent;
  memory_expired: MemoryEvent;
};

export const MEMORY_EVENTS: ReadonlySet<string> = new Set<keyof MemoryEvents>(['memory_set', 'memory_deleted', 'memory_expired']);

/** The topic of whoever waits for one key. No namespace or key has a line break. */
export function keyTopic(namespace: string, key: string): string {
  return `memory/${namespace}\n${key}`;
}

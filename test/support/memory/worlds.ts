import { afterEach, expect } from 'vitest';
import { MeshError } from '../../../src/kernel/errors.ts';
import type { SharedMemory } from '../../../src/memory/shared-memory.ts';
import { createMesh, type Mesh, type MeshOptions } from '../../../src/mesh.ts';
import type { SessionHandle } from '../../../src/registry/session-handle.ts';
import type { SessionRegistry } from '../../../src/registry/session-registry.ts';
import type { LoggedEvent } from '../../../src/storage/events/event-reader.ts';
import type { Storage } from '../../../src/storage/storage.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
// Before this one, so that what it does after a test is done after what this does.
import '../storages.ts';
import type { OpenStorage } from '../storages.ts';
import { type Observed, observed, recordsOf } from './observed.ts';

export { refusal } from '../refusal.ts';
export { isSettled, passUntil } from '../timing.ts';

export interface World {
  readonly clock: VirtualClock;
  /** What the meshes stand on, and what they did to it. */
  readonly storage: Storage;
  readonly seen: Observed;
  readonly mesh: Mesh;
  readonly memory: SharedMemory;
  readonly registry: SessionRegistry;
  /** What the meshes reported, since no caller could hear it. What is left here after the test fails it. */
  readonly errors: unknown[];
  /** One more mesh on the storage, or on a view of it, as another process has. */
  another(storage?: Storage, options?: MeshOptions): Mesh;
}

const opened: { readonly mesh: Mesh; readonly errors: unknown[] }[] = [];

afterEach(async () => {
  const ended = opened.splice(0);
  // A mesh on a storage that was made to fail can't let go of its sessions.
  for (const { mesh } of ended) await mesh.close().catch(() => {});
  expect(ended.flatMap(({ errors }) => errors)).toEqual([]);
});

/** A mesh on a fresh storage, in virtual time. */
export async function worldOn(open: OpenStorage, options: MeshOptions = {}): Promise<World> {
  const clock = new VirtualClock();
  const seen = observed(await open(clock));
  const errors: unknown[] = [];
  const another = (storage: Storage = seen.storage, more: MeshOptions = {}): Mesh => {
    const mesh = createMesh({ closeStorage: false, onError: (error) => errors.push(error), ...options, ...more, storage });
    opened.push({ mesh, errors });
    return mesh;
  };
  const mesh = another();
  const { memory, registry } = mesh;
  return { clock, storage: seen.storage, seen, mesh, memory, registry, errors, another };
}

/** A session whose lease nobody renews behind the test's back. */
export function quiet(registry: SessionRegistry, id: string, ttlMs = 300_000): Promise<SessionHandle> {
  return registry.register({ id, heartbeat: 'manual', ttlMs, takeover: true });
}

/** The code with which a promise was refused, or its value. */
export async function outcomeOf<T>(promise: Promise<T>): Promise<T | string> {
  try {
    return await promise;
  } catch (error) {
    if (MeshError.is(error)) return error.code;
    throw error;
  }
}

/** The events of shared memory so far, as `set key 1`. */
export async function toldBy(storage: Storage): Promise<string[]> {
  const events = (await recordsOf(storage, 'events')).map(({ value }) => value as unknown as LoggedEvent);
  return events
    .filter(({ name }) => name.startsWith('memory_'))
    .map(({ name, key, version }) => `${name.slice('memory_'.length)} ${key} ${version}`);
}

/** Lets this many be under way at once, and answers what became of each. */
export function together<T>(count: number, start: (n: number) => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, n) => start(n)));
}

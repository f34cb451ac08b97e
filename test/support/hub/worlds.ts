import { afterEach, expect } from 'vitest';
import type { CollaborationHub } from '../../../src/hub/collaboration-hub.ts';
import { MeshError } from '../../../src/kernel/errors.ts';
import { createMesh, type Mesh, type MeshOptions } from '../../../src/mesh.ts';
import type { SessionHandle } from '../../../src/registry/session-handle.ts';
import type { SessionRegistry } from '../../../src/registry/session-registry.ts';
import type { LoggedEvent } from '../../../src/storage/events/event-reader.ts';
import type { Storage } from '../../../src/storage/storage.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
// Before this one, so that what it does after a test is done after what this does.
import '../storages.ts';
import { type Observed, observed, recordsOf } from '../memory/observed.ts';
import type { OpenStorage } from '../storages.ts';

export { refusal } from '../refusal.ts';
export { deferred, isSettled, passUntil } from '../timing.ts';

export interface World {
  readonly clock: VirtualClock;
  readonly storage: Storage;
  /** What was done to the storage. */
  readonly seen: Observed;
  readonly mesh: Mesh;
  readonly hub: CollaborationHub;
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
  const { hub, registry } = mesh;
  return { clock, storage: seen.storage, seen, mesh, hub, registry, errors, another };
}

/** A session whose lease nobody renews behind the test's back. */
export function quiet(
  registry: SessionRegistry,
  id: string,
  { ttlMs = 300_000, capabilities = [] as readonly string[], groups = [] as readonly string[] } = {},
): Promise<SessionHandle> {
  return registry.register({ id, heartbeat: 'manual', ttlMs, capabilities, groups, takeover: true });
}

/** The events of tasks so far, as `delegated`, `failed:worker_lost`, `updated:returned`; of one task, or of all. */
export async function toldOf(storage: Storage, task?: string): Promise<string[]> {
  const events = (await recordsOf(storage, 'events')).map(({ value }) => value as unknown as LoggedEvent);
  return events
    .filter((event) => event.name.startsWith('task_') && (task === undefined || event['task'] === task))
    .map(({ name, reason, change }) => {
      const more = reason ?? change;
      return name.slice('task_'.length) + (more === undefined ? '' : `:${String(more)}`);
    });
}

/** The codes with which promises were refused, or `done`. */
export function outcomesOf(promises: readonly Promise<unknown>[]): Promise<string[]> {
  return Promise.all(
    promises.map(async (promise) => {
      try {
        await promise;
        return 'done';
      } catch (error) {
        if (MeshError.is(error)) return error.code;
        throw error;
      }
    }),
  );
}

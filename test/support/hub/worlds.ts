import { afterEach, expect } from 'vitest';
import type { CollaborationHub } from '../../../src/hub/collaboration-hub.ts';
import { MeshError, type MeshErrorCode } from '../../../src/kernel/errors.ts';
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

/** What `expect(promise).rejects` gets for an error of this code. */
export function refusal(code: MeshErrorCode, message = ''): unknown {
  return expect.toSatisfy(
    (error: unknown) => MeshError.is(error, code) && error.message.includes(message),
    `a MeshError ${code}${message && ` with "${message}"`}`,
  );
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

/** Lets time pass until a promise is settled. */
export async function passUntil<T>(clock: VirtualClock, promise: Promise<T>, stepMs = 100, atMostMs = 120_000): Promise<T> {
  let settled = false;
  const done = (): void => {
    settled = true;
  };
  promise.then(done, done);
  await clock.settle();
  for (let passed = 0; !settled; passed += stepMs) {
    if (passed > atMostMs) throw new Error(`expected the promise to settle within ${atMostMs} ms, got none`);
    await clock.advance(stepMs);
  }
  return promise;
}

export async function isSettled(clock: VirtualClock, promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const done = (): void => {
    settled = true;
  };
  promise.then(done, done);
  await clock.settle();
  return settled;
}

/** A promise and what settles it. */
export function deferred<T = void>(): { readonly promise: Promise<T>; resolve(value: T): void; reject(error: unknown): void } {
  let resolve = (_value: T): void => {};
  let reject = (_error: unknown): void => {};
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
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

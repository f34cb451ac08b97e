import { afterEach, expect } from 'vitest';
import { MeshError, type MeshErrorCode } from '../../../src/kernel/errors.ts';
import { createMesh, type Mesh, type MeshEvent, type MeshOptions } from '../../../src/mesh.ts';
import type { SessionRegistry } from '../../../src/registry/session-registry.ts';
import type { Storage } from '../../../src/storage/storage.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
// Also for its order: its storages are closed after the meshes on them.
import '../storages.ts';
import type { OpenStorage } from '../storages.ts';

/** One mesh of several on a storage, as one process of several would have it. */
export interface Process {
  readonly mesh: Mesh;
  readonly registry: SessionRegistry;
  /** What no caller could hear of. Whatever is left here after the test fails it. */
  readonly errors: unknown[];
  /** What its listeners heard since `listen`, as `name session`. */
  readonly heard: MeshEvent[];
  listen(): void;
  /** Everything committed so far has been heard. */
  told(): Promise<string[]>;
}

export interface World extends Process {
  readonly clock: VirtualClock;
  readonly storage: Storage;
  /** One more process on the same storage, or on a view of it. */
  another(options?: MeshOptions): Process;
}

const opened: { readonly mesh: Mesh; readonly errors: unknown[] }[] = [];

afterEach(async () => {
  const ended = opened.splice(0);
  await Promise.all(ended.map(({ mesh }) => mesh.close()));
  expect(ended.flatMap(({ errors }) => errors)).toEqual([]);
});

/** A process on a fresh storage in virtual time. */
export async function worldOn(open: OpenStorage, options: MeshOptions = {}): Promise<World> {
  const clock = new VirtualClock();
  const storage = await open(clock);
  const first = processOn(storage, options);
  return { ...first, clock, storage, another: (more) => processOn(more?.storage ?? storage, { ...options, ...more }) };
}

export function processOn(storage: Storage, options: MeshOptions = {}): Process {
  const errors: unknown[] = [];
  const mesh = createMesh({ closeStorage: false, onError: (error) => errors.push(error), ...options, storage });
  opened.push({ mesh, errors });
  const heard: MeshEvent[] = [];
  const { registry } = mesh;
  const listen = (): void => {
    registry.on('*', (event) => heard.push(event));
  };
  const told = async (): Promise<string[]> => {
    await mesh.settled();
    return heard.map(({ name, session }) => `${name} ${session}`);
  };
  return { mesh, registry, errors, heard, listen, told };
}

/** What `expect(promise).rejects` gets for an error of this code. */
export function refusal(code: MeshErrorCode, message = ''): unknown {
  return expect.toSatisfy(
    (error: unknown) => MeshError.is(error, code) && error.message.includes(message),
    `a MeshError ${code}${message && ` with "${message}"`}`,
  );
}

/** The code with which a promise was refused, or `done`. */
export async function outcomeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'done';
  } catch (error) {
    if (MeshError.is(error)) return error.code;
    throw error;
  }
}

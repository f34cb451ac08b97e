import { afterEach, expect } from 'vitest';
import {
  createMesh,
  type IssuedKey,
  type KeyManager,
  type Mesh,
  MeshError,
  type MeshErrorCode,
  type MeshEvent,
  type MeshOptions,
  type SessionHandle,
  type SessionRegistry,
  type Verification,
} from '../../../src/index.ts';
import type { JsonObject } from '../../../src/kernel/json.ts';
import type { Address, Commit, ListRange, MaybePromise, Storage, StoredRecord } from '../../../src/storage/storage.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import type { OpenStorage } from '../storages.ts';

// Its hook comes before the one here, and so runs after it: meshes close before their storage.
export { storages, temporaryFile } from '../storages.ts';

export const DAY_MS = 86_400_000;
/** The longest that is allowed, so that days of virtual time are few sweeps. */
export const SWEEP_MS = 3_600_000;

/** One mesh of several on a storage, as one process of several has it. */
export interface Process {
  readonly mesh: Mesh;
  readonly keys: KeyManager;
  readonly registry: SessionRegistry;
  /** What no caller could hear of. Whatever is left in it fails the test. */
  readonly errors: unknown[];
}

export interface World extends Process {
  readonly clock: VirtualClock;
  readonly storage: Storage;
}

const opened: Process[] = [];
afterEach(async () => {
  const all = opened.splice(0);
  for (const { mesh } of all) await mesh.close();
  expect(all.flatMap(({ errors }) => errors)).toEqual([]);
});

/** A process on a fresh storage, in virtual time. */
export async function openWorld(open: OpenStorage, around: (storage: Storage) => Storage = (storage) => storage): Promise<World> {
  const clock = new VirtualClock();
  const storage = around(await open(clock));
  return { clock, storage, ...join(storage) };
}

/** One more process on a storage. */
export function join(storage: Storage, options: Omit<MeshOptions, 'storage'> = {}): Process {
  const errors: unknown[] = [];
  const onError = (error: unknown): void => void errors.push(error);
  const mesh = createMesh({ storage, closeStorage: false, sweepIntervalMs: SWEEP_MS, onError, ...options });
  const process = { mesh, keys: mesh.keys, registry: mesh.registry, errors };
  opened.push(process);
  return process;
}

/** Whatever a storage is asked for goes through here first. */
export interface Hooks {
  get?(addresses: readonly Address[]): MaybePromise<void>;
  list?(partition: string): MaybePromise<void>;
  commit?(commit: Commit): MaybePromise<void>;
}

/** The same storage, which calls a hook before each call. It answers at once where the storage does and no hook waits. */
export function hooked(storage: Storage, hooks: Hooks): Storage {
  const after = <T>(hook: MaybePromise<void>, call: () => MaybePromise<T>): MaybePromise<T> =>
    hook instanceof Promise ? hook.then(call) : call();
  return {
    durability: storage.durability,
    ...(storage.clock && { clock: storage.clock }),
    ...(storage.reliableHints !== undefined && { reliableHints: storage.reliableHints }),
    ...(storage.uncertain !== undefined && { uncertain: storage.uncertain }),
    now: () => storage.now(),
    get: (addresses: readonly Address[]) => after(hooks.get?.(addresses), () => storage.get(addresses)),
    list: (partition: string, range?: ListRange) => after(hooks.list?.(partition), () => storage.list(partition, range)),
    commit: (commit: Commit) => after(hooks.commit?.(commit), () => storage.commit(commit)),
    watch: (listener) => storage.watch(listener),
    close: () => storage.close(),
  };
}

export interface Count {
  readonly get: number;
  readonly list: number;
  readonly commit: number;
}

/** Counts the calls of a storage, but those of who follows the log. `take` answers how many since it was asked before. */
export function counted(storage: Storage): { readonly storage: Storage; take(): Count } {
  const none = { get: 0, list: 0, commit: 0 };
  let count = { ...none };
  const one = (name: keyof Count) => (partition?: unknown) => {
    if (partition !== 'events') count[name] += 1;
  };
  return {
    storage: hooked(storage, { get: one('get'), list: one('list'), commit: one('commit') }),
    take() {
      const taken = count;
      count = { ...none };
      return taken;
    },
  };
}

/** `valid`, or the reason of the refusal. */
export async function outcomeOf(verification: Promise<Verification>): Promise<string> {
  const answer = await verification;
  return answer.valid ? 'valid' : answer.code;
}

/** What a promise rejects with. */
export async function errorOf(promise: Promise<unknown>): Promise<MeshError> {
  const answer = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if (!('error' in answer)) throw new Error('expected a rejection, got an answer');
  if (!MeshError.is(answer.error)) throw answer.error;
  return answer.error;
}

/** What `rejects` gets for an error of this code. */
export function refusal(code: MeshErrorCode, message = ''): unknown {
  return expect.toSatisfy(
    (error: unknown) => MeshError.is(error, code) && error.message.includes(message),
    `a MeshError ${code}${message && ` with "${message}"`}`,
  );
}

/** A handle with which nothing happens behind the test's back. */
export function register(
  registry: SessionRegistry,
  id: string,
  more: { ttlMs?: number; retentionMs?: number } = {},
): Promise<SessionHandle> {
  return registry.register({ id, heartbeat: 'manual', ttlMs: 300_000, ...more });
}

/** Writes over members of a key's record, as if time or another process had made it so; `undefined` removes one. */
export async function patch(storage: Storage, { apiKey: { id } }: IssuedKey, members: Record<string, unknown>): Promise<void> {
  const [record] = await storage.get([{ partition: 'keys', key: id }]);
  const value = { ...(record?.value as JsonObject), ...members } as Record<string, unknown>;
  for (const [name, member] of Object.entries(value)) if (member === undefined) delete value[name];
  await storage.commit({ puts: [{ partition: 'keys', key: id, value: value as JsonObject }] });
}

/** Every record of a storage in the partitions that keys use, apart from the event log. */
export async function leftOf(
  storage: Storage,
  keys: readonly IssuedKey[],
  sessions: readonly string[] = [],
): Promise<StoredRecord[]> {
  const ids = keys.map(({ apiKey }) => apiKey.id);
  const partitions = ['keys', 'keys.uses', 'keys.last-use', 'due'];
  partitions.push(...ids.map((id) => `keys.parent=${id}`), ...sessions.map((id) => `keys.session=${id}`));
  const records = await Promise.all(partitions.map((partition) => storage.list(partition)));
  return records.flat().filter(({ partition, key }) => partition !== 'due' || key.includes('/key/'));
}

/** Every event of a mesh from now on. */
export function hear(mesh: Mesh): MeshEvent[] {
  const events: MeshEvent[] = [];
  mesh.on('*', (event) => events.push(event));
  return events;
}

/** Events without what differs from run to run. */
export function plain(events: readonly MeshEvent[]): Record<string, unknown>[] {
  return events.map(({ cursor: _cursor, at: _at, ...rest }) => rest);
}

/** Jumps over a long time, and then lets the sweepers do what is due. They let one interval pass after a stall. */
export async function jump({ clock, storage }: Pick<World, 'clock' | 'storage'>, ms: number): Promise<void> {
  clock.set(clock.now() + ms);
  // Timers keep the delay they have left, so a sweeper that rests until something is due must be roused.
  await storage.commit({ puts: [{ partition: 'nudge', key: 'nudge', value: clock.now() }] });
  await clock.advance(3 * SWEEP_MS);
}

import { afterEach } from 'vitest';
import {
  createMesh,
  type Mesh,
  type MeshEvent,
  type MeshOptions,
  type SessionHandle,
  type SessionRegistry,
} from '../../../src/index.ts';
import type { Storage } from '../../../src/storage/storage.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
// Before the hook below, so that meshes are closed before their storages.
import '../storages.ts';
import type { OpenStorage } from '../storages.ts';
import { type Counted, counted } from './storages.ts';

export { isSettled, passUntil } from '../timing.ts';

const meshes: Mesh[] = [];
afterEach(async () => {
  // A mesh whose storage was made to fail cannot let its sessions go.
  for (const mesh of meshes.splice(0)) await mesh.close().catch(() => {});
});

/** A mesh like another process's: its own everything, on a shared storage. Closed after the test. */
export function join(storage: Storage, options: Omit<MeshOptions, 'storage'> = {}): Mesh {
  const mesh = createMesh({ storage, closeStorage: false, ...options });
  meshes.push(mesh);
  return mesh;
}

export interface World {
  readonly clock: VirtualClock;
  readonly storage: Storage;
  readonly mesh: Mesh;
  readonly registry: SessionRegistry;
  /** What the mesh reported, since no caller could hear it. */
  readonly errors: unknown[];
}

/** A storage in virtual time with one mesh on it. */
export async function openWorld(open: OpenStorage, around: (storage: Storage) => Storage = (storage) => storage): Promise<World> {
  const clock = new VirtualClock();
  const storage = around(await open(clock));
  const errors: unknown[] = [];
  const mesh = join(storage, { onError: (error) => errors.push(error) });
  return { clock, storage, mesh, registry: mesh.registry, errors };
}

/** The same, whose calls to the storage are counted. */
export async function countedWorld(open: OpenStorage): Promise<World & { readonly counter: Counted }> {
  const made: Counted[] = [];
  const world = await openWorld(open, (storage) => {
    const counter = counted(storage);
    made.push(counter);
    return counter.storage;
  });
  return { ...world, counter: made[0] as Counted };
}

/** Every event of a mesh from now on, in its order. */
export function hear(mesh: Mesh): MeshEvent[] {
  const events: MeshEvent[] = [];
  mesh.on('*', (event) => events.push(event));
  return events;
}

/** The whole log, without what differs from run to run. */
export async function eventsOf(mesh: Mesh): Promise<MeshEvent[]> {
  const events: MeshEvent[] = [];
  const newest = (await mesh.stats()).storage.events.newest;
  if (newest === null) return events;
  for await (const event of mesh.events({ after: '' })) {
    events.push(event);
    if (event.cursor === newest) break;
  }
  return events;
}

/** The terminal events of each session: how often it ended, and how often it was killed. */
export async function endings(mesh: Mesh): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for (const event of await eventsOf(mesh)) {
    if (event.name !== 'agent_killed' && event.name !== 'session_ended') continue;
    (found[String(event['session'])] ??= []).push(
      event.name === 'agent_killed' ? (event['graceful'] ? 'graceful' : 'killed') : 'ended',
    );
  }
  return found;
}

/** All records of a partition. */
export async function keysOf(storage: Storage, partition: string): Promise<string[]> {
  return (await storage.list(partition, { values: false })).map(({ key }) => key);
}

/** A handle with a manual heartbeat, so that nothing happens behind the test's back. */
export function quiet(registry: SessionRegistry, id: string, parentId?: string, ttlMs = 300_000): Promise<SessionHandle> {
  return registry.register({ id, heartbeat: 'manual', ttlMs, ...(parentId !== undefined && { parentId }) });
}

/** Registers a tree below `root`: so many levels, each session with so many children. */
export async function plant(registry: SessionRegistry, root: string, levels: number, fanOut: number): Promise<string[]> {
  await quiet(registry, root);
  const ids = [root];
  let level = [root];
  for (let depth = 1; depth < levels; depth++) {
    const next: string[] = [];
    for (const parent of level) {
      const children = Array.from({ length: fanOut }, (_, n) => `${parent}.${n}`);
      for (let start = 0; start < children.length; start += 500) {
        await Promise.all(children.slice(start, start + 500).map((id) => quiet(registry, id, parent)));
      }
      next.push(...children);
    }
    ids.push(...next);
    level = next;
  }
  return ids;
}

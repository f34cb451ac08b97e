import * as z from 'zod';
import { CollaborationHub } from './hub/collaboration-hub.ts';
import { HUB_EVENTS, HUB_RULES, type HubEvents, type HubRules, type HubStats } from './hub/hub-options.ts';
import { CLOSING_MS, inTime } from './kernel/in-time.ts';
import { parse } from './kernel/inputs.ts';
import { KEY_EVENTS, type KeyEvents } from './keys/events.ts';
import { KeyManager, type KeyStats } from './keys/key-manager.ts';
import { MEMORY_EVENTS, type MemoryEvents } from './memory/events.ts';
import { MEMORY_OPTIONS, type MemoryOptions } from './memory/memory-inputs.ts';
import { type MemoryStats, SharedMemory } from './memory/shared-memory.ts';
import { REGISTRY_EVENTS, type RegistryEvents } from './registry/events.ts';
import type { RegistryStats } from './registry/search.ts';
import { SessionRegistry } from './registry/session-registry.ts';
import { Engine, type EngineOptions, SHARED_OPTIONS } from './storage/engine.ts';
import type { FollowOptions } from './storage/events/event-log.ts';
import type { LoggedEvent } from './storage/events/event-reader.ts';
import { EventSource } from './storage/events/event-source.ts';
import { InMemoryStorage } from './storage/in-memory-storage.ts';
import type { Durability, Storage } from './storage/storage.ts';
import { storagePolicy } from './storage/storage-policy.ts';

/** Options of `createMesh`. */
export interface MeshOptions extends Omit<EngineOptions, 'storage'> {
  /** Default: a new `InMemoryStorage`. Its clock is the mesh's clock. */
  readonly storage?: Storage | undefined;
  /** Whether `close` closes the storage too. Default: true. */
  readonly closeStorage?: boolean | undefined;
  readonly hub?: HubRules | undefined;
  readonly memory?: MemoryOptions | undefined;
}

/** All events by name. */
export type MeshEvents = RegistryEvents & HubEvents & MemoryEvents & KeyEvents;
/** Any event: `name` tells which. */
export type MeshEvent = LoggedEvent;

/** What `mesh.stats` answers. */
export interface MeshStats {
  readonly registry: RegistryStats;
  readonly hub: HubStats;
  readonly memory: MemoryStats;
  readonly keys: KeyStats;
  readonly storage: {
    readonly durability: Durability;
    /** Cursors of the oldest event that is kept and of the newest one; `null` while there is none. */
    readonly events: { readonly oldest: string | null; readonly newest: string | null };
  };
}

/** Everything that shares one storage and one namespace. Made by `createMesh`. */
export interface Mesh extends EventSource<MeshEvents>, AsyncDisposable {
  readonly registry: SessionRegistry;
  readonly hub: CollaborationHub;
  readonly memory: SharedMemory;
  readonly keys: KeyManager;
  /**
   * Replays the events behind `after` and follows, in every process the same sequence. Waiting for the next one keeps
   * the process alive. The loop ends when the mesh is closed.
   * @throws MeshError `invalid_input`, `not_found` (events behind `after` were trimmed), `aborted`
   */
  events(options?: FollowOptions): AsyncGenerator<LoggedEvent, void, undefined>;
  /** Resolves when all events committed before this call have reached the listeners of this mesh. */
  settled(): Promise<void>;
  /** The counts of all four, and what the storage promises; for people, not for loops. */
  stats(): Promise<MeshStats>;
  /**
   * Ends all loops, timers and listeners, gives back what sessions of this process hold, then closes the storage unless
   * `closeStorage` is false: within two seconds, whatever the storage does. May be called again.
   */
  close(): Promise<void>;
}

/**
 * Opens a mesh on a storage, in memory by default.
 * @throws MeshError `invalid_input`
 */
export function createMesh(options: MeshOptions = {}): Mesh {
  const { closeStorage = true, storage = new InMemoryStorage(), hub, memory, ...rest } = parse(MESH_OPTIONS, options, 'options');
  return new WiredMesh(new Engine({ storage, ...rest }), { storage, closeStorage, hub, memory });
}

interface Wiring {
  readonly storage: Storage;
  readonly closeStorage: boolean;
  readonly hub: HubRules | undefined;
  readonly memory: MemoryOptions | undefined;
}

/** Every name by which a mesh tells something. */
const ALL_EVENTS: ReadonlySet<string> = new Set([...REGISTRY_EVENTS, ...HUB_EVENTS, ...MEMORY_EVENTS, ...KEY_EVENTS]);

export function isMeshEvent(name: unknown): name is keyof MeshEvents & string {
  return typeof name === 'string' && ALL_EVENTS.has(name);
}

class WiredMesh extends EventSource<MeshEvents> implements Mesh {
  readonly registry: SessionRegistry;
  readonly hub: CollaborationHub;
  readonly memory: SharedMemory;
  readonly keys: KeyManager;
  readonly #engine: Engine;
  readonly #storage: Storage;
  readonly #closeStorage: boolean;
  #closing: Promise<void> | undefined;

  constructor(engine: Engine, { storage, closeStorage, hub, memory }: Wiring) {
    super({ log: engine.log, report: engine.report, known: ALL_EVENTS });
    this.registry = new SessionRegistry(engine);
    this.hub = new CollaborationHub({ registry: this.registry, ...hub });
    this.memory = new SharedMemory(engine, memory);
    this.keys = new KeyManager(engine);
    this.#engine = engine;
    this.#storage = storage;
    this.#closeStorage = closeStorage;
  }

  events(options: FollowOptions = {}): AsyncGenerator<LoggedEvent, void, undefined> {
    return this.#engine.log.follow(options);
  }

  settled(): Promise<void> {
    return this.#engine.log.settled();
  }

  async stats(): Promise<MeshStats> {
    const { reader } = this.#engine.log;
    const newest = (await reader.tail()) || null;
    const oldest = (await reader.oldest()) ?? null;
    const [registry, hub, memory, keys] = await Promise.all([
      this.registry.stats(),
      this.hub.stats(),
      this.memory.stats(),
      this.keys.stats(),
    ]);
    return { registry, hub, memory, keys, storage: { durability: this.#storage.durability, events: { oldest, newest } } };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await this.keys.close();
    await this.hub.close();
    await this.registry.close();
    await this.#engine.close();
    if (this.#closeStorage) await inTime(this.#engine.clock, this.#storage.close(), CLOSING_MS.storage);
  }
}

const MESH_OPTIONS: z.ZodType<MeshOptions> = z.strictObject({
  storage: storagePolicy.optional(),
  closeStorage: z.boolean().optional(),
  hub: z.strictObject(HUB_RULES).optional(),
  memory: MEMORY_OPTIONS.optional(),
  ...SHARED_OPTIONS,
});

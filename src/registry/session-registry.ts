import * as z from 'zod';
import { MeshError } from '../kernel/errors.ts';
import { CLOSING_MS, inTime } from '../kernel/in-time.ts';
import { id as idPolicy, jsonObject, jsonValue, names, parse } from '../kernel/inputs.ts';
import { type JsonValue, toJson } from '../kernel/json.ts';
import { sameJson } from '../kernel/same-json.ts';
import { LIMITS } from '../storage/checked.ts';
import { Draft } from '../storage/draft.ts';
import { Engine, type EngineOptions } from '../storage/engine.ts';
import { EventSource } from '../storage/events/event-source.ts';
import type { Page } from '../storage/query.ts';
import { stageEnd, stageRemoval } from './endings.ts';
import { REGISTRY_EVENTS, type RegistryEvents, sessionTopic } from './events.ts';
import { Fence } from './fence.ts';
import { Holders } from './holders.ts';
import { type KillReport, Kills } from './kill.ts';
import { Registrations } from './registration.ts';
import { type Heartbeat, Renewal } from './renewal.ts';
import { Retention } from './retention.ts';
import { type LoadOf, type RegistryStats, Search } from './search.ts';
import { isTerminal, type Session, type SessionRecord, type SessionSnapshot, stateOf, viewOf } from './session.ts';
import { type HandleActions, SessionHandle } from './session-handle.ts';
import {
  END,
  type EndOptions,
  KILL,
  type KillOptions,
  type ListOptions,
  name,
  PROVIDERS,
  type Providers,
  REGISTER,
  type RegisterOptions,
  type Registration,
  type SessionUpdate,
  SPAWN,
  SPECIALISTS,
  type SpecialistsOptions,
  STEER,
  STEERS,
  type SteerOptions,
  UPDATE,
} from './session-inputs.ts';
import { SessionStore } from './session-store.ts';
import { type Directive, type SteerReceipt, Steers } from './steer.ts';
import { Tenure } from './tenure.ts';
import { readTopology, type TalkEdges, type Topology } from './topology.ts';
import { WatchLists } from './watch-lists.ts';

/** Options of a registry of its own, without a mesh. */
export type SessionRegistryOptions = EngineOptions;

/** What a registry shares with the hub. */
export interface RegistryParts {
  readonly engine: Engine;
  readonly store: SessionStore;
  readonly fence: Fence;
  readonly holders: Holders;
}

/**
 * Who is there: sessions with leases, found by what they can do, arranged in trees, steered and killed. Works on any
 * storage, for all processes that share it.
 */
export class SessionRegistry extends EventSource<RegistryEvents> {
  readonly #engine: Engine;
  readonly #ownsEngine: boolean;
  readonly #store: SessionStore;
  readonly #fence: Fence;
  readonly #watchLists: WatchLists;
  readonly #registrations: Registrations;
  readonly #renewal: Renewal;
  readonly #holders: Holders;
  readonly #search: Search;
  readonly #steers: Steers;
  readonly #kills: Kills;
  readonly #actions: HandleActions;
  readonly #parts: RegistryParts;
  #loadOf: LoadOf | undefined;
  #talkEdges: TalkEdges | undefined;
  #closing: Promise<void> | undefined;

  /** @param options a storage, or the engine that a mesh shares among its classes */
  constructor(options: SessionRegistryOptions | Engine) {
    const engine = options instanceof Engine ? options : Engine.open(options);
    super({ log: engine.log, report: engine.report, names: REGISTRY_EVENTS });
    this.#engine = engine;
    this.#ownsEngine = engine !== options;
    this.#store = new SessionStore(engine);
    this.#fence = new Fence(this.#store);
    this.#watchLists = new WatchLists(this.#store);
    this.#registrations = new Registrations(this.#store, this.#fence, this.#watchLists);
    this.#renewal = new Renewal(this.#store, this.#fence, this.#watchLists);
    this.#holders = new Holders(this.#store, this.#fence);
    this.#search = new Search(this.#store);
    this.#steers = new Steers(this.#store, this.#fence);
    this.#kills = new Kills(this.#store);
    new Retention(this.#store);
    this.#parts = { engine, store: this.#store, fence: this.#fence, holders: this.#holders };
    this.#actions = {
      heartbeat: (tenure) => this.#renewal.beat(tenure),
      update: (tenure, changes) => this.#updateFenced(tenure, changes),
      spawn: async (tenure, options) => this.#register({ ...parse(SPAWN, options, 'options'), parentId: tenure.id }, tenure),
      steers: (tenure, options) => this.#steers.receive(tenure, parse(STEERS, options, 'options').signal),
      end: (tenure, options) => this.#endFenced(tenure, options),
    };
    for (const name of REGISTRY_EVENTS) engine.log.defineTopics(name, (event) => [sessionTopic(String(event['session']))]);
    engine.sweep();
  }

  /**
   * Registers a session and gives its owner a handle. An id that is new, or whose session has ended or is offline, is
   * taken with a new epoch; `takeover` also takes one that is alive or was killed.
   *
   * Defaults: a lease of 30 s with `heartbeat: 'auto'`, renewed by this process every third of it; 300 s with
   * `'manual'`; kept for 24 h after it went offline or ended.
   * @throws MeshError `invalid_input`, `already_exists`, `not_alive` (the id was killed, or the parent is not alive),
   * `not_found` (the parent), `limit_exceeded` (deeper than 64)
   */
  async register(options: RegisterOptions = {}): Promise<SessionHandle> {
    return this.#register(parse(REGISTER, options, 'options'));
  }

  /** The session as it is now; `undefined` when there is none of this id. */
  async get(id: string): Promise<Session | undefined> {
    const found = await this.#store.read(parse(idPolicy, id, 'id'));
    return found && viewOf(found);
  }

  /**
   * Sessions that meet all conditions, in the order of their ids; by default those that are alive.
   * @throws MeshError `invalid_input`
   */
  list(options: ListOptions = {}): Promise<Page<Session>> {
    return this.#search.list(options);
  }

  /**
   * A heartbeat for a session without a handle: renews its lease, or revives it when it is offline.
   * @throws MeshError `not_found`
   */
  async heartbeat(id: string): Promise<Heartbeat> {
    const snapshot = await this.#store.require(parse(idPolicy, id, 'id'));
    const { incarnation, epoch, ttlMs, retentionMs } = snapshot.record;
    const tenure = new Tenure({ engine: this.#engine, id, incarnation, epoch, ttlMs, retentionMs, leaseRevision: 0 });
    // So that it knows of a kill order: nobody renews a last lease.
    this.#fence.judge(tenure, snapshot);
    return this.#renewal.beat(tenure);
  }

  /**
   * Changes a session on the host's authority.
   * @throws MeshError `invalid_input`, `not_found`, `not_alive`
   */
  async update(id: string, changes: SessionUpdate): Promise<void> {
    const parsed = this.#parseUpdate(changes);
    await this.#change(id, (draft, snapshot) => this.#stageUpdate(draft, snapshot, parsed));
  }

  /**
   * Adds capabilities to a session.
   * @throws MeshError `invalid_input`, `not_found`, `not_alive`, `limit_exceeded` (more than 64)
   */
  async specialize(id: string, capabilities: readonly string[]): Promise<void> {
    const added = parse(names, capabilities, 'capabilities');
    await this.#change(id, (draft, snapshot) => {
      const all = [...new Set([...snapshot.record.capabilities, ...added])];
      if (all.length > MAX_NAMES) {
        throw new MeshError('limit_exceeded', `expected at most ${MAX_NAMES} capabilities of a session, got ${all.length}`);
      }
      this.#stageUpdate(draft, snapshot, { capabilities: all });
    });
  }

  /** Alive sessions with this capability, least loaded first; equally loaded ones take turns. */
  async specialists(capability: string, options: SpecialistsOptions = {}): Promise<Session[]> {
    const { limit } = parse(SPECIALISTS, options, 'options');
    return this.#search.specialists(parse(name, capability, 'capability'), limit, this.#loadOf);
  }

  /**
   * Who is whose child and who talks to whom, below `root` or everywhere: data for `toMermaid`, `toDot` and `toTree`.
   * @throws MeshError `invalid_input`, `not_found`
   */
  async topology(options: { readonly root?: string | undefined } = {}): Promise<Topology> {
    const { root } = parse(TOPOLOGY, options, 'options');
    return readTopology(this.#engine, this.#store, root, this.#talkEdges);
  }

  /**
   * Sends a directive to a session that is alive, to be settled by its owner. All of it together takes at most 1 MiB and
   * 63 KiB of JSON.
   * @throws MeshError `invalid_input`, `limit_exceeded`, `not_found`, `not_alive`
   */
  async steer(id: string, directive: SteerOptions): Promise<SteerReceipt> {
    const { by, direction, message, data } = parse(STEER, directive, 'directive');
    const fields = {
      ...(direction !== undefined && { direction }),
      ...(message !== undefined && { message }),
      ...(data !== undefined && { data: jsonValue(data, 'directive.data') }),
      ...(by !== undefined && { by: this.#fence.nameOf(by) }),
    };
    const accepted = toJson(fields, 'directive', DIRECTIVE_BYTES, DIRECTIVE_ROOM) as Directive;
    return this.#steers.send(parse(idPolicy, id, 'id'), accepted, (draft) => this.#fence.stageActor(draft, by));
  }

  /**
   * Kills a session and, unless `cascade` is false, everything below it. Each gets `graceMs` (default 5 s, never more
   * than its lease has left) to end by itself; `force` gives none. Resolves when all are killed, or when `timeoutMs` or
   * the signal ends the wait, with those that are still stopping; the order stands all the same, also if this process
   * dies. May be repeated. Code that runs in Node can't be stopped from outside: its signal aborts, what it writes is
   * refused, and the owner's `onKill` may end a process or worker.
   * @throws MeshError `invalid_input`, `not_found`, and `not_alive` or `lease_lost` for a handle given as `by`
   */
  async kill(id: string, options: KillOptions = {}): Promise<KillReport> {
    const { by, timeoutMs, signal, ...order } = parse(KILL, options, 'options');
    const actor = by === undefined ? undefined : { by: this.#fence.nameOf(by) };
    const { id: root } = await this.#store.require(parse(idPolicy, id, 'id'));
    const stageActor = (draft: Draft): Promise<void> => this.#fence.stageActor(draft, by);
    return this.#kills.kill({ root, ...order, ...actor }, stageActor, { timeoutMs, signal });
  }

  /**
   * Ends a session on the host's authority; one that has ended stays as it is.
   * @throws MeshError `invalid_input`, `not_found`, `not_alive` (was killed)
   */
  async end(id: string, options: EndOptions = {}): Promise<void> {
    const details = this.#parseEnd(options);
    await this.#retry(id, (draft, snapshot) => {
      const state = stateOf(snapshot);
      if (state === 'ended') return false;
      if (state === 'killed') throw notAlive(id, state);
      draft.checks.push(this.#store.leaseCheck(id, snapshot.lease?.revision ?? null));
      stageEnd(draft, this.#store, snapshot, details);
      return true;
    });
  }

  /**
   * Forgets a session at once, ending it first if need be. It must have no children.
   * @throws MeshError `invalid_input`, `not_found`, `conflict` (it has children)
   */
  async unregister(id: string): Promise<void> {
    await this.#retry(id, async (draft, snapshot) => {
      if ((await this.#store.childrenOf(id)).length > 0) {
        throw new MeshError('conflict', `expected session ${id} to have no children, got some`, { details: { session: id } });
      }
      draft.checks.push(this.#store.leaseCheck(id, snapshot.lease?.revision ?? null));
      await stageRemoval(draft, this.#store, snapshot);
      return true;
    });
  }

  /** Counts by going through all sessions; for people, not for loops. */
  stats(): Promise<RegistryStats> {
    return this.#search.stats();
  }

  /** Takes who counts the load of sessions and knows who talks to whom; without them loads are 0 and nobody talks. */
  provide(providers: Providers): void {
    const { loadOf, talkEdges } = parse(PROVIDERS, providers, 'providers');
    this.#loadOf = loadOf ?? this.#loadOf;
    this.#talkEdges = talkEdges ?? this.#talkEdges;
  }

  /**
   * Lets the leases of this process go, so that others see its sessions offline at once, and stops its heartbeats. May
   * be called again. The storage stays open.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /**
   * For the classes of this library that stand on the registry's records.
   * @internal
   */
  static partsOf(registry: SessionRegistry): RegistryParts {
    return registry.#parts;
  }

  async #close(): Promise<void> {
    this.#renewal.close();
    this.#watchLists.close();
    await inTime(this.#engine.clock, this.#holders.releaseAll(), CLOSING_MS.leases);
    if (this.#ownsEngine) await this.#engine.close();
  }

  async #register(registration: Registration, parent?: Tenure): Promise<SessionHandle> {
    if (this.#closing) throw new MeshError('closed', 'expected an open mesh, got a closed one');
    if (parent?.end) throw parent.end;
    const id = registration.id ?? this.#engine.generateId('session');
    const metadata = registration.metadata === undefined ? {} : jsonObject(registration.metadata, 'options.metadata');
    const tenure = await this.#holders.hold(id, () => this.#registrations.register(id, { ...registration, metadata }, parent));
    if (registration.heartbeat === 'auto') this.#renewal.add(tenure);
    return new SessionHandle(tenure, this.#actions);
  }

  async #updateFenced(tenure: Tenure, changes: SessionUpdate): Promise<void> {
    const parsed = this.#parseUpdate(changes);
    await this.#fence.commit(tenure, async (draft) => {
      this.#stageUpdate(draft, await this.#fence.read(tenure), parsed);
    });
  }

  async #endFenced(tenure: Tenure, options: EndOptions): Promise<void> {
    const details = this.#parseEnd(options);
    await this.#fence.commit(tenure, async (draft) => {
      stageEnd(draft, this.#store, await this.#fence.read(tenure), details);
    });
    tenure.close();
  }

  #parseUpdate(changes: SessionUpdate): Partial<SessionRecord> & { readonly clearTask?: boolean } {
    const { task, metadata, ...rest } = parse(UPDATE, changes, 'changes');
    const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
    return {
      ...given,
      ...(metadata !== undefined && { metadata: jsonObject(metadata, 'changes.metadata') }),
      ...(task === null ? { clearTask: true } : task !== undefined && { task }),
    };
  }

  #parseEnd(options: EndOptions) {
    const { result, reason } = parse(END, options, 'options');
    return { reason, ...(result !== undefined && { result: jsonValue(result, 'options.result') }) };
  }

  #stageUpdate(
    draft: Draft,
    snapshot: SessionSnapshot,
    { clearTask, ...changes }: Partial<SessionRecord> & { readonly clearTask?: boolean },
  ): void {
    const { id, record, revision } = snapshot;
    const { task, ...others } = record;
    const next = { ...others, ...(!clearTask && task !== undefined && { task }), ...changes, lastActivityAt: this.#engine.now() };
    this.#store.collection.replace(draft, { id, value: record, revision }, next);
    const given = [...Object.keys(changes), ...(clearTask ? ['task'] : [])] as (keyof SessionRecord)[];
    const fields = given.filter(
      (field) => !sameJson(record[field] as JsonValue | undefined, next[field] as JsonValue | undefined),
    );
    const status = fields.includes('status') && { status: next.status };
    this.#store.event(draft, 'session_updated', id, record.epoch, { fields, ...status });
  }

  /** A change of a session that must be alive, or stopping. */
  #change(id: string, stage: (draft: Draft, snapshot: SessionSnapshot) => void): Promise<void> {
    return this.#retry(id, (draft, snapshot) => {
      const state = stateOf(snapshot);
      if (isTerminal(state) || state === 'offline') throw notAlive(id, state);
      draft.checks.push(this.#store.leaseCheck(id, snapshot.lease?.revision ?? null));
      stage(draft, snapshot);
      return true;
    });
  }

  /** Reads, stages and commits until nothing came in between; `false` from `stage` leaves everything as it is. */
  async #retry(id: string, stage: (draft: Draft, snapshot: SessionSnapshot) => boolean | Promise<boolean>): Promise<void> {
    parse(idPolicy, id, 'id');
    for (;;) {
      const snapshot = await this.#store.require(id);
      const draft = new Draft();
      if (!(await stage(draft, snapshot))) return;
      if ((await this.#engine.commit(draft)).committed) return;
    }
  }
}

const MAX_NAMES = 64;
/** The rest of a record is for what is noted of the directive on its way. */
const DIRECTIVE_BYTES = LIMITS.valueBytes - 1024;
const DIRECTIVE_ROOM = { levels: 1, parts: 8 };
const TOPOLOGY = z.strictObject({ root: idPolicy.optional() });

function notAlive(id: string, state: string): MeshError {
  return new MeshError('not_alive', `expected session ${id} to be alive, got ${state}`, { details: { session: id } });
}

import { MeshError } from '../kernel/errors.ts';
import type { JsonObject } from '../kernel/json.ts';
import { Draft } from '../storage/draft.ts';
import { stageWithoutOpenDirectives } from './directives.ts';
import { stageLapse, stageLastEvent } from './endings.ts';
import type { Fence } from './fence.ts';
import { isTerminal, type SessionRecord, type SessionSnapshot, type SessionState, stateOf } from './session.ts';
import type { Registration } from './session-inputs.ts';
import type { SessionStore } from './session-store.ts';
import { Tenure } from './tenure.ts';
import type { WatchLists } from './watch-lists.ts';

const MAX_DEPTH = 64;
const MAX_NAMES = 64;
const READ_AT_ONCE = 256;
const AUTO_TTL_MS = 30_000;
const MANUAL_TTL_MS = 300_000;

/** Takes an id, a new one or one whose session is over, offline or to be taken over. Of many at once one succeeds. */
export class Registrations {
  readonly #store: SessionStore;
  readonly #fence: Fence;
  readonly #watchLists: WatchLists;

  constructor(store: SessionStore, fence: Fence, watchLists: WatchLists) {
    this.#store = store;
    this.#fence = fence;
    this.#watchLists = watchLists;
  }

  /**
   * @param parent the parent when it registers its child itself; only while it holds
   * @throws MeshError `already_exists`, `not_alive` (was killed; or its parent is not alive), `not_found` (parent),
   * `limit_exceeded`, `lease_lost` (`parent`)
   */
  async register(id: string, options: Registration & { readonly metadata: JsonObject }, parent?: Tenure): Promise<Tenure> {
    const ttlMs = options.ttlMs ?? (options.heartbeat === 'auto' ? AUTO_TTL_MS : MANUAL_TTL_MS);
    for (;;) {
      const known = await this.#store.read(id);
      const state = known && stateOf(known);
      if (known && !options.takeover) assertFree(id, state);
      if (!known) await this.#store.aftermath.settleRemoved(id);
      else if (state && isTerminal(state)) await this.#store.aftermath.settle(id, known.record.incarnation);
      const draft = new Draft();
      await this.#stageParent(draft, id, parent ?? options.parentId, known);
      const record = this.#record(options, { known, state, ttlMs });
      if (known) await this.#stageReplacement(draft, known, record);
      else this.#store.collection.create(draft, id, record);
      // Also checked when it is absent, since the old owner's heartbeat may be reviving it.
      draft.checks.push(this.#store.leaseCheck(id, known?.lease?.revision ?? null));
      this.#store.event(draft, 'session_created', id, record.epoch, {
        ...(options.parentId !== undefined && { parent: options.parentId }),
        ...((state === 'alive' || state === 'stopping') && { takeover: true as const }),
      });
      const { incarnation, epoch, retentionMs } = record;
      const result = await this.#watchLists.commit(draft, id, ttlMs, (watch) =>
        this.#store.putLease(draft, id, record, { incarnation, watch }),
      );
      if (!result.committed) continue;
      const { onKill } = options;
      return new Tenure({
        engine: this.#store.engine,
        id,
        incarnation,
        epoch,
        ttlMs,
        retentionMs,
        leaseRevision: result.revision,
        onKill,
      });
    }
  }

  /** The old incarnation is over: what nobody has told of it comes first. */
  async #stageReplacement(draft: Draft, known: SessionSnapshot, record: SessionRecord): Promise<void> {
    const { id, revision } = known;
    stageLapse(draft, this.#store, known);
    if (isTerminal(stateOf(known))) stageLastEvent(draft, this.#store, known);
    else this.#store.aftermath.stage(draft, id, known.record.incarnation);
    this.#store.collection.replace(draft, { id, value: known.record, revision }, record);
    await stageWithoutOpenDirectives(draft, this.#store.engine.storage, id);
  }

  #record(
    options: Registration & { readonly metadata: JsonObject },
    found: {
      readonly known: SessionSnapshot | undefined;
      readonly state: SessionState | undefined;
      readonly ttlMs: number;
    },
  ): SessionRecord {
    const now = this.#store.engine.now();
    const { agent, user, capabilities, groups, status, task, parentId, capacity, retentionMs } = options;
    const { framework } = agent;
    // Who was only away comes back to the groups it was in.
    const kept = found.state === 'offline' ? (found.known?.record.groups ?? []) : [];
    const allGroups = [...new Set([...groups, ...kept])];
    if (allGroups.length > MAX_NAMES) {
      throw new MeshError('limit_exceeded', `expected at most ${MAX_NAMES} groups with those it was in, got ${allGroups.length}`);
    }
    return {
      incarnation: this.#store.engine.generateId('incarnation'),
      epoch: (found.known?.record.epoch ?? 0) + 1,
      agent: { name: agent.name, type: agent.type, ...(framework !== undefined && { framework }) },
      ...(user !== undefined && { user }),
      capabilities,
      groups: allGroups,
      status,
      ...(task !== undefined && { task }),
      ...(parentId !== undefined && { parentId }),
      metadata: options.metadata,
      capacity,
      ttlMs: found.ttlMs,
      retentionMs,
      registeredAt: now,
      lastActivityAt: now,
    };
  }

  /**
   * Stages that the parent is alive. Who registers a known id may have descendants, so the leases of all ancestors are
   * checked as well: a concurrent registration that would close a circle puts one anew.
   */
  async #stageParent(
    draft: Draft,
    id: string,
    parent: string | Tenure | undefined,
    known: SessionSnapshot | undefined,
  ): Promise<void> {
    if (parent === undefined) return;
    const parentId = typeof parent === 'string' ? parent : parent.id;
    if (parentId === id) throw cycle(id);
    const snapshot = await (typeof parent === 'string' ? this.#store.require(parent) : this.#fence.read(parent));
    const state = stateOf(snapshot);
    if (state !== 'alive' || !snapshot.lease) {
      throw new MeshError('not_alive', `expected parent ${parentId} to be alive, got ${state}`, {
        details: { session: parentId },
      });
    }
    draft.checks.push(this.#store.leaseCheck(parentId, snapshot.lease.revision));
    // Where it was before, everything below it is as deep as before.
    let depth = 1 + (known && known.record.parentId !== parentId ? await this.#height(id) : 0);
    assertDepth(depth);
    for (let ancestor = snapshot.record.parentId; ancestor !== undefined; ) {
      if (ancestor === id) throw cycle(id);
      const above: SessionSnapshot | undefined = await this.#store.read(ancestor);
      if (known) draft.checks.push(this.#store.leaseCheck(ancestor, above?.lease?.revision ?? null));
      ancestor = above?.record.parentId;
      depth += 1;
      assertDepth(depth);
    }
  }

  /** How many levels there are below a session. */
  async #height(id: string): Promise<number> {
    let height = 0;
    for (let level = await this.#store.childrenOf(id); level.length > 0; height++) {
      const below: string[] = [];
      for (const [n, child] of level.entries()) {
        if (n % READ_AT_ONCE === 0) await this.#store.nextTurn();
        for (const grandchild of await this.#store.childrenOf(child)) below.push(grandchild);
      }
      level = below;
    }
    return height;
  }
}

function assertFree(id: string, state: SessionState | undefined): void {
  const details = { session: id };
  if (state === 'alive' || state === 'stopping') {
    throw new MeshError('already_exists', `expected a free id, got ${id}, which is ${state}`, { details });
  }
  if (state === 'killed') throw new MeshError('not_alive', `expected an id that was not killed, got ${id}`, { details });
}

function assertDepth(depth: number): void {
  if (depth > MAX_DEPTH) throw new MeshError('limit_exceeded', `expected a depth of at most ${MAX_DEPTH}, got ${depth}`);
}

function cycle(id: string): MeshError {
  return new MeshError('invalid_input', `expected a parent that does not descend from ${id}, got one that does`);
}

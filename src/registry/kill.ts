import { holdProcess } from '../kernel/clock.ts';
import type { JsonValue } from '../kernel/json.ts';
import { Draft } from '../storage/draft.ts';
import type { DueOutcome } from '../storage/due.ts';
import type { Address } from '../storage/storage.ts';
import { SessionWatch } from './alarm.ts';
import { stageKilled } from './endings.ts';
import { LEASE_EXTRA_MS, type SessionRecord, type SessionSnapshot, stateOf } from './session.ts';
import type { SessionStore } from './session-store.ts';

const KILL = 'kill';
/** How long the giver of an order has before others look after it. */
const RESUME_MS = 1000;
/** How long they leave an order at rest at most. */
const REST_MS = 60_000;
/** Sessions marked at the same time, after which the loop is yielded. */
const MARKED_AT_ONCE = 64;

/** What the caller of `kill` asks for. */
export interface KillRequest {
  readonly root: string;
  readonly reason: string;
  readonly graceMs: number;
  readonly force: boolean;
  readonly cascade: boolean;
  readonly by?: string;
}

/** A kill as it is stored, so that any process can finish it. Whoever has the root's id later it does not concern. */
interface KillOrder extends KillRequest {
  readonly incarnation: string;
}

/** What a kill has come to. */
export interface KillReport {
  readonly root: string;
  /** Those that are killed, the root first; `graceful`: the owner ended within the grace. Also those that were killed before. */
  readonly killed: readonly { readonly session: string; readonly graceful: boolean }[];
  /** Those that were still stopping when the wait ended. */
  readonly stopping: readonly string[];
}

interface Wait {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A session that is killed, or that lives until `diesAt`. */
type Fate =
  | { readonly graceful: boolean; readonly diesAt?: undefined }
  | { readonly incarnation: string; readonly diesAt: number };

/** What has become of the sessions of an order, in the order in which they were found. */
type Fates = Map<string, Fate>;

/** Whether the order concerns a session. */
type Fits = (snapshot: SessionSnapshot) => boolean;

interface Found {
  readonly snapshot: SessionSnapshot | undefined;
  readonly isNew: boolean;
  readonly isOther: boolean;
}

/** An order as its giver has stored it; none when one commit did everything. */
interface Given {
  readonly order: KillOrder;
  readonly revision: number;
  readonly dueAt: number;
}

/**
 * Kills sessions and everything below them. The order is stored with the mark of the root, so it outlives its giver.
 * Each session is marked before its children are listed: a child is either seen by that list or refused, because its
 * registration checks the lease that the mark puts anew.
 */
export class Kills {
  readonly #store: SessionStore;

  constructor(store: SessionStore) {
    this.#store = store;
    store.engine.due.handle(KILL, (entry) => this.#resume(entry.id));
  }

  /** Gives the order and waits until it has taken effect, or `timeoutMs` or the signal ends the wait. */
  async kill(
    request: KillRequest,
    stageActor: (draft: Draft) => Promise<void>,
    { timeoutMs, signal }: Wait,
  ): Promise<KillReport> {
    const until = timeoutMs === undefined ? Number.POSITIVE_INFINITY : this.#store.engine.now() + timeoutMs;
    const fates: Fates = new Map();
    const release = holdProcess();
    try {
      const given = await this.#give(request, stageActor, fates);
      if (given) await this.#carryOut(given, fates, until, signal);
      return reportOf(request.root, fates);
    } finally {
      release();
    }
  }

  #address(root: string): Address {
    return { partition: 'kills', key: root };
  }

  /**
   * Stores the order and marks its root in one commit. Where that is all there is to do, no order is needed. An order
   * that is under way becomes sharper, never milder.
   */
  async #give(request: KillRequest, stageActor: (draft: Draft) => Promise<void>, fates: Fates): Promise<Given | undefined> {
    const { engine, collection } = this.#store;
    const { root } = request;
    const address = this.#address(root);
    const children = collection.indexPartition('parent', root);
    let alone = true;
    for (;;) {
      const [[known], snapshot] = await Promise.all([engine.storage.get([address]), this.#store.require(root)]);
      const order = sharpened(request, snapshot.record, known?.value as unknown as KillOrder | undefined);
      const draft = new Draft();
      await stageActor(draft);
      const fate = this.#stage(draft, snapshot, order);
      if (!fate) {
        settle(fates, snapshot);
        if (!order.cascade || (await engine.storage.list(children, { limit: 1, values: false })).length === 0) return undefined;
        // Or it could be registered anew meanwhile, and the order concern nobody.
        draft.checks.push({ ...collection.address(root), revision: snapshot.revision });
      }
      const dueAt = engine.now() + RESUME_MS;
      const isAll = fate?.diesAt === undefined && fate !== undefined && !known && (alone || !order.cascade);
      if (!isAll) {
        draft.checks.push({ ...address, revision: known?.revision ?? null });
        draft.puts.push({ ...address, value: order as unknown as JsonValue }, engine.due.put(dueAt, KILL, root));
      } else if (order.cascade) draft.checks.push({ partition: children, fewerThan: 1 });
      const result = await engine.commit(draft);
      if (result.committed) {
        if (fate) fates.set(root, fate);
        return isAll ? undefined : { order, revision: result.revision, dueAt };
      }
      if (result.conflicts.some(({ partition }) => partition === children)) alone = false;
    }
  }

  async #carryOut(
    { order, revision, dueAt }: Given,
    fates: Fates,
    until: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { engine } = this.#store;
    let marked: number;
    do {
      marked = await this.#walk(order, fates);
      if (!(await this.#outlast(order, fates, until, signal))) return;
    } while (marked > 0);
    // Unless somebody has made it sharper, and sees to the rest.
    const address = this.#address(order.root);
    await engine.commit({ checks: [{ ...address, revision }], deletes: [address, engine.due.address(dueAt, KILL, order.root)] });
  }

  /** One walk over the tree, level by level: marks whom it finds unmarked, and ends whose time is over. Answers how many. */
  async #walk(order: KillOrder, fates: Fates): Promise<number> {
    const { root, incarnation, cascade } = order;
    let marked = 0;
    let level: { readonly id: string; readonly fits: Fits }[] = [
      { id: root, fits: ({ record }) => record.incarnation === incarnation },
    ];
    while (level.length > 0) {
      const next: typeof level = [];
      await this.#inTurns(level, async ({ id, fits }) => {
        const found = await this.#mark(id, fits, order, fates);
        if (found.isNew) marked += 1;
        if (!cascade || !found.snapshot) return;
        if (found.isOther && id !== root) return;
        const isChild = childrenOf(found.snapshot, found.isOther);
        for (const child of await this.#store.childrenOf(id)) next.push({ id: child, fits: isChild });
      });
      level = next;
    }
    return marked;
  }

  /** Marks one session, or ends it when its time is over; one that does not fit is another, which is left alone. */
  async #mark(id: string, fits: Fits, order: KillOrder, fates: Fates): Promise<Found> {
    for (;;) {
      const snapshot = await this.#store.read(id);
      if (!snapshot || !fits(snapshot)) {
        if (fates.get(id)?.diesAt !== undefined) fates.delete(id);
        return { snapshot, isNew: false, isOther: true };
      }
      const draft = new Draft();
      const fate = this.#stage(draft, snapshot, order);
      if (!fate) {
        settle(fates, snapshot);
        return { snapshot, isNew: false, isOther: false };
      }
      const isNew = draft.puts.length > 0;
      if (isNew && !(await this.#store.engine.commit(draft)).committed) continue;
      fates.set(id, fate);
      return { snapshot, isNew, isOther: false };
    }
  }

  /** Stages what the order does to a session that is not over: its mark, its end, or nothing if it is marked already. */
  #stage(draft: Draft, snapshot: SessionSnapshot, { root, reason, graceMs, force, by }: KillOrder): Fate | undefined {
    const { id, record, revision, lease } = snapshot;
    const state = stateOf(snapshot);
    if (record.ending || state === 'ended') return undefined;
    const { stopping, incarnation } = record;
    const now = this.#store.engine.now();
    const holds = lease && (state === 'alive' || state === 'stopping') ? lease : undefined;
    const isShorter = !stopping || (graceMs < stopping.deadline - stopping.at && now + graceMs < stopping.deadline);
    if (holds && !force && !isShorter) return { incarnation, diesAt: holds.expiresAt };
    // Also checked when it is absent: a heartbeat may be reviving the session.
    draft.checks.push(this.#store.leaseCheck(id, lease?.revision ?? null));
    const graceLeft = holds && !force ? Math.min(graceMs, holds.expiresAt - LEASE_EXTRA_MS - now) : 0;
    const given = { root, reason, at: now, ...(by !== undefined && { by }) };
    if (!holds || graceLeft <= 0) {
      // What has died of an earlier order has died of that one.
      const cause = stopping && !(holds && force) ? stopping : given;
      stageKilled(draft, this.#store, snapshot, { ...cause, graceful: false });
      return { graceful: false };
    }
    const deadline = now + graceLeft;
    this.#store.collection.replace(
      draft,
      { id, value: record, revision },
      { ...record, stopping: { ...given, ...stopping, at: now, deadline } },
    );
    draft.puts.push({
      ...this.#store.leaseAddress(id),
      value: { ...holds.value, final: true },
      ttlMs: graceLeft + LEASE_EXTRA_MS,
    });
    this.#store.event(draft, 'session_updated', id, record.epoch, { fields: ['state'], state: 'stopping' });
    return { incarnation, diesAt: deadline + LEASE_EXTRA_MS };
  }

  /** Waits until nobody is stopping any more; false when the wait was ended before. */
  async #outlast(order: KillOrder, fates: Fates, until: number, signal: AbortSignal | undefined): Promise<boolean> {
    const { engine } = this.#store;
    const stopping = new Map<string, string>();
    for (const [id, fate] of fates) if (fate.diesAt !== undefined) stopping.set(id, fate.incarnation);
    if (stopping.size === 0) return true;
    const watch = new SessionWatch(engine, (session) => stopping.has(session));
    try {
      await engine.log.ready();
      // All of them once, since something may have happened to them before the watch began.
      let doubtful: Iterable<string> = stopping.keys();
      let earliest = Number.POSITIVE_INFINITY;
      for (;;) {
        await this.#inTurns([...doubtful], async (id) => {
          await this.#mark(id, ({ record }) => record.incarnation === stopping.get(id), order, fates);
          const diesAt = fates.get(id)?.diesAt;
          if (diesAt === undefined) stopping.delete(id);
          else earliest = Math.min(earliest, diesAt);
        });
        if (stopping.size === 0) return true;
        const now = engine.now();
        if (now >= until || signal?.aborted) return false;
        await watch.wait(Math.min(earliest, until) - now, signal);
        doubtful = watch.take();
        if (engine.now() < earliest) continue;
        doubtful = stopping.keys();
        earliest = Number.POSITIVE_INFINITY;
      }
    } finally {
      watch.close();
    }
  }

  async #inTurns<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
    for (let start = 0; start < items.length; start += MARKED_AT_ONCE) {
      if (start > 0) await new Promise<void>((resolve) => this.#store.engine.clock.nextTurn(resolve));
      await Promise.all(items.slice(start, start + MARKED_AT_ONCE).map(work));
    }
  }

  /** A sweeper found the order: whoever gave it may be gone. */
  async #resume(root: string): Promise<DueOutcome> {
    const { engine } = this.#store;
    const address = this.#address(root);
    const [known] = await engine.storage.get([address]);
    if (!known) return {};
    const order = known.value as unknown as KillOrder;
    for (;;) {
      const fates: Fates = new Map();
      const marked = await this.#walk(order, fates);
      const earliest = earliestOf(fates);
      const now = engine.now();
      if (Number.isFinite(earliest)) return { moveTo: Math.max(now + 1, Math.min(earliest, now + REST_MS)) };
      if (marked === 0) return { checks: [{ ...address, revision: known.revision }], deletes: [address] };
    }
  }
}

function sharpened(request: KillRequest, { incarnation }: SessionRecord, before: KillOrder | undefined): KillOrder {
  if (before?.incarnation !== incarnation) return { ...request, incarnation };
  return {
    ...request,
    incarnation,
    force: request.force || before.force,
    cascade: request.cascade || before.cascade,
    graceMs: Math.min(request.graceMs, before.graceMs),
  };
}

/**
 * Tells the children of a session from those that went to another parent since they were listed. Of a root that was
 * registered anew, those are meant that were there before it, and what is dead already: it may have descendants.
 */
function childrenOf({ id, record: parent }: SessionSnapshot, isSuccessor: boolean): Fits {
  return (child) => {
    if (child.record.parentId !== id) return false;
    return !isSuccessor || child.record.registeredAt < parent.registeredAt || stateOf(child) !== 'alive';
  };
}

/** Of those that are over, the report names who was killed. */
function settle(fates: Fates, { id, record: { ending } }: SessionSnapshot): void {
  if (ending?.kind === 'killed') fates.set(id, { graceful: ending.graceful ?? false });
  else fates.delete(id);
}

/** When the next session dies by the clock; never, when none is stopping. */
function earliestOf(fates: Fates): number {
  let earliest = Number.POSITIVE_INFINITY;
  for (const { diesAt } of fates.values()) if (diesAt !== undefined && diesAt < earliest) earliest = diesAt;
  return earliest;
}

function reportOf(root: string, fates: Fates): KillReport {
  const killed: { session: string; graceful: boolean }[] = [];
  const stopping: string[] = [];
  for (const [session, fate] of fates) {
    if (fate.diesAt === undefined) killed.push({ session, graceful: fate.graceful });
    else stopping.push(session);
  }
  return { root, killed, stopping };
}

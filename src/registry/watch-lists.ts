import { BoundedCache } from '../kernel/bounded-cache.ts';
import { Draft } from '../storage/draft.ts';
import type { DueOutcome } from '../storage/due.ts';
import type { Address, CommitResult, StoredRecord } from '../storage/storage.ts';
import { RETENTION, stageKilled, stageLapse } from './endings.ts';
import { LEASE_EXTRA_MS, lastSeenAt, type SessionSnapshot } from './session.ts';
import { inParts, type SessionStore } from './session-store.ts';

const LEASES = 'leases';
const MARKERS = 'watches';
/** Sessions on one list: what a sweep reads at once, and a heartbeat renews in one commit. */
const LISTED = 500;
/** Ttls whose open lists are known. */
const REMEMBERED = 100;

/** A list that takes further sessions. */
interface OpenList {
  readonly id: string;
  /** Of its marker, once the list is stored; `undefined` when that failed. */
  readonly revision: Promise<number | undefined>;
  count: number;
}

/**
 * Who looks when a lease has lapsed. Sessions of one process and one ttl share a list with one due entry, at the
 * earliest expiry among them; without lists each session would cost a write per lease. Each list has a marker that a
 * registration checks, so that nobody joins a list which is being given up.
 */
export class WatchLists {
  readonly #store: SessionStore;
  /** By ttl. One that is forgotten takes no further sessions, and is looked after all the same. */
  readonly #open = new BoundedCache<OpenList>(REMEMBERED);
  #looking: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(store: SessionStore) {
    this.#store = store;
    store.engine.due.handle(LEASES, (entry) => this.#inTurn(() => this.#look(entry.id)));
  }

  /**
   * Commits a draft together with a session's place on a list of its ttl, a new list when none is open.
   * @param stageLease stages the lease, which names the list
   */
  async commit(draft: Draft, id: string, ttlMs: number, stageLease: (watch: string) => void): Promise<CommitResult> {
    for (;;) {
      const open = this.#open.get(String(ttlMs));
      if (!open || open.count >= LISTED) return this.#commitWithList(draft, id, ttlMs, stageLease);
      // Who comes while a list is being opened waits for it: a crowd must not open a list each.
      open.count += 1;
      const revision = await open.revision;
      if (revision === undefined) continue;
      draft.checks.push({ ...this.#marker(open.id), revision });
      draft.puts.push({ ...this.#store.watchAddress(open.id, id), value: null });
      stageLease(open.id);
      const result = await this.#store.engine.commit(draft);
      if (!result.committed) this.#forget(open, ttlMs, result.conflicts);
      return result;
    }
  }

  /** What is not told yet is left to other processes, so that nobody waits for it. */
  close(): void {
    this.#closed = true;
  }

  async #commitWithList(draft: Draft, id: string, ttlMs: number, stageLease: (watch: string) => void): Promise<CommitResult> {
    const { engine } = this.#store;
    const watch = engine.generateId('watch');
    let opened = (_revision: number | undefined): void => {};
    const revision = new Promise<number | undefined>((resolve) => {
      opened = resolve;
    });
    const open: OpenList = { id: watch, revision, count: 1 };
    this.#open.set(String(ttlMs), open);
    draft.checks.push({ ...this.#marker(watch), revision: null });
    draft.puts.push(
      { ...this.#marker(watch), value: null },
      { ...this.#store.watchAddress(watch, id), value: null },
      engine.due.put(engine.now() + ttlMs + LEASE_EXTRA_MS, LEASES, watch),
    );
    stageLease(watch);
    let result: CommitResult | undefined;
    try {
      result = await engine.commit(draft);
      return result;
    } finally {
      if (!result?.committed && this.#open.get(String(ttlMs)) === open) this.#open.delete(String(ttlMs));
      opened(result?.committed ? result.revision : undefined);
    }
  }

  /** After a conflict: a list whose marker changed was given up, and no longer takes anybody. */
  #forget(open: OpenList, ttlMs: number, conflicts: readonly Address[]): void {
    const isGivenUp = conflicts.some(({ partition, key }) => partition === MARKERS && key === open.id);
    if (isGivenUp && this.#open.get(String(ttlMs)) === open) this.#open.delete(String(ttlMs));
  }

  #marker(watch: string): Address {
    return { partition: MARKERS, key: watch };
  }

  /** One list after the other, each in a turn of its own: of many that lapse at once none holds up the event loop. */
  #inTurn<T>(look: () => Promise<T>): Promise<T> {
    const turn = this.#looking.then(() => this.#store.nextTurn()).then(look);
    this.#looking = turn.catch(() => {});
    return turn;
  }

  async #look(watch: string): Promise<DueOutcome> {
    const { storage } = this.#store.engine;
    if (this.#closed) return { moveTo: storage.now() + 1 };
    const partition = `watch.${watch}`;
    const listed = await storage.list(partition, { values: false });
    const [marker] = await storage.get([this.#marker(watch)]);
    if (listed.length === 0) return this.#giveUp(partition, marker);
    const leases = await this.#store.leases(listed.map(({ key }) => key));
    let next = Number.POSITIVE_INFINITY;
    const doubtful = listed.filter((_, n) => {
      const lease = leases[n];
      if (lease?.value.watch !== watch) return true;
      next = Math.min(next, lease.expiresAt);
      return false;
    });
    // Most are alive, and of these no more is read than the lease.
    const snapshots = doubtful.length === 0 ? [] : await this.#store.readMany(doubtful.map(({ key }) => key));
    const now = storage.now();
    const lapsed: SessionSnapshot[] = [];
    const strangers: StoredRecord[] = [];
    doubtful.forEach((place, n) => {
      const snapshot = snapshots[n];
      if (snapshot?.lease?.value.watch === watch) next = Math.min(next, snapshot.lease.expiresAt);
      else if (!snapshot || snapshot.lease || snapshot.record.ending || snapshot.record.offlineAt !== undefined)
        strangers.push(place);
      else lapsed.push(snapshot);
    });
    const isDone = (await this.#dismiss(strangers)) && (await this.#tell(lapsed, watch));
    // With nobody left, the next sweep gives the list up.
    return { moveTo: isDone && Number.isFinite(next) ? next : now + 1 };
  }

  #giveUp(partition: string, marker: StoredRecord | undefined): DueOutcome {
    if (!marker) return {};
    const { partition: markers, key, revision } = marker;
    return {
      checks: [
        { partition: markers, key, revision },
        { partition, fewerThan: 1 },
      ],
      deletes: [{ partition: markers, key }],
    };
  }

  /** Takes those off the list who are on it no more, unless they came back to it meanwhile. */
  async #dismiss(places: readonly StoredRecord[]): Promise<boolean> {
    if (places.length === 0) return true;
    const addresses = places.map(({ partition, key, revision }) => ({ partition, key, revision }));
    const result = await this.#store.engine.commit({
      checks: addresses,
      deletes: addresses.map(({ partition, key }) => ({ partition, key })),
    });
    return result.committed;
  }

  /** Answers whether all were told, by this sweeper or another. */
  async #tell(lapsed: readonly SessionSnapshot[], watch: string): Promise<boolean> {
    let isDone = true;
    for (const together of inParts(lapsed)) {
      if (this.#closed) return false;
      if (!(await this.#tellAtOnce(together, watch))) {
        // One that was revived or seen by another sweeper must not keep the others waiting.
        for (const snapshot of together) isDone = (await this.#tellAtOnce([snapshot], watch)) && isDone;
      }
      await this.#store.nextTurn();
    }
    return isDone;
  }

  async #tellAtOnce(snapshots: readonly SessionSnapshot[], watch: string): Promise<boolean> {
    const draft = new Draft();
    for (const snapshot of snapshots) {
      draft.checks.push(this.#store.leaseCheck(snapshot.id, null));
      draft.deletes.push(this.#store.watchAddress(watch, snapshot.id));
      // What a lapse is: the end of a session with a kill order, and otherwise told once.
      if (snapshot.record.stopping) stageKilled(draft, this.#store, snapshot, { ...snapshot.record.stopping, graceful: false });
      else stageOffline(draft, this.#store, snapshot);
    }
    return (await this.#store.engine.commit(draft)).committed;
  }
}

/** Stages that a session whose lease is gone is offline: told, remembered, and removed after its retention. */
export function stageOffline(draft: Draft, store: SessionStore, snapshot: SessionSnapshot): void {
  const { id, record, revision } = snapshot;
  const seenAt = lastSeenAt(snapshot);
  stageLapse(draft, store, snapshot);
  store.collection.replace(draft, { id, value: record, revision }, { ...record, offlineAt: seenAt });
  draft.puts.push(store.engine.due.put(seenAt + record.ttlMs + record.retentionMs, RETENTION, id));
}

import type { Timer } from '../kernel/clock.ts';
import { Draft } from '../storage/draft.ts';
import { stageLapse } from './endings.ts';
import type { Fence } from './fence.ts';
import { LEASE_EXTRA_MS } from './session.ts';
import { LEASES, type SessionStore, SIGHTINGS } from './session-store.ts';
import type { Outcome, Tenure } from './tenure.ts';
import type { WatchLists } from './watch-lists.ts';

/** A lease and a sighting each: a thousand touches, as many as a commit may have. */
const RENEWED_AT_ONCE = 500;
/** Sessions that are looked at, and revived, before the loop is yielded. */
const SETTLED_AT_ONCE = 50;
const BEATS_PER_TTL = 3;
/** Beats are due on a grid of so many marks per beat, so that those of many sessions go together. */
const MARKS_PER_BEAT = 10;

/**
 * What a heartbeat learns: the last millisecond of the renewed lease (under a kill order, of the last one); or how this
 * incarnation is over. `lease_lost`: the id was taken over, or removed.
 */
export type Heartbeat =
  | { readonly alive: true; readonly expiresAt: number }
  | { readonly alive: false; readonly reason: Outcome };

/** Those who are to be renewed at one time. */
interface Beat {
  readonly tenures: Set<Tenure>;
  shortestTtlMs: number;
}

/**
 * Heartbeats: renews the leases that this process holds, together and with one timer for all, each every third of its
 * ttl, and revives those that have lapsed.
 */
export class Renewal {
  readonly #store: SessionStore;
  readonly #fence: Fence;
  readonly #watchLists: WatchLists;
  /** By their times, each of which is a mark of the grid of its tenures. */
  readonly #beats = new Map<number, Beat>();
  /** Spreads the processes of a mesh over time. */
  readonly #phase: number;
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #closed = false;

  constructor(store: SessionStore, fence: Fence, watchLists: WatchLists) {
    this.#store = store;
    this.#fence = fence;
    this.#watchLists = watchLists;
    this.#phase = phaseOf(store.engine.generateId('phase'));
  }

  /** Renews this lease from now on, until it is lost or its last. */
  add(tenure: Tenure): void {
    this.#place(tenure, this.#store.engine.now());
    this.#schedule();
  }

  /**
   * One heartbeat now.
   * @throws MeshError `closed`
   */
  async beat(tenure: Tenure): Promise<Heartbeat> {
    if (tenure.end?.code === 'closed') throw tenure.end;
    if (tenure.end) return { alive: false, reason: tenure.outcome };
    if (!tenure.stopping) {
      const result = await this.#store.engine.commit(renewing([tenure]));
      if (result.committed) return { alive: true, expiresAt: result.at + tenure.ttlMs };
    }
    return this.#settle(tenure);
  }

  close(): void {
    this.#closed = true;
    this.#beats.clear();
    if (this.#timer) this.#store.engine.clock.clearTimeout(this.#timer);
  }

  #place(tenure: Tenure, now: number): void {
    const at = this.#nextBeat(tenure, now);
    const beat = this.#beats.get(at);
    if (beat) {
      beat.tenures.add(tenure);
      beat.shortestTtlMs = Math.min(beat.shortestTtlMs, tenure.ttlMs);
    } else this.#beats.set(at, { tenures: new Set([tenure]), shortestTtlMs: tenure.ttlMs });
  }

  #nextBeat({ ttlMs }: Tenure, now: number): number {
    const grid = Math.max(1, Math.floor(ttlMs / BEATS_PER_TTL / MARKS_PER_BEAT));
    const phase = Math.floor(this.#phase * grid);
    return Math.floor((now - phase + ttlMs / BEATS_PER_TTL) / grid) * grid + phase;
  }

  #schedule(): void {
    if (this.#closed) return;
    const { clock } = this.#store.engine;
    const now = clock.now();
    let earliest = Number.POSITIVE_INFINITY;
    for (const [at, beat] of this.#beats) earliest = Math.min(earliest, isDue(at, beat, now) ? now : at);
    if (earliest >= this.#timerAt && this.#timer) return;
    if (this.#timer) clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAt = earliest;
    if (!Number.isFinite(earliest)) return;
    this.#timer = clock.setTimeout(() => void this.#run(), earliest - now);
  }

  async #run(): Promise<void> {
    this.#timer = undefined;
    const now = this.#store.engine.now();
    const due: Tenure[] = [];
    for (const [at, beat] of this.#beats) {
      if (!isDue(at, beat, now)) continue;
      this.#beats.delete(at);
      for (const tenure of beat.tenures) due.push(tenure);
    }
    this.#fill(due, now);
    // Who has the least time goes first, and beats that come due while this lasts are not kept waiting either.
    due.sort((a, b) => a.ttlMs - b.ttlMs);
    this.#schedule();
    for (let start = 0; start < due.length; start += RENEWED_AT_ONCE) {
      const together = due.slice(start, start + RENEWED_AT_ONCE);
      try {
        await this.#renew(together);
      } catch (error) {
        // The lease outlasts two more beats.
        if (!this.#closed) this.#store.engine.report(error);
      }
      if (this.#closed) return;
      const renewedAt = this.#store.engine.now();
      for (const tenure of together) if (isRenewed(tenure)) this.#place(tenure, renewedAt);
      this.#schedule();
      await this.#store.nextTurn();
    }
  }

  /** Tops the last commit up with those who come next, unless that is far too early for them. So they go together from now on. */
  #fill(due: Tenure[], now: number): void {
    for (const at of [...this.#beats.keys()].sort((a, b) => a - b)) {
      const tenures = this.#beats.get(at)?.tenures ?? new Set();
      for (const tenure of tenures) {
        if (due.length % RENEWED_AT_ONCE === 0) return;
        if (at - now > tenure.ttlMs / BEATS_PER_TTL / 2) continue;
        tenures.delete(tenure);
        due.push(tenure);
      }
      if (tenures.size === 0) this.#beats.delete(at);
    }
  }

  /** Those whose lease is not as expected are left out at once and looked at one by one. */
  async #renew(tenures: readonly Tenure[]): Promise<void> {
    // Of a session that this process has taken over from itself the old tenure may not know that it is over.
    const ids = new Set<string>();
    const repeated = new Set(tenures.filter(({ id }) => ids.size === ids.add(id).size).map(({ id }) => id));
    let rest = repeated.size === 0 ? tenures : tenures.filter(({ id }) => !repeated.has(id));
    for (const tenure of tenures) if (repeated.has(tenure.id) && isRenewed(tenure)) await this.#settle(tenure);
    for (;;) {
      // Asked anew each time: one may have got its last lease while others were renewed.
      rest = rest.filter(isRenewed);
      if (rest.length === 0) return;
      const result = await this.#store.engine.commit(renewing(rest));
      if (result.committed) return;
      const failed = new Set(result.conflicts.map(({ key }) => key));
      const doubtful = rest.filter(({ id }) => failed.has(id));
      rest = rest.filter(({ id }) => !failed.has(id));
      for (let start = 0; start < doubtful.length; start += SETTLED_AT_ONCE) {
        await Promise.all(doubtful.slice(start, start + SETTLED_AT_ONCE).map((tenure) => this.#settle(tenure)));
        await this.#store.nextTurn();
      }
    }
  }

  /** A heartbeat that did not simply renew: the store tells why. */
  async #settle(tenure: Tenure): Promise<Heartbeat> {
    for (;;) {
      const snapshot = await this.#store.read(tenure.id);
      const standing = this.#fence.judge(tenure, snapshot);
      if (standing === 'lost' || !snapshot) return { alive: false, reason: tenure.outcome };
      if (standing === 'held') {
        if (tenure.stopping) return { alive: true, expiresAt: (snapshot.lease?.expiresAt ?? 0) - LEASE_EXTRA_MS };
        const result = await this.#store.engine.commit(renewing([tenure]));
        if (result.committed) return { alive: true, expiresAt: result.at + tenure.ttlMs };
        continue;
      }
      const draft = new Draft();
      const { id, record, revision } = snapshot;
      stageLapse(draft, this.#store, snapshot);
      this.#store.event(draft, 'session_online', id, record.epoch, {});
      const { offlineAt: _offlineAt, ...rest } = record;
      const stint = (record.stint ?? 0) + 1;
      const online = { ...rest, stint };
      this.#store.collection.replace(draft, { id, value: record, revision }, online);
      draft.checks.push(this.#store.leaseCheck(id, null));
      const result = await this.#watchLists.commit(draft, id, tenure.ttlMs, (watch) =>
        this.#store.putLease(draft, id, online, { incarnation: tenure.incarnation, watch, stint }),
      );
      if (!result.committed) continue;
      tenure.leaseRevision = result.revision;
      tenure.stint = stint;
      return { alive: true, expiresAt: result.at + tenure.ttlMs };
    }
  }
}

/** No beat is further away than a third of the ttl, unless the clock was set back: then nobody knows how much is left. */
function isDue(at: number, { shortestTtlMs }: Beat, now: number): boolean {
  return at <= now || at - now > shortestTtlMs / BEATS_PER_TTL;
}

/** A lease and a sighting each. */
function renewing(tenures: readonly Tenure[]): Draft {
  const draft = new Draft();
  for (const { id, leaseRevision: revision, ttlMs, retentionMs } of tenures) {
    draft.touches.push(
      { partition: LEASES, key: id, revision, ttlMs: ttlMs + LEASE_EXTRA_MS },
      { partition: SIGHTINGS, key: id, revision, ttlMs: ttlMs + retentionMs },
    );
  }
  return draft;
}

function isRenewed({ end, stopping }: Tenure): boolean {
  return !end && !stopping;
}

/** Somewhere in [0, 1), the same for the same id. */
function phaseOf(id: string): number {
  let hash = 0;
  for (let index = 0; index < id.length; index++) hash = (hash * 31 + id.charCodeAt(index)) % 10_007;
  return hash / 10_007;
}

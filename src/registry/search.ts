import { BoundedCache } from '../kernel/bounded-cache.ts';
import { parse } from '../kernel/inputs.ts';
import { type Condition, meets, type Page, query } from '../storage/query.ts';
import { type MaybePromise, whenDone } from '../storage/storage.ts';
import {
  aliveView,
  type Session,
  type SessionRecord,
  type SessionSnapshot,
  type SessionState,
  stateOf,
  viewOf,
} from './session.ts';
import { LIST, type ListOptions } from './session-inputs.ts';
import type { SessionIndex, SessionStore } from './session-store.ts';

/** How much each session has on its hands, in the order asked: open tasks and mail in flight. */
export type LoadOf = (ids: readonly string[]) => MaybePromise<readonly number[]>;

/** Whether a session of this state and record is one that is asked for. */
type Fits = (state: SessionState, record: SessionRecord) => boolean;

/** The least loaded of so many is found; the next search begins behind them. */
const CANDIDATES = 64;
/** To count what somebody has to do takes several reads, so as few are counted as it takes. */
const COUNTED_AT_ONCE = 16;
const PAGE = 1000;
/** Capabilities of which it is known whose turn it was. */
const REMEMBERED = 1000;

/** What `registry.stats` answers. */
export interface RegistryStats {
  /** Sessions that are known, in whatever state. */
  readonly total: number;
  readonly alive: number;
  /** Of the sessions that are alive. */
  readonly byStatus: Readonly<Record<string, number>>;
  readonly byAgentType: Readonly<Record<string, number>>;
  readonly byUser: Readonly<Record<string, number>>;
  readonly byCapability: Readonly<Record<string, number>>;
}

/** Finds sessions, through an index wherever a condition has one. */
export class Search {
  readonly #store: SessionStore;
  /** The last candidate for each capability, so that equally loaded sessions take turns. */
  readonly #rotation = new BoundedCache<string>(REMEMBERED);

  constructor(store: SessionStore) {
    this.#store = store;
  }

  async list(options: ListOptions): Promise<Page<Session>> {
    const { state, capabilities, match, status, agentType, user, group, parentId, limit, after } = parse(
      LIST,
      options,
      'options',
    );
    const where: Condition<SessionIndex>[] = [];
    if (capabilities && match === 'any') where.push({ index: 'capability', anyOf: capabilities });
    else for (const capability of capabilities ?? []) where.push({ index: 'capability', anyOf: [capability] });
    if (agentType !== undefined) where.push({ index: 'type', anyOf: [agentType] });
    if (user !== undefined) where.push({ index: 'user', anyOf: [user] });
    if (group !== undefined) where.push({ index: 'group', anyOf: [group] });
    if (parentId !== undefined) where.push({ index: 'parent', anyOf: [parentId] });
    const wanted = state === 'active' ? 'alive' : state;
    const fits: Fits = (state, record) =>
      (wanted === 'all' || state === wanted) && (status === undefined || record.status === status);
    return this.#find(where, fits, { limit, after, onlyAlive: wanted === 'alive' });
  }

  /** Alive sessions with a capability, least loaded first. */
  async specialists(capability: string, limit: number, loadOf: LoadOf | undefined): Promise<Session[]> {
    const ranked: { readonly session: Session; readonly load: number; readonly n: number }[] = [];
    let idle = 0;
    for await (const part of this.#candidates(capability)) {
      const loads = (await loadOf?.(part.map(({ id }) => id))) ?? [];
      part.forEach((session, n) => {
        const load = (loads[n] ?? 0) / session.capacity;
        if (load === 0) idle += 1;
        ranked.push({ session, load, n: ranked.length });
      });
      // Nobody behind them has less to do, nor would come before them.
      if (idle >= limit) break;
    }
    ranked.sort((a, b) => a.load - b.load || a.n - b.n);
    const first = ranked[0];
    if (first) this.#rotation.set(capability, first.session.id);
    else this.#rotation.delete(capability);
    return ranked.slice(0, limit).map(({ session }) => session);
  }

  /** Some at a time, beginning behind whoever came first the last time, and each once. */
  async *#candidates(capability: string): AsyncGenerator<readonly Session[], void, undefined> {
    const where: Condition<SessionIndex>[] = [{ index: 'capability', anyOf: [capability] }];
    const alive: Fits = (state) => state === 'alive';
    const behind = this.#rotation.get(capability);
    const seen = new Set<string>();
    for (const from of behind === undefined ? [undefined] : [behind, undefined]) {
      let after: string | undefined = from;
      do {
        const limit = Math.min(COUNTED_AT_ONCE, CANDIDATES - seen.size);
        const page: Page<Session> = await this.#find(where, alive, { limit, after, onlyAlive: true });
        const part = page.items.filter(({ id }) => !seen.has(id));
        for (const { id } of part) seen.add(id);
        if (part.length > 0) yield part;
        if (part.length < page.items.length || seen.size === CANDIDATES) return;
        after = page.next;
      } while (after !== undefined);
    }
  }

  async stats(): Promise<RegistryStats> {
    let total = 0;
    let alive = 0;
    const counts = { byStatus: new Map(), byAgentType: new Map(), byUser: new Map(), byCapability: new Map() };
    let after: string | undefined;
    do {
      const page = await this.#find([], () => true, { limit: PAGE, after });
      for (const session of page.items) {
        total += 1;
        if (session.state !== 'alive') continue;
        alive += 1;
        count(counts.byStatus, session.status);
        count(counts.byAgentType, session.agent.type);
        if (session.user !== undefined) count(counts.byUser, session.user);
        for (const capability of session.capabilities) count(counts.byCapability, capability);
      }
      after = page.next;
    } while (after !== undefined);
    const { byStatus, byAgentType, byUser, byCapability } = counts;
    return {
      total,
      alive,
      byStatus: Object.fromEntries(byStatus),
      byAgentType: Object.fromEntries(byAgentType),
      byUser: Object.fromEntries(byUser),
      byCapability: Object.fromEntries(byCapability),
    };
  }

  #find(
    where: readonly Condition<SessionIndex>[],
    fits: Fits,
    {
      limit,
      after,
      onlyAlive = false,
    }: { readonly limit: number; readonly after?: string | undefined; readonly onlyAlive?: boolean },
  ): Promise<Page<Session>> {
    const { collection, engine } = this.#store;
    const view = (found: SessionSnapshot | undefined): Session | undefined =>
      found && fits(stateOf(found), found.record) ? viewOf(found) : undefined;
    const viewOfAlive = (id: string, record: SessionRecord, seenAt: number): Session | undefined =>
      fits('alive', record) ? aliveView(id, record, seenAt) : undefined;
    return query(engine.storage, collection, {
      where,
      selectListed: (listed) => this.#store.select(listed, viewOfAlive, view),
      selectIds: (ids) =>
        whenDone(onlyAlive ? this.#store.readAlive(ids) : this.#store.readMany(ids), (found) =>
          found.map((one) => (one && meets(collection, where, one.record) ? view(one) : undefined)),
        ),
      limit,
      ...(after !== undefined && { after }),
    });
  }
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

import { Draft } from '../storage/draft.ts';
import { eventOf, type LoggedEvent } from '../storage/events/event-reader.ts';
import type { Unsubscribe } from '../storage/storage.ts';
import { REGISTRY_EVENTS, sessionTopic } from './events.ts';
import type { Fence } from './fence.ts';
import { type SessionSnapshot, stateOf } from './session.ts';
import { inParts, type SessionStore } from './session-store.ts';
import type { Holder, Tenure } from './tenure.ts';
import { stageOffline } from './watch-lists.ts';

/** After these a holder must look whether its session is still its own. */
const DECISIVE: ReadonlySet<string> = new Set(['session_created', 'session_ended', 'agent_killed', 'session_removed']);
const READ_AT_ONCE = 300;
const NOBODY: readonly Tenure[] = [];

/** Begins something that is to go on while this process holds any session. */
export type BeginHolding = () => Unsubscribe;

/** The sessions that this process holds: told at once when others stop, kill or replace them, and given back on close. */
export class Holders implements Holder {
  readonly #store: SessionStore;
  readonly #fence: Fence;
  /** By id; of one id there are several until those that were replaced have been told. */
  readonly #held = new Map<string, Tenure[]>();
  readonly #registering = new Set<Promise<Tenure>>();
  readonly #begins: BeginHolding[] = [];
  #stops: Unsubscribe[] = [];
  #unsubscribe: Unsubscribe | undefined;

  constructor(store: SessionStore, fence: Fence) {
    this.#store = store;
    this.#fence = fence;
  }

  /** What this process holds of a session. */
  of(session: string): readonly Tenure[] {
    return this.#held.get(session) ?? NOBODY;
  }

  all(): Tenure[] {
    return [...this.#held.values()].flat();
  }

  /** Calls back when this process begins to hold sessions; what it answers is called when it holds none any more. */
  whileHolding(begin: BeginHolding): void {
    this.#begins.push(begin);
    if (this.#unsubscribe) this.#stops.push(begin());
  }

  /** Holds what `register` answers. It listens before, so that nothing which follows the registration goes unheard. */
  async hold(id: string, register: () => Promise<Tenure>): Promise<Tenure> {
    const { log } = this.#store.engine;
    // One listener for all that are held: one for each would take more memory than the session itself.
    if (!this.#unsubscribe) {
      this.#unsubscribe = log.subscribe((event) => this.#hear(event, this.of(String(event['session']))), REGISTRY_EVENTS);
      this.#stops = this.#begins.map((begin) => begin());
    }
    const early: LoggedEvent[] = [];
    const stop = log.wakeOn(sessionTopic(id), (_, record) => early.push(eventOf(record)));
    const registering = register();
    this.#registering.add(registering);
    try {
      const held = await registering;
      held.holder = this;
      this.#held.set(id, this.of(id).concat(held));
      for (const event of early) this.#hear(event, [held]);
      return held;
    } finally {
      stop();
      this.#registering.delete(registering);
      this.#stopIfIdle();
    }
  }

  /** A tenure is over. */
  ended(tenure: Tenure): void {
    const rest = this.of(tenure.id).filter((other) => other !== tenure);
    if (rest.length > 0) this.#held.set(tenure.id, rest);
    else this.#held.delete(tenure.id);
    this.#stopIfIdle();
  }

  #hear(event: LoggedEvent, tenures: readonly Tenure[]): void {
    for (const tenure of tenures) if (isDecisive(event, tenure)) void this.#look(tenure);
  }

  #stopIfIdle(): void {
    if (this.#held.size > 0 || this.#registering.size > 0) return;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    for (const stop of this.#stops) stop();
    this.#stops = [];
  }

  /** Lets the leases go, so that others see the sessions offline at once. */
  async releaseAll(): Promise<void> {
    // First: who writes by a handle at this moment is to learn that the mesh is closed, not that its lease is gone.
    const tenures = this.#letGo();
    if (this.#registering.size > 0) {
      // What is being registered at this moment is let go as well.
      await Promise.allSettled(this.#registering);
      tenures.push(...this.#letGo());
    }
    try {
      for (let start = 0; start < tenures.length; start += READ_AT_ONCE)
        await this.#release(tenures.slice(start, start + READ_AT_ONCE));
    } catch (error) {
      // What can't be given back lapses by itself, and must not keep anything open.
      this.#store.engine.report(error);
    }
  }

  #letGo(): Tenure[] {
    const tenures = this.all();
    this.#held.clear();
    this.#stopIfIdle();
    for (const tenure of tenures) tenure.release();
    return tenures;
  }

  async #look(tenure: Tenure): Promise<void> {
    try {
      this.#fence.judge(tenure, await this.#store.read(tenure.id));
    } catch (error) {
      if (this.of(tenure.id).includes(tenure)) this.#store.engine.report(error);
    }
  }

  async #release(tenures: readonly Tenure[]): Promise<void> {
    const found = await this.#store.readMany(tenures.map(({ id }) => id));
    const alive = found.filter(
      (snapshot, n): snapshot is SessionSnapshot =>
        snapshot !== undefined && stateOf(snapshot) === 'alive' && snapshot.record.incarnation === tenures[n]?.incarnation,
    );
    for (const together of inParts(alive)) {
      const draft = new Draft();
      for (const snapshot of together) this.#stageRelease(draft, snapshot);
      const result = await this.#store.engine.commit(draft);
      // One of them was changed in between: each is looked at anew.
      if (!result.committed) for (const { id } of together) await this.#release(tenures.filter((tenure) => tenure.id === id));
      await this.#store.nextTurn();
    }
  }

  #stageRelease(draft: Draft, snapshot: SessionSnapshot): void {
    const { id, lease } = snapshot;
    if (!lease) return;
    draft.checks.push(this.#store.leaseCheck(id, lease.revision));
    draft.deletes.push(this.#store.leaseAddress(id), this.#store.watchAddress(lease.value.watch, id));
    stageOffline(draft, this.#store, { ...snapshot, lease: undefined });
  }
}

function isDecisive(event: LoggedEvent, { epoch }: Tenure): boolean {
  if (event.name === 'session_updated') return event['state'] !== undefined;
  return DECISIVE.has(event.name) && !(event.name === 'session_created' && event['epoch'] === epoch);
}

import type { Timer } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import { REGISTRY_EVENTS } from '../../registry/events.ts';
import type { LoggedEvent } from '../../storage/events/event-reader.ts';
import { keyAfter } from '../../storage/keys.ts';
import type { Unsubscribe } from '../../storage/storage.ts';
import type { Recovery } from './recovery.ts';
import type { TaskStore } from './task-store.ts';
import { workerOf } from './workforce.ts';

/** After these a claim may be over. */
const DECISIVE: ReadonlySet<string> = new Set([
  'session_offline',
  'session_online',
  'session_ended',
  'session_removed',
  'agent_killed',
]);
/** How often a worker with free hands looks after the others at least. */
const LOOK_MS = 5000;
const PAGE = 500;

/**
 * Sees to it that work is handed on as soon as this process can know that its worker is gone, and not only at the next
 * sweep: by events while somebody here waits for work or for a result, and by the leases of all workers, at the moment
 * when the first of them would end, while a worker here has free hands.
 */
export class DeathWatch {
  readonly #store: TaskStore;
  readonly #recovery: Recovery;
  readonly #settling = new Set<string>();
  #waiting = 0;
  #idle = 0;
  #unsubscribe: Unsubscribe | undefined;
  #timer: Timer | undefined;
  #looking = false;
  /** When the first lease of a worker may end. */
  #lookAt = 0;

  constructor(store: TaskStore, recovery: Recovery) {
    this.#store = store;
    this.#recovery = recovery;
  }

  /** For as long as somebody waits; the answer ends it. */
  enter(): () => void {
    this.#waiting += 1;
    this.#unsubscribe ??= this.#store.engine.log.subscribe((event) => this.#hear(event), REGISTRY_EVENTS);
    return once(() => {
      this.#waiting -= 1;
      if (this.#waiting > 0) return;
      this.#unsubscribe?.();
      this.#unsubscribe = undefined;
    });
  }

  /** For as long as a worker has free hands; the answer ends it. */
  watch(): () => void {
    this.#idle += 1;
    this.#schedule();
    return once(() => {
      this.#idle -= 1;
      if (this.#idle > 0 || !this.#timer) return;
      this.#store.engine.clock.clearTimeout(this.#timer);
      this.#timer = undefined;
    });
  }

  #hear({ name, session, epoch }: LoggedEvent): void {
    // The first registration of an id has no predecessor.
    if (DECISIVE.has(name) || (name === 'session_created' && epoch !== 1)) void this.#settle(String(session));
  }

  async #settle(session: string): Promise<void> {
    if (this.#settling.has(session)) return;
    this.#settling.add(session);
    try {
      await this.#recovery.settle(session);
    } catch (error) {
      this.#report(error);
    } finally {
      this.#settling.delete(session);
    }
  }

  async #look(): Promise<void> {
    this.#looking = true;
    const { engine } = this.#store;
    this.#lookAt = engine.now() + LOOK_MS;
    try {
      this.#lookAt = Math.min(this.#lookAt, await this.#lookAtAll());
    } catch (error) {
      this.#report(error);
    }
    this.#looking = false;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#idle === 0 || this.#timer || this.#looking || this.#store.core.closed) return;
    const { clock } = this.#store.engine;
    this.#timer = clock.setTimeout(
      () => {
        this.#timer = undefined;
        void this.#look();
      },
      Math.max(1, this.#lookAt - this.#store.engine.now()),
    );
  }

  /** Settles what those have left whose lease is gone; answers when the next lease ends. */
  async #lookAtAll(): Promise<number> {
    const { core, engine } = this.#store;
    let next = Number.POSITIVE_INFINITY;
    for (let start = ''; ; ) {
      const page = await engine.storage.list('workers', { start, limit: PAGE, values: false });
      const workers = page.map(({ key }) => workerOf(key));
      const leases = await engine.storage.get(workers.map(({ session }) => core.sessions.leaseAddress(session)));
      for (const [n, { session, incarnation }] of workers.entries()) {
        const lease = leases[n];
        const isThere = (lease?.value as { readonly incarnation?: string } | undefined)?.incarnation === incarnation;
        if (isThere && lease?.expiresAt !== undefined) next = Math.min(next, lease.expiresAt);
        else await this.#settle(session);
      }
      const last = page[page.length - 1];
      if (!last || page.length < PAGE) return next;
      start = keyAfter(last.key);
      await core.nextTurn();
    }
  }

  #report(error: unknown): void {
    if (!this.#store.core.closed && !MeshError.is(error, 'closed')) this.#store.engine.report(error);
  }
}

function once(leave: () => void): () => void {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    leave();
  };
}

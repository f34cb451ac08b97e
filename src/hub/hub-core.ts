import { Bag, type Waiting } from '../kernel/bag.ts';
import { MeshError } from '../kernel/errors.ts';
import { stepAside } from '../kernel/step-aside.ts';
import type { Fence } from '../registry/fence.ts';
import type { Holders } from '../registry/holders.ts';
import type { SessionRef } from '../registry/session-inputs.ts';
import { SessionRegistry } from '../registry/session-registry.ts';
import type { SessionStore } from '../registry/session-store.ts';
import type { Tenure } from '../registry/tenure.ts';
import { Draft } from '../storage/draft.ts';
import type { Engine } from '../storage/engine.ts';
import type { Committed, MaybePromise, Unsubscribe } from '../storage/storage.ts';

/** Nobody loses this often in a row while others move on. */
const ATTEMPTS = 1000;

/** Who acts: an id is the host's authority, a handle is fenced. */
export interface Actor {
  readonly id: string;
  readonly tenure?: Tenure | undefined;
}

/** What messages, tasks and collaborations share. */
export class HubCore {
  readonly registry: SessionRegistry;
  readonly engine: Engine;
  readonly sessions: SessionStore;
  readonly fence: Fence;
  readonly holders: Holders;
  readonly #onClose = new Bag<Waiting>();
  #closed = false;

  constructor(registry: SessionRegistry) {
    const { engine, store, fence, holders } = SessionRegistry.partsOf(registry);
    this.registry = registry;
    this.engine = engine;
    this.sessions = store;
    this.fence = fence;
    this.holders = holders;
  }

  /**
   * Who acts, by what was given for it.
   * @throws MeshError `invalid_input` for the handle of another mesh
   */
  actor(ref: SessionRef): Actor {
    return { id: this.fence.nameOf(ref), tenure: this.fence.tenureOf(ref) };
  }

  get closed(): boolean {
    return this.#closed || this.engine.log.closed;
  }

  /** Calls back when the hub is closed, or somebody else has closed the storage, to wake who waits. May call back twice. */
  onClose(wake: () => void): Unsubscribe {
    const forget = this.engine.log.onClose(wake);
    const waiting = this.#onClose.add({ wake, place: -1 });
    return () => {
      forget();
      this.#onClose.delete(waiting);
    };
  }

  close(): void {
    this.#closed = true;
    for (const { wake } of this.#onClose.take()) wake();
  }

  /** @throws MeshError `closed` */
  assertOpen(): void {
    if (this.closed) throw new MeshError('closed', 'expected an open mesh, got a closed one');
  }

  /**
   * Commits what `stage` stages, again with a fresh draft after each conflict: `stage` reads, judges and stages. Under a
   * handle the commit also checks its lease. A draft without writes is not committed, unless a handle is to be proved.
   * @returns what the last `stage` answered, and what was committed
   * @throws MeshError `not_alive` and `lease_lost` for a handle, `conflict` when something can never pass
   */
  async write<T>(
    actor: Actor | undefined,
    stage: (draft: Draft) => MaybePromise<T>,
  ): Promise<{ readonly made: T; readonly committed: Committed | undefined }> {
    const tenure = actor?.tenure;
    if (tenure) {
      let made: T | undefined;
      const committed = await this.fence.commit(tenure, async (draft) => {
        made = await stage(draft);
      });
      return { made: made as T, committed };
    }
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      if (attempt > 1) await stepAside(this.engine.clock, attempt);
      const draft = new Draft();
      const made = await stage(draft);
      if (isEmpty(draft)) return { made, committed: undefined };
      const committed = await this.engine.commit(draft);
      if (committed.committed) return { made, committed };
    }
    throw new MeshError('conflict', `expected a write to pass, got ${ATTEMPTS} conflicts`);
  }

  /** For whoever goes through many records: lets everything else have its turn. */
  nextTurn(): Promise<void> {
    return new Promise((resolve) => this.engine.clock.nextTurn(resolve));
  }
}

function isEmpty({ puts, deletes, takes, touches }: Draft): boolean {
  return puts.length + deletes.length + takes.length + touches.length === 0;
}

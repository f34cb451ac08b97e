import { MeshError } from '../kernel/errors.ts';
import { Draft } from '../storage/draft.ts';
import type { Address, Committed, MaybePromise } from '../storage/storage.ts';
import { isTerminal, type SessionSnapshot, stateOf } from './session.ts';
import { SessionHandle } from './session-handle.ts';
import type { SessionRef } from './session-inputs.ts';
import type { SessionStore } from './session-store.ts';
import type { Tenure } from './tenure.ts';

const ATTEMPTS = 1000;

/** Whether a tenure still holds, as the store says: `lapsed` may be revived by a heartbeat. */
export type Standing = 'held' | 'lapsed' | 'lost';

/**
 * Lets writes through a handle land only while its lease is there, in the very commit. A failed check is looked into:
 * the lease may have been put anew for the same incarnation, have lapsed, or belong to another.
 */
export class Fence {
  readonly #store: SessionStore;

  constructor(store: SessionStore) {
    this.#store = store;
  }

  /**
   * What is known of the lease of whoever acts by a handle. An id is the host's authority, and has none.
   * @throws MeshError `invalid_input` for the handle of another mesh
   */
  tenureOf(actor: SessionRef | undefined): Tenure | undefined {
    if (!(actor instanceof SessionHandle)) return undefined;
    const tenure = SessionHandle.tenureOf(actor);
    this.#assertOurs(tenure);
    return tenure;
  }

  /**
   * The id under which it is recorded who acts.
   * @throws MeshError `invalid_input` for the handle of another mesh
   */
  nameOf(actor: SessionRef): string {
    return this.tenureOf(actor)?.id ?? (typeof actor === 'string' ? actor : actor.id);
  }

  /**
   * Commits what `stage` stages under the fence, again with a fresh draft after each conflict.
   * @throws MeshError `not_alive` while lapsed, `lease_lost` for good, `invalid_input` for the tenure of another mesh
   */
  async commit(tenure: Tenure, stage: (draft: Draft) => MaybePromise<void>): Promise<Committed> {
    this.#assertOurs(tenure);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (tenure.end) throw tenure.end;
      const draft = new Draft();
      await stage(draft);
      // After the staging, in which a newer lease of the same incarnation may have been adopted.
      draft.checks.push(this.#store.leaseCheck(tenure.id, tenure.leaseRevision));
      const result = await this.#store.engine.commit(draft);
      if (result.committed) return result;
      if (result.conflicts.some((address) => this.#isLease(address, tenure))) await this.read(tenure);
    }
    throw new MeshError('conflict', `expected a write of session ${tenure.id} to pass, got ${ATTEMPTS} conflicts`);
  }

  /**
   * The session as it is now, which the tenure holds.
   * @throws MeshError `not_alive` while lapsed, `lease_lost` for good, `invalid_input` for the tenure of another mesh
   */
  async read(tenure: Tenure): Promise<SessionSnapshot> {
    this.#assertOurs(tenure);
    if (tenure.end) throw tenure.end;
    const snapshot = await this.#store.read(tenure.id);
    if (this.judge(tenure, snapshot) === 'held' && snapshot) return snapshot;
    throw (
      tenure.end ??
      new MeshError('not_alive', `expected session ${tenure.id} to be alive, got offline: a heartbeat revives it`, {
        details: { session: tenure.id, state: 'offline' },
      })
    );
  }

  /** Compares a tenure with the store, and lets its holder know of an order, a loss or a kill. */
  judge(tenure: Tenure, snapshot: SessionSnapshot | undefined): Standing {
    if (!snapshot || snapshot.record.incarnation !== tenure.incarnation) {
      tenure.lose();
      return 'lost';
    }
    const { record, lease } = snapshot;
    const state = stateOf(snapshot);
    if (isTerminal(state)) {
      if (state === 'killed') tenure.kill(record.ending?.reason ?? record.stopping?.reason ?? 'killed');
      else tenure.lose('ended');
      return 'lost';
    }
    if (state === 'offline' || !lease) return 'lapsed';
    tenure.leaseRevision = lease.revision;
    tenure.stint = lease.value.stint ?? 0;
    if (record.stopping) tenure.stop(record.stopping);
    return 'held';
  }

  /**
   * Stages that whoever acts still holds its lease, when it is named by its handle. An id is the host's authority.
   * @throws MeshError `not_alive`, `lease_lost`, `invalid_input` for the handle of another mesh
   */
  async stageActor(draft: Draft, actor: SessionRef | undefined): Promise<void> {
    const tenure = this.tenureOf(actor);
    if (!tenure) return;
    await this.read(tenure);
    draft.checks.push(this.#store.leaseCheck(tenure.id, tenure.leaseRevision));
  }

  /** A session of the same id may be here as well, and what is true of it says nothing of the other. */
  #assertOurs({ id, engine }: Tenure): void {
    if (engine.isOfOneMeshWith(this.#store.engine)) return;
    throw new MeshError('invalid_input', `expected a handle of this mesh, got that of session ${id} in another one`);
  }

  #isLease(address: Address, { id }: Tenure): boolean {
    const lease = this.#store.leaseAddress(id);
    return address.partition === lease.partition && address.key === lease.key;
  }
}

import { MeshError } from '../../kernel/errors.ts';
import { stateOf } from '../../registry/session.ts';
import type { Versioned } from '../../storage/collection.ts';
import type { Draft } from '../../storage/draft.ts';
import type { Actor } from '../hub-core.ts';
import { assertMayTake, writeAs } from './claimant.ts';
import type { Delegation } from './delegation.ts';
import type { Offer, OfferTarget, TaskRecord } from './task.ts';
import { isOver } from './task.ts';
import { type Content, type OfferOptions, targetOf } from './task-inputs.ts';
import type { TaskStore } from './task-store.ts';
import { concerned, type Failure, queued, stageKept, stageNext, stageOver, withDeadline } from './transitions.ts';

/** How many sessions an offer asks at most. */
const ASKED = 64;

/** Tasks that are somebody's only once it has accepted. */
export class Offers {
  readonly #store: TaskStore;
  readonly #delegation: Delegation;

  constructor(store: TaskStore, delegation: Delegation) {
    this.#store = store;
    this.#delegation = delegation;
  }

  async offer(content: Content & Pick<OfferOptions, 'to'>): Promise<Versioned<TaskRecord>> {
    const to = targetOf(content.to, this.#store.core.fence);
    const from = this.#store.core.actor(content.from).id;
    return this.#delegation.create(content, to, async (draft) => {
      if ('session' in to) await this.#delegation.stageTarget(draft, to);
      const asked = 'session' in to ? [to.session] : await this.#stageCandidates(draft, to, from);
      if (asked.length > 0) return { offer: { to, asked, declined: [] } };
      const whom = 'group' in to ? `of group ${to.group}` : 'capability' in to ? `with capability ${to.capability}` : '';
      throw new MeshError('not_found', `expected an alive session ${whom} to ask, got none besides ${from}`);
    });
  }

  /** @throws MeshError `not_found`, `not_alive`, `lease_lost`, `forbidden`, `conflict` */
  async accept(id: string, actor: Actor): Promise<Versioned<TaskRecord>> {
    const { made, committed } = await writeAs(this.#store.core, actor, async (draft, standing) => {
      assertMayTake(standing);
      const task = await this.#require(id);
      const { to, offer } = task.value;
      // Whoever accepts again what it has accepted is told so.
      if (offer && to && 'session' in to && to.session === actor.id) return task;
      const asked = assertAsked(task, actor.id);
      const { place: _place, ...rest } = task.value;
      const accepted = { ...rest, offer: asked, to: { session: actor.id } };
      const value = stageNext(draft, this.#store, task, accepted, 'queue');
      this.#store.event(draft, 'task_updated', id, value, { change: 'accepted', ...concerned(value), ...queued(value) });
      return { id, value, revision: 0 };
    });
    return made.revision > 0 || !committed ? made : { ...made, revision: committed.revision };
  }

  /** @throws MeshError `not_found`, `lease_lost`, `not_alive` (a handle), `forbidden`, `conflict` */
  async decline(id: string, actor: Actor, message: string): Promise<Versioned<TaskRecord>> {
    const { made, committed } = await this.#store.core.write(actor, async (draft) => {
      const task = await this.#require(id);
      const asked = assertAsked(task, actor.id, true);
      if (asked.declined.includes(actor.id)) return task;
      const value = stageDeclined(draft, this.#store, task, actor.id, { reason: 'declined', message });
      return { id, value, revision: 0 };
    });
    return made.revision > 0 || !committed ? made : { ...made, revision: committed.revision };
  }

  async #require(id: string): Promise<Versioned<TaskRecord>> {
    return (await withDeadline(this.#store, await this.#store.require(id))) ?? this.#store.require(id);
  }

  /** Those that are asked, of a capability the least loaded: alive, also in the commit, so that it is seen when they end. */
  async #stageCandidates(draft: Draft, to: Exclude<OfferTarget, { readonly session: string }>, from: string): Promise<string[]> {
    const { registry, sessions } = this.#store.core;
    const found =
      'capability' in to
        ? await registry.specialists(to.capability, { limit: ASKED })
        : (await registry.list({ group: to.group, limit: ASKED })).items;
    const snapshots = await sessions.readMany(found.flatMap(({ id }) => (id === from ? [] : [id])));
    return snapshots.flatMap((snapshot) => {
      if (!snapshot?.lease || stateOf(snapshot) !== 'alive') return [];
      draft.checks.push(sessions.leaseCheck(snapshot.id, snapshot.lease.revision));
      return [snapshot.id];
    });
  }
}

/** Stages that a session does not want what it was offered, or can't any more. When all have declined it is rejected. */
export function stageDeclined(
  draft: Draft,
  store: TaskStore,
  task: Versioned<TaskRecord>,
  session: string,
  failure: Failure,
): TaskRecord {
  const { offer } = task.value;
  const asked = offer?.asked ?? [];
  const declined = [...(offer?.declined ?? []), session];
  const changes = offer && { offer: { ...offer, declined } };
  if (asked.every((id) => declined.includes(id))) return stageOver(draft, store, task, 'rejected', { ...failure, changes });
  const value = stageKept(draft, store, task, { ...task.value, ...changes });
  store.event(draft, 'task_updated', task.id, value, { change: 'declined', session });
  return value;
}

/** @throws MeshError `conflict` when it is no longer on offer, `forbidden` when the session was not asked */
function assertAsked({ id, value }: Versioned<TaskRecord>, session: string, isDeclining = false): Offer {
  const { offer, place, to, state } = value;
  const details = { task: id, state };
  if (!offer || place?.in !== 'offer') {
    const got = isOver(value) ? state : to && 'session' in to ? `one that ${to.session} has` : 'one that was delegated';
    throw new MeshError('conflict', `expected task ${id} to be on offer, got ${got}`, { details });
  }
  if (!offer.asked.includes(session)) {
    throw new MeshError('forbidden', `expected a session that was asked, got ${session}`, { details });
  }
  if (!isDeclining && offer.declined.includes(session)) {
    throw new MeshError('conflict', `expected a session that has not declined, got ${session}`, { details });
  }
  return offer;
}

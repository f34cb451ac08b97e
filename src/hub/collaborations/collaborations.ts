import { MeshError } from '../../kernel/errors.ts';
import { parse } from '../../kernel/inputs.ts';
import { isTerminal, stateOf } from '../../registry/session.ts';
import type { Draft } from '../../storage/draft.ts';
import { type Page, query } from '../../storage/query.ts';
import type { HubCore } from '../hub-core.ts';
import { Collaboration, type CollaborationParts } from './collaboration.ts';
import { COLLABORATION_ID, LIST_COLLABORATIONS, type ListCollaborationsOptions } from './collaboration-inputs.ts';
import { type CollaborationInfo, infoOf } from './collaboration-record.ts';
import { CollaborationStore } from './collaboration-store.ts';
import type { CollaborationTasks } from './collaboration-tasks.ts';
import { acceptCreation, type CreateCollaborationOptions } from './creation.ts';
import { COLLABORATION_EVENTS } from './events.ts';
import { Inactivity } from './inactivity.ts';

/** All collaborations of a mesh. */
export class Collaborations {
  readonly #parts: CollaborationParts;

  constructor(core: HubCore, tasks: CollaborationTasks) {
    const store = new CollaborationStore(core.engine);
    this.#parts = { core, store, inactivity: new Inactivity(store, tasks), tasks };
    CollaborationStore.defineTopics(core.engine, COLLABORATION_EVENTS);
    core.engine.sweep();
  }

  async create(options: CreateCollaborationOptions): Promise<Collaboration> {
    const { id: asked, initiator, timeoutMs, context, ...rest } = acceptCreation(options, this.#parts.core.fence);
    const { core, store } = this.#parts;
    const id = asked ?? core.engine.generateId('collab');
    const actor = core.actor(initiator);
    await core.write(actor, async (draft) => {
      // A handle proves it by its lease.
      if (!actor.tenure) await this.#stageRegistered(draft, actor.id);
      if (await store.collection.get(id)) {
        throw new MeshError('already_exists', `expected an id that no collaboration has, got ${id}`, {
          details: { collaboration: id },
        });
      }
      const at = core.engine.now();
      store.collection.create(draft, id, {
        initiator: actor.id,
        ...rest,
        ...(timeoutMs !== undefined && { timeoutMs }),
        createdAt: at,
        activeAt: at,
      });
      store.putContext(draft, id, { value: context, version: 1, at });
      if (timeoutMs !== undefined) store.stageLook(draft, id, at + timeoutMs, at);
      store.event(draft, 'collaboration_created', id, { initiator: actor.id });
    });
    return new Collaboration(id, this.#parts);
  }

  async get(id: string): Promise<Collaboration | undefined> {
    const found = await this.#parts.store.collection.get(parse(COLLABORATION_ID, id, 'id'));
    return found && new Collaboration(found.id, this.#parts);
  }

  async list(options: ListCollaborationsOptions): Promise<Page<CollaborationInfo>> {
    const { state, session, limit, after } = parse(LIST_COLLABORATIONS, options, 'options');
    const { core, store, inactivity } = this.#parts;
    return query(core.engine.storage, store.collection, {
      where: session === undefined ? [] : [{ index: 'session', anyOf: [session] }],
      select: (records) =>
        Promise.all(
          records.map(async (found) => {
            const info = infoOf(found.id, found.value, await inactivity.endingOf(found, core.engine.now()));
            return state === undefined || info.state === state ? info : undefined;
          }),
        ),
      limit,
      ...(after !== undefined && { after }),
    });
  }

  /** Stages that a session is known and not over. */
  async #stageRegistered(draft: Draft, session: string): Promise<void> {
    const { sessions } = this.#parts.core;
    const snapshot = await sessions.require(session);
    const state = stateOf(snapshot);
    if (isTerminal(state)) {
      throw new MeshError('not_alive', `expected the initiator to be registered, got ${state}`, { details: { session, state } });
    }
    draft.checks.push({ ...sessions.collection.address(session), revision: snapshot.revision });
  }
}

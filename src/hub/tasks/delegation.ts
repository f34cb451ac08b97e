import { MeshError } from '../../kernel/errors.ts';
import { jsonObject, jsonValue, parse } from '../../kernel/inputs.ts';
import { type JsonValue, toJson } from '../../kernel/json.ts';
import { sameJson } from '../../kernel/same-json.ts';
import { isTerminal, stateOf } from '../../registry/session.ts';
import type { Versioned } from '../../storage/collection.ts';
import type { Draft } from '../../storage/draft.ts';
import type { Address } from '../../storage/storage.ts';
import type { Actor } from '../hub-core.ts';
import { notAlive } from './claimant.ts';
import type { Offer, OfferTarget, TaskRecord, TaskTarget } from './task.ts';
import { type Content, TASK_ID } from './task-inputs.ts';
import { sessionOf, type TaskStore } from './task-store.ts';
import { concerned, DEADLINE, queued, stagePlace } from './transitions.ts';

const HEADERS_BYTES = 16 * 1024;
const ONCE_MS = 86_400_000;

/** For whom a new task is: delegated to one target, or offered to those that are asked. */
export type Purpose = { readonly to: TaskTarget } | { readonly offer: Offer };

/** Makes tasks. */
export class Delegation {
  readonly #store: TaskStore;

  constructor(store: TaskStore) {
    this.#store = store;
  }

  /**
   * @param purposeOf told anew at each attempt; it stages what must hold
   * @throws MeshError `not_found`, `not_alive`, `lease_lost`, `already_exists`, `limit_exceeded`, `invalid_input`
   */
  async create(
    content: Content,
    wanted: OfferTarget,
    purposeOf: (draft: Draft) => Promise<Purpose>,
  ): Promise<Versioned<TaskRecord>> {
    const { core, engine, tasks } = this.#store;
    const from = core.actor(content.from);
    const payload = content.payload === undefined ? null : jsonValue(content.payload, 'options.payload');
    const headers = headersOf(content.headers);
    const id = parse(TASK_ID, engine.generateId('task'), 'generateId()');
    const { made, committed } = await core.write(from, async (draft) => {
      const first =
        content.idempotencyKey === undefined ? undefined : await this.#first(draft, id, from, content, wanted, payload);
      if (first) return first;
      await this.#stageFrom(from);
      const purpose = await purposeOf(draft);
      const { held, parts } = this.#store.hold(draft, id, payload, 0);
      const now = engine.now();
      const { type, title, priority, retry, collaborationId, step } = content;
      const record: TaskRecord = {
        type,
        ...(title !== undefined && { title }),
        from: from.id,
        ...purpose,
        priority,
        payload: held,
        ...(headers !== undefined && { headers }),
        ...(collaborationId !== undefined && { collaborationId }),
        ...(step !== undefined && { step }),
        retry,
        createdAt: now,
        updatedAt: now,
        deadline: now + content.timeoutMs,
        retainMs: content.retainMs,
        state: 'submitted',
        attempt: 0,
        claims: 0,
        questions: 0,
        parts,
      };
      const place = stagePlace(draft, this.#store, id, record, 'to' in purpose ? 'queue' : 'offer');
      const value = { ...record, place };
      tasks.create(draft, id, value);
      draft.puts.push(engine.due.put(value.deadline, DEADLINE, id));
      if ('to' in purpose) this.#store.event(draft, 'task_delegated', id, value, { ...concerned(value), ...queued(value) });
      else this.#store.event(draft, 'task_offered', id, value, { asked: purpose.offer.asked.length });
      return { id, value, revision: 0 };
    });
    return made.revision > 0 || !committed ? made : { ...made, revision: committed.revision };
  }

  /**
   * Stages that a target may get a task: a session that exists and is not over, not even about to be. Alive or offline, it
   * is still so in the commit.
   * @throws MeshError `not_found`, `not_alive`
   */
  async stageTarget(draft: Draft, to: TaskTarget): Promise<void> {
    const session = sessionOf(to);
    if (session === undefined) return;
    const { sessions } = this.#store.core;
    const snapshot = await sessions.require(session);
    const state = stateOf(snapshot);
    if (state === 'stopping' || isTerminal(state)) throw notAlive(session, state);
    draft.checks.push(sessions.leaseCheck(session, snapshot.lease?.revision ?? null));
    if (!snapshot.lease) draft.checks.push({ ...sessions.collection.address(session), revision: snapshot.revision });
  }

  /** Whoever delegates must be known. A handle is, as its lease proves. */
  async #stageFrom({ id, tenure }: Actor): Promise<void> {
    if (!tenure) await this.#store.core.sessions.require(id);
  }

  /**
   * The task that was delegated under this key before; else stages that this one is the first.
   * @throws MeshError `already_exists` when that was another, or is kept no longer
   */
  async #first(
    draft: Draft,
    id: string,
    from: Actor,
    content: Content,
    wanted: OfferTarget,
    payload: JsonValue,
  ): Promise<Versioned<TaskRecord> | undefined> {
    const address: Address = { partition: `delegated-once/${from.id}`, key: content.idempotencyKey ?? '' };
    const [known] = await this.#store.engine.storage.get([address]);
    const meant = { type: content.type, to: wanted as unknown as JsonValue };
    const before = known && (known.value as { readonly task: string; readonly meant: JsonValue });
    const first = before && (await this.#store.tasks.get(before.task));
    const loaded = first && (await this.#store.load(first));
    if (before) {
      const isSame = loaded && sameJson(before.meant, meant) && sameJson(loaded.contentOf(loaded.task.value.payload), payload);
      if (isSame) return first;
      const got = loaded ? 'it used for another' : 'it again after that was removed';
      throw new MeshError('already_exists', `expected an idempotencyKey for one task, got ${got}`, {
        details: { task: before.task },
      });
    }
    draft.checks.push({ ...address, revision: null });
    draft.puts.push({ ...address, value: { task: id, meant }, ttlMs: ONCE_MS });
    return undefined;
  }
}

function headersOf(headers: unknown): ReturnType<typeof jsonObject> | undefined {
  if (headers === undefined) return undefined;
  jsonObject(headers, 'options.headers');
  return toJson(headers, 'options.headers', HEADERS_BYTES) as ReturnType<typeof jsonObject>;
}

import { MeshError } from '../../kernel/errors.ts';
import { callback, jsonValue, parse } from '../../kernel/inputs.ts';
import type { SessionRef } from '../../registry/session-inputs.ts';
import { sessionRef } from '../../registry/session-inputs.ts';
import type { Tenure } from '../../registry/tenure.ts';
import type { Versioned } from '../../storage/collection.ts';
import type { Draft } from '../../storage/draft.ts';
import type { Page } from '../../storage/query.ts';
import type { MaybePromise } from '../../storage/storage.ts';
import type { Actor, HubCore } from '../hub-core.ts';
import { Acts, staleReceipt } from './acts.ts';
import { Assignment, type AssignmentParts } from './assignment.ts';
import { type Claimed, Claims } from './claims.ts';
import { Deadlines } from './deadlines.ts';
import { DeathWatch } from './death-watch.ts';
import { Delegation } from './delegation.ts';
import { TASK_EVENTS, topicsOf } from './events.ts';
import type { WorkHandler } from './job.ts';
import { Offers } from './offers.ts';
import { Recovery } from './recovery.ts';
import { Results } from './results.ts';
import { type Claim, isOver, type Task, type TaskRecord, type TaskState } from './task.ts';
import {
  ACT,
  type ActOptions,
  CANCEL,
  type CancelOptions,
  CLAIM,
  type ClaimOptions,
  COMPLETE,
  type CompleteTaskOptions,
  DECLINE,
  DELEGATE,
  type DelegateOptions,
  FAIL,
  HANDOFF,
  type HandoffOptions,
  INPUT,
  type ListTasksOptions,
  OFFER,
  type OfferOptions,
  type ProvideInputOptions,
  RESULT,
  type ReasonOptions,
  TASK_ID,
  targetOf,
  WORK,
  type WorkOptions,
} from './task-inputs.ts';
import { countTasks, findTasks, loadOf, type TaskDigest, tasksOf } from './task-search.ts';
import { sessionOf, TaskStore } from './task-store.ts';
import { viewOf } from './task-view.ts';
import { concerned, stageHandoff, stageKept, stageOver, stageReturned, withDeadline } from './transitions.ts';
import { TaskWorker } from './worker.ts';
import { Workforce } from './workforce.ts';

/** Delegated work. The methods are documented where users call them, at the hub. */
export class Tasks {
  readonly #core: HubCore;
  readonly #store: TaskStore;
  readonly #claims: Claims;
  readonly #delegation: Delegation;
  readonly #offers: Offers;
  readonly #deaths: DeathWatch;
  readonly #results: Results;
  readonly #parts: AssignmentParts;
  readonly #workers = new Set<TaskWorker>();

  constructor(core: HubCore) {
    this.#core = core;
    this.#store = new TaskStore(core);
    this.#claims = new Claims(this.#store, new Workforce(this.#store));
    this.#delegation = new Delegation(this.#store);
    this.#offers = new Offers(this.#store, this.#delegation);
    this.#deaths = new DeathWatch(this.#store, new Recovery(this.#store));
    this.#results = new Results(this.#store, this.#deaths);
    this.#parts = { store: this.#store, acts: new Acts(this.#store), delegation: this.#delegation };
    new Deadlines(this.#store);
    for (const name of TASK_EVENTS) core.engine.log.defineTopics(name, topicsOf);
    core.engine.sweep();
  }

  /** @param also stages what else must hold in the commit */
  async delegate(options: DelegateOptions, also?: (draft: Draft) => Promise<void>): Promise<Task> {
    const content = parse(DELEGATE, options, 'options');
    const to = targetOf(content.to, this.#core.fence);
    const task = await this.#delegation.create(content, to, async (draft) => {
      await also?.(draft);
      await this.#delegation.stageTarget(draft, to);
      return { to };
    });
    return this.#view(task);
  }

  async offer(options: OfferOptions): Promise<Task> {
    return this.#view(await this.#offers.offer(parse(OFFER, options, 'options')));
  }

  async accept(id: string, options: ActOptions): Promise<Task> {
    const { by } = parse(ACT, options, 'options');
    return this.#view(await this.#offers.accept(parse(TASK_ID, id, 'id'), this.#core.actor(by)));
  }

  async decline(id: string, options: ReasonOptions): Promise<Task> {
    const { by, reason } = parse(DECLINE, options, 'options');
    return this.#view(await this.#offers.decline(parse(TASK_ID, id, 'id'), this.#core.actor(by), reason));
  }

  work(session: SessionRef, options: WorkOptions, handler: WorkHandler): TaskWorker {
    const actor = this.#core.actor(parse(sessionRef, session, 'session'));
    const accepted = parse(WORK, options, 'options');
    parse(HANDLER, handler, 'handler');
    this.#core.assertOpen();
    const parts = {
      ...this.#parts,
      claims: this.#claims,
      deaths: this.#deaths,
      viewOf: ({ task }: Claimed) => this.#loaded(task),
      capabilitiesOf: (id: string) => this.#capabilitiesOf(id),
    };
    const worker = new TaskWorker(parts, actor, accepted, handler);
    this.#workers.add(worker);
    void worker.done.then(() => this.#workers.delete(worker));
    return worker;
  }

  async claim(session: SessionRef, options: ClaimOptions): Promise<Assignment[]> {
    const actor = this.#core.actor(parse(sessionRef, session, 'session'));
    const { capabilities = await this.#capabilitiesOf(actor.id), types, limit } = parse(CLAIM, options, 'options');
    this.#core.assertOpen();
    const claimed = await this.#claims.claim(actor, { capabilities, types }, limit);
    // Who looks again and again must learn that nothing will ever come.
    if (claimed.length === 0 && actor.tenure) await this.#core.write(actor, () => {});
    try {
      const views = await Promise.all(claimed.map(({ task }) => this.#loaded(task)));
      return claimed.flatMap((one, n) => {
        const view = views[n];
        return view ? [new Assignment(this.#parts, actor, one, view)] : [];
      });
    } catch (error) {
      // Nobody would know that they are claimed.
      await Promise.allSettled(claimed.map(({ task, claim }) => this.#giveBack(actor, claim, task)));
      throw error;
    }
  }

  async complete(id: string, options: CompleteTaskOptions): Promise<Task> {
    const { by, result } = parse(COMPLETE, options, 'options');
    const output = result === undefined ? null : jsonValue(result, 'options.result');
    const assignment = await this.#assignmentOf(id, this.#core.actor(by));
    await assignment.complete(output);
    return this.#now(id);
  }

  async fail(id: string, options: ReasonOptions): Promise<Task> {
    const { by, reason } = parse(FAIL, options, 'options');
    const assignment = await this.#assignmentOf(id, this.#core.actor(by));
    await assignment.fail(reason);
    return this.#now(id);
  }

  async provideInput(id: string, options: ProvideInputOptions): Promise<Task> {
    const { by, input: given } = parse(INPUT, options, 'options');
    const input = jsonValue(given, 'options.input');
    return this.#change(id, this.#core.actor(by), (draft, current) => {
      const { value } = current;
      if (value.state !== 'input_required') throw conflict(current, 'to be input_required');
      const { held, parts } = this.#store.hold(draft, id, input, value.parts);
      const next = stageKept(draft, this.#store, current, { ...value, state: 'working', input: held, parts });
      this.#store.event(draft, 'task_updated', id, next, { change: 'input', ...concerned(next) });
      return next;
    });
  }

  async handoff(id: string, options: HandoffOptions): Promise<Task> {
    const { by, to: given, context: said } = parse(HANDOFF, options, 'options');
    const context = said === undefined ? undefined : jsonValue(said, 'options.context');
    const to = targetOf(given, this.#core.fence);
    const actor = this.#core.actor(by);
    const task = await this.#require(id);
    if (task.value.claim?.session === actor.id) {
      const assignment = await this.#assignmentOf(id, actor);
      await assignment.handoff({ to: given, context });
      return this.#now(id);
    }
    return this.#change(id, actor, async (draft, current) => {
      const { value } = current;
      if (isOver(value) || value.place?.in === 'offer') throw conflict(current, 'to be open, and nobody to be asked for it');
      const mayGiveOn = value.from === actor.id || (value.place !== undefined && sessionOf(value.to) === actor.id);
      if (!mayGiveOn) {
        const details = { task: id, state: value.state };
        throw new MeshError('forbidden', `expected a session whose task it is, got ${actor.id}`, { details });
      }
      await this.#delegation.stageTarget(draft, to);
      return stageHandoff(draft, this.#store, current, { to, by: actor.id, context });
    });
  }

  async cancel(id: string, options: CancelOptions): Promise<Task> {
    const { by, reason } = parse(CANCEL, options, 'options');
    const actor = by === undefined ? undefined : this.#core.actor(by);
    return this.#change(id, actor, (draft, current) => {
      if (current.value.state === 'canceled') return undefined;
      if (isOver(current.value)) throw conflict(current, 'to be open');
      const failure = { reason: 'canceled', message: reason, by: actor?.id } as const;
      return stageOver(draft, this.#store, current, 'canceled', failure);
    });
  }

  async get(id: string): Promise<Task | undefined> {
    const task = await withDeadline(this.#store, await this.#store.tasks.get(parse(TASK_ID, id, 'id')));
    return task && this.#loaded(task);
  }

  list(options: ListTasksOptions): Promise<Page<Task>> {
    return findTasks(this.#store, options, this.#resultOf);
  }

  stats(): Promise<Record<TaskState, number>> {
    return countTasks(this.#store);
  }

  /** Open tasks of each session, for the registry. */
  loadOf(ids: readonly string[]): Promise<number[]> {
    return loadOf(this.#store, ids);
  }

  /** All tasks of a collaboration, for its summary. */
  tasksOf(collaboration: string): AsyncGenerator<TaskDigest, void, undefined> {
    return tasksOf(this.#store, collaboration);
  }

  /** Gives back what is being worked on here, and what the sessions that are held here have claimed. */
  async close(): Promise<void> {
    const stopped = [...this.#workers].map((worker) => worker.stop({ graceMs: 0 }));
    await Promise.all(stopped);
    try {
      await this.#giveBackAll(this.#core.holders.all().filter(({ end }) => end === undefined));
    } catch (error) {
      // What can't be given back is handed on once the leases have ended.
      this.#core.engine.report(error);
    }
  }

  async #giveBackAll(tenures: readonly Tenure[]): Promise<void> {
    const { storage } = this.#core.engine;
    const { tasks } = this.#store;
    for (let start = 0; start < tenures.length; start += AT_ONCE) {
      const part = tenures.slice(start, start + AT_ONCE);
      const markers = await storage.get(part.map(({ id, incarnation }) => this.#store.markerAddress(id, incarnation)));
      for (const tenure of part.filter((_, n) => markers[n] !== undefined)) {
        const listed = await storage.list(tasks.indexPartition('worker', tenure.id), { values: false });
        const claimed = await tasks.getMany(listed.map(({ key }) => key));
        const actor = { id: tenure.id, tenure };
        const given = claimed.flatMap((task) => (task?.value.claim ? [this.#giveBack(actor, task.value.claim, task)] : []));
        // What is no longer its own is not for it to give back.
        await Promise.allSettled(given);
      }
    }
  }

  #giveBack(actor: Actor, claim: Claim, task: Versioned<TaskRecord>): Promise<unknown> {
    return this.#parts.acts.run(actor, claim, task, (draft, current) => stageReturned(draft, this.#store, current));
  }

  readonly #resultOf = (id: string, options: unknown = {}): ReturnType<Results['of']> =>
    this.#results.of(id, parse(RESULT, options, 'options'));

  /** What a session has claimed; what is addressed to it is claimed first. */
  async #assignmentOf(id: string, actor: Actor): Promise<Assignment> {
    const task = await this.#require(id);
    const { claim, place, to, state } = task.value;
    const isWaiting = place !== undefined && sessionOf(to) === actor.id;
    const claimed =
      claim?.session === actor.id ? { task, claim } : isWaiting ? await this.#claims.claimOne(actor, id) : undefined;
    const view = claimed && (await this.#loaded(claimed.task));
    if (!claimed || !view) throw staleReceipt(id, claim ? `one that ${claim.session} works on` : state);
    return new Assignment(this.#parts, actor, claimed, view);
  }

  /** Changes a task as it is; `undefined` leaves it so. */
  async #change(
    id: string,
    actor: Actor | undefined,
    stage: (draft: Draft, current: Versioned<TaskRecord>) => MaybePromise<TaskRecord | undefined>,
  ): Promise<Task> {
    parse(TASK_ID, id, 'id');
    const { made, committed } = await this.#core.write(actor, async (draft) => {
      const current = await this.#require(id);
      const value = await stage(draft, current);
      return { current, value };
    });
    const { current, value } = made;
    return this.#view(value && committed ? { id, value, revision: committed.revision } : current);
  }

  async #require(id: string): Promise<Versioned<TaskRecord>> {
    const task = await withDeadline(this.#store, await this.#store.require(parse(TASK_ID, id, 'id')));
    return task ?? this.#store.require(id);
  }

  async #now(id: string): Promise<Task> {
    return this.#view(await this.#store.require(id));
  }

  async #view(task: Versioned<TaskRecord>): Promise<Task> {
    const view = await this.#loaded(task);
    if (!view) throw new MeshError('not_found', `expected a known task, got ${task.id}`, { details: { task: task.id } });
    return view;
  }

  async #loaded(task: Versioned<TaskRecord>): Promise<Task | undefined> {
    const loaded = await this.#store.load(task);
    return loaded && viewOf(loaded, this.#resultOf);
  }

  async #capabilitiesOf(session: string): Promise<readonly string[]> {
    return (await this.#core.sessions.require(session)).record.capabilities;
  }
}

const AT_ONCE = 500;
const HANDLER = callback<WorkHandler>();

function conflict({ id, value }: Versioned<TaskRecord>, expected: string): MeshError {
  const details = { task: id, state: value.state };
  return new MeshError('conflict', `expected task ${id} ${expected}, got ${value.state}`, { details });
}

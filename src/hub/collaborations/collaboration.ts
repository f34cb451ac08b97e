import { MeshError } from '../../kernel/errors.ts';
import { jsonObject, jsonValue, parse } from '../../kernel/inputs.ts';
import type { JsonObject, JsonValue } from '../../kernel/json.ts';
import { isTerminal, stateOf } from '../../registry/session.ts';
import type { SessionRef } from '../../registry/session-inputs.ts';
import type { Draft } from '../../storage/draft.ts';
import type { HubCore } from '../hub-core.ts';
import type { Task } from '../tasks/task.ts';
import {
  acceptCompletion,
  acceptTermination,
  CHANGE,
  COMPLETE_STEP,
  type CompleteOptions,
  type CompleteStepOptions,
  DELEGATE_INSIDE,
  type EndingRequest,
  idOf,
  JOIN,
  type JoinOptions,
  LEAVE,
  type LeaveOptions,
  STEP_NAME,
  SUMMARY,
  type SummaryOptions,
  type TerminateOptions,
  tooMany,
  UPDATE_CONTEXT,
  type UpdateContextOptions,
} from './collaboration-inputs.ts';
import {
  type CollaborationDetails,
  type CollaborationRecord,
  infoOf,
  type Outcome,
  type ParticipantState,
  participantOf,
} from './collaboration-record.ts';
import { type CollaborationStore, type Found, unknown } from './collaboration-store.ts';
import type { CollaborationTasks, DelegateInCollaborationOptions } from './collaboration-tasks.ts';
import type { Inactivity } from './inactivity.ts';
import { assertOpen, type Progress, progressOf, stepOf, withCompleted } from './steps.ts';
import { type CollaborationSummary, Tally } from './summary.ts';

/** What the operations of a collaboration stand on. */
export interface CollaborationParts {
  readonly core: HubCore;
  readonly store: CollaborationStore;
  readonly inactivity: Inactivity;
  readonly tasks: CollaborationTasks;
}

/**
 * One collaboration: sessions that go through named steps on a shared context. It holds nothing but the id, so every call
 * sees what all processes have done. Made by `hub.createCollaboration` and `hub.getCollaboration`.
 *
 * Whatever changes it is refused with `conflict` once it is completed or terminated, also by inactivity; `details.state`
 * says which. A collaboration that has ended can be read for seven days; then every call answers `not_found`.
 */
export class Collaboration {
  readonly id: string;
  readonly #parts: CollaborationParts;

  /** @internal */
  constructor(id: string, parts: CollaborationParts) {
    this.id = id;
    this.#parts = parts;
  }

  /**
   * What it is now, with the state of each participant, and what came of it once it has ended.
   * @throws MeshError `not_found`
   */
  async get(): Promise<CollaborationDetails> {
    const { core, store, inactivity } = this.#parts;
    const found = await store.require(this.id);
    const ending = await inactivity.endingOf(found, core.engine.now());
    const [outcome] = ending ? await core.engine.storage.get([store.outcomeAddress(this.id)]) : [];
    const { participants } = found.value;
    const sessions = await core.sessions.readMany(participants.map(({ session }) => session));
    return {
      ...infoOf(this.id, found.value, ending),
      participants: participants.map((participant, n) => ({ ...participant, state: participantState(sessions[n]) })),
      ...(outcome?.value as Outcome | undefined),
    };
  }

  /**
   * Makes a session a participant, or notes that an invited one has come. Whoever has joined already may change its role.
   * @returns whether something changed
   * @throws MeshError `invalid_input`, `not_found`, `limit_exceeded` (`maxParticipants`), `conflict` (it has ended),
   * `lease_lost` and `not_alive` (`session` is a handle that no longer holds)
   */
  async join(options: JoinOptions): Promise<boolean> {
    const { session: ref, role: asked } = parse(JOIN, options, 'options');
    const session = idOf(ref);
    return this.#change(ref, ({ participants, maxParticipants, ...rest }, at, draft) => {
      const known = participants.find((participant) => participant.session === session);
      const role = asked ?? known?.role ?? 'participant';
      if (known?.joinedAt !== undefined && known.role === role) return undefined;
      if (!known && participants.length >= maxParticipants) throw tooMany(maxParticipants, participants.length + 1);
      const joined = { session, role, joinedAt: known?.joinedAt ?? at };
      this.#parts.store.event(draft, 'participant_joined', this.id, { session });
      const others = known ? participants.map((other) => (other === known ? joined : other)) : [...participants, joined];
      return { ...rest, maxParticipants, participants: others };
    });
  }

  /**
   * Takes a participant out. A step that only those who have left may complete waits until one of them joins again.
   * @returns whether it was one
   * @throws MeshError `invalid_input`, `not_found`, `forbidden` (the initiator stays), `conflict` (it has ended),
   * `lease_lost` and `not_alive` (`session` is a handle that no longer holds)
   */
  async leave(options: LeaveOptions): Promise<boolean> {
    const { session: ref } = parse(LEAVE, options, 'options');
    const session = idOf(ref);
    return this.#change(ref, (record, _at, draft) => {
      if (session === record.initiator) {
        throw new MeshError('forbidden', `expected a participant other than the initiator to leave, got ${session}`);
      }
      if (!participantOf(record, session)) return undefined;
      this.#parts.store.event(draft, 'participant_left', this.id, { session });
      return { ...record, participants: record.participants.filter((participant) => participant.session !== session) };
    });
  }

  /**
   * Completes a step, once whoever races. `by` must be a participant whose session is registered and not over, and one of
   * those whom the step requires, if it requires any.
   * @throws MeshError `invalid_input`, `limit_exceeded`, `not_found` (also no such step), `forbidden` (not a participant, not
   * required), `not_alive` (its session is not registered, or over), `conflict` (completed already, with
   * `details.completedBy`; steps before it are open, with `details.missing`; the collaboration has ended), `lease_lost`
   */
  async completeStep(name: string, options: CompleteStepOptions): Promise<void> {
    const step = parse(STEP_NAME, name, 'name');
    const { by: ref, output } = parse(COMPLETE_STEP, options, 'options');
    const accepted = output === undefined ? undefined : jsonValue(output, 'options.output');
    const by = idOf(ref);
    const { store } = this.#parts;
    await this.#change(ref, async (record, at, draft) => {
      await this.#stageActive(draft, record, ref);
      const steps = withCompleted(record.steps, step, by, at);
      if (accepted !== undefined) draft.puts.push({ ...store.outputAddress(this.id, step), value: accepted });
      store.event(draft, 'step_completed', this.id, { step, by });
      return { ...record, steps };
    });
  }

  /**
   * The output with which a step was completed; `undefined` when there is none, or not yet.
   * @throws MeshError `invalid_input`, `not_found` (also no such step)
   */
  async output<Value = JsonValue>(step: string): Promise<Value | undefined> {
    const name = parse(STEP_NAME, step, 'step');
    const { store } = this.#parts;
    const { value } = await store.require(this.id);
    stepOf(value.steps, name);
    return (await store.output(this.id, name)) as Value | undefined;
  }

  /**
   * How far the steps have come.
   * @throws MeshError `not_found`
   */
  async progress(): Promise<Progress> {
    const { core, store, inactivity } = this.#parts;
    const found = await store.require(this.id);
    const ending = await inactivity.endingOf(found, core.engine.now());
    return progressOf(found.value.steps, ending?.state ?? 'active');
  }

  /**
   * The shared context.
   * @throws MeshError `not_found`
   */
  async context<Context = JsonObject>(): Promise<Context> {
    const found = await this.#parts.store.context(this.id);
    if (!found) throw unknown(this.id);
    return found.value.value as Context;
  }

  /**
   * Makes a new context of the current one, again when another change came in between, so that none is lost. `change` may
   * run many times; when it answers `undefined`, nothing is written. The context is an object of at most 1 MiB.
   * @returns what it is afterwards
   * @throws MeshError `invalid_input`, `limit_exceeded`, `not_found`, `conflict` (it has ended), `lease_lost` and `not_alive`
   * (`by` is a handle that no longer holds), and whatever `change` throws
   */
  async updateContext<Context = JsonObject>(
    change: (context: Context) => unknown,
    options: UpdateContextOptions = {},
  ): Promise<Context> {
    parse(CHANGE, change, 'change');
    const { by } = parse(UPDATE_CONTEXT, options, 'options');
    const { core, store, inactivity } = this.#parts;
    const { made } = await core.write(by === undefined ? undefined : core.actor(by), async (draft) => {
      const found = await store.require(this.id);
      await inactivity.assertActive(found, core.engine.now());
      const context = await store.context(this.id);
      if (!context) throw unknown(this.id);
      const next = await change(context.value.value as Context);
      if (next === undefined) return context.value.value;
      const value = jsonObject(next, 'context');
      // Now, since the change may have taken long.
      const at = core.engine.now();
      await inactivity.assertActive(found, at);
      const version = context.value.version + 1;
      draft.checks.push({ ...store.collection.address(this.id), revision: found.revision });
      draft.checks.push({ ...store.contextAddress(this.id), revision: context.revision });
      store.putContext(draft, this.id, { value, version, at });
      store.event(draft, 'context_updated', this.id, { version, ...(by !== undefined && { by: idOf(by) }) });
      return value;
    });
    return made as Context;
  }

  /**
   * Delegates a task in this collaboration, where it counts as activity and stands in the summary. `step` names the step
   * that it is for, which must not be completed.
   * @throws MeshError as `hub.delegate`, `not_found` also for the collaboration and the step, `conflict` (it has ended; the
   * step is completed)
   */
  async delegate(options: DelegateInCollaborationOptions): Promise<Task> {
    const given = { ...parse(DELEGATE_INSIDE, options, 'options'), collaborationId: this.id };
    const { core, store, inactivity, tasks } = this.#parts;
    return tasks.delegate(given, async (draft) => {
      const found = await store.require(this.id);
      await inactivity.assertActive(found, core.engine.now());
      if (given.step !== undefined) assertOpen(found.value.steps, given.step);
      draft.checks.push({ ...store.collection.address(this.id), revision: found.revision });
    });
  }

  /**
   * Everything that was done: the steps with their outputs, and the tasks counted by state, step and participant and told
   * one by one with their results.
   * @throws MeshError `invalid_input`, `not_found`
   */
  async summary(options: SummaryOptions = {}): Promise<CollaborationSummary> {
    const { limit } = parse(SUMMARY, options, 'options');
    const { core, store, tasks } = this.#parts;
    const { id, state, steps, summary, artifacts, reason, details } = await this.get();
    const tally = new Tally(limit);
    for await (const task of tasks.of(id)) tally.add(task);
    const outputs: CollaborationSummary['steps'][number][] = [];
    for (const { name, completedBy, completedAt } of steps) {
      if (completedBy === undefined) {
        outputs.push({ name });
        continue;
      }
      // One by one, with turns for others, since each may be large.
      const output = await store.output(id, name);
      await core.nextTurn();
      outputs.push({
        name,
        completedBy,
        ...(completedAt !== undefined && { completedAt }),
        ...(output !== undefined && { output }),
      });
    }
    return {
      collaboration: id,
      state,
      progress: progressOf(steps, state),
      ...(summary !== undefined && { summary }),
      ...(artifacts !== undefined && { artifacts }),
      ...(reason !== undefined && { reason }),
      ...(details !== undefined && { details }),
      steps: outputs,
      tasks: tally.result(),
    };
  }

  /**
   * Ends it with what came of it, once whoever races. Steps may be open, and its tasks go on.
   * @throws MeshError `invalid_input`, `limit_exceeded`, `not_found`, `conflict` (it has ended), `lease_lost` and `not_alive`
   * (`by` is a handle that no longer holds)
   */
  async complete(options: CompleteOptions = {}): Promise<void> {
    await this.#end(acceptCompletion(options));
  }

  /**
   * Ends it without a result, once whoever races. Its tasks go on.
   * @throws MeshError as `complete`
   */
  async terminate(options: TerminateOptions = {}): Promise<void> {
    await this.#end(acceptTermination(options));
  }

  async #end({ state, by, reason, outcome }: EndingRequest): Promise<void> {
    await this.#write(by, (found, at, draft) => {
      const who = by !== undefined && { by: idOf(by) };
      this.#parts.store.stageEnding(draft, found, { state, at, ...who, ...(reason !== undefined && { reason }) }, outcome);
    });
  }

  /** Changes the record, which counts as activity; answers whether it did. */
  async #change(
    by: SessionRef,
    change: (
      record: CollaborationRecord,
      at: number,
      draft: Draft,
    ) => CollaborationRecord | undefined | Promise<CollaborationRecord | undefined>,
  ): Promise<boolean> {
    return this.#write(by, async (found, at, draft) => {
      const next = await change(found.value, at, draft);
      if (next) this.#parts.store.collection.replace(draft, found, { ...next, activeAt: at });
      return next !== undefined;
    });
  }

  /** Stages while it is active. The record must still be the one that was judged when the commit is made. */
  async #write<T>(by: SessionRef | undefined, stage: (found: Found, at: number, draft: Draft) => T | Promise<T>): Promise<T> {
    const { core, store, inactivity } = this.#parts;
    const { made } = await core.write(by === undefined ? undefined : core.actor(by), async (draft) => {
      const found = await store.require(this.id);
      const at = core.engine.now();
      await inactivity.assertActive(found, at);
      return stage(found, at, draft);
    });
    return made;
  }

  /** Stages that a session takes part and is registered and not over, which a handle proves by its lease. */
  async #stageActive(draft: Draft, record: CollaborationRecord, ref: SessionRef): Promise<void> {
    const session = idOf(ref);
    if (!participantOf(record, session)) {
      throw new MeshError('forbidden', `expected a participant of the collaboration, got ${session}`, { details: { session } });
    }
    const { core } = this.#parts;
    if (core.actor(ref).tenure) return;
    const { sessions } = core;
    const snapshot = await sessions.read(session);
    const state = participantState(snapshot);
    if (state !== 'active' || !snapshot) {
      throw new MeshError('not_alive', `expected an active participant, got ${session}, which is ${state}`, {
        details: { session, state },
      });
    }
    draft.checks.push({ ...sessions.collection.address(session), revision: snapshot.revision });
  }
}

function participantState(snapshot: Parameters<typeof stateOf>[0] | undefined): ParticipantState {
  if (!snapshot) return 'invited';
  return isTerminal(stateOf(snapshot)) ? 'gone' : 'active';
}

import { abortedBy, holdProcess } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import { jsonValue, parse } from '../../kernel/inputs.ts';
import { type JsonValue, jsonBytesAtMost } from '../../kernel/json.ts';
import { sessionTopic } from '../../registry/events.ts';
import type { Versioned } from '../../storage/collection.ts';
import type { Draft } from '../../storage/draft.ts';
import { setHubAlarm } from '../alarm.ts';
import type { Actor } from '../hub-core.ts';
import { type Acts, type Change, staleReceipt } from './acts.ts';
import type { Claimed } from './claims.ts';
import type { Delegation } from './delegation.ts';
import { taskTopic } from './events.ts';
import type { Claim, Task, TaskRecord } from './task.ts';
import { type DelegateTarget, HANDOFF_TO, PROGRESS, type ProgressUpdate, REASON, targetOf, WAIT } from './task-inputs.ts';
import type { TaskStore } from './task-store.ts';
import {
  concerned,
  stageCompleted,
  stageFailed,
  stageHandoff,
  stageKept,
  stageOver,
  stageReturned,
  withDeadline,
} from './transitions.ts';

/** What acts on claimed tasks share. */
export interface AssignmentParts {
  readonly store: TaskStore;
  readonly acts: Acts;
  readonly delegation: Delegation;
}

/**
 * A task that a session has claimed, to be worked on outside of `hub.work`. One of `complete`, `fail`, `reject`, `handoff`
 * and `release` ends it. All of them throw `stale_receipt` once the claim is no longer the task's: it was canceled, timed
 * out or handed on, or the session lapsed meanwhile; and `not_alive` or `lease_lost` while, or when, the session is gone.
 */
export class Assignment<Payload = JsonValue> {
  /** As it was when it was claimed. */
  readonly task: Task<Payload>;
  readonly #parts: AssignmentParts;
  readonly #actor: Actor;
  readonly #claim: Claim;
  #known: Versioned<TaskRecord>;

  /** @internal */
  constructor(parts: AssignmentParts, actor: Actor, { task, claim }: Claimed, view: Task) {
    this.task = view as Task<Payload>;
    this.#parts = parts;
    this.#actor = actor;
    this.#claim = claim;
    this.#known = task;
  }

  /**
   * For the worker, to see whether the claim still is what it was.
   * @internal
   */
  get claim(): Claim {
    return this.#claim;
  }

  /**
   * The task is done; `undefined` as its result is `null`.
   * @throws MeshError `invalid_input`, `limit_exceeded`, `stale_receipt`, `not_alive`, `lease_lost`
   */
  async complete(result?: unknown): Promise<void> {
    const output = result === undefined ? null : jsonValue(result, 'result');
    const { store } = this.#parts;
    await this.#act((draft, current) => stageCompleted(draft, store, current, output), output);
  }

  /**
   * This attempt has failed; another follows after its back-off, or the task fails. The reason is at most 1 KiB.
   * @throws MeshError as `complete`
   */
  async fail(reason = 'failed'): Promise<void> {
    const message = parse(REASON, reason, 'reason');
    const { store } = this.#parts;
    await this.#act((draft, current) => stageFailed(draft, store, current, { reason: 'error', message }));
  }

  /** The worker is lost: another attempt follows at once. */
  async lose(): Promise<void> {
    const { store } = this.#parts;
    const failure = { reason: 'worker_lost', message: 'worker_lost', atOnce: true } as const;
    await this.#act((draft, current) => stageFailed(draft, store, current, failure));
  }

  /**
   * Nobody is to do it: the task is `rejected`, for good.
   * @throws MeshError as `complete`
   */
  async reject(reason = 'rejected'): Promise<void> {
    const message = parse(REASON, reason, 'reason');
    const { store } = this.#parts;
    await this.#act((draft, current) => stageOver(draft, store, current, 'rejected', { reason: 'rejected', message }));
  }

  /**
   * Says how far it has come.
   * @throws MeshError as `complete`
   */
  async progress(update: ProgressUpdate): Promise<void> {
    const { percent, message, data: given } = parse(PROGRESS, update, 'update');
    const data = given === undefined ? undefined : jsonValue(given, 'update.data');
    const { store } = this.#parts;
    await this.#act((draft, current) => {
      const { id, value } = current;
      store.drop(draft, id, value.progress?.data);
      const held = data === undefined ? undefined : store.hold(draft, id, data, value.parts);
      const progress = {
        ...(percent !== undefined && { percent }),
        ...(message !== undefined && { message }),
        ...(held && { data: held.held }),
        at: store.engine.now(),
      };
      return this.#kept(draft, current, { ...value, progress, parts: held?.parts ?? value.parts }, 'progress');
    }, data);
  }

  /**
   * Asks, and waits for `hub.provideInput`: the task is `input_required` meanwhile. The wait keeps the process alive.
   * @returns the input
   * @throws MeshError as `complete`, and `conflict` (it has asked already), `aborted`, `closed`
   */
  async ask<Input = JsonValue>(question: unknown, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<Input> {
    const { signal } = parse(WAIT, options, 'options');
    const asked = jsonValue(question, 'question');
    const { store } = this.#parts;
    const { value } = await this.#act((draft, current) => {
      if (current.value.state === 'input_required') {
        throw new MeshError('conflict', 'expected one question at a time, got another while one is open');
      }
      const { input, question: before, ...rest } = current.value;
      store.drop(draft, current.id, input);
      store.drop(draft, current.id, before);
      const { held, parts } = store.hold(draft, current.id, asked, rest.parts);
      const next = { ...rest, state: 'input_required' as const, question: held, questions: rest.questions + 1, parts };
      return this.#kept(draft, current, next, 'question');
    }, asked);
    return (await this.#answer(value.questions, signal)) as Input;
  }

  /**
   * Gives the task to somebody else, with what is to be known for it, in one step. Attempts begin anew.
   * @throws MeshError as `complete`, and `not_found`, `not_alive` (the target)
   */
  async handoff(options: { readonly to: DelegateTarget; readonly context?: unknown }): Promise<void> {
    const { to, context: given } = parse(HANDOFF_TO, options, 'options');
    const context = given === undefined ? undefined : jsonValue(given, 'options.context');
    const { store, delegation } = this.#parts;
    const target = targetOf(to, store.core.fence);
    await this.#act(async (draft, current) => {
      await delegation.stageTarget(draft, target);
      return stageHandoff(draft, store, current, { to: target, by: this.#actor.id, context });
    }, context);
  }

  /**
   * Gives the task back as if it had not been claimed: no attempt is used.
   * @throws MeshError as `complete`
   */
  async release(): Promise<void> {
    const { store } = this.#parts;
    await this.#act((draft, current) => stageReturned(draft, store, current));
  }

  async #act(change: Change, value: JsonValue = null): Promise<Versioned<TaskRecord>> {
    this.#known = await this.#parts.acts.run(this.#actor, this.#claim, this.#known, change, jsonBytesAtMost(value));
    return this.#known;
  }

  #kept(draft: Draft, current: Versioned<TaskRecord>, next: TaskRecord, change: 'progress' | 'question'): TaskRecord {
    const { store } = this.#parts;
    const record = stageKept(draft, store, current, next);
    store.event(draft, 'task_updated', current.id, record, { change, ...concerned(record) });
    return record;
  }

  async #answer(question: number, signal: AbortSignal | undefined): Promise<JsonValue> {
    const { store } = this.#parts;
    const { core, engine } = store;
    const { id } = this.task;
    const { tenure } = this.#actor;
    const release = holdProcess();
    try {
      for (;;) {
        const topics = [taskTopic(id), sessionTopic(this.#actor.id)];
        // A session that was told to stop may still get its answer, and would be woken by its signal each time.
        const lost = tenure?.signal.aborted ? undefined : tenure?.signal;
        const alarm = setHubAlarm(core, { topics, signals: [signal, lost], at: this.task.deadline });
        try {
          if (signal?.aborted) throw abortedBy(signal);
          if (tenure?.end) throw tenure.end;
          core.assertOpen();
          await engine.log.ready();
          const task = await withDeadline(store, await store.tasks.get(id));
          const { claim, state, questions, input } = task?.value ?? {};
          if (!task || claim?.number !== this.#claim.number) throw staleReceipt(id, state ?? 'none');
          if (state === 'working' && questions === question && input) {
            const loaded = await store.load(task);
            if (loaded?.task.value.input && loaded.task.value.questions === question) {
              this.#known = loaded.task;
              return loaded.contentOf(loaded.task.value.input);
            }
            continue;
          }
          await alarm.ring;
        } finally {
          alarm.cancel();
        }
      }
    } finally {
      release();
    }
  }
}

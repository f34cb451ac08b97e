import type { Placed } from '../../kernel/bag.ts';
import { sleep, type Timer } from '../../kernel/clock.ts';
import { saidBy } from '../../kernel/describe.ts';
import { MeshError } from '../../kernel/errors.ts';
import type { JsonValue } from '../../kernel/json.ts';
import { LazyController } from '../../kernel/lazy-controller.ts';
import type { Assignment } from './assignment.ts';
import type { Claim, Task } from './task.ts';
import type { DelegateTarget, ProgressUpdate } from './task-inputs.ts';
import type { TaskStore } from './task-store.ts';
import { withDeadline } from './transitions.ts';

/** What a handler can do with its task besides returning a result, which completes it, and throwing, which fails the attempt. */
export interface WorkContext {
  /**
   * Aborts when the task is canceled, timed out or handed on, when the session is killed or loses its lease, and when the
   * worker is stopped by force. What the handler returns after that counts no more; after a kill it does, within the grace.
   */
  readonly signal: AbortSignal;
  /** Says how far it has come. */
  progress(update: ProgressUpdate): Promise<void>;
  /** Asks whoever watches, and waits for `hub.provideInput`; the task is `input_required` meanwhile. */
  ask<Input = JsonValue>(question: unknown): Promise<Input>;
  /** Nobody is to do it. What the handler returns after that counts no more. */
  reject(reason?: string): Promise<void>;
  /** Gives it to somebody else. What the handler returns after that counts no more. */
  handoff(options: { readonly to: DelegateTarget; readonly context?: unknown }): Promise<void>;
}

/** Works on one task; what it returns is the task's output, `undefined` being `null`. */
export type WorkHandler<Payload = JsonValue> = (task: Task<Payload>, context: WorkContext) => unknown;

/** How long to wait before an outcome that could not be stored is stored again. */
const PAUSE_MS = 1000;
const MESSAGE_LENGTH = 256;

/** One attempt at one task in this process. */
export class Job implements Placed {
  place = -1;
  /** Resolves when the handler has returned and its outcome is stored, or when it was given back; never rejects. */
  readonly finished: Promise<void>;
  /** Resolves when the task is no longer this one's, although the handler may still run. */
  readonly over: Promise<void>;
  readonly #store: TaskStore;
  readonly #assignment: Assignment;
  readonly #handler: WorkHandler;
  readonly #controller = new LazyController();
  #finish = (): void => {};
  #letGo = (): void => {};
  #timer: Timer | undefined;
  #isOver = false;
  /** The session is told to stop. */
  #isKilled = false;

  constructor(store: TaskStore, assignment: Assignment, handler: WorkHandler) {
    this.#store = store;
    this.#assignment = assignment;
    this.#handler = handler;
    this.finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.over = new Promise((resolve) => {
      this.#letGo = resolve;
    });
  }

  get id(): string {
    return this.#assignment.task.id;
  }

  /** Nothing that the handler does from now on counts. */
  get isOver(): boolean {
    return this.#isOver;
  }

  get claim(): Claim {
    return this.#assignment.claim;
  }

  start(): void {
    this.#watchDeadline();
    void this.#work();
  }

  /** Tells the handler that its session is to stop. What it still completes counts; if it fails, its worker was lost. */
  kill(reason: unknown): void {
    this.#isKilled = true;
    this.abort(reason);
  }

  /** Tells the handler to give up. */
  abort(reason: unknown): void {
    this.#controller.abort(reason);
  }

  /** Reads whether the task still is what was claimed, and aborts if not. */
  async look(): Promise<void> {
    try {
      const { id } = this.#assignment.task;
      const task = await withDeadline(this.#store, await this.#store.tasks.get(id));
      if (this.#isOver || task?.value.claim?.number === this.claim.number) return;
      const { state = 'failed', reason = 'worker_lost', message = reason } = task?.value ?? {};
      const details = { task: id, state, reason };
      this.#end(new MeshError('aborted', `expected to go on with task ${id}, got ${state}: ${message}`, { details }));
    } catch (error) {
      if (!this.#store.core.closed) this.#store.engine.report(error);
    }
  }

  /** Aborts the handler and gives the task back. Does not wait for the handler. */
  async giveBack(reason: unknown): Promise<void> {
    if (!this.#isOver) {
      this.#end(reason);
      await this.#persist(() => this.#assignment.release());
    }
    this.#finish();
  }

  async #work(): Promise<void> {
    const assignment = this.#assignment;
    let outcome: () => Promise<void>;
    try {
      const result = await this.#handler(assignment.task, this.#context());
      outcome = () => assignment.complete(result);
    } catch (error) {
      outcome = () => (this.#isKilled ? assignment.lose() : assignment.fail(saidBy(error, MESSAGE_LENGTH)));
    }
    if (!this.#isOver) await this.#persist(outcome);
    this.#end(undefined);
    this.#finish();
  }

  #context(): WorkContext {
    const assignment = this.#assignment;
    const controller = this.#controller;
    const ending = async (act: Promise<void>): Promise<void> => {
      await act;
      this.#end(undefined);
    };
    return {
      get signal() {
        return controller.signal;
      },
      progress: (update) => assignment.progress(update),
      ask: (question) => assignment.ask(question, { signal: controller.signal }),
      reject: (reason) => ending(assignment.reject(reason)),
      handoff: (options) => ending(assignment.handoff(options)),
    };
  }

  /** Stores an outcome. While the store can't, it is tried again, for as long as the task is this one's to settle. */
  async #persist(act: () => Promise<void>): Promise<void> {
    for (let next = act; ; ) {
      try {
        return await next();
      } catch (error) {
        if (MeshError.is(error, 'stale_receipt', 'lease_lost', 'not_alive', 'not_found', 'closed')) return;
        if (MeshError.is(error, 'invalid_input', 'limit_exceeded')) {
          // What the handler returned can't be stored, and never will be.
          const message = saidBy(error, MESSAGE_LENGTH);
          next = () => this.#assignment.fail(message);
          continue;
        }
        if (this.#store.core.closed) return;
        this.#store.engine.report(error);
        await sleep(this.#store.engine.clock, PAUSE_MS);
      }
    }
  }

  #end(reason: unknown): void {
    this.#isOver = true;
    if (this.#timer) this.#store.engine.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    if (reason !== undefined) this.abort(reason);
    this.#letGo();
  }

  #watchDeadline(): void {
    const { clock } = this.#store.engine;
    const ms = this.#assignment.task.deadline - this.#store.engine.now();
    this.#timer = clock.setTimeout(() => void this.look(), Math.max(0, ms));
  }
}

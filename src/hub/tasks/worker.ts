import { Bag } from '../../kernel/bag.ts';
import { holdProcess, sleep } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import { parse } from '../../kernel/inputs.ts';
import type { JsonValue } from '../../kernel/json.ts';
import { onAbort } from '../../kernel/on-abort.ts';
import { sessionTopic } from '../../registry/events.ts';
import type { StoredEvent } from '../../storage/events/event-reader.ts';
import { setHubAlarm } from '../alarm.ts';
import type { Actor } from '../hub-core.ts';
import { Assignment, type AssignmentParts } from './assignment.ts';
import { standingOf } from './claimant.ts';
import { type Claimed, type Claims, queuesFor, type Wanted } from './claims.ts';
import type { DeathWatch } from './death-watch.ts';
import { queueTopic, workTopic } from './events.ts';
import { Job, type WorkHandler } from './job.ts';
import { isCurrent, type Task } from './task.ts';
import { STOP, type WorkOptions } from './task-inputs.ts';

export interface WorkerParts extends AssignmentParts {
  readonly claims: Claims;
  readonly deaths: DeathWatch;
  readonly viewOf: (claimed: Claimed) => Promise<Task | undefined>;
  readonly capabilitiesOf: (session: string) => Promise<readonly string[]>;
}

/** After these a task may no longer be that of who claimed it. */
const DECISIVE: ReadonlySet<string> = new Set([
  'task_failed',
  'task_canceled',
  'task_rejected',
  'task_completed',
  'task_retried',
  'task_handed_off',
]);
/** How long a worker rests after an error of the store. */
const PAUSE_MS = 1000;

/** Works on tasks for a session, as long as the session lives and until it is stopped. Keeps the process alive meanwhile. */
export class TaskWorker {
  /** Resolves when it has stopped, by itself or by `stop`, and nothing of it runs any more. */
  readonly done: Promise<void>;
  readonly #parts: WorkerParts;
  readonly #actor: Actor;
  readonly #options: WorkOptions & { readonly concurrency: number };
  readonly #handler: WorkHandler;
  /** Also those whose handlers still run although the task is no longer theirs. */
  readonly #running = new Bag<Job>();
  /** How many of them have a task. */
  #busy = 0;
  /** Tasks of which something was heard while they were being claimed. */
  readonly #early = new Set<string>();
  #capabilities: readonly string[] | undefined;
  /** That the session exists was seen. */
  #isKnown = false;
  #isEnding = false;
  #isForced = false;
  #nudge = (): void => {};

  /** @internal */
  constructor(parts: WorkerParts, actor: Actor, options: WorkOptions & { readonly concurrency: number }, handler: WorkHandler) {
    this.#parts = parts;
    this.#actor = actor;
    this.#options = options;
    this.#handler = handler;
    this.#capabilities = options.capabilities;
    this.done = this.#run();
  }

  /** How many tasks it works on at this moment. */
  get running(): number {
    return this.#busy;
  }

  /**
   * Takes no more work and waits for what runs; what has not finished after `graceMs` (default: no end) is aborted and given
   * back without using an attempt. May be called again, with less patience. A handler that awaits it waits for itself.
   * @throws MeshError `invalid_input`
   */
  async stop(options: { readonly graceMs?: number | undefined } = {}): Promise<void> {
    const { graceMs } = parse(STOP, options, 'options');
    this.#end();
    if (graceMs !== undefined && graceMs > 0) {
      const patience = new AbortController();
      const wait = sleep(this.#parts.store.engine.clock, graceMs, patience.signal).catch(() => {});
      await Promise.race([this.done, wait]);
      patience.abort();
    }
    if (graceMs !== undefined) await this.#giveBack();
    await this.done;
  }

  #end(): void {
    this.#isEnding = true;
    this.#nudge();
  }

  #kill(reason: unknown): void {
    for (const job of this.#jobs()) job.kill(reason);
    this.#end();
  }

  async #giveBack(): Promise<void> {
    this.#isForced = true;
    const stopped = new MeshError('aborted', 'expected to go on, got the worker stopped');
    await Promise.all(this.#running.all().map((job) => job.giveBack(stopped)));
  }

  async #run(): Promise<void> {
    const { store, deaths } = this.#parts;
    const { log } = store.engine;
    const { id, tenure } = this.#actor;
    const release = holdProcess();
    const onLost = (): void => {
      this.#kill(tenure?.signal.reason);
    };
    const onStop = (): void => this.#end();
    const undo = [release];
    try {
      undo.push(deaths.enter(), store.core.onClose(onStop));
      undo.push(log.wakeOn(workTopic(id), (event) => this.#hear(event)));
      undo.push(log.wakeOn(sessionTopic(id), (event) => this.#hearOfSession(event)));
      undo.push(onAbort(tenure?.signal, onLost), onAbort(this.#options.signal, onStop));
      if (this.#options.signal?.aborted || tenure?.signal.aborted) this.#end();
      // Nothing is claimed before whoever called has its worker, to stop it.
      await store.core.nextTurn();
      while (!this.#isEnding && !store.core.closed) await this.#round();
      await Promise.all(this.#running.all().map(({ finished }) => finished));
    } catch (error) {
      if (!store.core.closed) store.engine.report(error);
    } finally {
      for (const step of undo) step();
    }
  }

  /** Claims as many as there are free hands, or waits until there may be something to claim. */
  async #round(): Promise<void> {
    const { store, deaths, claims } = this.#parts;
    const { core } = store;
    const free = this.#options.concurrency - this.#busy;
    const nudged = new Promise<void>((resolve) => {
      this.#nudge = resolve;
    });
    if (free <= 0) return nudged;
    let wanted: Wanted;
    try {
      wanted = { capabilities: await this.#whatFor(), types: this.#options.types };
    } catch (error) {
      return this.#pause(error, [nudged]);
    }
    const topics = [sessionTopic(this.#actor.id), ...queuesFor(this.#actor.id, wanted).map(queueTopic)];
    const alarm = setHubAlarm(core, { topics });
    try {
      await store.engine.log.ready();
      // A handle tells when its session is over; a session that is named by its id must be looked at.
      if (!this.#actor.tenure && (await standingOf(core, this.#actor)).stopping) return this.#end();
      this.#early.clear();
      const claimed = await claims.claim(this.#actor, wanted, free);
      this.#isKnown = true;
      for (const one of claimed) await this.#start(one);
      // Whoever finds work again and again must not hold up timers and everything else.
      if (claimed.length > 0) return await core.nextTurn();
      const leave = deaths.watch();
      if (!this.#isEnding) await Promise.race([alarm.ring, nudged]);
      leave();
    } catch (error) {
      // A heartbeat may have revived it.
      await this.#pause(error, MeshError.is(error, 'not_alive') ? [alarm.ring, nudged] : [nudged]);
    } finally {
      alarm.cancel();
    }
  }

  /** What keeps the worker from claiming: the end of the session ends it; a lapse may pass, as may an error of the store. */
  async #pause(error: unknown, wakes: readonly Promise<void>[]): Promise<void> {
    const { store } = this.#parts;
    const state = MeshError.is(error) ? error.details['state'] : undefined;
    // To work for nobody is a mistake of the caller, who has no other way to hear of it.
    if (MeshError.is(error, 'not_found') && !this.#isKnown) store.engine.report(error);
    if (MeshError.is(error, 'lease_lost', 'not_found', 'closed') || (state !== undefined && state !== 'offline'))
      return this.#end();
    if (!MeshError.is(error, 'not_alive')) store.engine.report(error);
    const later = setHubAlarm(store.core, { topics: [], at: store.engine.now() + PAUSE_MS });
    await Promise.race([later.ring, ...wakes]);
    later.cancel();
  }

  async #whatFor(): Promise<readonly string[]> {
    this.#capabilities ??= await this.#parts.capabilitiesOf(this.#actor.id);
    return this.#capabilities;
  }

  async #start(claimed: Claimed): Promise<void> {
    const task = await this.#view(claimed);
    if (!task) return;
    const { id } = task;
    const assignment = new Assignment<JsonValue>(this.#parts, this.#actor, claimed, task);
    const job = new Job(this.#parts.store, assignment, this.#handler);
    if (this.#isForced) return job.giveBack(undefined);
    this.#running.add(job);
    this.#busy += 1;
    void job.over.then(() => {
      this.#busy -= 1;
      this.#nudge();
    });
    void job.finished.then(() => this.#running.delete(job));
    const { tenure } = this.#actor;
    if (tenure?.signal.aborted) job.kill(tenure.signal.reason);
    job.start();
    if (this.#early.has(id)) void job.look();
  }

  /** The claimed task with all its values. It is claimed, so it must not be let down because the store can't be read just now. */
  async #view(claimed: Claimed): Promise<Task | undefined> {
    const { store, viewOf } = this.#parts;
    for (;;) {
      try {
        return await viewOf(claimed);
      } catch (error) {
        if (store.core.closed) throw error;
        store.engine.report(error);
        await sleep(store.engine.clock, PAUSE_MS);
      }
    }
  }

  #hear(event: StoredEvent): void {
    if (!DECISIVE.has(event.name) && event['change'] !== 'returned') return;
    const task = String(event['task']);
    const job = this.#jobs().find(({ id }) => id === task);
    if (job) void job.look();
    else this.#early.add(task);
  }

  #hearOfSession({ name, fields, state }: StoredEvent): void {
    // A handle tells of a kill order itself, and why.
    if (state === 'stopping' && !this.#actor.tenure) {
      this.#kill(new MeshError('aborted', `expected to go on, got session ${this.#actor.id} told to stop`));
    } else if (name === 'session_updated' && Array.isArray(fields) && fields.includes('capabilities')) {
      this.#capabilities = this.#options.capabilities;
    } else if (name !== 'session_updated' && this.#busy > 0) void this.#checkClaims();
  }

  /** Those that have a task. */
  #jobs(): Job[] {
    return this.#running.all().filter(({ isOver }) => !isOver);
  }

  /** After something has become of the session: work that is no longer its own is aborted. */
  async #checkClaims(): Promise<void> {
    const { core, engine } = this.#parts.store;
    try {
      const snapshot = await core.sessions.read(this.#actor.id);
      const lost = new MeshError('lease_lost', `expected session ${this.#actor.id} to hold its lease, got it lost`);
      for (const job of this.#jobs()) if (!isCurrent(job.claim, snapshot)) job.abort(lost);
    } catch (error) {
      if (!core.closed) engine.report(error);
    }
  }
}

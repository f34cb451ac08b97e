import { MeshError } from '../kernel/errors.ts';
import type { Heartbeat } from './renewal.ts';
import type { EndOptions, SessionUpdate, SpawnOptions } from './session-inputs.ts';
import type { Steer } from './steer.ts';
import type { Tenure } from './tenure.ts';

/** What a handle asks its registry for. */
export interface HandleActions {
  heartbeat(tenure: Tenure): Promise<Heartbeat>;
  update(tenure: Tenure, changes: SessionUpdate): Promise<void>;
  spawn(tenure: Tenure, options: SpawnOptions): Promise<SessionHandle>;
  steers(tenure: Tenure, options: { readonly signal?: AbortSignal | undefined }): AsyncGenerator<Steer, void, undefined>;
  end(tenure: Tenure, options: EndOptions): Promise<void>;
}

/**
 * What `register` gives the owner of a session. Whatever is done through it is fenced: it lands only while the lease of
 * this very registration is there, so an owner that was replaced, killed or has slept through its lease cannot act.
 */
export class SessionHandle {
  readonly #tenure: Tenure;
  readonly #actions: HandleActions;

  /** @internal */
  constructor(tenure: Tenure, actions: HandleActions) {
    this.#tenure = tenure;
    this.#actions = actions;
  }

  /** The id of the session. */
  get id(): string {
    return this.#tenure.id;
  }

  /** The number of this incarnation of the id. */
  get epoch(): number {
    return this.#tenure.epoch;
  }

  /** Aborts when the session is told to stop or killed (`aborted`, with the reason), or lost or ended (`lease_lost`). */
  get signal(): AbortSignal {
    return this.#tenure.signal;
  }

  /** Renews the lease now, and revives it when it has lapsed. With `heartbeat: 'auto'` nobody needs to call it. */
  heartbeat(): Promise<Heartbeat> {
    return this.#actions.heartbeat(this.#tenure);
  }

  /**
   * Changes what the session says of itself; what is left out stays, `task: null` clears the task.
   * @throws MeshError `invalid_input`, `not_alive`, `lease_lost`
   */
  update(changes: SessionUpdate): Promise<void> {
    return this.#actions.update(this.#tenure, changes);
  }

  /**
   * Registers a child of this session.
   * @throws MeshError as `register`, `not_alive` once this session is stopping or offline, `lease_lost`
   */
  spawn(options: SpawnOptions = {}): Promise<SessionHandle> {
    return this.#actions.spawn(this.#tenure, options);
  }

  /** Directives for this session, oldest first, until it ends. One that was not settled comes again in a later loop. */
  steers(options: { readonly signal?: AbortSignal | undefined } = {}): AsyncGenerator<Steer, void, undefined> {
    return this.#actions.steers(this.#tenure, options);
  }

  /**
   * Ends the session. After a kill order this is the graceful end.
   * @throws MeshError `invalid_input`, `not_alive`, `lease_lost`
   */
  end(options: EndOptions = {}): Promise<void> {
    return this.#actions.end(this.#tenure, options);
  }

  /** What is shown of a handle: its id and epoch. */
  toJSON(): { id: string; epoch: number } {
    return { id: this.id, epoch: this.epoch };
  }

  /** Whether a registry gave it: not a copy of a handle, nor what stands before one. */
  static isHandle(value: unknown): value is SessionHandle {
    return typeof value === 'object' && value !== null && #tenure in value;
  }

  /**
   * For the classes of this library, to fence what is done in the name of this session.
   * @internal
   */
  static tenureOf(handle: SessionHandle): Tenure {
    if (!(#tenure in handle)) throw new MeshError('invalid_input', 'expected a handle that register gave, got something else');
    return handle.#tenure;
  }
}

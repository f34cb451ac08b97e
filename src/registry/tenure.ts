import { MeshError } from '../kernel/errors.ts';
import { guarded } from '../kernel/report.ts';
import type { Engine } from '../storage/engine.ts';
import type { StopOrder } from './session.ts';
import type { OnKill } from './session-inputs.ts';

export interface TenureOptions {
  /** Of the mesh whose storage has the lease. */
  readonly engine: Engine;
  readonly id: string;
  readonly incarnation: string;
  readonly epoch: number;
  readonly ttlMs: number;
  readonly retentionMs: number;
  readonly leaseRevision: number;
  readonly onKill?: OnKill | undefined;
}

/** Who is told when a tenure is over. */
export interface Holder {
  ended(tenure: Tenure): void;
}

/** How a tenure ended, as its heartbeats say. */
export type Outcome = 'ended' | 'killed' | 'lease_lost';

/** What this process knows of a lease that it holds. It ends once: by loss, by kill, or by the owner. */
export class Tenure {
  readonly engine: Engine;
  readonly id: string;
  readonly incarnation: string;
  readonly epoch: number;
  readonly ttlMs: number;
  readonly retentionMs: number;
  /** The fence: every write through the handle checks that the lease is still of this put. */
  leaseRevision: number;
  /** How often the session was revived after a lapse, as far as this process knows. */
  stint = 0;
  /** Those who hold it in this process, once they do. */
  holder: Holder | undefined;
  /**
   * Only once somebody asks for the signal: few do, and it is larger than all the rest. As a LazyController has it, but
   * without an object of its own in each of a hundred thousand sessions.
   */
  #controller: AbortController | undefined;
  #aborted: MeshError | undefined;
  readonly #onKill: OnKill | undefined;
  /** Of the kill order that was seen. */
  #deadline: number | undefined;
  #end: MeshError | undefined;
  #outcome: Outcome = 'lease_lost';
  #forced = false;

  constructor({ onKill, ...known }: TenureOptions) {
    this.engine = known.engine;
    this.id = known.id;
    this.incarnation = known.incarnation;
    this.epoch = known.epoch;
    this.ttlMs = known.ttlMs;
    this.retentionMs = known.retentionMs;
    this.leaseRevision = known.leaseRevision;
    this.#onKill = onKill && (guarded(onKill, known.engine.report) as OnKill);
  }

  /** Aborts when the session is killed (with the reason), or was lost (`lease_lost`), or ended. */
  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#aborted) this.#controller.abort(this.#aborted);
    }
    return this.#controller.signal;
  }

  /** A kill order has made the lease its last one. */
  get stopping(): boolean {
    return this.#deadline !== undefined;
  }

  /** Why nothing more can be written through the handle. */
  get end(): MeshError | undefined {
    return this.#end;
  }

  /** How it ended; of meaning only when it has. */
  get outcome(): Outcome {
    return this.#outcome;
  }

  /** A kill order was seen: the owner has until its deadline, which a later order may bring forward. */
  stop({ reason, deadline }: StopOrder): void {
    if (this.#end || (this.#deadline !== undefined && deadline >= this.#deadline)) return;
    this.#deadline = deadline;
    this.#abort(killed(reason));
    this.#onKill?.({ reason, force: false, deadline });
  }

  /** The kill has taken effect. */
  kill(reason: string): void {
    this.#finish(lost(this.id, `expected session ${this.id} to be alive, got killed: ${reason}`), 'killed', killed(reason));
    if (this.#forced) return;
    this.#forced = true;
    this.#onKill?.({ reason, force: true });
  }

  /** Another incarnation has the id, or the session has ended elsewhere. */
  lose(outcome: Outcome = 'lease_lost'): void {
    this.#finish(
      lost(this.id, `expected the lease of session ${this.id}, got it lost to another incarnation or its end`),
      outcome,
    );
  }

  /** The owner has ended it. */
  close(): void {
    this.#forced = true;
    this.#finish(lost(this.id, `expected session ${this.id} to be held, got it ended by its owner`), 'ended');
  }

  /** The mesh was closed: the session is offline, and its id free for a new registration. */
  release(): void {
    const closed = new MeshError('closed', `expected an open mesh for session ${this.id}, got a closed one`);
    this.#finish(closed, 'lease_lost');
  }

  #finish(error: MeshError, outcome: Outcome, reason = error): void {
    if (this.#end) return;
    this.#end = error;
    this.#outcome = outcome;
    this.#abort(reason);
    this.holder?.ended(this);
  }

  #abort(reason: MeshError): void {
    if (this.#aborted) return;
    this.#aborted = reason;
    this.#controller?.abort(reason);
  }
}

function lost(session: string, message: string): MeshError {
  return new MeshError('lease_lost', message, { details: { session } });
}

function killed(reason: string): MeshError {
  return new MeshError('aborted', `expected to go on, got killed: ${reason}`, { details: { reason } });
}

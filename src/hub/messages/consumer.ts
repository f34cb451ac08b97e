import { Bag, type Placed } from '../../kernel/bag.ts';
import { holdProcess } from '../../kernel/clock.ts';
import { saidBy } from '../../kernel/describe.ts';
import { EarliestTimer } from '../../kernel/earliest-timer.ts';
import { MeshError } from '../../kernel/errors.ts';
import { LazyController } from '../../kernel/lazy-controller.ts';
import { onAbort } from '../../kernel/on-abort.ts';
import { isTransient } from '../../storage/steady-storage.ts';
import { setHubAlarm } from '../alarm.ts';
import type { HubCore } from '../hub-core.ts';
import type { Claim } from './claims.ts';
import type { Inbox, InboxParts } from './inbox.ts';
import { isExpired, type Message, type MessageType } from './message.ts';
import { type Settlement, staleClaim } from './settling.ts';

/** What a handler gets besides its message. */
export interface HandlerContext {
  /** Aborts when the session is to stop or lost, when the claim is lost, and when the mesh is closed. */
  readonly signal: AbortSignal;
  /** 1 for the first delivery. */
  readonly attempt: number;
}

/** Handles one message: acked when it returns or resolves, given back when it throws or rejects. */
export type MessageHandler = (message: Message, context: HandlerContext) => unknown;

/** One message in the hands of the handler. */
interface Running extends Placed {
  readonly claim: Claim;
  readonly controller: LazyController;
  done: Promise<void> | undefined;
}

interface Rules {
  readonly concurrency: number;
  readonly types?: readonly MessageType[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

const ERROR_LENGTH = 300;
/** After a storage was out of reach. */
const PAUSE_MS = 1000;
const ACK: Settlement = { kind: 'ack' };
/** Why a settlement may come too late. */
const EXPECTED: ReadonlySet<string> = new Set(['stale_receipt', 'lease_lost', 'not_alive', 'closed']);

/** Hands messages of an inbox to a handler, several at a time, until it is stopped or the session ends. */
export class Consumer {
  /** Resolves once it has stopped and nothing runs any more; rejects when the mailbox can not be read, and that is not expected to pass. */
  readonly done: Promise<void>;
  readonly #inbox: Inbox;
  readonly #parts: InboxParts;
  readonly #handler: MessageHandler;
  readonly #rules: Rules;
  readonly #running = new Bag<Running>();
  readonly #stopping = new AbortController();
  #freed = (): void => {};
  readonly #timer: EarliestTimer;

  /** @internal */
  constructor(inbox: Inbox, parts: InboxParts, handler: MessageHandler, rules: Rules) {
    this.#inbox = inbox;
    this.#parts = parts;
    this.#handler = handler;
    this.#rules = rules;
    const { core, actor } = parts;
    this.#timer = new EarliestTimer(core.engine, () => this.#look());
    const stop = (): void => this.#stopping.abort(new MeshError('aborted', 'expected to go on, got the consumer stopped'));
    const abortAll = (): void => this.#abortAll(core);
    if (rules.signal?.aborted) stop();
    const undo = [onAbort(rules.signal, stop), onAbort(actor.tenure?.signal, abortAll), core.onClose(abortAll)];
    this.done = this.#run().finally(() => {
      for (const step of undo) step();
      this.#timer.clear();
    });
    // Whoever does not wait for its end is told by the hub's reporter.
    this.done.catch((error: unknown) => core.engine.report(error));
  }

  /** Takes no further messages, and waits for the handlers that run: so a handler that awaits it waits for itself. */
  async stop(): Promise<void> {
    this.#stopping.abort(new MeshError('aborted', 'expected to go on, got the consumer stopped'));
    await this.done.catch(() => {});
  }

  async #run(): Promise<void> {
    try {
      await this.#take();
    } finally {
      await Promise.all(this.#running.all().map(({ done }) => done));
    }
  }

  async #take(): Promise<void> {
    const { concurrency, types } = this.#rules;
    while (!this.#stopping.signal.aborted) {
      const free = concurrency - this.#running.size;
      if (free === 0) {
        await new Promise<void>((resolve) => {
          this.#freed = resolve;
        });
        continue;
      }
      const claims = await this.#claim(free, types);
      if (!claims) return;
      for (const claim of claims) this.#start(claim);
      this.#lookBy(this.#nextExtension());
      await this.#parts.core.nextTurn();
    }
  }

  async #claim(limit: number, types: readonly MessageType[] | undefined): Promise<Claim[] | undefined> {
    try {
      return await this.#inbox.claim({ limit, types, signal: this.#stopping.signal });
    } catch (error) {
      if (this.#stopping.signal.aborted || this.#parts.signal?.aborted) return undefined;
      if (!isTransient(error)) throw error;
      await this.#pause(error);
      return [];
    }
  }

  /** A storage that is out of reach for a while is no reason to let mail lie. */
  async #pause(error: unknown): Promise<void> {
    const { core, actor } = this.#parts;
    core.engine.report(error);
    const signals = [this.#stopping.signal, actor.tenure?.signal, this.#parts.signal];
    const alarm = setHubAlarm(core, { topics: [], signals, at: core.engine.now() + PAUSE_MS });
    const release = holdProcess();
    await alarm.ring;
    release();
    alarm.cancel();
  }

  #start(claim: Claim): void {
    const running: Running = { claim, controller: new LazyController(), done: undefined, place: -1 };
    this.#running.add(running);
    if (claim.message.expiresAt !== undefined) this.#lookBy(claim.message.expiresAt);
    running.done = this.#handle(running);
  }

  async #handle(running: Running): Promise<void> {
    const { settling, core } = this.#parts;
    const { claim, controller } = running;
    try {
      let settlement: Settlement = ACK;
      try {
        await this.#handler(claim.message, contextOf(controller, claim.tally.deliveries + 1));
      } catch (error) {
        settlement = { kind: 'nak', delayMs: 0, reason: saidBy(error, ERROR_LENGTH) };
      }
      // A reply has settled it, or whoever ended the session or the mesh.
      if (settling.open.has(claim)) await settling.settle(claim, settlement);
    } catch (error) {
      // It comes again, to this or another consumer: at least once is what is promised.
      if (!MeshError.is(error) || !EXPECTED.has(error.code)) core.engine.report(error);
    } finally {
      this.#running.delete(running);
      this.#freed();
    }
  }

  #nextExtension(): number {
    return this.#parts.core.engine.now() + this.#parts.visibilityMs / 2;
  }

  #lookBy(time: number): void {
    if (this.#running.size > 0) this.#timer.ringBy(time);
  }

  /**
   * Half a visibility before they lapse, the claims of what still runs are extended, all together. Those of messages that
   * have expired are lost.
   */
  #look(): void {
    const { core, settling, visibilityMs } = this.#parts;
    let next = this.#nextExtension();
    for (const { claim, controller } of this.#running.all()) {
      if (isExpired(claim.message, core.engine)) {
        controller.abort(staleClaim(claim, 'expired'));
        continue;
      }
      next = Math.min(next, claim.message.expiresAt ?? next);
      if (claim.deadline - core.engine.now() > visibilityMs * 0.75) continue;
      settling.settle(claim, { kind: 'extend', ms: visibilityMs }).catch((error: unknown) => {
        if (MeshError.is(error, 'stale_receipt')) controller.abort(error);
      });
    }
    this.#lookBy(next);
  }

  #abortAll(core: HubCore): void {
    const reason: unknown =
      this.#parts.actor.tenure?.signal.reason ??
      (core.closed ? new MeshError('closed', 'expected an open mesh, got a closed one') : undefined);
    for (const { controller } of this.#running.all()) controller.abort(reason);
  }
}

/** What a handler is told: an object like any other, of which the signal is made when it is read. */
function contextOf(controller: LazyController, attempt: number): HandlerContext {
  return {
    get signal() {
      return controller.signal;
    },
    attempt,
  };
}

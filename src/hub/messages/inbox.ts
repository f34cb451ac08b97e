import { abortedBy, holdProcess } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import { callback, parse } from '../../kernel/inputs.ts';
import { sessionTopic } from '../../registry/events.ts';
import { isTerminal, stateOf } from '../../registry/session.ts';
import type { MaybePromise } from '../../storage/storage.ts';
import { setHubAlarm } from '../alarm.ts';
import type { Actor, HubCore } from '../hub-core.ts';
import type { Claim, Claims } from './claims.ts';
import { Consumer, type MessageHandler } from './consumer.ts';
import { ClaimedDelivery, type Delivery } from './delivery.ts';
import { ANY_MAILBOX, mailboxTopic } from './events.ts';
import type { MessageType } from './message.ts';
import { HANDLE, type HandleOptions, RECEIVE, type ReceiveOptions } from './message-inputs.ts';
import type { Settling } from './settling.ts';

export interface InboxParts {
  readonly core: HubCore;
  readonly actor: Actor;
  readonly claims: Claims;
  readonly settling: Settling;
  readonly visibilityMs: number;
  readonly signal: AbortSignal | undefined;
}

/** What is to be claimed, and until when it is waited for; without an end, until it is over. */
interface Wanted {
  readonly limit: number;
  readonly types?: readonly MessageType[] | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly until?: number;
}

const NOTHING: ReceiveOptions = {};
const RECEIVE_ONE = parse(RECEIVE, NOTHING, 'options');

/** While it always finds something, it looks that often for claims of others that have lapsed. */
const LOOK_MS = 1000;
/** After so many deliveries in a row, or so many milliseconds, everything else has its turn. */
const YIELD_AFTER = 64;
const YIELD_MS = 10;

/**
 * The mailbox of one session, to be emptied: by a loop, by a handler, or by hand. Each message is claimed by one
 * consumer at a time. Waiting for mail keeps the process alive until the session or the mesh ends, or the signal aborts.
 */
export class Inbox {
  readonly #parts: InboxParts;
  #takenUp: Promise<void> | undefined;
  #isTakenUp = false;
  /** When the earliest claim that is not settled lapses, as far as this inbox knows. */
  #lapseAt: number | undefined;
  /** When it last looked for claims that have lapsed; those of others do so without its knowing when. */
  #lookedAt: number | undefined;
  #given = 0;
  #yieldedAt = 0;

  /** @internal */
  constructor(parts: InboxParts) {
    this.#parts = parts;
  }

  /** Whose mailbox it is. */
  get session(): string {
    return this.#parts.actor.id;
  }

  /**
   * Claims up to `limit` messages, waiting up to `timeoutMs` for the first.
   * @throws MeshError `invalid_input`, `not_alive`, `lease_lost`, `aborted`, `closed`
   */
  receive(options: ReceiveOptions = NOTHING): Promise<Delivery[]> {
    try {
      const { limit, timeoutMs, types, signal } = options === NOTHING ? RECEIVE_ONE : parse(RECEIVE, options, 'options');
      const until = timeoutMs === 0 ? 0 : this.#parts.core.engine.now() + timeoutMs;
      const claiming = this.claim({ limit, types, signal, until });
      if (claiming instanceof Promise) return claiming.then((claims) => this.#deliveries(claims));
      return Promise.resolve(this.#deliveries(claiming));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #deliveries(claims: readonly Claim[] | undefined): Delivery[] {
    if (!claims) this.#assertHeld();
    return (claims ?? []).map((claim) => new ClaimedDelivery(claim, this.#parts.settling));
  }

  /**
   * Hands each message to `handler`, up to `concurrency` at a time: acked when it returns, to be delivered again when it
   * throws. While the handler runs, the claim is extended.
   * @throws MeshError `invalid_input`
   */
  handle(handler: MessageHandler, options: HandleOptions = {}): Consumer {
    return new Consumer(
      this,
      this.#parts,
      parse(callback<MessageHandler>(), handler, 'handler'),
      parse(HANDLE, options, 'options'),
    );
  }

  /** Messages one at a time, until the session or the mesh ends. Leaving the loop leaves the last one claimed if it was not settled. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Delivery, void, undefined> {
    for (;;) {
      const claims = await this.claim({ limit: 1 });
      if (!claims) return;
      for (const claim of claims) yield new ClaimedDelivery(claim, this.#parts.settling);
      await this.#yield();
    }
  }

  /**
   * For consumers: claims messages, waiting for the first; nothing when it is over. What was claimed is remembered until
   * it is settled.
   * @internal
   */
  claim(wanted: Wanted): MaybePromise<Claim[] | undefined> {
    // Claims first: a mailbox that has mail needs no alarm.
    const claiming = this.#claimOnce(wanted);
    if (claiming instanceof Promise || claiming?.length === 0) return this.#claimOrWait(wanted, claiming);
    return claiming;
  }

  async #claimOrWait(wanted: Wanted, first: MaybePromise<Claim[] | undefined>): Promise<Claim[] | undefined> {
    const { core, actor } = this.#parts;
    const { signal, until } = wanted;
    for (let claiming = first; ; claiming = this.#claimOnce(wanted)) {
      const claimed = await claiming;
      if (!claimed || claimed.length > 0) return claimed;
      if (until !== undefined && core.engine.now() >= until) {
        if (await this.#recover()) continue;
        return [];
      }
      const alarm = setHubAlarm(core, {
        topics: [mailboxTopic(actor.id), ANY_MAILBOX, sessionTopic(actor.id)],
        signals: [actor.tenure?.signal, this.#parts.signal, signal],
      });
      try {
        await core.engine.log.ready();
        if (core.closed) return undefined;
        const again = await this.#remembered(wanted);
        if (!again || again.length > 0) return again;
        if (await this.#recover()) continue;
        await this.#wait(alarm.ring, until);
        this.#lookedAt = undefined;
      } finally {
        alarm.cancel();
      }
    }
  }

  #claimOnce(wanted: Wanted): MaybePromise<Claim[] | undefined> {
    this.#throwIfAborted(wanted.signal);
    return this.#isOver() ? undefined : this.#remembered(wanted);
  }

  /** What is claimed while the mesh is closed is given back by that. */
  #remembered(wanted: Wanted): MaybePromise<Claim[] | undefined> {
    const { core, settling } = this.#parts;
    const claiming = settling.remember(this.#claimNow(wanted));
    if (claiming instanceof Promise) return claiming.then((claimed) => (core.closed ? undefined : claimed));
    return core.closed ? undefined : claiming;
  }

  /** Waits for the ring, for the next lapse, or for the end of the wait. */
  async #wait(ring: Promise<void>, until: number | undefined): Promise<void> {
    const { core } = this.#parts;
    const times = [this.#lapseAt, until].filter((time) => time !== undefined);
    const release = holdProcess();
    let timer: ReturnType<typeof core.engine.clock.setTimeout> | undefined;
    try {
      const lapse =
        times.length === 0
          ? undefined
          : new Promise<void>((resolve) => {
              timer = core.engine.clock.setTimeout(resolve, Math.max(0, Math.min(...times) - core.engine.now()));
            });
      await (lapse ? Promise.race([ring, lapse]) : ring);
    } finally {
      if (timer) core.engine.clock.clearTimeout(timer);
      release();
    }
  }

  /**
   * What there is at this moment; nothing at all when the session or the mesh is over. Whoever is patient waits for a
   * session that is offline to come back.
   */
  #claimNow(wanted: Wanted): MaybePromise<Claim[] | undefined> {
    const { core } = this.#parts;
    if (!this.#isTakenUp || this.#mustLook(core.engine.now())) return this.#lookAndClaim(wanted);
    try {
      const claiming = this.#take(wanted);
      if (!(claiming instanceof Promise)) return claiming;
      return claiming.catch((error: unknown) => this.#nothing(error, wanted));
    } catch (error) {
      return this.#nothing(error, wanted);
    }
  }

  async #lookAndClaim(wanted: Wanted): Promise<Claim[] | undefined> {
    try {
      if (!this.#isTakenUp) {
        this.#takenUp ??= this.#takeUp();
        await this.#takenUp;
        this.#isTakenUp = true;
      }
      if (this.#mustLook(this.#parts.core.engine.now())) await this.#recover();
      return await this.#take(wanted);
    } catch (error) {
      return this.#nothing(error, wanted);
    }
  }

  #take({ limit, types }: Wanted): MaybePromise<Claim[]> {
    const { actor, claims, visibilityMs } = this.#parts;
    const claiming = claims.claim(actor, { limit, visibilityMs, types });
    return claiming instanceof Promise ? claiming.then((claimed) => this.#noted(claimed)) : this.#noted(claiming);
  }

  #noted(claimed: Claim[]): Claim[] {
    for (const { deadline } of claimed) this.#lapseAt = Math.min(this.#lapseAt ?? deadline, deadline);
    return claimed;
  }

  /** Why there is nothing: it is over, or whoever is patient has to wait; else the error is the caller's. */
  async #nothing(error: unknown, { until }: Wanted): Promise<Claim[] | undefined> {
    const { actor, core } = this.#parts;
    if (this.#isOver()) return undefined;
    if (until !== undefined || !this.#isTakenUp || !MeshError.is(error, 'not_alive')) throw error;
    const snapshot = await core.sessions.read(actor.id);
    return snapshot && !isTerminal(stateOf(snapshot)) ? [] : undefined;
  }

  #mustLook(now: number): boolean {
    if (this.#lookedAt === undefined || Math.abs(now - this.#lookedAt) >= LOOK_MS) return true;
    return this.#lapseAt !== undefined && now >= this.#lapseAt;
  }

  /** Puts back what has lapsed, and answers whether there was any. */
  async #recover(): Promise<boolean> {
    const { actor, claims, core, settling } = this.#parts;
    const lookedAt = core.engine.now();
    const { lapseAt, isBack } = await claims.recover(actor.id);
    settling.letGo(lookedAt);
    this.#lapseAt = lapseAt;
    this.#lookedAt = core.engine.now();
    return isBack;
  }

  async #takeUp(): Promise<void> {
    const { core, actor, claims } = this.#parts;
    try {
      const incarnation = actor.tenure?.incarnation ?? (await core.sessions.require(actor.id)).record.incarnation;
      await claims.takeUp(actor, incarnation);
    } catch (error) {
      // To be tried anew by the next claim.
      this.#takenUp = undefined;
      throw error;
    }
  }

  #isOver(): boolean {
    const { core, actor, signal } = this.#parts;
    return core.closed || actor.tenure?.end !== undefined || actor.tenure?.signal.aborted === true || signal?.aborted === true;
  }

  /**
   * Says why nothing can be received any more. A session that is told to stop just gets no further mail.
   * @throws MeshError `closed`, `aborted`, `lease_lost`
   */
  #assertHeld(): void {
    this.#parts.core.assertOpen();
    this.#throwIfAborted(undefined);
    const { tenure } = this.#parts.actor;
    if (tenure?.end) throw tenure.end;
  }

  #throwIfAborted(signal: AbortSignal | undefined): void {
    if (signal?.aborted) throw abortedBy(signal);
    if (this.#parts.signal?.aborted) throw abortedBy(this.#parts.signal);
  }

  async #yield(): Promise<void> {
    const { core } = this.#parts;
    this.#given += 1;
    const now = core.engine.now();
    if (this.#given % YIELD_AFTER !== 0 && now - this.#yieldedAt < YIELD_MS) return;
    await core.nextTurn();
    this.#yieldedAt = core.engine.now();
  }
}

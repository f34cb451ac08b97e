import { Bag } from '../../kernel/bag.ts';
import { MeshError } from '../../kernel/errors.ts';
import { Draft } from '../../storage/draft.ts';
import { deadlineOf, keyAfter, unleasedKey } from '../../storage/keys.ts';
import type { Address, CommitResult, Conflicted, MaybePromise } from '../../storage/storage.ts';
import type { Actor, HubCore } from '../hub-core.ts';
import { type Claim, movedTo } from './claims.ts';
import { readyPartition, type Tally, tallyValue } from './mailbox.ts';
import { isExpired } from './message.ts';
import type { ClaimHolder, OpenClaims } from './open-claims.ts';
import { stageAcked, stageDead, stageExpired } from './outcomes.ts';

/** What is done with a claim. `release` gives it back as if it had not been delivered. */
export type Settlement =
  | { readonly kind: 'ack' }
  | { readonly kind: 'nak'; readonly delayMs: number; readonly reason?: string | undefined }
  | { readonly kind: 'term'; readonly reason: string }
  | { readonly kind: 'extend'; readonly ms: number }
  | { readonly kind: 'release' };

interface Order {
  readonly claim: Claim;
  readonly settlement: Settlement;
  resolve(): void;
  reject(error: unknown): void;
}

/** A settlement takes at most four writes. */
const AT_ONCE = 200;
const ATTEMPTS = 1000;
/** Whoever has not settled a claim so long after it lapsed has forgotten it. */
const LAPSED_KEPT_MS = 60_000;
/** Its `then` calls back when this turn has asked for all that it will. */
const SOON = Promise.resolve();

/**
 * Settles claims of one mailbox: whatever is asked for in one turn, or while a commit is under way, goes together in the
 * next one, with one event for all that were acked.
 */
export class Settling implements ClaimHolder {
  readonly #core: HubCore;
  readonly #actor: Actor;
  readonly #maxDeliveries: number;
  readonly #all: OpenClaims;
  /** Claims that were given out and not settled. */
  readonly open = new Bag<Claim>();
  #orders: Order[] = [];
  #running = false;

  constructor(core: HubCore, actor: Actor, all: OpenClaims, maxDeliveries: number) {
    this.#core = core;
    this.#all = all;
    this.#actor = actor;
    this.#maxDeliveries = maxDeliveries;
  }

  /** Remembers what is being claimed, so that it can be given back, also if the mesh is closed right then. */
  remember(claiming: MaybePromise<Claim[] | undefined>): MaybePromise<Claim[] | undefined> {
    if (!(claiming instanceof Promise)) return this.#remember(claiming);
    return this.#all.during(claiming.then((claims) => this.#remember(claims)));
  }

  #remember(claims: Claim[] | undefined): Claim[] | undefined {
    if (!claims) return undefined;
    if (claims.length > 0 && this.open.size === 0) this.#all.holds(this);
    for (const claim of claims) {
      this.open.add(claim);
      this.#all.add(claim, this);
    }
    return claims;
  }

  /** Lets go of what lapsed before this time: it has been put back. What is never settled would be kept for ever. */
  letGo(before: number): void {
    for (const claim of this.open.all()) {
      // It may be about to last longer.
      const isBusy = claim.isSettling || claim.replies > 0;
      if (claim.deadline <= before && !isBusy) this.forget(claim);
    }
  }

  prune(): void {
    if (!this.#actor.tenure?.end) return this.letGo(this.#core.engine.now() - LAPSED_KEPT_MS);
    for (const claim of this.open.all()) this.forget(claim);
  }

  forget(claim: Claim): void {
    this.open.delete(claim);
    this.#all.delete(claim, this);
  }

  /** @throws MeshError `stale_receipt`, `not_alive`, `lease_lost` */
  settle(claim: Claim, settlement: Settlement): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.#orders.push({ claim, settlement, resolve, reject });
      if (this.#running) return;
      this.#running = true;
      SOON.then(this.#run);
    });
  }

  /** Gives back everything that was given out, without counting it as delivered. */
  async releaseAll(): Promise<void> {
    await Promise.allSettled(this.open.all().map((claim) => this.settle(claim, { kind: 'release' })));
  }

  readonly #run = (): void => {
    while (this.#orders.length > 0) {
      const orders = this.#next();
      try {
        const committing = this.#commit(orders);
        if (committing instanceof Promise) {
          committing
            .catch((error: unknown) => refuse(orders, error))
            .then(() => release(orders))
            .then(this.#run);
          return;
        }
      } catch (error) {
        refuse(orders, error);
      }
      release(orders);
    }
    this.#running = false;
  };

  /** As many as go into a commit, of each claim one: what else is asked for it comes later, and too late if it was settled. */
  #next(): Order[] {
    const asked = this.#orders;
    let later: Order[] | undefined;
    let length = 0;
    for (const order of asked) {
      if (length === AT_ONCE || order.claim.isSettling) (later ??= []).push(order);
      else {
        order.claim.isSettling = true;
        asked[length++] = order;
      }
    }
    asked.length = length;
    this.#orders = later ?? [];
    return asked;
  }

  /** Settles what is still open of these; again, without those that turn out to be settled, after each conflict. */
  #commit(orders: readonly Order[], attempt = 1): MaybePromise<void> {
    const rest = orders.filter((order) => this.#isOpen(order));
    if (rest.length === 0) return undefined;
    if (attempt > ATTEMPTS) throw new MeshError('conflict', `expected a settlement to pass, got ${ATTEMPTS} conflicts`);
    const { tenure, id } = this.#actor;
    if (tenure?.end) {
      this.prune();
      throw tenure.end;
    }
    const draft = new Draft({ checks: tenure ? [this.#core.sessions.leaseCheck(id, tenure.leaseRevision)] : [] });
    const expired = this.#stage(draft, rest);
    const answer = this.#core.engine.commit(draft);
    if (answer instanceof Promise) return answer.then((result) => this.#answer(rest, expired, draft, attempt, result));
    return this.#answer(rest, expired, draft, attempt, answer);
  }

  #answer(
    orders: readonly Order[],
    expired: readonly Order[],
    draft: Draft,
    attempt: number,
    result: CommitResult,
  ): MaybePromise<void> {
    if (!result.committed) return this.#again(orders, result, draft, attempt);
    const { taken, revision } = result;
    const moved = taken.length === 0 ? undefined : new Map(taken.map(({ key }) => [unleasedKey(key), key]));
    for (const order of orders) this.#done(order, revision, moved, expired.includes(order));
  }

  /** After a conflict: those whose claims are no more fail, unless it is the lease that is gone. */
  async #again(orders: readonly Order[], { conflicts }: Conflicted, draft: Draft, attempt: number): Promise<void> {
    const { tenure, id } = this.#actor;
    const lease = this.#core.sessions.leaseAddress(id);
    if (tenure && conflicts.some(({ partition, key }) => partition === lease.partition && key === lease.key)) {
      await this.#core.fence.read(tenure);
    } else {
      const claims = draft.checks.filter(
        (check): check is Address & { revision: number } => 'key' in check && check.partition !== lease.partition,
      );
      // A conflict may name a claim that still holds, where the store can't tell better.
      const found = await this.#core.engine.storage.get(claims.map(({ partition, key }) => ({ partition, key })));
      const stale = new Set(claims.filter(({ revision }, n) => found[n]?.revision !== revision).map(({ key }) => key));
      // A reply that has settled it, or is about to, has its word first.
      const isLost = ({ claim }: Order): boolean => stale.has(claim.address.key) && !claim.answered && claim.replies === 0;
      for (const order of orders) if (isLost(order)) this.#fail(order);
      orders = orders.filter((order) => !isLost(order));
    }
    await this.#core.nextTurn();
    await this.#commit(orders, attempt + 1);
  }

  /** Answers the orders that come too late: their messages have expired. */
  #stage(draft: Draft, orders: readonly Order[]): Order[] {
    const { engine } = this.#core;
    const session = this.#actor.id;
    const acked: Claim[] = [];
    const terminated: Claim[] = [];
    const exhausted: Claim[] = [];
    const released: Claim[] = [];
    const expired: Order[] = [];
    for (const order of orders) {
      const { claim, settlement } = order;
      const { partition, key } = claim.address;
      draft.checks.push({ partition, key, revision: claim.revision });
      if (settlement.kind === 'extend') {
        draft.takes.push({ from: partition, to: partition, start: key, end: keyAfter(key), limit: 1, leaseMs: settlement.ms });
        continue;
      }
      draft.deletes.push(claim.address);
      if (isExpired(claim.message, engine)) expired.push(order);
      else if (settlement.kind === 'ack') acked.push(claim);
      else if (settlement.kind === 'term')
        terminated.push({ ...claim, tally: { deliveries: claim.tally.deliveries + 1, error: settlement.reason } });
      else {
        const tally = tallyAfter(claim, settlement);
        if (tally.deliveries >= this.#maxDeliveries && settlement.kind === 'nak') exhausted.push({ ...claim, tally });
        else {
          const isDelayed = settlement.kind === 'nak' && settlement.delayMs > 0;
          const back = isDelayed
            ? { ...movedTo(claim, engine.now() + settlement.delayMs), value: tallyValue({ ...tally, delayed: true }) }
            : { partition: readyPartition(session), key: unleasedKey(claim.address.key), value: tallyValue(tally) };
          // The same address can't be both removed and put.
          if (isDelayed && back.key === claim.address.key) draft.deletes.pop();
          draft.puts.push(back);
          released.push(claim);
        }
      }
    }
    if (acked.length > 0) stageAcked(draft, engine, session, acked);
    if (expired.length > 0)
      stageExpired(
        draft,
        engine,
        session,
        expired.map(({ claim }) => claim),
      );
    if (terminated.length > 0) stageDead(draft, engine, session, 'terminated', terminated);
    if (exhausted.length > 0) stageDead(draft, engine, session, 'max_deliveries', exhausted);
    if (released.length > 0) {
      draft.puts.push(engine.log.put('message_released', { session, messages: released.map(({ message }) => message.id) }));
    }
    return expired;
  }

  #isOpen(order: Order): boolean {
    const { claim, settlement } = order;
    if (this.open.has(claim) && !claim.answered) return true;
    // A reply has settled it already: that was wished for, unless it was to come again.
    if (claim.answered && settlement.kind !== 'nak' && settlement.kind !== 'term') {
      if (settlement.kind === 'ack') claim.answered = false;
      order.resolve();
    } else this.#fail(order);
    return false;
  }

  #done(order: Order, revision: number, moved: ReadonlyMap<string, string> | undefined, isExpired: boolean): void {
    const { claim, settlement } = order;
    if (settlement.kind === 'extend') {
      const { partition, key } = claim.address;
      claim.address = { partition, key: moved?.get(unleasedKey(key)) ?? key };
      claim.deadline = deadlineOf(claim.address.key) ?? 0;
      claim.revision = revision;
      return order.resolve();
    }
    this.forget(claim);
    if (isExpired) order.reject(staleClaim(claim, 'expired'));
    else order.resolve();
  }

  #fail(order: Order): void {
    this.forget(order.claim);
    order.reject(this.#actor.tenure?.end ?? staleClaim(order.claim, 'settled or claimed anew'));
  }
}

function refuse(orders: readonly Order[], error: unknown): void {
  for (const { reject } of orders) reject(error);
}

function release(orders: readonly Order[]): void {
  for (const { claim } of orders) claim.isSettling = false;
}

function tallyAfter(
  { tally }: Claim,
  settlement: { readonly kind: 'nak' | 'release'; readonly reason?: string | undefined },
): Tally {
  const error = settlement.reason ?? tally.error;
  const deliveries = settlement.kind === 'nak' ? tally.deliveries + 1 : tally.deliveries;
  return { deliveries, ...(error !== undefined && { error }) };
}

/** Why a claim can no longer be settled. */
export function staleClaim({ message }: Claim, got: string): MeshError {
  return new MeshError('stale_receipt', `expected a claim that lasts, got a message that was ${got}`, {
    details: { message: message.id },
  });
}

import { MeshError } from '../../kernel/errors.ts';
import { Draft } from '../../storage/draft.ts';
import { deadlineOf, keyAfter, unleasedKey } from '../../storage/keys.ts';
import type { Address, CommitResult } from '../../storage/storage.ts';
import type { Actor, HubCore } from '../hub-core.ts';
import { type Claim, movedTo } from './claims.ts';
import { readyPartition, type Tally, tallyValue } from './mailbox.ts';
import { isExpired } from './message.ts';
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

/** What this process has claimed and not settled, by mailbox and message: so that a reply finds what it settles. */
export class OpenClaims {
  readonly #claims = new Map<string, { readonly claim: Claim; readonly settling: Settling }>();
  readonly #claiming = new Set<Promise<unknown>>();

  find(session: string, messageId: string): Claim | undefined {
    return this.#claims.get(`${session}>${messageId}`)?.claim;
  }

  add(claim: Claim, settling: Settling): void {
    this.#claims.set(nameOf(claim), { claim, settling });
  }

  delete(claim: Claim): void {
    if (this.#claims.get(nameOf(claim))?.claim === claim) this.#claims.delete(nameOf(claim));
  }

  /** Waits for what is being claimed before it is given back. */
  async during<T>(claiming: Promise<T>): Promise<T> {
    this.#claiming.add(claiming);
    try {
      return await claiming;
    } finally {
      this.#claiming.delete(claiming);
    }
  }

  /** Gives back everything, as if it had not been delivered. */
  async releaseAll(): Promise<void> {
    await Promise.allSettled(this.#claiming);
    const settlings = new Set([...this.#claims.values()].map(({ settling }) => settling));
    await Promise.all([...settlings].map((settling) => settling.releaseAll()));
  }
}

function nameOf({ session, message }: Claim): string {
  return `${session}>${message.id}`;
}

/**
 * Settles claims of one mailbox: whatever is asked for in one turn, or while a commit is under way, goes together in the
 * next one, with one event for all that were acked.
 */
export class Settling {
  readonly #core: HubCore;
  readonly #actor: Actor;
  readonly #maxDeliveries: number;
  readonly #all: OpenClaims;
  readonly #open = new Set<Claim>();
  #orders: Order[] = [];
  #running = false;

  constructor(core: HubCore, actor: Actor, all: OpenClaims, maxDeliveries: number) {
    this.#core = core;
    this.#all = all;
    this.#actor = actor;
    this.#maxDeliveries = maxDeliveries;
  }

  /** Remembers what is being claimed, so that it can be given back, also if the mesh is closed right then. */
  remember(claiming: Promise<Claim[] | undefined>): Promise<Claim[] | undefined> {
    return this.#all.during(
      claiming.then((claims) => {
        for (const claim of claims ?? []) {
          this.#open.add(claim);
          this.#all.add(claim, this);
        }
        return claims;
      }),
    );
  }

  /** Claims that were given out and not settled. */
  get open(): ReadonlySet<Claim> {
    return this.#open;
  }

  /** @throws MeshError `stale_receipt`, `not_alive`, `lease_lost` */
  settle(claim: Claim, settlement: Settlement): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.#orders.push({ claim, settlement, resolve, reject });
      if (this.#running) return;
      this.#running = true;
      void Promise.resolve().then(() => this.#run());
    });
  }

  /** Gives back everything that was given out, without counting it as delivered. */
  async releaseAll(): Promise<void> {
    await Promise.allSettled([...this.#open].map((claim) => this.settle(claim, { kind: 'release' })));
  }

  async #run(): Promise<void> {
    while (this.#orders.length > 0) {
      const orders = this.#next();
      try {
        await this.#commit(orders);
      } catch (error) {
        for (const { reject } of orders) reject(error);
      }
    }
    this.#running = false;
  }

  /** As many as go into a commit, of each claim one: what else is asked for it comes later, and too late if it was settled. */
  #next(): Order[] {
    if (this.#orders.length === 1) return this.#orders.splice(0, 1);
    const next: Order[] = [];
    const later: Order[] = [];
    const claims = new Set<Claim>();
    for (const order of this.#orders) {
      if (next.length === AT_ONCE || claims.has(order.claim)) later.push(order);
      else next.push(order);
      claims.add(order.claim);
    }
    this.#orders = later;
    return next;
  }

  async #commit(orders: readonly Order[]): Promise<void> {
    let rest = orders.filter((order) => this.#isOpen(order));
    for (let attempt = 1; rest.length > 0; attempt++) {
      if (attempt > ATTEMPTS) throw new MeshError('conflict', `expected a settlement to pass, got ${ATTEMPTS} conflicts`);
      if (attempt > 1) await this.#core.nextTurn();
      const stale = new Set<string>();
      let expired: readonly Order[] = [];
      const { committed } = await this.#attempt((draft) => {
        expired = this.#stage(draft, rest);
      }, stale);
      if (committed) {
        const moved = new Map(committed.taken.map(({ key }) => [unleasedKey(key), key]));
        for (const order of rest) this.#done(order, committed.revision, moved, expired.includes(order));
        return;
      }
      for (const order of rest) if (stale.has(order.claim.address.key)) this.#fail(order);
      rest = rest.filter(({ claim }) => !stale.has(claim.address.key));
    }
  }

  /** One commit under the lease; the claims that are no more go into `stale` unless it is the lease that is gone. */
  async #attempt(
    stage: (draft: Draft) => void,
    stale: Set<string>,
  ): Promise<{ readonly committed?: CommitResult & { committed: true } }> {
    const { tenure, id } = this.#actor;
    if (tenure?.end) throw tenure.end;
    const draft = new Draft();
    stage(draft);
    if (tenure) draft.checks.push(this.#core.sessions.leaseCheck(id, tenure.leaseRevision));
    const answer = this.#core.engine.commit(draft);
    const result = answer instanceof Promise ? await answer : answer;
    if (result.committed) return { committed: result };
    const lease = this.#core.sessions.leaseAddress(id);
    if (tenure && result.conflicts.some(({ partition, key }) => partition === lease.partition && key === lease.key)) {
      await this.#core.fence.read(tenure);
      return {};
    }
    const claims = draft.checks.filter(
      (check): check is Address & { revision: number } => 'key' in check && check.partition !== lease.partition,
    );
    // A conflict may name a claim that still holds, where the store can't tell better.
    const found = await this.#core.engine.storage.get(claims.map(({ partition, key }) => ({ partition, key })));
    claims.forEach(({ key, revision }, n) => {
      if (found[n]?.revision !== revision) stale.add(key);
    });
    return {};
  }

  /** Answers the orders that come too late: their messages have expired. */
  #stage(draft: Draft, orders: readonly Order[]): Order[] {
    const { engine } = this.#core;
    const session = this.#actor.id;
    const now = engine.now();
    const acked: Claim[] = [];
    const terminated: Claim[] = [];
    const exhausted: Claim[] = [];
    const released: Claim[] = [];
    const expired: Order[] = [];
    for (const order of orders) {
      const { claim, settlement } = order;
      draft.checks.push({ ...claim.address, revision: claim.revision });
      if (settlement.kind === 'extend') {
        const { partition, key } = claim.address;
        draft.takes.push({ from: partition, to: partition, start: key, end: keyAfter(key), limit: 1, leaseMs: settlement.ms });
        continue;
      }
      draft.deletes.push(claim.address);
      if (isExpired(claim.message, now)) expired.push(order);
      else if (settlement.kind === 'ack') acked.push(claim);
      else if (settlement.kind === 'term')
        terminated.push({ ...claim, tally: { deliveries: claim.tally.deliveries + 1, error: settlement.reason } });
      else {
        const tally = tallyAfter(claim, settlement);
        if (tally.deliveries >= this.#maxDeliveries && settlement.kind === 'nak') exhausted.push({ ...claim, tally });
        else {
          const isDelayed = settlement.kind === 'nak' && settlement.delayMs > 0;
          const back = isDelayed
            ? { ...movedTo(claim, now + settlement.delayMs), value: tallyValue({ ...tally, delayed: true }) }
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
    if (this.#open.has(order.claim) && !order.claim.answered) return true;
    // A reply has settled it already, as was wished for.
    if (this.#open.has(order.claim)) {
      this.#forget(order.claim);
      order.resolve();
    } else this.#fail(order);
    return false;
  }

  #done(order: Order, revision: number, moved: ReadonlyMap<string, string>, isExpired: boolean): void {
    const { claim, settlement } = order;
    if (settlement.kind === 'extend') {
      const { partition, key } = claim.address;
      claim.address = { partition, key: moved.get(unleasedKey(key)) ?? key };
      claim.deadline = deadlineOf(claim.address.key) ?? 0;
      claim.revision = revision;
      return order.resolve();
    }
    this.#forget(claim);
    if (isExpired) order.reject(stale(claim, 'expired'));
    else order.resolve();
  }

  #forget(claim: Claim): void {
    this.#open.delete(claim);
    this.#all.delete(claim);
  }

  #fail(order: Order): void {
    this.#forget(order.claim);
    order.reject(stale(order.claim, 'settled or claimed anew'));
  }
}

function tallyAfter(
  { tally }: Claim,
  settlement: { readonly kind: 'nak' | 'release'; readonly reason?: string | undefined },
): Tally {
  const error = settlement.reason ?? tally.error;
  const deliveries = settlement.kind === 'nak' ? tally.deliveries + 1 : tally.deliveries;
  return { deliveries, ...(error !== undefined && { error }) };
}

function stale({ message }: Claim, got: string): MeshError {
  return new MeshError('stale_receipt', `expected a claim that lasts, got a message that was ${got}`, {
    details: { message: message.id },
  });
}

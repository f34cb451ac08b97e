import type { Placed } from '../../kernel/bag.ts';
import { MeshError } from '../../kernel/errors.ts';
import { LIMITS } from '../../storage/checked.ts';
import { Draft } from '../../storage/draft.ts';
import { deadlineOf, keyAfter, leasedKey, unleasedKey } from '../../storage/keys.ts';
import type { Address, CommitResult, MaybePromise, StoredRecord, Take } from '../../storage/storage.ts';
import type { Actor, HubCore } from '../hub-core.ts';
import type { Bodies } from './bodies.ts';
import { claimedPartition, markerAddress, readyPartition, stampOfReference, type Tally, tallyOf, tallyValue } from './mailbox.ts';
import { isExpired, type Message, type MessageType } from './message.ts';
import { type Open, stageDead, stageExpired, stagePurged } from './outcomes.ts';
import { assertLeased, type Routes } from './routes.ts';

/** A message that is claimed. Its address and revision are the receipt. */
export interface Claim extends Open, Placed {
  readonly message: Message;
  readonly tally: Tally;
  address: Address;
  revision: number;
  deadline: number;
  /** A reply has settled it. */
  answered: boolean;
  /** What is to become of it is under way. */
  isSettling: boolean;
  /** Replies under way that would settle it. */
  replies: number;
}

export interface ClaimOptions {
  readonly limit: number;
  readonly visibilityMs: number;
  readonly types?: readonly MessageType[] | undefined;
}

/** What became of claims that were not settled in time. */
export interface Recovery {
  /** When the next claim lapses. */
  readonly lapseAt: number | undefined;
  /** Whether there may be mail again. */
  readonly isBack: boolean;
}

const AT_ONCE = 100;
/** The writes of a commit but one, which proves to a storage that can lose its answer that it was applied. */
const MOST_TAKES = LIMITS.writes - 1;
const ATTEMPTS = 1000;

/** Claims messages, and puts back what was claimed and not settled. */
export class Claims {
  readonly #core: HubCore;
  readonly #bodies: Bodies;
  readonly #routes: Routes;
  readonly #maxDeliveries: number;

  constructor(core: HubCore, bodies: Bodies, routes: Routes, maxDeliveries: number) {
    this.#core = core;
    this.#bodies = bodies;
    this.#routes = routes;
    this.#maxDeliveries = maxDeliveries;
  }

  /**
   * Claims the next messages of a mailbox, at once where the storage answers at once. What has expired meanwhile is
   * removed and told instead.
   * @throws MeshError `not_alive`, `lease_lost`
   */
  claim(actor: Actor, { limit, visibilityMs, types }: ClaimOptions): MaybePromise<Claim[]> {
    if (!types) return this.#claim(actor, [takeFirst(actor.id, limit, visibilityMs)]);
    return this.#takesOf(actor.id, types, limit, visibilityMs).then((takes) =>
      takes.length === 0 ? [] : this.#claim(actor, takes),
    );
  }

  #claim(actor: Actor, takes: Take[]): MaybePromise<Claim[]> {
    const taking = this.#take(actor, takes);
    return taking instanceof Promise ? taking.then((taken) => this.#read(actor.id, taken)) : this.#read(actor.id, taking);
  }

  #read(session: string, taken: readonly StoredRecord[]): MaybePromise<Claim[]> {
    if (taken.length === 0) return [];
    const stamps = taken.map(({ key }) => stampOfReference(key));
    const reading = this.#bodies.readIn(session, stamps);
    if (reading instanceof Promise) return reading.then((messages) => this.#claims(session, stamps, taken, messages));
    return this.#claims(session, stamps, taken, reading);
  }

  #claims(
    session: string,
    stamps: readonly string[],
    taken: readonly StoredRecord[],
    messages: readonly (Message | undefined)[],
  ): MaybePromise<Claim[]> {
    const claims: Claim[] = [];
    let gone: Claim[] | undefined;
    // Of what is taken together.
    const deadline = deadlineOf((taken[0] as StoredRecord).key) ?? 0;
    for (let n = 0; n < taken.length; n++) {
      const { partition, key, value, revision } = taken[n] as StoredRecord;
      const message = messages[n];
      const claim: Claim = {
        session,
        stamp: stamps[n] as string,
        message: message as Message,
        tally: tallyOf(value),
        address: { partition, key },
        revision,
        deadline,
        answered: false,
        isSettling: false,
        replies: 0,
        place: -1,
      };
      if (!message || isExpired(message, this.#core.engine)) (gone ??= []).push(claim);
      else claims.push(claim);
    }
    if (!gone) return claims;
    return this.#dropAll(gone).then(() => claims);
  }

  /**
   * Puts back what was claimed until now; or gives it up, when it was delivered too often. As long as the marker of the
   * mailbox is a predecessor's, all that was claimed is put back but what waits on purpose.
   */
  async recover(session: string, predecessor?: StoredRecord): Promise<Recovery> {
    const partition = claimedPartition(session);
    let isBack = false;
    let start = '';
    for (;;) {
      const head = await this.#core.engine.storage.list(partition, { start, limit: AT_ONCE });
      const now = this.#core.engine.now();
      const lapsed = head.filter(({ key, value }) => (deadlineOf(key) ?? 0) <= now || (predecessor && !tallyOf(value).delayed));
      const first = head[0];
      const last = head[head.length - 1];
      if (lapsed.length === 0) {
        if (!predecessor || !last || head.length < AT_ONCE) return { lapseAt: first && deadlineOf(first.key), isBack };
        start = keyAfter(last.key);
        continue;
      }
      const found = this.#bodies.read(lapsed.map(({ key }) => ({ mailbox: session, stamp: stampOfReference(key) })));
      const messages = found instanceof Promise ? await found : found;
      const draft = new Draft();
      const dead: Open[] = [];
      lapsed.forEach(({ key, value, revision }, n) => {
        draft.checks.push({ partition, key, revision });
        draft.deletes.push({ partition, key });
        const { deliveries, error, delayed } = tallyOf(value);
        const tally = { deliveries: delayed ? deliveries : deliveries + 1, ...(error !== undefined && { error }) };
        const open = { session, stamp: stampOfReference(key), message: messages[n] };
        if (tally.deliveries >= this.#maxDeliveries && messages[n]) dead.push({ ...open, tally });
        else draft.puts.push({ partition: readyPartition(session), key: unleasedKey(key), value: tallyValue(tally) });
      });
      if (dead.length > 0) stageDead(draft, this.#core.engine, session, 'max_deliveries', dead);
      // Lost to somebody who settled or put back some of them: what is left is looked at anew.
      isBack = true;
      // Whoever takes up the mailbox at the same time may have claims of its own by now.
      const marker = predecessor && { partition: predecessor.partition, key: predecessor.key };
      if (marker) draft.checks.push({ ...marker, revision: predecessor.revision });
      const result = await this.#core.engine.commit(draft);
      if (!result.committed && marker) {
        const [current] = await this.#core.engine.storage.get([marker]);
        if (current?.revision !== predecessor.revision) return { lapseAt: undefined, isBack };
      }
      await this.#core.nextTurn();
    }
  }

  /**
   * Takes up a mailbox for this incarnation: what its predecessors had claimed comes back first.
   * @throws MeshError `not_found`, `not_alive`, `lease_lost`
   */
  async takeUp(actor: Actor, incarnation: string): Promise<void> {
    const address = markerAddress(actor.id);
    for (;;) {
      const [marker] = await this.#core.engine.storage.get([address]);
      const last = marker?.value as { readonly incarnation: string } | null | undefined;
      if (last?.incarnation === incarnation) return;
      if (marker && last) await this.recover(actor.id, marker);
      const { made } = await this.#core.write(actor, async (draft) => {
        const [again] = await this.#core.engine.storage.get([address]);
        if (again?.revision !== marker?.revision) return false;
        this.#routes.stageTakeUp(draft, actor.id, marker?.revision ?? null, incarnation);
        return true;
      });
      if (made) return;
    }
  }

  /** Of a mailbox of which only some types are wanted: the first of these, each by a take of its own. */
  async #takesOf(session: string, types: readonly MessageType[], limit: number, leaseMs: number): Promise<Take[]> {
    const from = readyPartition(session);
    const takes: Take[] = [];
    const most = Math.min(limit, MOST_TAKES);
    let start = '';
    for (;;) {
      const page = await this.#core.engine.storage.list(from, { start, limit: AT_ONCE, values: false });
      const messages = await this.#bodies.read(page.map(({ key }) => ({ mailbox: session, stamp: stampOfReference(key) })));
      page.forEach(({ key }, n) => {
        const message = messages[n];
        if (takes.length === most || (message && !types.includes(message.type))) return;
        takes.push({ from, to: claimedPartition(session), start: key, end: keyAfter(key), limit: 1, leaseMs });
      });
      const last = page[page.length - 1];
      if (!last || page.length < AT_ONCE || takes.length === most) return takes;
      start = keyAfter(last.key);
    }
  }

  /** Takes under the lease of whoever claims: the handle's own, or that which the session has. */
  #take(actor: Actor, takes: Take[], attempt = 1): MaybePromise<readonly StoredRecord[]> {
    const { id, tenure } = actor;
    if (!tenure) return this.#takeByAuthority(id, takes);
    if (tenure.end) throw tenure.end;
    const draft = new Draft({ checks: [this.#core.sessions.leaseCheck(id, tenure.leaseRevision)], takes });
    const answer = this.#core.engine.commit(draft);
    if (answer instanceof Promise) return answer.then((result) => this.#takenBy(actor, takes, attempt, result));
    return this.#takenBy(actor, takes, attempt, answer);
  }

  #takenBy(actor: Actor, takes: Take[], attempt: number, result: CommitResult): MaybePromise<readonly StoredRecord[]> {
    return result.committed ? result.taken : this.#takeAgain(actor, takes, attempt);
  }

  async #takeAgain(actor: Actor, takes: Take[], attempt: number): Promise<readonly StoredRecord[]> {
    if (actor.tenure) await this.#core.fence.read(actor.tenure);
    await this.#pause(attempt);
    return this.#take(actor, takes, attempt + 1);
  }

  async #takeByAuthority(id: string, takes: Take[]): Promise<readonly StoredRecord[]> {
    for (let attempt = 1; ; attempt++) {
      const standing = await this.#routes.standing(id);
      assertLeased(standing);
      const draft = new Draft({ checks: [...standing.checks], takes });
      const result = await this.#core.engine.commit(draft);
      if (result.committed) return result.taken;
      this.#routes.forget(id);
      await this.#pause(attempt);
    }
  }

  /** Whatever it is that always conflicts must neither hold up the event loop nor go on for ever. */
  async #pause(attempt: number): Promise<void> {
    if (attempt === ATTEMPTS) throw new MeshError('conflict', `expected a claim to pass, got ${ATTEMPTS} conflicts`);
    await this.#core.nextTurn();
  }

  /** Nobody gets them any more: they have expired, or are not even kept. */
  async #dropAll(gone: readonly Claim[]): Promise<void> {
    for (const claim of gone) {
      const [id] = claim.message ? [] : await this.#bodies.namesIn(claim.session, [claim.stamp]);
      const draft = new Draft();
      draft.checks.push({ ...claim.address, revision: claim.revision });
      draft.deletes.push(claim.address);
      const stage = claim.message ? stageExpired : stagePurged;
      stage(draft, this.#core.engine, claim.session, [{ ...claim, id }]);
      await this.#core.engine.commit(draft);
    }
  }
}

function takeFirst(session: string, limit: number, leaseMs: number): Take {
  return { from: readyPartition(session), to: claimedPartition(session), limit, leaseMs };
}

/** Where a claim is once it lasts until then. */
export function movedTo({ address }: Claim, deadline: number): Address {
  return { partition: address.partition, key: leasedKey(address.key, deadline) };
}

import type { Bag } from '../../kernel/bag.ts';
import type { Claim } from './claims.ts';

/** Whoever holds claims on a mailbox: one inbox. */
export interface ClaimHolder {
  readonly open: Bag<Claim>;
  /** It was settled otherwise. */
  forget(claim: Claim): void;
  /** Lets go of what lapsed long ago, and of everything once its session is over. */
  prune(): void;
  releaseAll(): Promise<void>;
}

/** A claim with its holder. */
export interface Held {
  readonly claim: Claim;
  readonly holder: ClaimHolder;
}

/** A place in the index. It is emptied when it goes, so that what still points to it keeps no claim alive (see `Bag`). */
interface Entry {
  held: Held | undefined;
}

/** Who had claims will have some again soon, unless there are many. */
const KEPT_EMPTY = 1000;
/** So many others are looked at for each new holder, so that none is kept for ever that nobody uses any more. */
const PRUNED_AT_ONCE = 2;

/** What this process has claimed and not settled, by whoever holds it: so that a reply finds what it settles. */
export class OpenClaims {
  readonly #holders = new Set<ClaimHolder>();
  readonly #claiming = new Set<Promise<unknown>>();
  /** By mailbox and message, once a reply has asked: who never replies does not pay for it. */
  #index: Map<string, Map<string, Entry>> | undefined;

  find(session: string, messageId: string): Held | undefined {
    if (!this.#index) {
      this.#index = new Map();
      for (const holder of this.#holders) for (const claim of holder.open.all()) index(this.#index, { claim, holder });
    }
    return this.#index.get(session)?.get(messageId)?.held;
  }

  /** Said before the first of what is claimed is added. */
  holds(holder: ClaimHolder): void {
    if (this.#holders.has(holder)) return;
    let left = Math.min(PRUNED_AT_ONCE, this.#holders.size);
    for (const other of this.#holders) {
      if (left-- === 0) break;
      other.prune();
      this.#holders.delete(other);
      if (other.open.size > 0) this.#holders.add(other);
    }
    this.#holders.add(holder);
  }

  add(claim: Claim, holder: ClaimHolder): void {
    if (this.#index) index(this.#index, { claim, holder });
  }

  delete(claim: Claim, holder: ClaimHolder): void {
    if (holder.open.size === 0 && this.#holders.size > KEPT_EMPTY) this.#holders.delete(holder);
    if (!this.#index) return;
    const claims = this.#index.get(claim.session);
    const entry = claims?.get(claim.message.id);
    if (!claims || entry?.held?.claim !== claim) return;
    entry.held = undefined;
    claims.delete(claim.message.id);
    if (claims.size === 0 && this.#index.size > KEPT_EMPTY) this.#index.delete(claim.session);
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
    await Promise.all([...this.#holders].map((holder) => holder.releaseAll()));
  }
}

function index(claims: Map<string, Map<string, Entry>>, held: Held): void {
  const { session, message, revision } = held.claim;
  let known = claims.get(session);
  if (!known) {
    known = new Map();
    claims.set(session, known);
  }
  // One that has lapsed may not have been given up yet.
  const entry = known.get(message.id);
  if (!entry) known.set(message.id, { held });
  else if (!entry.held || entry.held.claim.revision <= revision) entry.held = held;
}

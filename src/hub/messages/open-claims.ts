import type { Claim } from './claims.ts';

/** Whoever holds claims on a mailbox: one inbox. */
export interface ClaimHolder {
  readonly open: ReadonlySet<Claim>;
  releaseAll(): Promise<void>;
}

/** Who had claims will have some again soon, unless there are many. */
const KEPT_EMPTY = 1000;

/** What this process has claimed and not settled, by whoever holds it: so that a reply finds what it settles. */
export class OpenClaims {
  readonly #holders = new Set<ClaimHolder>();
  readonly #claiming = new Set<Promise<unknown>>();
  /** By mailbox and message, once a reply has asked: who never replies does not pay for it. */
  #index: Map<string, Map<string, Claim>> | undefined;

  find(session: string, messageId: string): Claim | undefined {
    if (!this.#index) {
      this.#index = new Map();
      for (const { open } of this.#holders) for (const claim of open) index(this.#index, claim);
    }
    return this.#index.get(session)?.get(messageId);
  }

  /** Said before the first of what is claimed is added. */
  holds(holder: ClaimHolder): void {
    this.#holders.add(holder);
  }

  add(claim: Claim): void {
    if (this.#index) index(this.#index, claim);
  }

  delete(claim: Claim, holder: ClaimHolder): void {
    if (holder.open.size === 0 && this.#holders.size > KEPT_EMPTY) this.#holders.delete(holder);
    if (!this.#index) return;
    const claims = this.#index.get(claim.session);
    if (claims?.get(claim.message.id) !== claim) return;
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

function index(claims: Map<string, Map<string, Claim>>, claim: Claim): void {
  const { session, message } = claim;
  let known = claims.get(session);
  if (!known) {
    known = new Map();
    claims.set(session, known);
  }
  // One that has lapsed may not have been given up yet.
  const other = known.get(message.id);
  if (!other || other.revision <= claim.revision) known.set(message.id, claim);
}

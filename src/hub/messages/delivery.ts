import { parse } from '../../kernel/inputs.ts';
import type { Claim } from './claims.ts';
import type { Message } from './message.ts';
import { EXTEND_MS, NAK, REASON } from './message-inputs.ts';
import type { Settling } from './settling.ts';

/** One message, claimed for whoever holds this. Settle it once; unsettled it comes back when the claim lapses. */
export interface Delivery {
  readonly message: Message;
  /** 1 for the first delivery. */
  readonly attempt: number;
  /** It is done. @throws MeshError `stale_receipt` (the claim has lapsed, or it was settled), `not_alive`, `lease_lost` */
  ack(): Promise<void>;
  /** To be delivered again, `delayMs` from now (default at once); into the dead letters after too many deliveries. */
  nak(options?: { readonly delayMs?: number | undefined; readonly reason?: string | undefined }): Promise<void>;
  /** Never to be delivered again: into the dead letters, with the reason. */
  term(reason?: string): Promise<void>;
  /** The claim lasts so many milliseconds from now. */
  extend(ms: number): Promise<void>;
}

const ACK = { kind: 'ack' } as const;

/** A delivery as consumers get it. */
export class ClaimedDelivery implements Delivery {
  readonly message: Message;
  readonly attempt: number;
  readonly #claim: Claim;
  readonly #settling: Settling;

  constructor(claim: Claim, settling: Settling) {
    this.message = claim.message;
    this.attempt = claim.tally.deliveries + 1;
    this.#claim = claim;
    this.#settling = settling;
  }

  // Getters, so that who takes a delivery apart has functions that still know it, and nobody else pays for them.
  get ack(): Delivery['ack'] {
    return () => this.#settling.settle(this.#claim, ACK);
  }

  get nak(): Delivery['nak'] {
    return async (options = {}) => this.#settling.settle(this.#claim, { kind: 'nak', ...parse(NAK, options, 'options') });
  }

  get term(): Delivery['term'] {
    return async (reason) => this.#settling.settle(this.#claim, { kind: 'term', reason: parse(REASON, reason, 'reason') });
  }

  get extend(): Delivery['extend'] {
    return async (ms) => this.#settling.settle(this.#claim, { kind: 'extend', ms: parse(EXTEND_MS, ms, 'ms') });
  }
}

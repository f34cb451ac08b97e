import type { Statements } from './statements.ts';

const AT_MOST = 500;
/** Between two purges when there was little to remove, and when more is left. */
const IDLE_MS = 5000;
const BEHIND_MS = 100;

/**
 * Removes expired records for good, which nobody sees any more: a bounded number, now and then, within a transaction
 * that is made anyway.
 */
export class Purge {
  readonly #statements: Statements;
  #lastAt = Number.NEGATIVE_INFINITY;
  #behind = false;

  constructor(statements: Statements) {
    this.#statements = statements;
  }

  /** Within a transaction. Answers whether it removed anything. */
  run(now: number): boolean {
    const sinceLast = Math.abs(now - this.#lastAt);
    if (sinceLast < (this.#behind ? BEHIND_MS : IDLE_MS)) return false;
    this.#lastAt = now;
    const removed = Number(this.#statements.purge.run(now, AT_MOST).changes);
    this.#behind = removed === AT_MOST;
    return removed > 0;
  }
}

import type { Draft } from '../storage/draft.ts';
import type { Engine } from '../storage/engine.ts';
import { keyAfter, prefixRange } from '../storage/keys.ts';
import type { StoredRecord } from '../storage/storage.ts';

/** Lets go of what was kept for an incarnation that is over. May be called again for the same one. */
export type AfterwardsOf = (session: string, incarnation: string) => Promise<void>;

const OVER = 'over';
const AT_ONCE = 100;
const UNSETTLED_MS = 7 * 86_400_000;

/**
 * What others keep for an incarnation, mail and work, must be let go once it is over, also when the process that ended
 * it dies right then. So the commit of its end leaves a note, and any process that has handlers does it at the next
 * sweep. One without handlers leaves a note too, since others may have them, but for a week only: it may be alone.
 */
export class Aftermath {
  readonly #engine: Engine;
  readonly #handlers: AfterwardsOf[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  add(handler: AfterwardsOf): void {
    if (this.#handlers.push(handler) === 1) this.#engine.onSweep(() => this.#sweep());
  }

  /** Stages that it is to be done, for the commit that ends, replaces or removes an incarnation. */
  stage(draft: Draft, session: string, incarnation: string): void {
    const isAlone = this.#handlers.length === 0;
    draft.puts.push({
      partition: OVER,
      key: `${session}>${incarnation}`,
      value: null,
      ...(isAlone && { ttlMs: UNSETTLED_MS }),
    });
  }

  /** Does it now for a session that is not known any more, if it was not done yet. */
  async settleRemoved(session: string): Promise<void> {
    if (this.#handlers.length === 0) return;
    const notes = await this.#engine.storage.list(OVER, { ...prefixRange(`${session}>`), limit: 1, values: false });
    for (const { key } of notes) await this.settle(session, incarnationOf(key));
  }

  /** Does it now: before the id of a session that is over is used again. */
  async settle(session: string, incarnation: string): Promise<void> {
    for (const handler of this.#handlers) await handler(session, incarnation);
  }

  /** One that fails keeps no other waiting. */
  async #sweep(): Promise<void> {
    const { storage, clock } = this.#engine;
    const failures: PromiseRejectedResult[] = [];
    for (let start = ''; ; ) {
      const notes = await storage.list(OVER, { start, limit: AT_ONCE, values: false });
      const settled = await Promise.allSettled(notes.map((note) => this.#settleNoted(note)));
      for (const result of settled) if (result.status === 'rejected') failures.push(result);
      const last = notes[notes.length - 1];
      if (!last || notes.length < AT_ONCE) break;
      start = keyAfter(last.key);
      await new Promise<void>((resolve) => clock.nextTurn(resolve));
    }
    if (failures[0]) throw failures[0].reason;
  }

  async #settleNoted({ partition, key, revision }: StoredRecord): Promise<void> {
    await this.settle(key.slice(0, key.lastIndexOf('>')), incarnationOf(key));
    // One that was written anew meanwhile is read at the next sweep.
    await this.#engine.commit({ checks: [{ partition, key, revision }], deletes: [{ partition, key }] });
  }
}

function incarnationOf(key: string): string {
  return key.slice(key.lastIndexOf('>') + 1);
}

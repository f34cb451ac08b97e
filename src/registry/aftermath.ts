import type { Draft } from '../storage/draft.ts';
import type { Engine } from '../storage/engine.ts';
import type { Address } from '../storage/storage.ts';

/** Lets go of what was kept for an incarnation that is over. May be called again for the same one. */
export type AfterwardsOf = (session: string, incarnation: string) => Promise<void>;

const OVER = 'over';

/**
 * What others keep for an incarnation, mail and work, must be let go once it is over, also when the process that ended
 * it dies right then. So the commit of its end leaves a due entry, and any process that has a handler does it at the next
 * sweep. Without handlers nothing is kept, and nothing left.
 */
export class Aftermath {
  readonly #engine: Engine;
  readonly #handlers: AfterwardsOf[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  add(handler: AfterwardsOf): void {
    if (this.#handlers.push(handler) > 1) return;
    const engine = this.#engine;
    engine.due.handle(OVER, async ({ id }) => {
      const split = id.lastIndexOf('>');
      const session = id.slice(0, split);
      const incarnation = id.slice(split + 1);
      await this.settle(session, incarnation);
      const [removed] = await engine.storage.get([removedAddress(session)]);
      if (removed?.value !== incarnation) return {};
      return { checks: [{ ...removedAddress(session), revision: removed.revision }], deletes: [removedAddress(session)] };
    });
  }

  /** Stages that it is to be done, for the commit that ends or replaces an incarnation. */
  stage(draft: Draft, session: string, incarnation: string): void {
    if (this.#handlers.length > 0) draft.puts.push(this.#engine.due.put(this.#engine.now(), OVER, `${session}>${incarnation}`));
  }

  /** The same for a session whose record goes: a note of it stays until it is done, for whoever takes the id next. */
  stageRemoved(draft: Draft, session: string, incarnation: string): void {
    this.stage(draft, session, incarnation);
    if (this.#handlers.length > 0) draft.puts.push({ ...removedAddress(session), value: incarnation });
  }

  /** Does it now for a session that is not known any more, if it was not done yet. */
  async settleRemoved(session: string): Promise<void> {
    if (this.#handlers.length === 0) return;
    const [removed] = await this.#engine.storage.get([removedAddress(session)]);
    if (removed) await this.settle(session, removed.value as string);
  }

  /** Does it now: before the id of a session that is over is used again. */
  async settle(session: string, incarnation: string): Promise<void> {
    for (const handler of this.#handlers) await handler(session, incarnation);
  }
}

function removedAddress(session: string): Address {
  return { partition: 'removed', key: session };
}

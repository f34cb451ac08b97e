import { guarded, warnProcess } from '../kernel/report.ts';
import type { Hint, Unsubscribe } from './storage.ts';

const MAX_PARTITIONS = 64;

/** Its `then` calls back in the next microtask, for a fraction of what `queueMicrotask` costs on Node. */
const SOON = Promise.resolve();

/**
 * Tells a storage's watchers what changed, after the commit has answered. What changes until then is told at once.
 */
export class HintFan {
  readonly #listeners = new Set<(hint: Hint) => void>();
  #partitions: string[] = [];
  #anything = false;
  #scheduled = false;

  /** Whether anybody watches. */
  get watched(): boolean {
    return this.#listeners.size > 0;
  }

  /** Adds a watcher, and answers how to remove it. */
  add(listener: (hint: Hint) => void): Unsubscribe {
    const called = guarded(listener, warnProcess);
    this.#listeners.add(called);
    return () => this.#listeners.delete(called);
  }

  /** Partitions that a commit changed; without them, anything may have changed. */
  changed(partitions?: Iterable<string>): void {
    if (this.#listeners.size === 0) return;
    if (!partitions) this.#anything = true;
    else for (const partition of partitions) if (!this.#partitions.includes(partition)) this.#note(partition);
    if (this.#scheduled) return;
    this.#scheduled = true;
    SOON.then(this.#tell);
  }

  /** Forgets all watchers, also those who were about to be told. */
  clear(): void {
    this.#listeners.clear();
  }

  /** Beyond so many partitions nobody gains from being told which. */
  #note(partition: string): void {
    if (this.#partitions.length < MAX_PARTITIONS) this.#partitions.push(partition);
    else this.#anything = true;
  }

  readonly #tell = (): void => {
    const hint: Hint = Object.freeze(this.#anything ? {} : { partitions: Object.freeze(this.#partitions) });
    this.#partitions = [];
    this.#anything = false;
    this.#scheduled = false;
    // A set is walked as it is: one that ended its watch meanwhile is left out.
    for (const listener of this.#listeners) listener(hint);
  };
}

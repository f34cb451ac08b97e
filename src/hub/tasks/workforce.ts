import { LEASE_EXTRA_MS } from '../../registry/session.ts';
import type { Draft } from '../../storage/draft.ts';
import type { Standing } from './claimant.ts';
import type { TaskStore } from './task-store.ts';

/** The kind of the due entries that look after those who work. */
export const WORKER = 'worker';

/** Markers that are remembered; those of more workers are read again. */
const REMEMBERED = 10_000;

/**
 * The list of incarnations that work. Whoever takes or claims checks that its incarnation is on it, so that nothing can
 * be taken by one that nobody looks after.
 */
export class Workforce {
  readonly #store: TaskStore;
  /** Revisions of markers, as far as they were seen. */
  readonly #known = new Map<string, number>();

  constructor(store: TaskStore) {
    this.#store = store;
  }

  /**
   * Stages that the incarnation is on the list, or puts it there.
   * @returns what to call with the revision of the commit
   */
  async stage(draft: Draft, { session, incarnation }: Standing): Promise<(revision: number) => void> {
    const address = this.#store.markerAddress(session, incarnation);
    const known = this.#known.get(address.key) ?? (await this.#store.engine.storage.get([address]))[0]?.revision;
    if (known !== undefined) {
      draft.checks.push({ ...address, revision: known });
      // If it is no longer so, it is read anew after the conflict.
      this.#known.delete(address.key);
      return () => this.#remember(address.key, known);
    }
    const { engine, core } = this.#store;
    const lease = (await core.sessions.read(session))?.lease;
    const lookAt = lease?.expiresAt ?? engine.now() + LEASE_EXTRA_MS;
    draft.checks.push({ ...address, revision: null });
    draft.puts.push({ ...address, value: null }, engine.due.put(lookAt, WORKER, address.key));
    return (revision) => this.#remember(address.key, revision);
  }

  #remember(key: string, revision: number): void {
    if (this.#known.size >= REMEMBERED) this.#known.clear();
    this.#known.set(key, revision);
  }
}

/** The session and incarnation of a marker. */
export function workerOf(key: string): { readonly session: string; readonly incarnation: string } {
  const split = key.lastIndexOf('>');
  return { session: key.slice(0, split), incarnation: key.slice(split + 1) };
}

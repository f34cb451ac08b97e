import type { Timer } from '../kernel/clock.ts';
import { MeshError } from '../kernel/errors.ts';
import type { KeyStore } from './key-store.ts';
import type { Removal } from './removal.ts';

type Outcome = 'used' | 'exhausted' | 'changed';

interface Batch {
  readonly revision: number;
  readonly maxUses: number;
  readonly waiting: ((outcome: Outcome | Promise<never>) => void)[];
}

/** Last uses are told so long after the first of them, together. */
const TOLD_AFTER_MS = 5000;
/** A last use is told again only after so long. */
const PRECISION_MS = 60_000;
const TOLD_AT_ONCE = 500;
const ATTEMPTS = 1000;
const REMEMBERED = 100_000;

/**
 * How often keys are used. Uses that are counted (`maxUses`) are: one commit per key and process is under way at a time
 * and takes all that came meanwhile, so exactly `maxUses` verifications pass however many are tried. When a key was used
 * last is only noted, and written later.
 */
export class Uses {
  readonly #store: KeyStore;
  readonly #removal: Removal;
  readonly #batches = new Map<string, Batch>();
  readonly #running = new Set<string>();
  readonly #seen = new Map<string, number>();
  readonly #told = new Map<string, number>();
  #timer: Timer | undefined;
  #telling: Promise<void> = Promise.resolve();

  constructor(store: KeyStore, removal: Removal) {
    this.#store = store;
    this.#removal = removal;
  }

  /** Takes one use of a key that was judged in this revision; `changed`: judge it again. */
  use(id: string, revision: number, maxUses: number): Promise<Outcome> {
    return new Promise((resolve) => {
      const batch = this.#batches.get(id);
      if (batch?.revision === revision) batch.waiting.push(resolve);
      else {
        // Whoever waits with an older revision must look again.
        for (const wake of batch?.waiting ?? []) wake('changed');
        this.#batches.set(id, { revision, maxUses, waiting: [resolve] });
      }
      if (!this.#running.has(id)) void this.#run(id);
    });
  }

  /** Whether a use is left, without taking it. */
  async areLeft(id: string, maxUses: number): Promise<boolean> {
    const [uses] = await this.#store.engine.storage.get([this.#store.usesAddress(id)]);
    return ((uses?.value as number | undefined) ?? 0) < maxUses;
  }

  /** Notes that a key was used now. */
  seen(id: string, now: number): void {
    const told = this.#told.get(id);
    // The clock may have been set back since.
    if (told !== undefined && now >= told && now - told < PRECISION_MS) return;
    this.#seen.set(id, now);
    this.#timer ??= this.#store.engine.clock.setTimeout(() => {
      this.#timer = undefined;
      void this.#tell();
    }, TOLD_AFTER_MS);
  }

  /** Writes the last uses that were noted. */
  async close(): Promise<void> {
    if (this.#timer) this.#store.engine.clock.clearTimeout(this.#timer);
    await this.#tell();
  }

  /** One after another, and never in the way of anything: what goes wrong is reported. */
  #tell(): Promise<void> {
    this.#telling = this.#telling.then(async () => {
      const seen = [...this.#seen];
      this.#seen.clear();
      if (this.#told.size > REMEMBERED) this.#told.clear();
      try {
        for (let start = 0; start < seen.length; start += TOLD_AT_ONCE)
          await this.#write(seen.slice(start, start + TOLD_AT_ONCE));
      } catch (error) {
        for (const [id, at] of seen) if (this.#told.get(id) !== at && !this.#seen.has(id)) this.#seen.set(id, at);
        // Whoever closes the storage before the mesh does not wait for it.
        if (!MeshError.is(error, 'closed')) this.#store.engine.report(error);
      }
    });
    return this.#telling;
  }

  /** Only of keys that are still there, or something would be left of those that were removed; and never an earlier use. */
  async #write(seen: readonly (readonly [id: string, at: number])[]): Promise<void> {
    const { engine, keys } = this.#store;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const found = await engine.storage.get([
        ...seen.map(([id]) => keys.address(id)),
        ...seen.map(([id]) => this.#store.lastUseAddress(id)),
      ]);
      const later = seen.flatMap(([id, at], n) => {
        const key = found[n];
        const last = found[seen.length + n]?.value as number | undefined;
        return key && (last === undefined || last < at) ? [{ id, at, revision: key.revision }] : [];
      });
      const result = await engine.commit({
        checks: later.map(({ id, revision }) => ({ ...keys.address(id), revision })),
        puts: later.map(({ id, at }) => ({ ...this.#store.lastUseAddress(id), value: at })),
      });
      if (!result.committed) continue;
      for (const [id, at] of seen) this.#told.set(id, at);
      return;
    }
  }

  async #run(id: string): Promise<void> {
    this.#running.add(id);
    // Those who come in this turn go together.
    await Promise.resolve();
    for (let batch = this.#batches.get(id); batch; batch = this.#batches.get(id)) {
      this.#batches.delete(id);
      try {
        await this.#take(id, batch);
      } catch (error) {
        for (const wake of batch.waiting) wake(Promise.reject(error));
      }
    }
    this.#running.delete(id);
  }

  async #take(id: string, { revision, maxUses, waiting }: Batch): Promise<void> {
    const { engine, keys } = this.#store;
    const address = this.#store.usesAddress(id);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const [uses] = await engine.storage.get([address]);
      const before = (uses?.value as number | undefined) ?? 0;
      const granted = Math.min(waiting.length, maxUses - before);
      if (granted <= 0) {
        for (const wake of waiting) wake('exhausted');
        return;
      }
      const isLast = before + granted === maxUses;
      const result = await engine.commit({
        // Also the key itself: a revocation that is acknowledged before this commit refuses it.
        checks: [
          { ...keys.address(id), revision },
          { ...address, revision: uses?.revision ?? null },
        ],
        puts: [{ ...address, value: before + granted }, ...(isLast ? [this.#removal.last(id, engine.now())] : [])],
      });
      if (result.committed) {
        waiting.forEach((wake, n) => {
          wake(n < granted ? 'used' : 'exhausted');
        });
        return;
      }
      if (!result.conflicts.some(({ partition }) => partition === keys.partition)) continue;
      for (const wake of waiting) wake('changed');
      return;
    }
    throw new MeshError('conflict', `expected a use of a key to pass, got ${ATTEMPTS} conflicts`);
  }
}

import { MeshError } from '../../kernel/errors.ts';
import { randomLetters } from '../../kernel/ids.ts';
import type { Versioned } from '../../storage/collection.ts';
import { compareKeys, keyAfter, unleasedKey } from '../../storage/keys.ts';
import type { StoredRecord } from '../../storage/storage.ts';
import type { Actor } from '../hub-core.ts';
import { assertMayTake, writeAs } from './claimant.ts';
import { type Claim, isOverdue, queueOf, type TaskRecord } from './task.ts';
import { type QueueEntry, sessionOf, type TaskStore } from './task-store.ts';
import { stageClaim, stageReturned, stageTimedOut } from './transitions.ts';
import type { Workforce } from './workforce.ts';

/** What is claimed in one commit at most: also of the largest records so many fit. */
export const CLAIMED_AT_ONCE = 50;
/** A take that was not made a claim within this time is given back. */
const RESERVED_MS = 10_000;
const PAGE = 200;
const HOLDER_LENGTH = 12;

export interface Wanted {
  readonly capabilities: readonly string[];
  /** Default: all. */
  readonly types?: readonly string[] | undefined;
}

/** A task and the claim on it that was just made. */
export interface Claimed {
  readonly task: Versioned<TaskRecord>;
  readonly claim: Claim;
}

/** The queues from which a session gets its work. */
export function queuesFor(session: string, { capabilities }: Wanted): string[] {
  return [queueOf({ session }), ...capabilities.map((capability) => queueOf({ capability }))];
}

/** Claims tasks for a session, the most urgent and oldest of all its queues. */
export class Claims {
  readonly #store: TaskStore;
  readonly #workforce: Workforce;
  /** Marks the claims that are made here. */
  readonly #holder: string;
  #claims = 0;
  /** Claims of which nobody knows whether they were made, by session. */
  readonly #doubtful = new Map<string, Set<string>>();

  constructor(store: TaskStore, workforce: Workforce) {
    this.#store = store;
    this.#workforce = workforce;
    this.#holder = randomLetters(HOLDER_LENGTH);
  }

  /**
   * At most `limit` tasks, at most 50; none when there are none.
   * @throws MeshError `not_found`, `not_alive`, `lease_lost`
   */
  async claim(actor: Actor, wanted: Wanted, limit: number): Promise<Claimed[]> {
    const atMost = Math.min(limit, CLAIMED_AT_ONCE);
    await this.#clearDoubts(actor);
    for (;;) {
      const places = await (wanted.types ? this.#choose(actor, wanted, wanted.types, atMost) : this.#take(actor, wanted, atMost));
      if (places.length === 0) return [];
      const claimed = await this.#claimPlaces(actor, places);
      // All of them were gone or over: others may be there.
      if (claimed.length > 0) return claimed;
      await this.#store.core.nextTurn();
    }
  }

  /**
   * Claims one task that waits for this session, past the queue.
   * @returns nothing when it waits no longer
   */
  async claimOne(actor: Actor, id: string): Promise<Claimed | undefined> {
    const holder = this.#nextHolder();
    let settle = (_revision: number): void => {};
    const writing = writeAs(this.#store.core, actor, async (draft, standing) => {
      const task = await this.#store.tasks.get(id);
      if (!task?.value.place || sessionOf(task.value.to) !== actor.id) return undefined;
      settle = await this.#workforce.stage(draft, standing);
      return stageClaim(draft, this.#store, task, { ...standing, holder });
    });
    const { made, committed } = await this.#settled(writing, actor.id, holder);
    if (!made?.claim || !committed) return undefined;
    settle(committed.revision);
    return { task: { id, value: made, revision: committed.revision }, claim: made.claim };
  }

  /** Takes from the heads of the queues into the reservations of the incarnation, in one commit. Takers never collide. */
  async #take(actor: Actor, wanted: Wanted, limit: number): Promise<readonly StoredRecord[]> {
    const heads = await this.#heads(queuesFor(actor.id, wanted), limit);
    if (heads.size === 0) return [];
    let settle = (_revision: number): void => {};
    const { committed } = await writeAs(this.#store.core, actor, async (draft, standing) => {
      assertMayTake(standing);
      settle = await this.#workforce.stage(draft, standing);
      const to = this.#store.reservedPartition(standing.session, standing.incarnation);
      for (const [from, count] of heads) draft.takes.push({ from, to, limit: count, leaseMs: RESERVED_MS });
    });
    if (!committed) return [];
    settle(committed.revision);
    return [...committed.taken].sort((a, b) => compareKeys(unleasedKey(a.key), unleasedKey(b.key)));
  }

  /** How many to take from each queue, so that together they are the first of all. */
  async #heads(queues: readonly string[], limit: number): Promise<Map<string, number>> {
    const found: { readonly partition: string; readonly key: string }[] = [];
    for (const queue of queues) {
      const head = await this.#store.engine.storage.list(this.#store.queuePartition(queue), { limit, values: false });
      for (const { partition, key } of head) found.push({ partition, key });
    }
    found.sort((a, b) => compareKeys(a.key, b.key));
    const counts = new Map<string, number>();
    for (const { partition } of found.slice(0, limit)) counts.set(partition, (counts.get(partition) ?? 0) + 1);
    return counts;
  }

  /** The first places of tasks of these types. They are not reserved: who is late finds them gone. */
  async #choose(actor: Actor, wanted: Wanted, types: readonly string[], limit: number): Promise<StoredRecord[]> {
    const found: StoredRecord[] = [];
    for (const queue of queuesFor(actor.id, wanted)) {
      const partition = this.#store.queuePartition(queue);
      let start = '';
      for (let chosen = 0; chosen < limit; ) {
        const page = await this.#store.engine.storage.list(partition, { start, limit: PAGE });
        const fitting = page.filter(({ value }) => types.includes((value as unknown as QueueEntry).type));
        chosen += fitting.length;
        for (const place of fitting) found.push(place);
        const last = page[page.length - 1];
        if (!last || page.length < PAGE) break;
        start = keyAfter(last.key);
        await this.#store.core.nextTurn();
      }
    }
    return found.sort((a, b) => compareKeys(a.key, b.key)).slice(0, limit);
  }

  /**
   * Removes the places and writes the claims, all in one commit. A place that is gone meanwhile is left out; one whose
   * task is no longer waiting there is only removed.
   */
  async #claimPlaces(actor: Actor, places: readonly StoredRecord[]): Promise<Claimed[]> {
    const { storage } = this.#store.engine;
    const holder = this.#nextHolder();
    let there = places;
    let isAgain = false;
    let settle = (_revision: number): void => {};
    const writing = writeAs(this.#store.core, actor, async (draft, standing) => {
      assertMayTake(standing);
      settle = () => {};
      if (isAgain) there = (await storage.get(there)).filter((place) => place !== undefined);
      isAgain = true;
      const claimed: { readonly id: string; readonly value: TaskRecord; readonly claim: Claim }[] = [];
      if (there.length === 0) return claimed;
      settle = await this.#workforce.stage(draft, standing);
      const tasks = await this.#store.tasks.getMany(there.map(({ value }) => (value as unknown as QueueEntry).task));
      there.forEach(({ partition, key, revision }, n) => {
        const task = tasks[n];
        draft.checks.push({ partition, key, revision });
        draft.deletes.push({ partition, key });
        if (!task || this.#store.queuePlace(task)?.key !== unleasedKey(key)) return;
        if (isOverdue(task.value, this.#store.engine.now())) {
          stageTimedOut(draft, this.#store, task, { isTaken: true });
          return;
        }
        const value = stageClaim(draft, this.#store, task, { ...standing, holder }, { isTaken: true });
        if (value.claim) claimed.push({ id: task.id, value, claim: value.claim });
      });
      return claimed;
    });
    const { made, committed } = await this.#settled(writing, actor.id, holder);
    if (!committed) return [];
    settle(committed.revision);
    return made.map(({ id, value, claim }) => ({ task: { id, value, revision: committed.revision }, claim }));
  }

  #nextHolder(): string {
    this.#claims += 1;
    return `${this.#holder}.${this.#claims}`;
  }

  /** Remembers claims whose commit had no answer: they may stand in the store, with nobody who works on them. */
  async #settled<T>(writing: Promise<T>, session: string, holder: string): Promise<T> {
    try {
      return await writing;
    } catch (error) {
      if (MeshError.is(error, 'commit_unknown')) {
        const doubtful = this.#doubtful.get(session) ?? new Set();
        this.#doubtful.set(session, doubtful.add(holder));
      }
      throw error;
    }
  }

  /** Claims that were in doubt, and turn out to have been made, are given back: they use no attempt. */
  async #clearDoubts(actor: Actor): Promise<void> {
    const doubtful = this.#doubtful.get(actor.id);
    if (!doubtful) return;
    const { core, tasks, engine } = this.#store;
    const listed = await engine.storage.list(tasks.indexPartition('worker', actor.id), { values: false });
    await core.write(undefined, async (draft) => {
      for (const task of await tasks.getMany(listed.map(({ key }) => key)))
        if (task?.value.claim && doubtful.has(task.value.claim.holder)) stageReturned(draft, this.#store, task);
    });
    this.#doubtful.delete(actor.id);
  }
}

import { MeshError } from '../../kernel/errors.ts';
import type { Versioned } from '../../storage/collection.ts';
import type { Draft } from '../../storage/draft.ts';
import type { MaybePromise } from '../../storage/storage.ts';
import type { Actor } from '../hub-core.ts';
import { type Standing, writeAs } from './claimant.ts';
import { type Claim, isOverdue, type TaskRecord } from './task.ts';
import type { TaskStore } from './task-store.ts';
import { stageTimedOut } from './transitions.ts';

/** Stages what whoever has claimed a task does with it. It reads and refuses before it stages. */
export type Change = (draft: Draft, current: Versioned<TaskRecord>) => MaybePromise<TaskRecord>;

interface Act {
  readonly claim: Claim;
  readonly change: Change;
  /** Of the values that it writes, at most. */
  readonly bytes: number;
  readonly task: Versioned<TaskRecord>;
  readonly resolve: (task: Versioned<TaskRecord>) => void;
  readonly reject: (error: unknown) => void;
}

interface Backlog {
  readonly actor: Actor;
  readonly acts: Act[];
}

/** What goes into one commit at most. */
const ACTS_AT_ONCE = 50;
const BYTES_AT_ONCE = 4 * 1024 * 1024;

/**
 * What workers do with tasks they have claimed: progress, completions, failures. Whatever is done in one turn of the event
 * loop for one session goes in one commit, which proves its lease, and each task in it is as it was claimed.
 */
export class Acts {
  readonly #store: TaskStore;
  readonly #backlogs = new Map<unknown, Backlog>();

  constructor(store: TaskStore) {
    this.#store = store;
  }

  /**
   * @param known the task as it was read last
   * @param bytes of the values that the change writes, at most
   * @returns the task as it is then
   * @throws MeshError `stale_receipt` when the claim is no longer the task's, `not_alive`, `lease_lost`, `not_found`
   */
  run(actor: Actor, claim: Claim, known: Versioned<TaskRecord>, change: Change, bytes = 0): Promise<Versioned<TaskRecord>> {
    return new Promise((resolve, reject) => {
      const key = actor.tenure ?? actor.id;
      const act: Act = { claim, change, bytes, task: known, resolve, reject };
      const backlog = this.#backlogs.get(key);
      if (backlog) {
        backlog.acts.push(act);
        return;
      }
      const begun: Backlog = { actor, acts: [act] };
      this.#backlogs.set(key, begun);
      this.#store.engine.clock.nextTurn(() => void this.#work(key, begun));
    });
  }

  /** Part after part, until nothing has come meanwhile. */
  async #work(key: unknown, { actor, acts }: Backlog): Promise<void> {
    while (acts.length > 0) {
      const together = nextOf(acts);
      try {
        await this.#commit(actor, together);
      } catch (error) {
        for (const { reject } of together) reject(error);
      }
    }
    this.#backlogs.delete(key);
  }

  async #commit(actor: Actor, acts: readonly Act[]): Promise<void> {
    let isAgain = false;
    const { made, committed } = await writeAs(this.#store.core, actor, async (draft, standing) => {
      const known = isAgain ? await this.#store.tasks.getMany(acts.map(({ task }) => task.id)) : acts.map(({ task }) => task);
      isAgain = true;
      const outcomes: (TaskRecord | { readonly refused: unknown })[] = [];
      for (const [n, act] of acts.entries()) outcomes.push(await this.#stage(draft, standing, act, known[n]));
      return outcomes;
    });
    acts.forEach(({ task, resolve, reject }, n) => {
      const outcome = made[n];
      if (outcome && 'refused' in outcome) reject(outcome.refused);
      else if (outcome && committed) resolve({ id: task.id, value: outcome, revision: committed.revision });
    });
  }

  /** An act that is refused leaves the others as they are. */
  async #stage(
    draft: Draft,
    standing: Standing,
    { claim, change, task }: Act,
    current: Versioned<TaskRecord> | undefined,
  ): Promise<TaskRecord | { readonly refused: unknown }> {
    const stale = staleness(current, claim, standing);
    if (!current || stale !== undefined) return { refused: staleReceipt(task.id, stale ?? 'none') };
    if (isOverdue(current.value, this.#store.engine.now())) {
      stageTimedOut(draft, this.#store, current);
      return { refused: staleReceipt(task.id, 'failed: timed_out') };
    }
    const mark = lengthsOf(draft);
    try {
      return await change(draft, current);
    } catch (error) {
      cutBack(draft, mark);
      return { refused: error };
    }
  }
}

/** The next acts that can go together: of each task one. */
function nextOf(acts: Act[]): Act[] {
  const together: Act[] = [];
  const tasks = new Set<string>();
  let bytes = 0;
  for (let n = 0; n < acts.length && together.length < ACTS_AT_ONCE; ) {
    const act = acts[n] as Act;
    bytes += act.bytes;
    if (bytes > BYTES_AT_ONCE && together.length > 0) break;
    if (tasks.has(act.task.id)) {
      n += 1;
      continue;
    }
    tasks.add(act.task.id);
    together.push(act);
    acts.splice(n, 1);
  }
  return together;
}

function lengthsOf({ checks, deletes, takes, touches, puts }: Draft): number[] {
  return [checks, deletes, takes, touches, puts].map(({ length }) => length);
}

/** Takes back what was staged since. */
function cutBack({ checks, deletes, takes, touches, puts }: Draft, lengths: readonly number[]): void {
  [checks, deletes, takes, touches, puts].forEach((part, n) => {
    part.length = lengths[n] ?? 0;
  });
}

/** Why a task is not, or no longer, what this claim was made on. */
function staleness(
  current: Versioned<TaskRecord> | undefined,
  { session, incarnation, stint, number }: Claim,
  standing: Standing,
): string | undefined {
  if (!current) return 'no such task';
  const { claim, state } = current.value;
  if (claim?.number !== number) return state;
  const isSame = standing.session === session && standing.incarnation === incarnation && standing.stint === stint;
  return isSame ? undefined : `a claim of an earlier ${standing.incarnation === incarnation ? 'stint' : 'incarnation'}`;
}

export function staleReceipt(task: string, got: string): MeshError {
  return new MeshError('stale_receipt', `expected a claim on task ${task} that holds, got ${got}`, { details: { task } });
}

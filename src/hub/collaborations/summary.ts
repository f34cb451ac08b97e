import type { JsonValue } from '../../kernel/json.ts';
import type { CollaborationState } from './collaboration-record.ts';
import type { CollaborationTask } from './collaboration-tasks.ts';
import type { Progress } from './steps.ts';

/** Numbers of tasks by their state. */
export type TaskCounts = Readonly<Record<string, number>>;

/** Everything that was done in a collaboration. */
export interface CollaborationSummary {
  readonly collaboration: string;
  readonly state: CollaborationState;
  readonly progress: Progress;
  /** What `complete` was given. */
  readonly summary?: string;
  readonly artifacts?: JsonValue;
  /** What `terminate` was given; `timeout` when nothing had happened for too long. */
  readonly reason?: string;
  readonly details?: JsonValue;
  readonly steps: readonly {
    readonly name: string;
    readonly completedBy?: string;
    readonly completedAt?: number;
    readonly output?: JsonValue;
  }[];
  readonly tasks: TaskSummary;
}

/** The tasks of a collaboration, counted and told one by one. */
export interface TaskSummary {
  readonly total: number;
  readonly byState: TaskCounts;
  /** Of tasks that name a step. */
  readonly byStep: Readonly<Record<string, TaskCounts>>;
  /** Of tasks that somebody has worked on, or is to. */
  readonly byParticipant: Readonly<Record<string, TaskCounts>>;
  /** At most as many as asked for. */
  readonly items: readonly CollaborationTask[];
}

/** Counts tasks as they come, and keeps the first of them. */
export class Tally {
  readonly #limit: number;
  readonly #items: CollaborationTask[] = [];
  readonly #states = new Map<string, number>();
  readonly #steps = new Map<string, Map<string, number>>();
  readonly #participants = new Map<string, Map<string, number>>();
  #total = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(task: CollaborationTask): void {
    const { state, step, session } = task;
    this.#total += 1;
    count(this.#states, state);
    if (step !== undefined) count(countsOf(this.#steps, step), state);
    if (session !== undefined) count(countsOf(this.#participants, session), state);
    if (this.#items.length < this.#limit) this.#items.push(task);
  }

  result(): TaskSummary {
    return {
      total: this.#total,
      byState: Object.fromEntries(this.#states),
      byStep: nested(this.#steps),
      byParticipant: nested(this.#participants),
      items: this.#items,
    };
  }
}

function count(counts: Map<string, number>, state: string): void {
  counts.set(state, (counts.get(state) ?? 0) + 1);
}

function countsOf(all: Map<string, Map<string, number>>, name: string): Map<string, number> {
  const counts = all.get(name) ?? new Map<string, number>();
  all.set(name, counts);
  return counts;
}

function nested(all: Map<string, Map<string, number>>): Record<string, TaskCounts> {
  return Object.fromEntries([...all].map(([name, counts]) => [name, Object.fromEntries(counts)]));
}

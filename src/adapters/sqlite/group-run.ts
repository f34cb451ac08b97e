import type { Clock } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import type { HintFan } from '../../storage/hint-fan.ts';
import type { CommitResult, MaybePromise } from '../../storage/storage.ts';
import { type CommitPlan, mayChangeNothing } from './commit-plan.ts';
import type { Known } from './known.ts';
import type { Patience } from './patience.ts';
import type { Purge } from './purge.ts';
import { isBusy, meshErrorOf, type Step } from './sqlite-errors.ts';
import type { Statements } from './statements.ts';
import { Collision, Transaction } from './transaction.ts';
import type { ValueCache } from './value-cache.ts';

/** What a group of commits is applied with. */
export interface Backend {
  readonly statements: Statements;
  readonly clock: Clock;
  readonly cache: ValueCache;
  readonly known: Known;
  readonly hints: HintFan;
  readonly purge: Purge;
  readonly patience: Patience;
}

type Outcome = CommitResult | MeshError;

/** Applies a group of commits and answers each: all in one transaction, or, when that fails, each in its own. */
export function runGroup(backend: Backend, plans: readonly CommitPlan[]): MaybePromise<Outcome[]> {
  const run = new GroupRun(backend, plans);
  const gaveUp = (error: unknown): Outcome[] => run.answerRest(error);
  try {
    const outcomes = backend.patience.during(() => run.attempt());
    return outcomes instanceof Promise ? outcomes.catch(gaveUp) : outcomes;
  } catch (error) {
    return gaveUp(error);
  }
}

class GroupRun {
  readonly #backend: Backend;
  readonly #plans: readonly CommitPlan[];
  readonly #outcomes: Outcome[] = [];
  #together = true;

  constructor(backend: Backend, plans: readonly CommitPlan[]) {
    this.#backend = backend;
    this.#plans = plans;
  }

  /** Throws what is busy, and goes on from there when it is called again. */
  attempt(): Outcome[] {
    if (this.#together) {
      const outcomes = this.#look() ?? this.#apply(this.#plans);
      if (outcomes) return outcomes;
      this.#together = false;
    }
    for (let next = this.#plans[this.#outcomes.length]; next; next = this.#plans[this.#outcomes.length]) {
      this.#outcomes.push(...(this.#apply([next]) as Outcome[]));
    }
    return this.#outcomes;
  }

  /** The same error for all commits that have no outcome yet. */
  answerRest(error: unknown): Outcome[] {
    const rest = meshErrorOf(error, 'run');
    while (this.#outcomes.length < this.#plans.length) this.#outcomes.push(rest);
    return this.#outcomes;
  }

  /**
   * Answers commits that turn out to change nothing without the write lock: consumers of an empty queue ask often, and
   * would keep writers waiting. `undefined` when something is to be changed.
   */
  #look(): Outcome[] | undefined {
    if (!this.#plans.every(mayChangeNothing)) return undefined;
    const { statements, clock, known } = this.#backend;
    statements.beginRead.run();
    try {
      const transaction = new Transaction(statements, known, clock.now());
      const outcomes: Outcome[] = [];
      for (const plan of this.#plans) {
        const conflicts = transaction.conflicts(plan);
        if (conflicts) outcomes.push({ committed: false, conflicts });
        else if (plan.takes.some((take) => statements.list(take.from, take, transaction.at, 1, false, false).length > 0))
          return undefined;
        else outcomes.push({ committed: true, revision: transaction.newest(), at: transaction.at, taken: [] });
      }
      return outcomes;
    } finally {
      statements.abort();
    }
  }

  /** One transaction. `undefined`: it did not come about, and each of its commits is to be tried alone. */
  #apply(plans: readonly CommitPlan[]): Outcome[] | undefined {
    const { statements, clock, cache, known, hints, purge } = this.#backend;
    statements.begin.run();
    let transaction: Transaction;
    let outcomes: Outcome[];
    let purged = false;
    let step: Step = 'run';
    try {
      transaction = new Transaction(statements, known, clock.now());
      outcomes = transaction.applyAll(plans);
      transaction.finish();
      if (transaction.dirty && this.#together) purged = purge.run(transaction.at);
      step = 'commit';
      statements.commit.run();
    } catch (failure) {
      statements.abort();
      known.forget();
      if (isBusy(failure)) throw failure;
      const error = failure instanceof Collision ? undefined : meshErrorOf(failure, step);
      // Nobody knows whether the group was applied, so nothing of it may be tried again.
      if (error?.code === 'commit_unknown') return plans.map(() => error);
      if (plans.length > 1 || purged) return undefined;
      return [error ?? { committed: false, conflicts: (failure as Collision).addresses }];
    }
    // Not before: the revisions of a transaction that was rolled back are used again.
    for (let index = 0; index < plans.length; index++) renew(cache, plans[index] as CommitPlan, outcomes[index] as Outcome);
    if (transaction.partitions.size > 0) hints.changed(transaction.partitions);
    return outcomes;
  }
}

/** Keeps up to date what has been read before. The keys of stamped records are new, so nobody has. */
function renew(cache: ValueCache, { puts }: CommitPlan, outcome: Outcome): void {
  if (outcome instanceof MeshError || !outcome.committed) return;
  for (const { partition, key, stamped, value, text } of puts) {
    if (!stamped) cache.renew(partition, key, outcome.revision, value, text);
  }
}

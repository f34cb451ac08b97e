import type { JsonValue } from '../../kernel/json.ts';
import type { checkedCommit } from '../../storage/checked.ts';
import type { CommitSize } from '../../storage/group-commit.ts';
import type { Check, Delete, Take, Touch } from '../../storage/storage.ts';

/** A put with its JSON. */
export interface PlannedPut {
  readonly partition: string;
  readonly key: string;
  readonly ttlMs: number | undefined;
  readonly stamped: boolean;
  readonly value: JsonValue;
  readonly text: string;
}

/**
 * A commit ready to be applied: its JSON is made before the lock is taken and once however often the commit is tried,
 * and what the caller does with its arrays meanwhile changes nothing.
 */
export interface CommitPlan {
  readonly checks: readonly Check[];
  readonly deletes: readonly Delete[];
  readonly takes: readonly Take[];
  readonly touches: readonly Touch[];
  readonly puts: readonly PlannedPut[];
  readonly size: CommitSize;
}

/** To count a record takes a small part of the time that it takes to write one. */
const COUNTED_PER_STEP = 32;

const NONE: readonly never[] = [];

type CheckedCommit = ReturnType<typeof checkedCommit>;

export function planOf(commit: CheckedCommit): CommitPlan {
  const puts: PlannedPut[] = [];
  for (const { partition, key, value, ttlMs, stamped = false } of commit.puts) {
    puts.push({ partition, key, ttlMs, stamped, value, text: JSON.stringify(value) });
  }
  return {
    checks: copyOf(commit.checks),
    deletes: copyOf(commit.deletes),
    takes: copyOf(commit.takes),
    touches: copyOf(commit.touches),
    puts,
    size: { bytes: commit.bytesAtMost, steps: stepsOf(commit) },
  };
}

/** What looks at many records counts for as many as it may. */
function stepsOf({ checks = NONE, deletes = NONE, takes = NONE, touches = NONE, puts }: CheckedCommit): number {
  let steps = touches.length + puts.length;
  for (const check of checks) steps += 'key' in check ? 1 : 1 + check.fewerThan / COUNTED_PER_STEP;
  for (const entry of deletes) steps += 'key' in entry ? 1 : entry.limit;
  for (const { limit } of takes) steps += limit;
  return steps;
}

/** Whether nothing but takes could change anything. */
export function mayChangeNothing({ deletes, touches, puts }: CommitPlan): boolean {
  return deletes.length === 0 && touches.length === 0 && puts.length === 0;
}

function copyOf<T extends object>(items: readonly T[] | undefined): readonly T[] {
  return items === undefined || items.length === 0 ? NONE : items.map((item) => ({ ...item }));
}

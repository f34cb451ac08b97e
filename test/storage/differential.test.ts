import { describe, expect, it } from 'vitest';
import { SqliteStorage } from '../../src/adapters/sqlite/index.ts';
import { MeshError } from '../../src/kernel/errors.ts';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';
import { namespaced } from '../../src/storage/namespaced-storage.ts';
import type { CommitResult, Storage, StoredRecord } from '../../src/storage/storage.ts';
import { SeededRandom } from '../../src/testing/random.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { type Operation, RandomOperations } from '../support/random-operations.ts';
import { StorageModel } from '../support/storage-model.ts';
import { temporaryFile } from '../support/storages.ts';

type Answer = readonly unknown[];

/** A record as one line, so that the order of its fields does not matter. */
function line(record: StoredRecord | undefined): string {
  return record === undefined
    ? 'absent'
    : JSON.stringify([record.partition, record.key, record.value, record.revision, record.expiresAt ?? null]);
}

function told(result: CommitResult | 'invalid_input'): unknown {
  if (result === 'invalid_input') return result;
  if (!result.committed) return result.conflicts.map(({ partition, key }) => [partition, key]);
  return { revision: result.revision, at: result.at, taken: result.taken.map(line) };
}

function modelled(model: StorageModel, operation: Operation, now: number): Answer {
  if ('commits' in operation) return operation.commits.map((commit) => told(model.commit(commit, now)));
  if ('get' in operation) return model.get(operation.get, now).map(line);
  if ('list' in operation) return model.list(operation.list, operation.range, now).map(line);
  return [];
}

async function answered(storage: Storage, operation: Operation): Promise<Answer> {
  if ('commits' in operation) {
    return Promise.all(
      operation.commits.map(async (commit) => {
        try {
          return told(await storage.commit(commit));
        } catch (error) {
          if (MeshError.is(error, 'invalid_input')) return error.code;
          throw error;
        }
      }),
    );
  }
  if ('get' in operation) return (await storage.get(operation.get)).map(line);
  if ('list' in operation) return (await storage.list(operation.list, operation.range)).map(line);
  return [];
}

interface Coverage {
  operations: number;
  commits: number;
  committed: number;
  conflicts: number;
  taken: number;
  refused: number;
}

/** One history, told to the model and to storages that share its clock. All must answer the same at every step. */
async function runHistory(
  seed: number,
  steps: number,
  open: (clock: VirtualClock) => Promise<Record<string, Storage>>,
): Promise<Coverage> {
  const random = new SeededRandom(seed);
  const operations = new RandomOperations(random);
  const clock = new VirtualClock();
  const storages = await open(clock);
  const revisions = new Set<number>();
  for (const storage of Object.values(storages)) revisions.add(((await storage.commit({})) as { revision: number }).revision);
  expect(revisions.size).toBe(1);
  const model = new StorageModel([...revisions][0] ?? 0);
  const coverage: Coverage = { operations: 0, commits: 0, committed: 0, conflicts: 0, taken: 0, refused: 0 };
  for (let step = 0; step < steps; step++) {
    const operation = operations.next(model.all(clock.now()), clock.now());
    if ('waitMs' in operation) clock.set(clock.now() + operation.waitMs);
    const expected = JSON.stringify(modelled(model, operation, clock.now()));
    for (const [name, storage] of Object.entries(storages)) {
      const got = JSON.stringify(await answered(storage, operation));
      if (got === expected) continue;
      throw new Error(`${name}, seed ${seed}, step ${step}: ${JSON.stringify(operation)}\nexpected ${expected}\ngot      ${got}`);
    }
    note(coverage, operation, JSON.parse(expected) as unknown[]);
    if (step % 100 === 99 || step === steps - 1)
      await compareAll(model, storages, clock.now(), `seed ${seed}, after step ${step}`);
  }
  for (const storage of Object.values(storages)) await storage.close();
  return coverage;
}

function note(coverage: Coverage, operation: Operation, answers: readonly unknown[]): void {
  coverage.operations += 'commits' in operation ? operation.commits.length : 1;
  if (!('commits' in operation)) return;
  for (const answer of answers) {
    coverage.commits += 1;
    if (answer === 'invalid_input') coverage.refused += 1;
    else if (Array.isArray(answer)) coverage.conflicts += 1;
    else {
      coverage.committed += 1;
      coverage.taken += (answer as { taken: unknown[] }).taken.length;
    }
  }
}

async function compareAll(model: StorageModel, storages: Record<string, Storage>, now: number, when: string): Promise<void> {
  const partitions = new Set(model.all(now).map(({ partition }) => partition));
  for (const partition of [...partitions, 'p', 'q']) {
    const expected = model.list(partition, {}, now).map(line);
    for (const [name, storage] of Object.entries(storages)) {
      expect([name, when, (await storage.list(partition)).map(line)]).toEqual([name, when, expected]);
    }
  }
}

async function runHistories(count: number, steps: number, open: Parameters<typeof runHistory>[2]): Promise<Coverage> {
  const total: Coverage = { operations: 0, commits: 0, committed: 0, conflicts: 0, taken: 0, refused: 0 };
  for (let seed = 1; seed <= count; seed++) {
    const coverage = await runHistory(seed, steps, open);
    for (const name of Object.keys(total) as (keyof Coverage)[]) total[name] += coverage[name];
  }
  return total;
}

/** Several connections of one file, as several processes have them: who does the next operation is drawn, often the same. */
async function takingTurns(count: number, clock: VirtualClock): Promise<Storage> {
  const file = temporaryFile();
  const open = (): Promise<SqliteStorage> => SqliteStorage.open(file, { clock });
  const connections = await Promise.all(Array.from({ length: count }, open));
  const random = new SeededRandom(count);
  let [first] = connections as [SqliteStorage];
  const next = (): SqliteStorage => {
    if (random.chance(0.3)) first = random.pick(connections);
    return first;
  };
  return {
    durability: 'process',
    clock,
    now: () => clock.now(),
    get: (addresses) => next().get(addresses),
    list: (partition, range) => next().list(partition, range),
    // Commits of one operation are made together, and so by one of them: their order is part of the answer.
    commit: (commit) => first.commit(commit),
    watch: (listener) => first.watch(listener),
    close: async () => void (await Promise.all(connections.map((connection) => connection.close()))),
  };
}

describe('random histories', () => {
  it('of 100,000 operations give the same answers on memory, on SQLite and on a model of the contract', async () => {
    const total = await runHistories(20, 3_200, async (clock) => ({
      memory: new InMemoryStorage({ clock }),
      sqlite: await SqliteStorage.open(temporaryFile(), { clock }),
    }));
    expect(total.operations).toBeGreaterThan(100_000);
    // Each outcome comes often enough to mean something.
    for (const name of ['committed', 'conflicts', 'taken', 'refused'] as const)
      expect([name, total[name] > 500]).toEqual([name, true]);
    // Twelve seconds, or more of them on a machine that has other things to do.
  }, 300_000);

  it('give the same answers when several connections of a file take turns', async () => {
    const total = await runHistories(6, 2_000, async (clock) => ({ sqlite: await takingTurns(3, clock) }));
    for (const name of ['committed', 'conflicts', 'taken'] as const) expect([name, total[name] > 200]).toEqual([name, true]);
  }, 300_000);

  it('give the same answers in a namespace', async () => {
    await runHistories(4, 1_000, async (clock) => ({
      memory: namespaced(new InMemoryStorage({ clock }), 'ns'),
      sqlite: namespaced(await SqliteStorage.open(temporaryFile(), { clock }), 'a/b'),
    }));
  });
});

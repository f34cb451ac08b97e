import { expect, it } from 'vitest';
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import { createMesh } from '../../../src/mesh.ts';
import type { LoggedEvent } from '../../../src/storage/events/event-reader.ts';
import { SeededRandom } from '../../../src/testing/random.ts';
import { type Child, startBundled } from '../../support/children.ts';
import { auditTasks, isOfTasks } from '../../support/hub/task-audit.ts';
import { recordsOf } from '../../support/memory/observed.ts';
import { temporaryFile } from '../../support/storages.ts';

// Processes live by the wall clock, so everything here does.

const TASKS = Number(process.env['TASKS'] ?? 400);
const WORKERS = 4;

it(`completes each of ${TASKS} tasks once while its workers are killed at random and replaced`, async () => {
  const file = temporaryFile();
  const storage = await SqliteStorage.open(file);
  const partitions = new Set<string>();
  const errors: unknown[] = [];
  const mesh = createMesh({ storage, closeStorage: false, onError: (error) => errors.push(error) });
  const { hub, registry } = mesh;
  const planner = await registry.register({ id: 'planner' });
  const random = new SeededRandom(7);
  let started = 0;
  const start = async (): Promise<Child> => {
    const child = await startBundled('hub/worker', [file, `worker-${started++}`]);
    expect(await child.line()).toBe('working');
    return child;
  };
  const workers = await Promise.all(Array.from({ length: WORKERS }, start));
  const retry = { maxRetries: 100 };
  const tasks = await Promise.all(
    Array.from({ length: TASKS }, (_, payload) =>
      hub.delegate({ from: planner, to: { capability: 'job' }, type: 'double', payload, retry }),
    ),
  );
  let isDone = false;
  const results = Promise.all(tasks.map((task) => task.result<[number, string]>())).finally(() => {
    isDone = true;
  });
  let kills = 0;
  const killing = workers.map(async (_, n) => {
    while (!isDone && kills < 12) {
      await new Promise((resolve) => setTimeout(resolve, 100 + random.below(600)));
      await workers[n]?.kill();
      kills += 1;
      workers[n] = await start();
    }
  });
  const answers = await results;
  await Promise.all(killing);
  expect(answers.map(([double]) => double)).toEqual(tasks.map((_, n) => n * 2));
  const events = (await recordsOf(storage, 'events')).map(({ value }) => value as unknown as LoggedEvent);
  const completed = events.filter(({ name }) => name === 'task_completed');
  expect(completed.map(({ task }) => task).sort()).toEqual(tasks.map(({ id }) => id).sort());
  // Work was lost, and done again by others.
  expect(kills).toBeGreaterThan(2);
  expect(events.filter(({ name, reason }) => name === 'task_retried' && reason === 'worker_lost').length).toBeGreaterThan(0);
  for (const { id } of tasks) {
    const task = await hub.getTask(id);
    const claims = events.filter(({ name, task: of }) => name === 'task_claimed' && of === id);
    expect(claims).toHaveLength(task?.attempt ?? 0);
    for (const partition of [`tasks.session=${task?.worker}`, 'tasks.session=planner', 'tasks', 'workers', 'due', 'events'])
      partitions.add(partition);
    for (const { session } of claims) partitions.add(`tasks.worker=${session}`);
  }
  const stored = new Map<string, Awaited<ReturnType<typeof recordsOf>>>();
  for (const partition of partitions) if (isOfTasks(partition)) stored.set(partition, await recordsOf(storage, partition));
  expect(auditTasks(stored)).toEqual([]);
  expect(errors).toEqual([]);
  await mesh.close();
  await storage.close();
});

it.each([
  ['result', 'timed_out'],
  ['work', 'stopped'],
  ['left', 'left'],
])('a process is held by what waits in %s, and by nothing after it', async (what, printed) => {
  const child = await startBundled('hub/wait', [what]);
  expect(await child.line()).toBe(printed);
  expect(await child.ended).toBe(0);
});

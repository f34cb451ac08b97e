import { expect, it } from 'vitest';
import type { Assignment } from '../../../src/hub/tasks/assignment.ts';
import type { Task } from '../../../src/hub/tasks/task.ts';
import type { TaskWorker } from '../../../src/hub/tasks/worker.ts';
import { sleep } from '../../../src/kernel/clock.ts';
import { MeshError } from '../../../src/kernel/errors.ts';
import { createMesh, type Mesh } from '../../../src/mesh.ts';
import type { SessionHandle } from '../../../src/registry/session-handle.ts';
import { InMemoryStorage } from '../../../src/storage/in-memory-storage.ts';
import type { Storage, StoredRecord } from '../../../src/storage/storage.ts';
import { withFaults } from '../../../src/testing/faults.ts';
import { SeededRandom } from '../../../src/testing/random.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { auditTasks, isOfTasks, type Snapshot } from '../../support/hub/task-audit.ts';
import { recordsOf } from '../../support/memory/observed.ts';
import { type Mortal, mortal, Shuffle, wrapped } from '../../support/registry-kill/storages.ts';
import { storages } from '../../support/storages.ts';

const RUNS = Number(process.env['TASK_RUNS'] ?? 20);
const FIRST_SEED = Number(process.env['TASK_SEED'] ?? 1);
const STEPS = 60;
const SESSIONS = ['a', 'b', 'c', 'd'];
const CAPABILITIES = ['x', 'y'];

/** What may go wrong for whoever loses a race, or whose session or process is gone. */
const EXPECTED = [
  'not_alive',
  'lease_lost',
  'stale_receipt',
  'conflict',
  'forbidden',
  'not_found',
  'unavailable',
  'commit_unknown',
  'closed',
  'already_exists',
  'aborted',
  'timed_out',
  'task_failed',
  'task_canceled',
  'task_rejected',
] as const;

interface Process {
  readonly mesh: Mesh;
  readonly view: Mortal;
}

class Run {
  readonly #random: SeededRandom;
  readonly #storage: Storage;
  readonly #clock: VirtualClock;
  readonly #rest: () => Promise<void>;
  readonly #processes: Process[] = [];
  readonly #handles = new Map<string, { readonly handle: SessionHandle; readonly mesh: Mesh }>();
  readonly #tasks: Task[] = [];
  readonly #assignments: Assignment[] = [];
  readonly #workers: TaskWorker[] = [];
  readonly unexpected: unknown[] = [];
  readonly ends = new Map<string, number>();

  /** @param rest resolves when the storage has nothing under way */
  constructor(seed: number, storage: Storage, clock: VirtualClock, rest: () => Promise<void> = async () => {}) {
    this.#random = new SeededRandom(seed);
    this.#storage = storage;
    this.#clock = clock;
    this.#rest = rest;
    for (let n = 0; n < 3; n++) this.#processes.push(this.#start());
  }

  async all(audit: () => Promise<void>): Promise<void> {
    const registered = Promise.all(SESSIONS.map((id) => this.#register(id)));
    await this.#pass(5);
    await registered;
    for (let step = 0; step < STEPS; step++) {
      this.#act();
      if (this.#random.chance(0.3)) this.#act();
      await this.#pass(this.#random.chance(0.3) ? this.#random.below(4000) : 5);
      await audit();
    }
    // In the end everybody is gone, and what is left is over with its deadline at the latest.
    const last = this.#start();
    const results = this.#tasks.map(async ({ id }) => (await last.mesh.hub.getTask(id))?.result().catch(() => {}));
    await this.#pass(90_000, 1000);
    await Promise.all(results);
    const listed = last.mesh.hub.tasks({ limit: 1000 });
    await this.#pass(5);
    const states = await listed;
    expect(states.items.filter(({ endedAt }) => endedAt === undefined).map(({ id, state }) => `${state} ${id}`)).toEqual([]);
    expect(states.items.length).toBeGreaterThanOrEqual(this.#tasks.length);
    for (const { state } of states.items) this.ends.set(state, (this.ends.get(state) ?? 0) + 1);
    await audit();
    const closing = this.#processes.map(({ mesh }) => mesh.close().catch(() => {}));
    await this.#pass(10_000, 500);
    await Promise.all(closing);
    await Promise.all(this.#workers.map((worker) => worker.done));
  }

  async #pass(ms: number, stepMs = 200): Promise<void> {
    for (let passed = 0; passed < ms; passed += stepMs) {
      await this.#clock.advance(Math.min(stepMs, ms - passed));
      await this.#rest();
    }
    await this.#clock.settle();
  }

  #start(): Process {
    const view = mortal(this.#storage, Number.POSITIVE_INFINITY);
    const mesh = createMesh({ storage: view.storage, closeStorage: false, onError: (error) => this.#note(error) });
    return { mesh, view };
  }

  #one<T>(of: readonly T[]): T | undefined {
    return of.length === 0 ? undefined : of[this.#random.below(of.length)];
  }

  get #mesh(): Mesh {
    return (this.#one(this.#processes) as Process).mesh;
  }

  #note(error: unknown): void {
    if (!MeshError.is(error, ...EXPECTED) && !/handler/.test(String(error))) this.unexpected.push(error);
  }

  /** Nobody waits for it, so that several things happen at once. */
  #begin(work: (() => Promise<unknown> | undefined) | undefined): void {
    Promise.resolve()
      .then(work)
      .catch((error: unknown) => this.#note(error));
  }

  async #register(id: string): Promise<void> {
    try {
      const capabilities = CAPABILITIES.filter(() => this.#random.chance(0.7));
      const options = { id, capabilities, groups: ['g'], heartbeat: 'manual', ttlMs: 6000, takeover: true } as const;
      const mesh = this.#mesh;
      this.#handles.set(id, { handle: await mesh.registry.register(options), mesh });
    } catch (error) {
      this.#note(error);
    }
  }

  /** An id, or the handle of this process, which may be an old one. */
  #session(mesh: Mesh): string | SessionHandle {
    const id = this.#one(SESSIONS) as string;
    const held = this.#handles.get(id);
    return held?.mesh === mesh && this.#random.chance(0.7) ? held.handle : id;
  }

  #act(): void {
    const acts: readonly (readonly [weight: number, act: () => void])[] = [
      [8, () => this.#begin(() => this.#delegate())],
      [2, () => this.#begin(() => this.#offer())],
      [4, () => this.#begin(() => this.#claim())],
      [6, () => this.#finish()],
      [3, () => this.#work()],
      [2, () => this.#begin(() => this.#decide())],
      [5, () => this.#begin(() => this.#beat())],
      [2, () => this.#begin(() => this.#register(this.#one(SESSIONS) as string))],
      [1, () => this.#begin(() => this.#leave())],
      [1, () => this.#crash()],
      [1, () => this.#begin(() => this.#one(this.#workers)?.stop({ graceMs: this.#random.below(2000) }))],
    ];
    let chosen = this.#random.below(acts.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, act] of acts) {
      if (chosen < weight) return act();
      chosen -= weight;
    }
  }

  #content() {
    return {
      from: this.#one(SESSIONS) as string,
      type: this.#random.chance(0.5) ? 'one' : 'two',
      priority: this.#one(['low', 'medium', 'high', 'critical'] as const) ?? 'medium',
      timeoutMs: 1000 + this.#random.below(60_000),
      retry: { maxRetries: this.#random.below(3), delayMs: this.#random.below(3) * 500 },
      retainMs: 86_400_000,
    };
  }

  #target(): string | { capability: string } {
    return this.#random.chance(0.5) ? (this.#one(SESSIONS) as string) : { capability: this.#one(CAPABILITIES) as string };
  }

  async #delegate(): Promise<void> {
    this.#tasks.push(await this.#mesh.hub.delegate({ ...this.#content(), to: this.#target() }));
  }

  async #offer(): Promise<void> {
    const to = this.#random.chance(0.3) ? { group: 'g' } : this.#target();
    this.#tasks.push(await this.#mesh.hub.offer({ ...this.#content(), to }));
  }

  async #claim(): Promise<void> {
    const types = this.#random.chance(0.3) ? { types: ['one'] } : {};
    const limit = 1 + this.#random.below(3);
    const mesh = this.#mesh;
    this.#assignments.push(...(await mesh.hub.claim(this.#session(mesh), { capabilities: CAPABILITIES, limit, ...types })));
  }

  /** One assignment is carried on, some of them by several at once. */
  #finish(): void {
    const assignment = this.#one(this.#assignments);
    if (!assignment) return;
    const acts = [
      () => assignment.complete(this.#random.below(10)),
      () => assignment.complete('x'.repeat(50_000)),
      () => assignment.fail('no'),
      () => assignment.progress({ percent: 50, data: 'x'.repeat(this.#random.below(2) * 50_000) }),
      () => assignment.release(),
      () => assignment.reject(),
      () => assignment.ask('?'),
      () => assignment.handoff({ to: this.#target(), context: 'x'.repeat(this.#random.below(2) * 50_000) }),
    ];
    this.#begin(this.#one(acts));
    if (this.#random.chance(0.2)) this.#begin(this.#one(acts));
  }

  #work(): void {
    const mesh = this.#mesh;
    const session = this.#session(mesh);
    const { hub } = mesh;
    const options = { capabilities: CAPABILITIES, concurrency: 1 + this.#random.below(3) };
    try {
      const worker = hub.work(session, options, async (_task, { signal, progress }) => {
        if (this.#random.chance(0.3)) await progress({ percent: 10 });
        await sleep(this.#clock, this.#random.below(2000), this.#random.chance(0.5) ? signal : undefined);
        if (this.#random.chance(0.3)) throw new Error('the handler failed');
        return 'done';
      });
      this.#workers.push(worker);
    } catch (error) {
      this.#note(error);
    }
  }

  async #decide(): Promise<void> {
    const task = this.#one(this.#tasks);
    if (!task) return;
    const mesh = this.#mesh;
    const by = this.#session(mesh);
    const { hub } = mesh;
    const acts = [
      () => hub.cancel(task.id, { by }),
      () => hub.accept(task.id, { by }),
      () => hub.accept(task.id, { by: this.#one(SESSIONS) as string }),
      () => hub.decline(task.id, { by }),
      () => hub.provideInput(task.id, { by, input: 1 }),
      () => hub.handoff(task.id, { by: task.from, to: this.#target() }),
      () => hub.complete(task.id, { by, result: 'by hand' }),
      () => hub.fail(task.id, { by }),
    ];
    await this.#one(acts)?.();
  }

  async #beat(): Promise<void> {
    await Promise.all([...this.#handles.values()].filter(() => this.#random.chance(0.8)).map(({ handle }) => handle.heartbeat()));
  }

  async #leave(): Promise<void> {
    const id = this.#one(SESSIONS) as string;
    const { registry } = this.#mesh;
    if (this.#random.chance(0.5)) await registry.end(id);
    else await registry.kill(id, { graceMs: this.#random.below(2) * 1000, timeoutMs: 3000 });
  }

  /** One process stops in the middle of whatever it does, and another takes its place. */
  #crash(): void {
    const n = this.#random.below(this.#processes.length);
    this.#processes[n]?.view.die();
    const { mesh } = this.#processes[n] as Process;
    this.#begin(() => mesh.close());
    this.#processes[n] = this.#start();
  }
}

async function onMemory(seed: number): Promise<void> {
  const clock = new VirtualClock();
  const memory = new InMemoryStorage({ clock });
  const partitions = new Set(['tasks', 'workers', 'due', 'events']);
  const wrong: string[] = [];
  const audit = (): void => {
    const stored: Snapshot = new Map([...partitions].map((partition) => [partition, memory.list(partition) as StoredRecord[]]));
    if (wrong.length === 0) wrong.push(...auditTasks(stored));
  };
  const audited = wrapped(memory, async ({ commit }, run) => {
    const answer = await run();
    for (const { partition } of commit?.puts ?? []) if (isOfTasks(partition)) partitions.add(partition);
    for (const { to } of commit?.takes ?? []) if (isOfTasks(to)) partitions.add(to);
    // After each commit that has to do with tasks, whoever made it.
    const touched = [...(commit?.puts ?? []), ...(commit?.deletes ?? [])].some(({ partition }) => isOfTasks(partition));
    if (touched || commit?.takes) audit();
    return answer;
  });
  const shuffle = new Shuffle(seed);
  const faulty = withFaults(audited, seed % 2 === 0 ? { seed, conflictRate: 0.1 } : { seed, unknownRate: 0.03 });
  const storage = seed % 3 === 0 ? audited : faulty;
  const run = new Run(seed, shuffle.over(storage), clock, () => shuffle.rest());
  await run.all(async () => expect(wrong).toEqual([]));
  expect(run.unexpected).toEqual([]);
  await memory.close();
}

it(`leaves every task in one place and ends it once, in ${RUNS} random runs audited after each commit`, async () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + RUNS; seed++) {
    try {
      await onMemory(seed);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
});

it.each(storages)('does so on %s, audited after each step', async (_name, open) => {
  for (let seed = 1001; seed <= 1002; seed++) {
    const clock = new VirtualClock();
    const storage = await open(clock);
    const partitions = new Set(['tasks', 'workers', 'due', 'events']);
    const watched = wrapped(storage, ({ commit }, run) => {
      for (const { partition } of commit?.puts ?? []) if (isOfTasks(partition)) partitions.add(partition);
      for (const { to } of commit?.takes ?? []) if (isOfTasks(to)) partitions.add(to);
      return run();
    });
    const run = new Run(seed, watched, clock);
    await run.all(async () => {
      await clock.settle();
      const stored = new Map<string, StoredRecord[]>();
      for (const partition of partitions) stored.set(partition, await recordsOf(storage, partition));
      expect(auditTasks(stored)).toEqual([]);
    });
    expect(run.unexpected).toEqual([]);
  }
});

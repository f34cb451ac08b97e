import { describe, expect, it } from 'vitest';
import { MeshError } from '../../../src/index.ts';
import { deferred, isSettled, passUntil, quiet, refusal, toldOf, worldOn } from '../../support/hub/worlds.ts';
import { hooked } from '../../support/memory/observed.ts';
import { wrapped } from '../../support/registry-kill/storages.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('questions on %s', (_name, open) => {
  it('wait for input, and the same attempt goes on with it', async () => {
    const { hub, registry, clock, storage, another } = await worldOn(open);
    await quiet(registry, 'planner');
    const other = another();
    const dev = await quiet(other.registry, 'dev');
    const worker = other.hub.work(dev, {}, async (_task, { ask }) => {
      const first = await ask<string>({ which: 'colour' });
      const second = await ask('and why?');
      return [first, second];
    });
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'paint' });
    await expect(hub.provideInput(task.id, { by: 'planner', input: 1 })).rejects.toEqual(refusal('conflict'));
    await clock.advance(300);
    expect(await hub.getTask(task.id)).toMatchObject({ state: 'input_required', question: { which: 'colour' }, attempt: 1 });
    expect(await hub.provideInput(task.id, { by: 'planner', input: 'red' })).toMatchObject({ state: 'working', input: 'red' });
    await clock.advance(300);
    expect(await hub.getTask(task.id)).toMatchObject({ state: 'input_required', question: 'and why?' });
    await hub.provideInput(task.id, { by: 'planner', input: null });
    expect(await passUntil(clock, task.result())).toEqual(['red', null]);
    expect(await toldOf(storage)).toEqual([
      'delegated',
      'claimed',
      ...['updated:question', 'updated:input', 'updated:question', 'updated:input'],
      'completed',
    ]);
    await passUntil(clock, worker.stop());
  });

  it('are given up with the task, and with the worker', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev', { capabilities: ['python'], ttlMs: 20_000 });
    const make = () => hub.delegate({ from: 'planner', to: { capability: 'python' }, type: 'run' });
    await make();
    await make();
    const [first, second] = await hub.claim(dev, { limit: 2 });
    const canceled = first?.ask('?');
    canceled?.catch(() => {});
    const controller = new AbortController();
    const aborted = second?.ask('?', { signal: controller.signal });
    aborted?.catch(() => {});
    await clock.advance(200);
    await expect(second?.ask('another')).rejects.toEqual(refusal('conflict'));
    await hub.cancel(first?.task.id ?? '');
    await expect(passUntil(clock, canceled as Promise<unknown>)).rejects.toEqual(refusal('stale_receipt', 'canceled'));
    controller.abort();
    await expect(aborted).rejects.toEqual(refusal('aborted'));
    await clock.advance(25_000);
    expect(await hub.getTask(second?.task.id ?? '')).toMatchObject({ state: 'submitted', attempt: 1, reason: 'worker_lost' });
  });
});

describe.each(storages)('handoffs on %s', (_name, open) => {
  it('move a task and its context in one step, and begin its attempts anew', async () => {
    const { hub, registry, clock, storage } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const qa = await quiet(registry, 'qa', { capabilities: ['review'] });
    const finished = deferred();
    const workers = [
      hub.work(dev, {}, async ({ attempt }, { handoff }) => {
        if (attempt === 1) throw new Error('not yet');
        await handoff({ to: { capability: 'review' }, context: { done: 'half' } });
        finished.resolve();
        return 'ignored';
      }),
      hub.work(qa, {}, ({ attempt, context }) => [attempt, context]),
    ];
    const retry = { maxRetries: 1, delayMs: 0 };
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run', retry });
    expect(await passUntil(clock, task.result())).toEqual([1, { done: 'half' }]);
    await finished.promise;
    expect(await hub.getTask(task.id)).toMatchObject({ to: { capability: 'review' }, worker: 'qa', attempt: 1 });
    expect(await toldOf(storage)).toEqual([
      ...['delegated', 'claimed', 'retried:error', 'claimed', 'handed_off', 'claimed', 'completed'],
    ]);
    await passUntil(clock, Promise.all(workers.map((worker) => worker.stop())));
  });

  it('win over a claim that has only taken the task so far', async () => {
    const { hub, registry, another, storage } = await worldOn(open);
    await quiet(registry, 'planner');
    await quiet(registry, 'qa');
    const dev = await quiet(registry, 'dev');
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    let isArmed = true;
    const slow = wrapped(storage, async ({ commit }, run) => {
      const answer = await run();
      if (isArmed && commit?.takes?.length) {
        isArmed = false;
        await hub.handoff(task.id, { by: 'planner', to: 'qa' });
      }
      return answer;
    });
    const other = another(slow);
    expect(await other.hub.claim('dev')).toEqual([]);
    expect(isArmed).toBe(false);
    expect(await hub.claim(dev)).toEqual([]);
    const [assignment] = await hub.claim('qa');
    expect(assignment?.task).toMatchObject({ id: task.id, to: { session: 'qa' }, attempt: 1 });
    const left = (await storage.list('workers')).map(({ key }) => storage.list(`reserved/${key}`));
    expect((await Promise.all(left)).flat()).toEqual([]);
  });

  it('are for those whose task it is, to those who can have one', async () => {
    const { hub, registry } = await worldOn(open);
    await quiet(registry, 'planner');
    for (const id of ['dev', 'qa', 'other', 'gone']) await quiet(registry, id);
    await registry.end('gone');
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    await expect(hub.handoff(task.id, { by: 'other', to: 'qa' })).rejects.toEqual(refusal('forbidden'));
    await expect(hub.handoff(task.id, { by: 'dev', to: 'gone' })).rejects.toEqual(refusal('not_alive'));
    await expect(hub.handoff(task.id, { by: 'dev', to: 'nobody' })).rejects.toEqual(refusal('not_found'));
    expect(await hub.handoff(task.id, { by: 'dev', to: 'qa', context: 1 })).toMatchObject({ to: { session: 'qa' }, context: 1 });
    expect(await hub.claim('dev')).toEqual([]);
    const [assignment] = await hub.claim('qa');
    await expect(hub.handoff(task.id, { by: 'dev', to: 'other' })).rejects.toEqual(refusal('forbidden'));
    await expect(assignment?.handoff({ to: 'gone' })).rejects.toEqual(refusal('not_alive'));
    expect(await hub.handoff(task.id, { by: 'qa', to: 'other' })).toMatchObject({ context: 1, state: 'submitted' });
    await expect(assignment?.complete()).rejects.toEqual(refusal('stale_receipt'));
    expect(await hub.handoff(task.id, { by: 'planner', to: 'dev', context: 2 })).toMatchObject({ context: 2 });
    expect(await hub.complete(task.id, { by: 'dev', result: 3 })).toMatchObject({ state: 'completed', output: 3 });
    await expect(hub.handoff(task.id, { by: 'planner', to: 'qa' })).rejects.toEqual(refusal('conflict'));
  });
});

describe.each(storages)('decisions on %s', (_name, open) => {
  it('reject a task for good', async () => {
    const { hub, registry, clock, storage } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const worker = hub.work(dev, {}, async (_task, { reject }) => {
      await reject('not my job');
      throw new Error('ignored');
    });
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    await expect(passUntil(clock, task.result())).rejects.toEqual(refusal('task_rejected', 'not my job'));
    await passUntil(clock, worker.stop());
    expect(await toldOf(storage)).toEqual(['delegated', 'claimed', 'rejected:rejected']);
  });

  it('cancel a task wherever it is, once, and never one that is over', async () => {
    const { hub, registry, storage } = await worldOn(open);
    const planner = await quiet(registry, 'planner');
    await quiet(registry, 'dev');
    const make = () => hub.delegate({ from: planner, to: 'dev', type: 'run', retry: { delayMs: 60_000 } });
    const [done, claimed, resting, queued] = [await make(), await make(), await make(), await make()];
    const assignments = await hub.claim('dev', { limit: 3 });
    await assignments[0]?.complete();
    await assignments[2]?.fail();
    for (const { id } of [claimed, resting, queued]) {
      expect(await hub.cancel(id, { by: planner, reason: 'enough' })).toMatchObject({ state: 'canceled', message: 'enough' });
      expect(await hub.cancel(id)).toMatchObject({ state: 'canceled', message: 'enough' });
    }
    await expect(hub.cancel(done.id)).rejects.toEqual(refusal('conflict', 'completed'));
    await expect(hub.cancel('task_unknown')).rejects.toEqual(refusal('not_found'));
    expect(await hub.claim('dev', { limit: 5 })).toEqual([]);
    expect(await storage.list('queue/s=dev')).toEqual([]);
    expect((await storage.list('due')).filter(({ key }) => key.includes('/retry/'))).toEqual([]);
    expect((await toldOf(storage)).filter((told) => told === 'canceled')).toHaveLength(3);
    await planner.end();
    await expect(hub.cancel(queued.id, { by: planner })).rejects.toEqual(refusal('lease_lost'));
  });

  it('complete and fail what a session has claimed or what is addressed to it, and nothing else', async () => {
    const { hub, registry, storage } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    await quiet(registry, 'qa', { capabilities: ['python'] });
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run', retry: { maxRetries: 1, delayMs: 60_000 } });
    await expect(hub.complete(task.id, { by: 'qa' })).rejects.toEqual(refusal('stale_receipt'));
    expect(await hub.fail(task.id, { by: dev, reason: 'no' })).toMatchObject({ state: 'submitted', attempt: 1, message: 'no' });
    expect(await hub.complete(task.id, { by: dev, result: 'yes' })).toMatchObject({ state: 'completed', attempt: 2 });
    await expect(hub.complete(task.id, { by: dev })).rejects.toEqual(refusal('stale_receipt', 'completed'));
    const free = await hub.delegate({ from: 'planner', to: { capability: 'python' }, type: 'run' });
    await expect(hub.complete(free.id, { by: 'qa' })).rejects.toEqual(refusal('stale_receipt'));
    await hub.claim('qa');
    await expect(hub.fail(free.id, { by: 'dev' })).rejects.toEqual(refusal('stale_receipt', 'qa works on'));
    expect(await hub.complete(free.id, { by: 'qa', result: 1 })).toMatchObject({ state: 'completed' });
    expect(await toldOf(storage, task.id)).toEqual(['delegated', 'claimed', 'retried:error', 'claimed', 'completed']);
  });

  it('count only with the claim on which they were made', async () => {
    const { hub, registry } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    const [first] = await hub.claim(dev);
    await first?.release();
    const [second] = await hub.claim(dev);
    expect(second?.task).toMatchObject({ id: task.id, attempt: 1 });
    await expect(first?.complete('first')).rejects.toEqual(refusal('stale_receipt'));
    await hub.handoff(task.id, { by: 'planner', to: 'dev' });
    const [third] = await hub.claim(dev);
    await expect(second?.complete('second')).rejects.toEqual(refusal('stale_receipt'));
    await third?.complete('third');
    expect(await task.result()).toBe('third');
  });

  it('are the first to come, of many at once', async () => {
    const { hub, registry, storage, another, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const other = another();
    for (let round = 0; round < 10; round++) {
      const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
      const [assignment] = await hub.claim(dev);
      const acts = [
        () => assignment?.complete(1),
        () => other.hub.cancel(task.id),
        () => hub.complete(task.id, { by: 'dev', result: 2 }),
        () => assignment?.reject(),
      ];
      const turned = [...acts.slice(round % 4), ...acts.slice(0, round % 4)];
      await Promise.allSettled(turned.map((act) => act()));
      const ends = (await toldOf(storage, task.id)).filter((told) => /^(completed|canceled|rejected)/.test(told));
      expect(ends).toHaveLength(1);
      expect(
        await isSettled(
          clock,
          task.result().catch(() => {}),
        ),
      ).toBe(true);
    }
  });
});

describe.each(storages)('a question of a session that is told to stop, on %s', (_name, open) => {
  it('waits as any other, and can still be answered', async () => {
    const { hub, registry, clock, seen, another } = await worldOn(open);
    const boss = await quiet(registry, 'boss');
    let reads = 0;
    const bounded = hooked(seen.storage, {
      async get() {
        reads += 1;
        // Without an end the loop would leave no turn to anybody, this test included.
        if (reads > 500) throw new MeshError('storage_full', 'expected to be asked now and then');
      },
    });
    const own = another(bounded);
    const dev = await quiet(own.registry, 'dev');
    const task = await hub.delegate({ from: boss, to: 'dev', type: 'build' });
    const [assignment] = await own.hub.claim(dev);
    const asked = assignment?.ask('which branch?') as Promise<unknown>;
    await clock.settle();
    const killing = registry.kill('dev', { graceMs: 60_000 });
    await clock.settle();
    expect(dev.signal.aborted).toBe(true);
    await hub.provideInput(task.id, { by: boss, input: 'main' });
    expect(await passUntil(clock, asked)).toBe('main');
    await clock.advance(60_001);
    await killing;
  });
});

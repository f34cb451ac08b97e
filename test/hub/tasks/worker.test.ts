import { describe, expect, it } from 'vitest';
import type { WorkContext } from '../../../src/hub/tasks/job.ts';
import { MeshError } from '../../../src/kernel/errors.ts';
import { deferred, isSettled, passUntil, quiet, refusal, toldOf, worldOn } from '../../support/hub/worlds.ts';
import { counted, wrapped } from '../../support/registry-kill/storages.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('a worker on %s', (_name, open) => {
  it('works on as many tasks at a time as it may', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const running: ReturnType<typeof deferred<void>>[] = [];
    const worker = hub.work(dev, { concurrency: 3 }, () => {
      const job = deferred();
      running.push(job);
      return job.promise;
    });
    for (let n = 0; n < 5; n++) await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    await clock.advance(300);
    expect(running).toHaveLength(3);
    expect(worker.running).toBe(3);
    running[1]?.resolve();
    await clock.advance(300);
    expect(running).toHaveLength(4);
    for (const job of running) job.resolve();
    await clock.advance(300);
    for (const job of running) job.resolve();
    await clock.advance(300);
    expect((await hub.tasks({ state: 'completed' })).items).toHaveLength(5);
    await passUntil(clock, worker.stop());
  });

  it('claims in one commit what it has free hands for, and stores in one what is done in one turn', async () => {
    const { hub, registry, clock, another, storage } = await worldOn(open);
    await quiet(registry, 'planner');
    const counter = counted(storage);
    const other = another(counter.storage);
    const dev = await quiet(other.registry, 'dev');
    for (let n = 0; n < 20; n++) await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    counter.take();
    const gate = deferred();
    const worker = other.hub.work(dev, { concurrency: 20 }, () => gate.promise);
    await clock.settle();
    // The take, which also puts the worker on the list, and the claim.
    expect(counter.take().commit).toBe(2);
    gate.resolve();
    await clock.settle();
    expect(counter.take().commit).toBe(1);
    expect((await hub.tasks({ state: 'completed' })).items).toHaveLength(20);
    await passUntil(clock, worker.stop());
  });

  it('takes only the types it was told, and leaves the others to others', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    for (const type of ['build', 'test', 'build', 'deploy', 'test'])
      await hub.delegate({ from: 'planner', to: 'dev', type, payload: type });
    const done: unknown[] = [];
    const worker = hub.work(dev, { types: ['test', 'deploy'] }, ({ payload }) => void done.push(payload));
    await clock.advance(500);
    expect(done).toEqual(['test', 'deploy', 'test']);
    const [assignment] = await hub.claim(dev, { types: ['build'] });
    expect(assignment?.task.type).toBe('build');
    await passUntil(clock, worker.stop());
  });

  it('works for the capabilities with which its session is registered, also those it gets later, or for those it names', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev', { capabilities: ['python'] });
    await quiet(registry, 'qa');
    const delegate = (capability: string) => hub.delegate({ from: 'planner', to: { capability }, type: 'run' });
    const done: unknown[] = [];
    const workers = [
      hub.work(dev, {}, ({ to }) => void done.push(['dev', to])),
      hub.work('qa', { capabilities: ['review'] }, ({ to }) => void done.push(['qa', to])),
    ];
    await delegate('rust');
    await delegate('python');
    await delegate('review');
    await clock.advance(500);
    const [python, review, rust] = ['python', 'review', 'rust'].map((capability) => ({ capability }));
    expect(done.sort()).toEqual([
      ['dev', python],
      ['qa', review],
    ]);
    await registry.specialize('dev', ['rust']);
    await clock.advance(500);
    expect(done.at(-1)).toEqual(['dev', rust]);
    await passUntil(clock, Promise.all(workers.map((worker) => worker.stop())));
  });

  it('stops when what runs has ended, and gives back what does not end in time', async () => {
    const { hub, registry, clock, storage } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const job = deferred();
    const patient = hub.work(dev, {}, () => job.promise);
    const first = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    await clock.advance(200);
    const stopped = patient.stop();
    expect(await isSettled(clock, stopped)).toBe(false);
    const second = await hub.delegate({ from: 'planner', to: 'dev', type: 'run', retry: { maxRetries: 0 } });
    await clock.advance(200);
    expect(await hub.getTask(second.id)).toMatchObject({ state: 'submitted' });
    job.resolve();
    await passUntil(clock, stopped);
    expect(await first.result()).toBe(null);
    let reason: unknown;
    const hasty = hub.work(dev, {}, (_task, { signal }) => {
      signal.addEventListener('abort', () => {
        reason = signal.reason;
      });
      return new Promise(() => {});
    });
    await clock.advance(200);
    const start = clock.now();
    const forced = hasty.stop({ graceMs: 1000 });
    await clock.advance(999);
    expect(reason).toBe(undefined);
    await clock.advance(1);
    await forced;
    expect(clock.now() - start).toBe(1000);
    expect(MeshError.is(reason, 'aborted')).toBe(true);
    expect(await hub.getTask(second.id)).toMatchObject({ state: 'submitted', attempt: 0 });
    expect(await toldOf(storage, second.id)).toEqual(['delegated', 'claimed', 'updated:returned']);
  });

  it('for a session that nobody knows ends, and says why', async () => {
    const { hub, clock, errors } = await worldOn(open);
    for (const options of [{}, { capabilities: ['review'] }]) {
      const worker = hub.work('typo', options, () => {});
      await passUntil(clock, worker.done);
      expect(errors.splice(0)).toEqual([refusal('not_found', 'typo')]);
    }
  });

  it('tells by the signal that the work was called off, also who asks for it only then', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    let asked: WorkContext | undefined;
    const worker = hub.work(dev, {}, (_task, context) => {
      asked = context;
      return new Promise(() => {});
    });
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    await clock.advance(200);
    await hub.cancel(task.id, { reason: 'no need' });
    await clock.advance(200);
    expect(asked?.signal.aborted).toBe(true);
    expect(asked?.signal.reason).toMatchObject({ code: 'aborted', details: { task: task.id, state: 'canceled' } });
    expect(String(asked?.signal.reason)).toContain('no need');
    await worker.stop({ graceMs: 0 });
  });

  it('ends by its signal, and when its session ends or is killed', async () => {
    const { hub, registry, clock } = await worldOn(open);
    const controller = new AbortController();
    await quiet(registry, 'one');
    const two = await quiet(registry, 'two');
    await quiet(registry, 'three');
    const workers = [
      hub.work('one', { signal: controller.signal }, () => {}),
      hub.work(two, {}, () => {}),
      hub.work('three', {}, () => {}),
    ];
    await clock.advance(200);
    controller.abort();
    await two.end();
    const killed = registry.kill('three', { force: true });
    for (const { done } of workers) await passUntil(clock, done);
    await passUntil(clock, killed);
    const late = hub.work('one', { signal: AbortSignal.abort() }, () => {});
    await passUntil(clock, late.done);
  });

  it('goes on after a lapse, once a heartbeat has revived its session', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev', { ttlMs: 5000, capabilities: ['python'] });
    const done: unknown[] = [];
    const worker = hub.work(dev, {}, ({ payload }) => void done.push(payload));
    await clock.advance(8000);
    expect(await registry.get('dev')).toMatchObject({ state: 'offline' });
    await hub.delegate({ from: 'planner', to: { capability: 'python' }, type: 'run', payload: 1 });
    await clock.advance(3000);
    expect(done).toEqual([]);
    await dev.heartbeat();
    await clock.advance(1500);
    expect(done).toEqual([1]);
    await passUntil(clock, worker.stop());
  });

  it('is told when what it works on is canceled, handed on, or no longer its own', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    await quiet(registry, 'qa');
    const dev = await quiet(registry, 'dev', { ttlMs: 60_000, capabilities: ['python'] });
    const reasons = new Map<unknown, unknown>();
    const worker = hub.work(dev, { concurrency: 3 }, ({ id }, { signal }) => {
      const aborted = deferred<string>();
      signal.addEventListener('abort', () => {
        reasons.set(id, signal.reason);
        aborted.resolve('too late');
      });
      return aborted.promise;
    });
    const make = () => hub.delegate({ from: 'planner', to: { capability: 'python' }, type: 'run' });
    const [canceled, handed, lost] = [await make(), await make(), await make()];
    await clock.advance(500);
    await hub.cancel(canceled.id, { by: 'planner', reason: 'enough' });
    await hub.handoff(handed.id, { by: 'planner', to: 'qa' });
    await clock.advance(500);
    expect(reasons.get(canceled.id)).toMatchObject({ code: 'aborted', details: { state: 'canceled' } });
    expect(reasons.get(handed.id)).toMatchObject({ code: 'aborted', details: { state: 'submitted' } });
    expect(reasons.has(lost.id)).toBe(false);
    expect(await hub.getTask(canceled.id)).toMatchObject({ state: 'canceled', message: 'enough' });
    await clock.advance(61_000);
    expect(MeshError.is(reasons.get(lost.id))).toBe(true);
    expect(await hub.getTask(lost.id)).toMatchObject({ state: 'submitted', attempt: 1 });
    await worker.stop({ graceMs: 0 });
  });

  it('is told of what happened before it knew of its claim', async () => {
    const { hub, registry, clock, another, storage } = await worldOn(open);
    await quiet(registry, 'planner');
    let isArmed = false;
    const slow = wrapped(storage, async ({ commit }, run) => {
      const answer = await run();
      if (isArmed && commit?.puts?.some(({ partition }) => partition === 'tasks')) {
        isArmed = false;
        await hub.cancel(task.id);
        // The answer is back after everybody has heard of it.
        for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
      }
      return answer;
    });
    const other = another(slow, { pollIntervalMs: 1 });
    const dev = await quiet(other.registry, 'dev');
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    const aborted = deferred();
    isArmed = true;
    const worker = other.hub.work(dev, {}, (_task, { signal }) => {
      signal.addEventListener('abort', () => aborted.resolve());
      return new Promise(() => {});
    });
    await passUntil(clock, aborted.promise);
    expect(isArmed).toBe(false);
    await worker.stop({ graceMs: 0 });
  });

  it('may finish within the grace of a kill, and what it does not is handed on', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev', { capabilities: ['python'] });
    const worker = hub.work(dev, { concurrency: 3 }, ({ payload }, { signal }) => {
      const job = deferred<string>();
      signal.addEventListener('abort', () => {
        if (payload === 'finishes') job.resolve('in the grace');
        if (payload === 'throws') job.reject(signal.reason);
      });
      return job.promise;
    });
    const make = (payload: string) => hub.delegate({ from: 'planner', to: { capability: 'python' }, type: 'run', payload });
    const [finishes, throws, hangs] = [await make('finishes'), await make('throws'), await make('hangs')];
    await clock.advance(300);
    const kill = registry.kill('dev', { graceMs: 4000, reason: 'budget' });
    await clock.advance(300);
    expect(await finishes.result()).toBe('in the grace');
    expect(await hub.getTask(throws.id)).toMatchObject({ state: 'submitted', attempt: 1, reason: 'worker_lost' });
    expect(await hub.getTask(hangs.id)).toMatchObject({ state: 'working' });
    await passUntil(clock, kill);
    await clock.advance(1500);
    expect(await hub.getTask(hangs.id)).toMatchObject({ state: 'submitted', attempt: 1, reason: 'worker_lost' });
    await worker.stop({ graceMs: 0 });
  });

  it('stores what it has done once the store can again', async () => {
    const { hub, registry, clock, another, storage } = await worldOn(open);
    await quiet(registry, 'planner');
    let isBroken = false;
    const flaky = wrapped(storage, ({ name }, run) => {
      if (isBroken && name === 'commit') throw new MeshError('storage_full', 'expected room, got none');
      return run();
    });
    const reported: unknown[] = [];
    const other = another(flaky, { onError: (error) => reported.push(error) });
    const dev = await quiet(other.registry, 'dev');
    const job = deferred();
    const worker = other.hub.work(dev, {}, () => job.promise);
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run', retry: { maxRetries: 0 } });
    await clock.advance(300);
    isBroken = true;
    job.resolve();
    await clock.advance(2500);
    expect(await hub.getTask(task.id)).toMatchObject({ state: 'working' });
    isBroken = false;
    expect(await passUntil(clock, task.result())).toBe(null);
    expect(reported.every((error) => MeshError.is(error, 'storage_full'))).toBe(true);
    await passUntil(clock, worker.stop());
  });

  it('lets timers have their turn while it finds work again and again', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    for (let n = 0; n < 50; n++) await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    let turns = 0;
    let isRunning = true;
    const tick = (): void => {
      turns += 1;
      if (isRunning) setImmediate(tick);
    };
    tick();
    const worker = hub.work(dev, {}, () => {});
    for (let state = 0; state < 50; ) {
      await new Promise((resolve) => setImmediate(resolve));
      state = (await hub.stats()).tasks.completed;
      await clock.settle();
    }
    isRunning = false;
    expect(turns).toBeGreaterThan(50);
    await passUntil(clock, worker.stop());
  });

  it('is refused what it does with a task that is over', async () => {
    const { hub, registry } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    const [assignment] = await hub.claim(dev);
    await hub.cancel(task.id);
    const stale = refusal('stale_receipt', 'canceled');
    await expect(assignment?.complete()).rejects.toEqual(stale);
    await expect(assignment?.fail()).rejects.toEqual(stale);
    await expect(assignment?.reject()).rejects.toEqual(stale);
    await expect(assignment?.release()).rejects.toEqual(stale);
    await expect(assignment?.ask('?')).rejects.toEqual(stale);
    await expect(assignment?.handoff({ to: 'planner' })).rejects.toEqual(stale);
    await expect(task.result()).rejects.toEqual(refusal('task_canceled', 'canceled'));
  });

  it('takes up the next task although a handler does not listen to the end of its own', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const gate = deferred();
    const worker = hub.work(dev, {}, ({ payload }) => (payload === 'deaf' ? gate.promise : 'done'));
    const deaf = await hub.delegate({ from: 'planner', to: 'dev', type: 'run', payload: 'deaf' });
    const next = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    await clock.advance(200);
    await hub.cancel(deaf.id);
    expect(await passUntil(clock, next.result())).toBe('done');
    const stopped = worker.stop();
    expect(await isSettled(clock, stopped)).toBe(false);
    gate.resolve();
    await passUntil(clock, stopped);
    expect(await hub.getTask(deaf.id)).toMatchObject({ state: 'canceled' });
  });

  it('tells its handlers of a kill also where the session is named by its id', async () => {
    const { hub, registry, clock, another } = await worldOn(open);
    await quiet(registry, 'planner');
    await quiet(registry, 'dev');
    const other = another();
    const aborted = deferred<unknown>();
    const worker = other.hub.work('dev', {}, (_task, { signal }) => {
      signal.addEventListener('abort', () => aborted.resolve(signal.reason));
      return aborted.promise.then(() => 'tidied up');
    });
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    await clock.advance(300);
    const kill = registry.kill('dev', { graceMs: 4000 });
    expect(await passUntil(clock, task.result())).toBe('tidied up');
    expect(await aborted.promise).toMatchObject({ code: 'aborted' });
    await passUntil(clock, worker.done);
    await passUntil(clock, kill);
  });

  it('lets nothing down whose claim had no answer', async () => {
    const { hub, registry, clock, another, storage } = await worldOn(open);
    await quiet(registry, 'planner');
    let isLost = false;
    const lossy = wrapped(storage, async ({ commit }, run) => {
      const answer = await run();
      if (isLost && commit?.puts?.some(({ partition }) => partition === 'tasks')) {
        isLost = false;
        throw new MeshError('commit_unknown', 'expected an answer, got none');
      }
      return answer;
    });
    const reported: unknown[] = [];
    const other = another(lossy, { onError: (error) => reported.push(error) });
    const dev = await quiet(other.registry, 'dev', { capabilities: ['python'] });
    const task = await hub.delegate({
      from: 'planner',
      to: { capability: 'python' },
      type: 'run',
      retry: { maxRetries: 0 },
    });
    isLost = true;
    const worker = other.hub.work(dev, {}, () => 'done');
    expect(await passUntil(clock, task.result(), 100, 10_000)).toBe('done');
    expect(reported.map((error) => MeshError.is(error, 'commit_unknown'))).toEqual([true]);
    expect(await toldOf(storage)).toEqual(['delegated', 'claimed', 'updated:returned', 'claimed', 'completed']);
    isLost = true;
    const again = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    await expect(passUntil(clock, again.result())).resolves.toBe('done');
    await passUntil(clock, worker.stop());
  });
});

import { describe, expect, it } from 'vitest';
import { deferred, isSettled, passUntil, quiet, refusal, toldOf, worldOn } from '../../support/hub/worlds.ts';
import { oddErrors } from '../../support/odd-errors.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('attempts on %s', (_name, open) => {
  it('are repeated after a back-off, and the last error is the reason when none is left', async () => {
    const { hub, registry, storage, clock } = await worldOn(open);
    const planner = await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const at: number[] = [];
    const worker = hub.work(dev, {}, () => {
      at.push(clock.now());
      throw new Error(`broken ${at.length}`);
    });
    const start = clock.now();
    const retry = { maxRetries: 3, backoff: 'exponential', delayMs: 2000 } as const;
    const task = await hub.delegate({ from: planner, to: 'dev', type: 'run', retry });
    const result = task.result();
    result.catch(() => {});
    await clock.advance(1900);
    expect(at).toHaveLength(1);
    expect(await hub.getTask(task.id)).toMatchObject({ state: 'submitted', attempt: 1, reason: 'error', message: 'broken 1' });
    await clock.advance(60_000);
    await expect(result).rejects.toEqual(refusal('task_failed', 'broken 4'));
    await expect(result).rejects.toMatchObject({
      details: { reason: 'error', message: 'broken 4', attempt: 4, state: 'failed' },
    });
    // Each is queued by a sweep, at most a second after its back-off of 2, 4 and 8 seconds.
    const waits = at.map((time, n) => time - (at[n - 1] ?? start));
    for (const [n, wait] of [0, 2000, 4000, 8000].entries()) {
      expect(waits[n]).toBeGreaterThanOrEqual(wait);
      expect(waits[n]).toBeLessThanOrEqual(wait + 1100);
    }
    expect(await toldOf(storage)).toEqual([
      'delegated',
      ...Array.from({ length: 3 }, () => ['claimed', 'retried:error', 'updated:queued']).flat(),
      'claimed',
      'failed:error',
    ]);
    await passUntil(clock, worker.stop());
  });

  it.each(oddErrors())('fail with %s', async (_what, thrown) => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const worker = hub.work(dev, {}, ({ attempt }) => {
      if (attempt === 1) throw thrown;
      return 'done';
    });
    const retry = { maxRetries: 1, delayMs: 1000 } as const;
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run', retry });
    await clock.advance(500);
    expect(await hub.getTask(task.id)).toMatchObject({ state: 'submitted', reason: 'error', message: expect.any(String) });
    expect(worker.running).toBe(0);
    await clock.advance(3000);
    expect(await task.result()).toBe('done');
    await passUntil(clock, worker.stop());
  });

  it('wait n times as long with a linear back-off, and not at all without a delay', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const task = await hub.delegate({
      from: 'planner',
      to: 'dev',
      type: 'run',
      retry: { maxRetries: 2, backoff: 'linear', delayMs: 10_000 },
    });
    for (const wait of [10_000, 20_000]) {
      const [assignment] = await hub.claim(dev);
      await assignment?.fail('no');
      await clock.advance(wait - 1);
      expect(await hub.claim(dev)).toEqual([]);
      await clock.advance(1002);
    }
    const [last] = await hub.claim(dev);
    await last?.fail('no');
    expect(await hub.getTask(task.id)).toMatchObject({ state: 'failed', attempt: 3 });
    const again = await hub.delegate({ from: 'planner', to: 'dev', type: 'run', retry: { maxRetries: 1, delayMs: 0 } });
    await (await hub.claim(dev))[0]?.fail('no');
    await (await hub.claim(dev))[0]?.complete(1);
    expect(await again.result()).toBe(1);
  });

  it('end with the deadline of the task, which is not retried', async () => {
    const { hub, registry, storage, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const aborted = deferred<unknown>();
    const worker = hub.work(dev, {}, (_task, { signal }) => {
      signal.addEventListener('abort', () => aborted.resolve(signal.reason));
      return new Promise(() => {});
    });
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run', timeoutMs: 5000 });
    const result = task.result();
    result.catch(() => {});
    await clock.advance(4999);
    expect(await isSettled(clock, result)).toBe(false);
    await clock.advance(1);
    await expect(result).rejects.toEqual(refusal('timed_out'));
    await expect(result).rejects.toMatchObject({ details: { state: 'failed', reason: 'timed_out' } });
    expect(await aborted.promise).toMatchObject({ code: 'aborted', details: { reason: 'timed_out' } });
    expect(await toldOf(storage)).toEqual(['delegated', 'claimed', 'failed:timed_out']);
    await worker.stop({ graceMs: 0 });
  });

  it('are told of the deadline at its millisecond, also where nobody else looks', async () => {
    const { hub, registry, clock } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    let at = 0;
    const worker = hub.work(dev, {}, (_task, { signal }) => {
      signal.addEventListener('abort', () => {
        at = clock.now();
      });
      return new Promise(() => {});
    });
    const { deadline } = await hub.delegate({ from: 'planner', to: 'dev', type: 'run', timeoutMs: 5000 });
    await clock.advance(6000);
    expect(at).toBe(deadline);
    await worker.stop({ graceMs: 0 });
  });

  it('are refused at the millisecond of the deadline, whoever comes first', async () => {
    const { hub, registry, storage, clock } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const make = (timeoutMs: number) => hub.delegate({ from: 'planner', to: 'dev', type: 'run', timeoutMs });
    const [inTime, late, unclaimed] = [await make(5000), await make(5000), await make(5000)];
    const [first, second] = await hub.claim(dev, { limit: 2 });
    await clock.advance(4999);
    await first?.complete(1);
    await clock.advance(1);
    await expect(second?.complete(2)).rejects.toEqual(refusal('stale_receipt', 'timed_out'));
    expect(await hub.claim(dev)).toEqual([]);
    expect(await hub.getTask(inTime.id)).toMatchObject({ state: 'completed' });
    for (const { id } of [late, unclaimed]) expect(await hub.getTask(id)).toMatchObject({ state: 'failed', reason: 'timed_out' });
    expect((await hub.tasks({ state: 'failed' })).items).toHaveLength(2);
    const none = await make(0);
    await expect(none.result()).rejects.toEqual(refusal('timed_out'));
    expect((await toldOf(storage)).filter((told) => told === 'failed:timed_out')).toHaveLength(3);
  });

  it('fail on a result that is no JSON', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const worker = hub.work(dev, {}, () => new Date(0));
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run', retry: { maxRetries: 0 } });
    await expect(passUntil(clock, task.result())).rejects.toEqual(refusal('task_failed', 'Date'));
    await passUntil(clock, worker.stop());
  });

  it('say how far they have come', async () => {
    const { hub, registry, storage } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    const [assignment] = await hub.claim(dev);
    await assignment?.progress({ percent: 40, message: 'half way', data: { files: 2 } });
    expect(await hub.getTask(task.id)).toMatchObject({
      state: 'working',
      progress: { percent: 40, message: 'half way', data: { files: 2 } },
    });
    await assignment?.complete();
    await expect(assignment?.progress({ percent: 50 })).rejects.toEqual(refusal('stale_receipt'));
    expect(await toldOf(storage)).toEqual(['delegated', 'claimed', 'updated:progress', 'completed']);
  });
});

describe.each(storages)('results on %s', (_name, open) => {
  it('are there for every process, also after it began anew, and later', async () => {
    const { hub, registry, clock, another, mesh } = await worldOn(open);
    await quiet(registry, 'planner');
    await quiet(registry, 'dev');
    const { id } = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    const other = another();
    const seen = await other.hub.getTask(id);
    const waiting = seen?.result();
    await clock.settle();
    await hub.complete(id, { by: 'dev', result: [1] });
    expect(await passUntil(clock, waiting as Promise<unknown>)).toEqual([1]);
    await mesh.close();
    expect(await (await other.hub.getTask(id))?.result()).toEqual([1]);
  });

  it('are waited for as long as asked, until an abort, and until the mesh is closed', async () => {
    const { hub, registry, clock, mesh } = await worldOn(open);
    await quiet(registry, 'planner');
    const task = await hub.delegate({ from: 'planner', to: { capability: 'x' }, type: 'run' });
    const late = task.result({ timeoutMs: 700 });
    late.catch(() => {});
    await clock.advance(699);
    expect(await isSettled(clock, late)).toBe(false);
    await clock.advance(1);
    await expect(late).rejects.toEqual(refusal('timed_out'));
    await expect(late).rejects.toMatchObject({ details: { state: 'submitted' } });
    const controller = new AbortController();
    const aborted = task.result({ signal: controller.signal });
    const closed = task.result();
    aborted.catch(() => {});
    closed.catch(() => {});
    await clock.settle();
    controller.abort();
    await expect(aborted).rejects.toEqual(refusal('aborted'));
    await mesh.close();
    await expect(closed).rejects.toEqual(refusal('closed'));
  });

  it('stay until the retention is over, and nothing of the task after it', async () => {
    const { hub, registry, clock, seen } = await worldOn(open);
    await quiet(registry, 'planner', { ttlMs: 86_400_000 });
    const dev = await quiet(registry, 'dev', { ttlMs: 86_400_000 });
    const options = { from: 'planner', to: 'dev', type: 'run', payload: 'x'.repeat(100_000), retainMs: 60_000 } as const;
    const { id, result } = await hub.delegate({ ...options, timeoutMs: 10_000 });
    await (await hub.claim(dev))[0]?.complete(1);
    await clock.advance(59_000);
    expect(await result()).toBe(1);
    await clock.advance(3000);
    expect(await hub.getTask(id)).toBe(undefined);
    await expect(result()).rejects.toEqual(refusal('not_found'));
    for (const partition of seen.partitions) {
      if (!/^(tasks|queue|reserved)/.test(partition)) continue;
      expect(await seen.storage.list(partition), partition).toEqual([]);
    }
  });
});

describe.each(storages)('the events of a task for a capability, on %s', (_name, open) => {
  it('name who worked on it last', async () => {
    const { hub, registry, mesh } = await worldOn(open);
    const heard: unknown[] = [];
    hub.on('task_canceled', ({ session }) => heard.push(session));
    const ann = await quiet(registry, 'ann');
    const dev = await quiet(registry, 'dev', { capabilities: ['build'] });
    const task = await hub.delegate({ from: ann, to: { capability: 'build' }, type: 'build' });
    const [assignment] = await hub.claim(dev);
    await assignment?.fail('broken');
    await hub.cancel(task.id);
    await mesh.settled();
    expect(heard).toEqual(['dev']);
  });
});

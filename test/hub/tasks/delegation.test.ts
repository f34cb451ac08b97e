import { describe, expect, it } from 'vitest';
import type { CollaborationHub } from '../../../src/hub/collaboration-hub.ts';
import { passUntil, quiet, refusal, toldOf, worldOn } from '../../support/hub/worlds.ts';
import { wrapped } from '../../support/registry-kill/storages.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('delegated tasks on %s', (_name, open) => {
  it('are worked on and answered', async () => {
    const { hub, registry, storage, clock } = await worldOn(open);
    const planner = await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const task = await hub.delegate({ from: planner, to: 'dev', type: 'sum', title: 'Add', payload: { a: 1, b: 2 } });
    expect(task).toMatchObject({
      type: 'sum',
      title: 'Add',
      state: 'submitted',
      from: 'planner',
      to: { session: 'dev' },
      priority: 'medium',
      payload: { a: 1, b: 2 },
      attempt: 0,
      retry: { maxRetries: 3, backoff: 'exponential', delayMs: 1000 },
      deadline: clock.now() + 300_000,
    });
    expect(Object.isFrozen(task)).toBe(true);
    const worker = hub.work<{ a: number; b: number }>(dev, {}, ({ payload }) => payload.a + payload.b);
    expect(await passUntil(clock, task.result())).toBe(3);
    await passUntil(clock, worker.stop());
    expect(await hub.getTask(task.id)).toMatchObject({ state: 'completed', output: 3, worker: 'dev', attempt: 1 });
    expect(await toldOf(storage)).toEqual(['delegated', 'claimed', 'completed']);
  });

  it('go to whoever works for a capability, one worker each', async () => {
    const { hub, registry, clock, another } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev', { capabilities: ['python'] });
    const other = another();
    const qa = await quiet(other.registry, 'qa', { capabilities: ['python', 'review'] });
    const done: string[] = [];
    const workers = [
      hub.work(dev, {}, ({ id }) => void done.push(id)),
      other.hub.work(qa, { concurrency: 4 }, ({ id }) => void done.push(id)),
    ];
    const tasks = await Promise.all(
      Array.from({ length: 30 }, (_, n) =>
        hub.delegate({ from: 'planner', to: { capability: 'python' }, type: 'run', payload: n }),
      ),
    );
    for (const task of tasks) expect(await passUntil(clock, task.result())).toBe(null);
    expect(done.sort()).toEqual(tasks.map(({ id }) => id).sort());
    await passUntil(clock, Promise.all(workers.map((worker) => worker.stop())));
  });

  it('are taken by priority, and in the order of delegation within one', async () => {
    const { hub, registry } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev', { capabilities: ['python'] });
    const delegate = (payload: string, priority: 'low' | 'medium' | 'high' | 'critical', to: 'dev' | { capability: string }) =>
      hub.delegate({ from: 'planner', to, type: 'run', payload, priority });
    await delegate('1', 'low', 'dev');
    await delegate('2', 'medium', { capability: 'python' });
    await delegate('3', 'high', 'dev');
    await delegate('4', 'medium', 'dev');
    await delegate('5', 'critical', { capability: 'python' });
    const first = await hub.claim(dev, { limit: 4 });
    expect(first.map(({ task }) => task.payload)).toEqual(['5', '3', '2', '4']);
    const rest = await hub.claim(dev, { limit: 4 });
    expect(rest.map(({ task }) => task.payload)).toEqual(['1']);
    expect(await hub.claim(dev)).toEqual([]);
  });

  it('need sessions that exist and have not ended; an offline one finds them when it is back', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    await quiet(registry, 'gone');
    await registry.end('gone');
    await quiet(registry, 'killed');
    await passUntil(clock, registry.kill('killed', { force: true }));
    const away = await quiet(registry, 'away', { ttlMs: 1000 });
    const delegate = (from: string, to: string) => hub.delegate({ from, to, type: 'run' });
    await expect(delegate('nobody', 'planner')).rejects.toEqual(refusal('not_found'));
    await expect(delegate('planner', 'nobody')).rejects.toEqual(refusal('not_found'));
    await expect(delegate('planner', 'gone')).rejects.toEqual(refusal('not_alive'));
    await expect(delegate('planner', 'killed')).rejects.toEqual(refusal('not_alive'));
    await clock.advance(3000);
    expect(await registry.get('away')).toMatchObject({ state: 'offline' });
    const task = await delegate('planner', 'away');
    await expect(hub.claim(away)).rejects.toEqual(refusal('not_alive'));
    await away.heartbeat();
    const [assignment] = await hub.claim(away);
    await assignment?.complete('here');
    expect(await task.result()).toBe('here');
  });

  it.each([
    ['delegated', (hub: CollaborationHub) => hub.delegate({ from: 'planner', to: 'dev', type: 'run' }), 'not_alive'],
    ['offered', (hub: CollaborationHub) => hub.offer({ from: 'planner', to: { capability: 'x' }, type: 'run' }), 'not_found'],
  ] as const)('are not %s to a session that ends at that moment', async (_how, act, code) => {
    const { registry, storage, another } = await worldOn(open);
    await quiet(registry, 'planner');
    await quiet(registry, 'dev', { capabilities: ['x'] });
    let isArmed = true;
    const slow = wrapped(storage, async ({ commit }, run) => {
      if (isArmed && commit?.puts?.some(({ partition }) => partition === 'tasks')) {
        isArmed = false;
        await registry.end('dev');
      }
      return run();
    });
    await expect(act(another(slow).hub)).rejects.toEqual(refusal(code));
    expect(isArmed).toBe(false);
    expect(await toldOf(storage)).toEqual([]);
  });

  it('are delegated once for each idempotency key', async () => {
    const { hub, registry, storage } = await worldOn(open);
    await quiet(registry, 'planner');
    await quiet(registry, 'dev');
    const options = { from: 'planner', to: 'dev', type: 'run', payload: { a: 1, b: [2] }, idempotencyKey: 'k' } as const;
    const tasks = await Promise.all([hub.delegate(options), hub.delegate(options), hub.delegate(options)]);
    expect(new Set(tasks.map(({ id }) => id)).size).toBe(1);
    expect((await hub.delegate({ ...options, payload: { b: [2], a: 1 } })).id).toBe(tasks[0]?.id);
    await expect(hub.delegate({ ...options, payload: { a: 2, b: [2] } })).rejects.toEqual(refusal('already_exists'));
    await expect(hub.delegate({ ...options, to: { capability: 'x' } })).rejects.toEqual(refusal('already_exists'));
    expect(await toldOf(storage)).toEqual(['delegated']);
  });

  it('keep large values out of the record that changes with every step', async () => {
    const { hub, registry, seen } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev');
    const large = 'x'.repeat(900_000);
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run', payload: large });
    const [assignment] = await hub.claim(dev);
    expect(assignment?.task.payload).toBe(large);
    await assignment?.progress({ percent: 50, data: large });
    await assignment?.progress({ percent: 60, message: 'soon' });
    await assignment?.complete({ large });
    expect(await task.result()).toEqual({ large });
    expect(await hub.getTask(task.id)).toMatchObject({ payload: large, output: { large }, progress: { percent: 60 } });
    const parts = await seen.storage.list('tasks.parts');
    expect(parts.map(({ key }) => key)).toEqual([`${task.id}!0`, `${task.id}!2`]);
  });
});

describe.each(storages)('an idempotency key of a task that is kept for less than a day, on %s', (_name, open) => {
  it('is used up all the same', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'ann');
    const delegation = { from: 'ann', to: 'ann', type: 'pay', idempotencyKey: 'key', retainMs: 1000, timeoutMs: 1000 };
    const first = await hub.delegate(delegation);
    await clock.advance(5000);
    expect(await hub.getTask(first.id)).toBeUndefined();
    await expect(hub.delegate(delegation)).rejects.toMatchObject({ code: 'already_exists', details: { task: first.id } });
  });
});

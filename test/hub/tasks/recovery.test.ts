import { describe, expect, it } from 'vitest';
import type { Mesh } from '../../../src/mesh.ts';
import type { SessionHandle } from '../../../src/registry/session-handle.ts';
import { deferred, isSettled, passUntil, quiet, refusal, toldOf, type World, worldOn } from '../../support/hub/worlds.ts';
import { mortal, wrapped } from '../../support/registry-kill/storages.ts';
import { storages } from '../../support/storages.ts';

/** A task that a session has claimed in a process of its own, which does nothing any more. */
async function claimed(
  { hub, registry, another, storage }: World,
  to: 'dev' | { capability: string } = { capability: 'python' },
  retry: { maxRetries: number } = { maxRetries: 3 },
): Promise<{ id: string; result: () => Promise<unknown>; dev: SessionHandle; process: ReturnType<typeof mortal>; lost: Mesh }> {
  await quiet(registry, 'planner');
  const process = mortal(storage, Number.POSITIVE_INFINITY);
  const lost = another(process.storage, { onError: () => {} });
  const dev = await quiet(lost.registry, 'dev', { ttlMs: 10_000, capabilities: ['python'] });
  const { id, result } = await hub.delegate({ from: 'planner', to, type: 'run', retry });
  await lost.hub.claim(dev);
  return { id, result, dev, process, lost };
}

describe.each(storages)('a worker that is gone on %s', (_name, open) => {
  it.each([
    ['lapsed', async ({ clock }: World) => clock.advance(10_001)],
    ['ended', async ({ registry }: World) => registry.end('dev')],
    ['was killed', async ({ registry, clock }: World) => passUntil(clock, registry.kill('dev', { force: true }))],
    ['was replaced', async ({ registry }: World) => quiet(registry, 'dev')],
  ] as const)('because it %s hands its task on at once, to a worker with free hands', async (_how, goes) => {
    const world = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    const { id, process, result } = await claimed(world);
    process.die();
    const qa = await quiet(world.registry, 'qa', { capabilities: ['python'] });
    const worker = world.hub.work(qa, {}, () => 'by qa');
    // It has looked at everybody's leases, and would do so again in seconds.
    await world.clock.advance(100);
    await goes(world);
    await world.clock.settle();
    await world.clock.advance(200);
    expect(await world.hub.getTask(id)).toMatchObject({ state: 'completed', attempt: 2, worker: 'qa' });
    expect(await result()).toBe('by qa');
    expect(await toldOf(world.storage)).toEqual(['delegated', 'claimed', 'retried:worker_lost', 'claimed', 'completed']);
    await passUntil(world.clock, worker.stop());
  });

  it.each([
    ['lapsed', async ({ clock }: World) => clock.advance(10_001)],
    ['ended', async ({ registry }: World) => registry.end('dev')],
  ] as const)('because it %s hands its task on at the next sweep, where nobody waits', async (_how, goes) => {
    const world = await worldOn(open);
    const { id, process } = await claimed(world);
    process.die();
    await goes(world);
    await world.clock.advance(2100);
    expect(await world.hub.getTask(id)).toMatchObject({ state: 'submitted', attempt: 1, reason: 'worker_lost' });
    const qa = await quiet(world.registry, 'qa', { capabilities: ['python'] });
    expect(await world.hub.claim(qa)).toHaveLength(1);
  });

  it('uses an attempt, and no back-off; with none left the task fails', async () => {
    const world = await worldOn(open);
    const { result, process } = await claimed(world, { capability: 'python' }, { maxRetries: 0 });
    process.die();
    const waiting = result();
    waiting.catch(() => {});
    await world.clock.advance(9000);
    expect(await isSettled(world.clock, waiting)).toBe(false);
    await world.clock.advance(3000);
    await expect(waiting).rejects.toEqual(refusal('task_failed', 'worker_lost'));
    expect(await toldOf(world.storage)).toEqual(['delegated', 'claimed', 'failed:worker_lost']);
  });

  it('gets nothing done any more with what it had claimed, also when a heartbeat has revived it', async () => {
    const world = await worldOn(open);
    const { clock, registry, hub, storage } = world;
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev', { ttlMs: 10_000, capabilities: ['python'] });
    const task = await hub.delegate({ from: 'planner', to: { capability: 'python' }, type: 'run' });
    const [assignment] = await hub.claim(dev);
    await clock.advance(10_001);
    await expect(assignment?.complete('late')).rejects.toEqual(refusal('not_alive'));
    await dev.heartbeat();
    await expect(assignment?.complete('late')).rejects.toEqual(refusal('stale_receipt'));
    await expect(assignment?.progress({ percent: 1 })).rejects.toEqual(refusal('stale_receipt'));
    await expect(hub.complete(task.id, { by: 'dev', result: 'late' })).rejects.toEqual(refusal('stale_receipt'));
    await clock.advance(2000);
    const [again] = await hub.claim(dev);
    expect(again?.task).toMatchObject({ id: task.id, attempt: 2 });
    await expect(assignment?.complete('late')).rejects.toEqual(refusal('stale_receipt'));
    await again?.complete('in time');
    expect(await task.result()).toBe('in time');
    expect(await toldOf(storage)).toEqual(['delegated', 'claimed', 'retried:worker_lost', 'claimed', 'completed']);
  });

  it('leaves the task that was meant for it to its next incarnation, when it only lapsed', async () => {
    const world = await worldOn(open);
    const { result, process } = await claimed(world, 'dev');
    process.die();
    await world.clock.advance(12_100);
    const dev = await world.registry.register({ id: 'dev', heartbeat: 'manual' });
    const [assignment] = await world.hub.claim(dev);
    await assignment?.complete('back');
    expect(await result()).toBe('back');
  });

  it.each([
    ['claimed', async ({ hub }) => void (await hub.claim('dev'))],
    ['queued', async () => {}],
    ['waiting for its next attempt', async ({ hub }) => (await hub.claim('dev'))[0]?.fail('no')],
  ] satisfies [string, (world: World) => Promise<void>][])(
    'fails the task that was meant for it when it ends: %s',
    async (_where, put) => {
      const world = await worldOn(open);
      const { hub, registry, clock, storage } = world;
      await quiet(registry, 'planner');
      await quiet(registry, 'dev', { capabilities: ['python'] });
      const meant = await hub.delegate({ from: 'planner', to: 'dev', type: 'run', retry: { delayMs: 60_000 } });
      await put(world);
      const free = await hub.delegate({ from: 'planner', to: { capability: 'python' }, type: 'run' });
      const result = meant.result();
      result.catch(() => {});
      await registry.end('dev');
      await clock.advance(1100);
      await expect(result).rejects.toEqual(refusal('task_failed'));
      await expect(result).rejects.toMatchObject({ details: { reason: 'not_alive' } });
      expect(await hub.getTask(free.id)).toMatchObject({ state: 'submitted' });
      const told = await toldOf(storage, meant.id);
      expect(told.at(-1)).toBe('failed:not_alive');
      expect(told).not.toContain('retried:worker_lost');
      // The id is taken again, and what was meant for its predecessor is not for it.
      const next = await quiet(registry, 'dev');
      expect(await hub.claim(next)).toEqual([]);
    },
  );

  it('has let go of what was meant for it before its id is used again', async () => {
    const { hub, registry, clock } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    await quiet(registry, 'planner');
    await quiet(registry, 'dev');
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    await registry.end('dev');
    const next = await registry.register({ id: 'dev', heartbeat: 'manual' });
    expect(await hub.claim(next)).toEqual([]);
    await expect(passUntil(clock, task.result())).rejects.toMatchObject({ details: { reason: 'not_alive' } });
  });

  it('loses no attempt by what it had only reserved', async () => {
    const world = await worldOn(open);
    const { hub, registry, clock, storage, another } = world;
    await quiet(registry, 'planner');
    const tasks = [];
    for (let n = 0; n < 3; n++)
      tasks.push(
        await hub.delegate({ from: 'planner', to: { capability: 'python' }, type: 'run', payload: n, retry: { maxRetries: 0 } }),
      );
    // It dies between the take and the claim.
    const process = mortal(storage, 1, ({ takes = [] }) => takes.length > 0);
    const lost = another(process.storage, { onError: () => {} });
    const dev = await quiet(lost.registry, 'dev', { ttlMs: 10_000, capabilities: ['python'] });
    await expect(lost.hub.claim(dev, { limit: 2 })).rejects.toEqual(refusal('unavailable'));
    const qa = await quiet(registry, 'qa', { capabilities: ['python'] });
    const first = await hub.claim(qa, { limit: 3 });
    expect(first.map(({ task }) => task.payload)).toEqual([2]);
    const done: unknown[] = [];
    const worker = hub.work(qa, {}, ({ payload, attempt }) => void done.push([payload, attempt]));
    await clock.advance(12_000);
    expect(done).toEqual([
      [0, 1],
      [1, 1],
    ]);
    await first[0]?.complete();
    for (const task of tasks) expect(await task.result()).toBe(null);
    await passUntil(clock, worker.stop());
    expect(await storage.list(`reserved/dev`)).toEqual([]);
  });

  it('gives back what an unlucky claim left reserved while its session lives on', async () => {
    const world = await worldOn(open);
    const { hub, registry, clock, storage, another } = world;
    await quiet(registry, 'planner');
    const task = await hub.delegate({ from: 'planner', to: { capability: 'python' }, type: 'run' });
    const process = mortal(storage, 1, ({ takes = [] }) => takes.length > 0);
    const lost = another(process.storage, { onError: () => {} });
    const dev = await registry.register({ id: 'dev', ttlMs: 6000, capabilities: ['python'] });
    await expect(lost.hub.claim('dev')).rejects.toEqual(refusal('unavailable'));
    expect(await hub.claim(dev)).toEqual([]);
    await clock.advance(20_000);
    const [assignment] = await hub.claim(dev);
    expect(assignment?.task).toMatchObject({ id: task.id, attempt: 1 });
  });
});

describe.each(storages)('a mesh that is closed on %s', (_name, open) => {
  it('returns what is worked on, without using an attempt, and tells the handlers', async () => {
    const { hub, registry, another, clock, storage } = await worldOn(open);
    await quiet(registry, 'planner');
    const closing = another();
    const dev = await quiet(closing.registry, 'dev', { capabilities: ['python'] });
    const aborted = deferred();
    closing.hub.work(dev, {}, (_task, { signal }) => {
      signal.addEventListener('abort', () => aborted.resolve());
      return new Promise(() => {});
    });
    const retry = { maxRetries: 0 };
    const first = await hub.delegate({ from: 'planner', to: { capability: 'python' }, type: 'run', retry });
    await clock.advance(200);
    const second = await hub.delegate({ from: 'planner', to: { capability: 'python' }, type: 'run', retry });
    expect(await closing.hub.claim(dev)).toHaveLength(1);
    await passUntil(clock, closing.close());
    await aborted.promise;
    for (const { id } of [first, second]) expect(await hub.getTask(id)).toMatchObject({ state: 'submitted', attempt: 0 });
    const qa = await quiet(registry, 'qa', { capabilities: ['python'] });
    for (const assignment of await hub.claim(qa, { limit: 5 })) await assignment.complete(1);
    expect(await first.result()).toBe(1);
    expect(await second.result()).toBe(1);
    expect(await toldOf(storage, first.id)).toEqual(['delegated', 'claimed', 'updated:returned', 'claimed', 'completed']);
  });

  it('leaves alone what it has claimed for a session of another process', async () => {
    const { hub, registry, another } = await worldOn(open);
    await quiet(registry, 'planner');
    await quiet(registry, 'dev');
    const task = await hub.delegate({ from: 'planner', to: 'dev', type: 'run' });
    const command = another();
    expect(await command.hub.claim('dev')).toHaveLength(1);
    await command.close();
    const later = another();
    await later.hub.complete(task.id, { by: 'dev', result: 'done' });
    expect(await task.result()).toBe('done');
  });
});

describe.each(storages)('a reservation that was lost on %s', (_name, open) => {
  it('does not bring back a task that is over', async () => {
    const world = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    const { hub, registry, storage, clock, another } = world;
    await quiet(registry, 'planner');
    // It dies with its take done and nothing claimed.
    const reserving = mortal(storage, Number.POSITIVE_INFINITY);
    const lost = another(
      wrapped(reserving.storage, async ({ commit }, run) => {
        const answer = await run();
        if (commit?.takes?.length) {
          reserving.die();
          return new Promise(() => {});
        }
        return answer;
      }),
      { onError: () => {} },
    );
    await quiet(lost.registry, 'dev', { ttlMs: 3000, capabilities: ['python'] });
    const { id } = await hub.delegate({ from: 'planner', to: { capability: 'python' }, type: 'run' });
    lost.hub.claim('dev').catch(() => {});
    await clock.advance(100);
    // Whoever tidies up is overtaken by a cancel between its read and its commit.
    let isCanceled = false;
    another(
      wrapped(storage, async ({ commit }, run) => {
        const isReturn = commit?.deletes?.some(({ partition }) => partition.startsWith('reserved/')) && commit.puts?.length;
        if (isReturn && !isCanceled) {
          isCanceled = true;
          await hub.cancel(id, { by: 'planner' });
        }
        return run();
      }),
      { sweepIntervalMs: 1000 },
    );
    await clock.advance(10_000);
    expect(isCanceled).toBe(true);
    expect(await toldOf(storage)).toEqual(['delegated', 'canceled']);
    expect(await storage.list('queue/c=python')).toEqual([]);
    expect((await storage.list('workers')).length).toBe(0);
  });
});

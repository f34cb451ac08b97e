import { describe, expect, it } from 'vitest';
import type { LoggedEvent } from '../../../src/storage/events/event-reader.ts';
import { quiet, worldOn } from '../../support/hub/worlds.ts';
import { recordsOf } from '../../support/memory/observed.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('a search for tasks on %s', (_name, open) => {
  it('finds them by session, state, type and collaboration, in pages', async () => {
    const { hub, registry } = await worldOn(open);
    await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev', { capabilities: ['python'] });
    await quiet(registry, 'qa');
    const make = (to: string | { capability: string }, type: string, more = {}) =>
      hub.delegate({ from: 'planner', to, type, ...more });
    const a = await make('dev', 'build', { collaborationId: 'collab', step: 'one' });
    const b = await make({ capability: 'python' }, 'test');
    const c = await make('qa', 'build');
    const d = await hub.offer({ from: 'qa', to: 'dev', type: 'test' });
    await (await hub.claim(dev, { types: ['build'] }))[0]?.complete(1);
    await hub.claim(dev, { types: ['test'] });
    const ids = async (options: Parameters<typeof hub.tasks>[0]) => (await hub.tasks(options)).items.map(({ id }) => id);
    const sorted = (...tasks: { id: string }[]) => tasks.map(({ id }) => id).sort();
    expect(await ids({})).toEqual(sorted(a, b, c, d));
    expect(await ids({ session: 'dev' })).toEqual(sorted(a, b, d));
    expect(await ids({ session: 'qa' })).toEqual(sorted(c, d));
    expect(await ids({ session: 'nobody' })).toEqual([]);
    expect(await ids({ state: 'completed' })).toEqual(sorted(a));
    expect(await ids({ state: 'open' })).toEqual(sorted(b, c, d));
    expect(await ids({ state: 'working', session: 'dev' })).toEqual(sorted(b));
    expect(await ids({ type: 'build' })).toEqual(sorted(a, c));
    expect(await ids({ collaborationId: 'collab' })).toEqual(sorted(a));
    const walked: string[] = [];
    for (let after: string | undefined; ; ) {
      const page = await hub.tasks({ limit: 3, ...(after !== undefined && { after }) });
      for (const { id } of page.items) walked.push(id);
      after = page.next;
      if (after === undefined) break;
    }
    expect(walked).toEqual(sorted(a, b, c, d));
    expect((await hub.stats()).tasks).toEqual({
      submitted: 2,
      working: 1,
      input_required: 0,
      completed: 1,
      failed: 0,
      canceled: 0,
      rejected: 0,
    });
  });

  it('counts what a session has on its hands, by which specialists are ranked', async () => {
    const { hub, registry } = await worldOn(open);
    await quiet(registry, 'planner');
    for (const id of ['a', 'b', 'c']) await quiet(registry, id, { capabilities: ['x'] });
    for (let n = 0; n < 3; n++) await hub.delegate({ from: 'planner', to: 'a', type: 'run' });
    await hub.delegate({ from: 'planner', to: 'b', type: 'run' });
    const ranked = async () => (await registry.specialists('x')).map(({ id }) => id);
    expect(await ranked()).toEqual(['c', 'b', 'a']);
    for (const assignment of await hub.claim('a', { limit: 3 })) await assignment.complete();
    await hub.delegate({ from: 'planner', to: { capability: 'x' }, type: 'run' });
    await hub.claim('c');
    expect((await ranked())[0]).toBe('a');
  });

  it('finds in the events who and where, and never what a task is about', async () => {
    const { hub, registry, storage } = await worldOn(open);
    await quiet(registry, 'planner');
    await quiet(registry, 'dev');
    const secret = 'canary-7f3a';
    const options = { from: 'planner', to: 'dev', type: 'run', collaborationId: 'collab', step: 'one' } as const;
    const task = await hub.delegate({ ...options, payload: { secret }, title: secret, headers: { secret } });
    const [assignment] = await hub.claim('dev');
    await assignment?.progress({ message: secret, data: secret });
    const asking = assignment?.ask(secret);
    await hub.provideInput(task.id, { by: 'planner', input: secret }).catch(() => {});
    while ((await hub.getTask(task.id))?.state !== 'input_required') await new Promise((resolve) => setImmediate(resolve));
    await hub.provideInput(task.id, { by: 'planner', input: secret });
    expect(await asking).toBe(secret);
    await assignment?.fail(secret);
    await hub.handoff(task.id, { by: 'planner', to: 'dev', context: secret });
    await hub.complete(task.id, { by: 'dev', result: secret });
    const offer = await hub.offer({ ...options, payload: secret });
    await hub.decline(offer.id, { by: 'dev', reason: secret });
    const canceled = await hub.delegate(options);
    await hub.cancel(canceled.id, { by: 'planner', reason: secret });
    const events = (await recordsOf(storage, 'events')).map(({ value }) => value as unknown as LoggedEvent);
    expect(JSON.stringify(events)).not.toContain(secret);
    const told = events.filter(({ name }) => name.startsWith('task_'));
    for (const event of told) expect(event).toMatchObject({ from: 'planner', collaboration: 'collab', step: 'one' });
    const fields = { task: task.id, from: 'planner', session: 'dev', collaboration: 'collab', step: 'one' };
    expect(told.slice(0, 2)).toEqual([
      { name: 'task_delegated', at: expect.any(Number), attempt: 0, queue: 's=dev', ...fields },
      { name: 'task_claimed', at: expect.any(Number), attempt: 1, ...fields },
    ]);
    expect(told.find(({ name }) => name === 'task_retried')).toMatchObject({ reason: 'error', attempt: 1, ...fields });
  });
});

describe.each(storages)('what tasks cost on %s', (_name, open) => {
  it('is as the documentation says', async () => {
    const { hub, registry, seen } = await worldOn(open);
    const planner = await quiet(registry, 'planner');
    const dev = await quiet(registry, 'dev', { capabilities: ['python'] });
    const run = async (cost: object, act: () => Promise<unknown>): Promise<void> => {
      seen.take();
      await act();
      expect(seen.take()).toMatchObject(cost);
    };
    const delegate = () => hub.delegate({ from: planner, to: 'dev', type: 'run' });
    // The record, its place, its due entry, the event, and two index entries.
    await run({ get: 1, list: 0, commit: 1, writes: 6 }, delegate);
    await (await hub.claim(dev))[0]?.complete();
    await delegate();
    let claimed: Awaited<ReturnType<typeof hub.claim>> = [];
    const options = { capabilities: [] };
    // A take; then the place removed, the record, one index entry and the event.
    await run({ get: 1, list: 1, commit: 2, writes: 5 }, async () => {
      claimed = await hub.claim(dev, options);
    });
    await run({ get: 0, list: 0, commit: 1, writes: 3 }, async () => claimed[0]?.complete());
    // Who finds nothing proves that it still holds its lease.
    await run({ get: 0, list: 1, commit: 1, writes: 0 }, () => hub.claim(dev, options));
    await run({ get: 1, list: 0, commit: 1, writes: 6 }, () =>
      hub.delegate({ from: planner, to: 'dev', type: 'run', payload: 'a'.repeat(20) }),
    );
    await run({ get: 0, list: 0, commit: 1, writes: 5 }, () =>
      hub.delegate({ from: planner, to: { capability: 'python' }, type: 'run' }),
    );
  });
});

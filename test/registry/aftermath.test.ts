import { describe, expect, it } from 'vitest';
import type { Commit } from '../../src/storage/storage.ts';
import { hooked, once } from '../support/memory/observed.ts';
import { quiet, worldOn } from '../support/memory/worlds.ts';
import { storages } from '../support/storages.ts';

describe.each(storages)('what is left of a session, on %s', (_name, open) => {
  it('is not for whoever takes its id right after it was forgotten', async () => {
    const { mesh, registry, clock, seen } = await worldOn(open);
    const { hub } = mesh;
    await quiet(registry, 'sender');
    await quiet(registry, 'agent');
    const { message } = await hub.send({ from: 'sender', to: 'agent', body: 'to the old one' });
    const task = await hub.delegate({ from: 'sender', to: 'agent', type: 'work', retry: { maxRetries: 0 } });
    await registry.unregister('agent');
    const successor = await quiet(registry, 'agent');
    expect(await hub.inbox(successor).receive()).toEqual([]);
    expect(await hub.claim(successor)).toEqual([]);
    expect((await hub.deadLetters({ session: 'agent' })).items).toMatchObject([{ message, reason: 'session_over' }]);
    expect((await hub.getTask(task.id))?.state).toBe('failed');
    await hub.send({ from: 'sender', to: 'agent', body: 'to the new one' });
    await clock.advance(2000);
    expect((await hub.inbox(successor).receive({ limit: 5 })).map((delivery) => delivery.message.body)).toEqual([
      'to the new one',
    ]);
    expect(await seen.storage.list('removed')).toEqual([]);
  });

  it('is let go at the next sweep, and no note of it stays', async () => {
    const { mesh, registry, clock, seen } = await worldOn(open);
    await quiet(registry, 'sender');
    await quiet(registry, 'agent');
    await mesh.hub.send({ from: 'sender', to: 'agent', body: 'left behind' });
    await registry.unregister('agent');
    expect(await seen.storage.list('removed')).toHaveLength(1);
    await clock.advance(1000);
    expect(await seen.storage.list('removed')).toEqual([]);
    expect((await mesh.hub.deadLetters()).items).toHaveLength(1);
  });

  it('is let go also where the id was taken and forgotten once more meanwhile', async () => {
    const { mesh, registry, clock, storage, another } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    const { hub } = mesh;
    const again = once(async () => {
      await quiet(registry, 'agent');
      await hub.send({ from: 'sender', to: 'agent', body: 'to the second' });
      await registry.unregister('agent');
    });
    const commit = async ({ deletes = [] }: Commit): Promise<void> => {
      if (deletes.some(({ partition }) => partition === 'removed')) await again.run();
    };
    another(hooked(storage, { commit }), { sweepIntervalMs: 1000 });
    await quiet(registry, 'sender', 86_400_000);
    await quiet(registry, 'agent');
    await registry.unregister('agent');
    again.arm();
    await clock.advance(1000);
    expect(await storage.list('removed')).toHaveLength(1);
    const third = await quiet(registry, 'agent');
    expect(await hub.inbox(third).receive()).toEqual([]);
    expect((await hub.deadLetters()).items).toMatchObject([{ message: { body: 'to the second' }, reason: 'session_over' }]);
    await clock.advance(2000);
    expect(await storage.list('removed')).toEqual([]);
  });
});

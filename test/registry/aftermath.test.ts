import { describe, expect, it } from 'vitest';
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
});

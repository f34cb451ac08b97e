import { describe, expect, it } from 'vitest';
import { MeshError } from '../../src/kernel/errors.ts';
import { SessionRegistry } from '../../src/registry/session-registry.ts';
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
    expect(await seen.storage.list('over')).toEqual([]);
  });

  it('is let go at the next sweep, and no note of it stays', async () => {
    const { mesh, registry, clock, seen } = await worldOn(open);
    await quiet(registry, 'sender');
    await quiet(registry, 'agent');
    await mesh.hub.send({ from: 'sender', to: 'agent', body: 'left behind' });
    await registry.unregister('agent');
    expect(await seen.storage.list('over')).toHaveLength(1);
    await clock.advance(1000);
    expect(await seen.storage.list('over')).toEqual([]);
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
      if (deletes.some(({ partition }) => partition === 'over')) await again.run();
    };
    another(hooked(storage, { commit }), { sweepIntervalMs: 1000 });
    await quiet(registry, 'sender', 86_400_000);
    await quiet(registry, 'agent');
    await registry.unregister('agent');
    again.arm();
    await clock.advance(1000);
    expect(await storage.list('over')).toHaveLength(1);
    const third = await quiet(registry, 'agent');
    expect(await hub.inbox(third).receive()).toEqual([]);
    expect((await hub.deadLetters()).items).toMatchObject([{ message: { body: 'to the second' }, reason: 'session_over' }]);
    await clock.advance(2000);
    expect(await storage.list('over')).toEqual([]);
  });

  it('is let go as well when a registry alone has ended, forgotten or replaced it', async () => {
    const { mesh, clock, storage } = await worldOn(open);
    const { hub } = mesh;
    const alone = new SessionRegistry({ storage });
    await quiet(mesh.registry, 'sender');
    for (const id of ['ended', 'forgotten', 'killed']) {
      await quiet(alone, id);
      await hub.send({ from: 'sender', to: id, body: id });
    }
    const task = await hub.delegate({ from: 'sender', to: 'ended', type: 'work' });
    const replaced = await quiet(alone, 'replaced');
    const claimed = await hub.delegate({ from: 'sender', to: 'replaced', type: 'work', retry: { maxRetries: 0 } });
    await hub.claim(replaced.id);
    await alone.end('ended');
    await alone.unregister('forgotten');
    await alone.kill('killed', { force: true });
    await quiet(alone, 'replaced');
    await clock.advance(1000);
    expect(await storage.list('over')).toEqual([]);
    expect((await hub.deadLetters()).items.map(({ session }) => session).sort()).toEqual(['ended', 'forgotten', 'killed']);
    expect(await hub.getTask(task.id)).toMatchObject({ state: 'failed', reason: 'not_alive' });
    expect(await hub.getTask(claimed.id)).toMatchObject({ state: 'failed', reason: 'worker_lost' });
    await alone.close();
  });

  it('is noted for a week where nobody keeps anything for a session', async () => {
    const { mesh, clock, storage } = await worldOn(open);
    await mesh.close();
    const alone = new SessionRegistry({ storage });
    for (const id of ['ended', 'forgotten']) await quiet(alone, id);
    await alone.end('ended');
    await alone.unregister('forgotten');
    await clock.advance(5000);
    expect(await storage.list('over')).toHaveLength(2);
    clock.set(clock.now() + 7 * 86_400_000);
    expect(await storage.list('over')).toEqual([]);
    await alone.close();
  });

  it('is let go at a later sweep when the store was out of reach', async () => {
    const { mesh, registry, clock, storage, errors, another } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    const down = once(async () => {
      throw new MeshError('unavailable', 'expected a storage, got none');
    });
    const list = (partition: string) => (partition === 'ready/agent' ? down.run() : undefined);
    another(hooked(storage, { list }), { sweepIntervalMs: 1000 });
    await quiet(registry, 'sender');
    await quiet(registry, 'agent');
    await mesh.hub.send({ from: 'sender', to: 'agent', body: 'left behind' });
    down.arm();
    await registry.end('agent');
    await clock.advance(1000);
    expect(errors.splice(0)).toEqual([expect.objectContaining({ code: 'unavailable' })]);
    expect(await storage.list('over')).toHaveLength(1);
    await clock.advance(1000);
    expect(await storage.list('over')).toEqual([]);
    expect((await mesh.hub.deadLetters()).items).toHaveLength(1);
  });
});

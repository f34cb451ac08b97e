import { describe, expect, it } from 'vitest';
import { CollaborationHub, InMemoryStorage, SessionRegistry } from '../src/index.ts';
import { createTestMesh } from '../src/testing/test-mesh.ts';
import { refusal } from './support/refusal.ts';

describe('what is listened to', () => {
  it('is an event that there is, with a function', async () => {
    const { mesh } = createTestMesh();
    const listener = (): void => {};
    for (const source of [mesh, mesh.registry, mesh.hub, mesh.memory, mesh.keys] as never[]) {
      for (const method of ['on', 'once', 'off'] as const) {
        const call = (name: unknown, heard: unknown): unknown =>
          (source[method] as (...args: unknown[]) => unknown).call(source, name, heard);
        for (const name of [5, undefined, 'sesion_created', '__proto__', {}, Symbol('x')]) {
          expect(() => call(name, listener)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
        }
        for (const heard of [5, undefined, {}, 'listener']) {
          expect(() => call('*', heard)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
        }
        expect(call('*', listener)).toBe(source);
      }
    }
    expect(() => mesh.hub.on('session_created' as never, listener)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
    mesh.on('session_created', listener).on('task_delegated', listener).on('memory_set', listener).on('key_issued', listener);
    await mesh.close();
  });
});

it('options are no Map, Date, promise or other thing that would count as an empty object', async () => {
  const { mesh } = createTestMesh();
  await mesh.registry.register({ id: 'a', heartbeat: 'manual' });
  for (const options of [
    new Map([['cascade', false]]),
    new Date(),
    Promise.resolve({}),
    new Set(),
    /x/,
    new Error('x'),
  ] as never[]) {
    await expect(mesh.registry.kill('a', options)).rejects.toEqual(refusal('invalid_input', 'a plain object'));
    await expect(mesh.registry.register(options)).rejects.toEqual(refusal('invalid_input'));
    await expect(mesh.hub.send(options)).rejects.toEqual(refusal('invalid_input'));
    await expect(mesh.memory.search(options)).rejects.toEqual(refusal('invalid_input'));
    await expect(mesh.keys.issue(options)).rejects.toEqual(refusal('invalid_input'));
  }
  class Options {
    readonly limit = 1;
  }
  expect((await mesh.registry.list(new Options())).items).toHaveLength(1);
  expect((await mesh.registry.get('a'))?.state).toBe('alive');
  await mesh.close();
});

it('a message of an unknown id is not found, whatever the id looks like', async () => {
  const { mesh } = createTestMesh();
  const { hub, registry } = mesh;
  await registry.register({ id: 'a', heartbeat: 'manual' });
  for (const id of ['does-not-exist', 'msg_1', 'a!00000000000000999999']) {
    expect(await hub.getMessage(id)).toBeUndefined();
    await expect(hub.conversation(id)).rejects.toEqual(refusal('not_found'));
    await expect(hub.redrive(id)).rejects.toEqual(refusal('not_found'));
    await expect(hub.reply(id, { from: 'a' })).rejects.toEqual(refusal('not_found'));
  }
  await mesh.close();
});

describe('a hub of its own', () => {
  it('is refused on another storage than that of its registry', async () => {
    const [one, other] = [new InMemoryStorage(), new InMemoryStorage()];
    const registry = new SessionRegistry({ storage: one });
    expect(() => new CollaborationHub({ storage: other, registry })).toThrow(expect.objectContaining({ code: 'invalid_input' }));
    await new CollaborationHub({ storage: one, registry }).close();
    await registry.close();
  });
});

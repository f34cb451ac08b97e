import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { Session } from '../../src/registry/session.ts';
import { SessionHandle } from '../../src/registry/session-handle.ts';
import { refusal, worldOn } from '../support/registry/meshes.ts';
import { storages } from '../support/storages.ts';

describe.each(storages)('a handle on %s', (_name, open) => {
  it('shows its id and its epoch, and holds everything else back', async () => {
    const { registry } = await worldOn(open);
    const handle = await registry.register({ id: 'a' });
    expect(JSON.parse(JSON.stringify({ handle }))).toEqual({ handle: { id: 'a', epoch: 1 } });
    expect(Object.keys(handle)).toEqual([]);
    expect(inspect(handle, { depth: 9, showHidden: true })).not.toContain('incarnation');
    expect(() => Object.assign(handle, { id: 'b' })).toThrow(TypeError);
    expect(handle.id).toBe('a');
  });

  it('keeps its epoch, its signal and its id for good', async () => {
    const { registry, clock } = await worldOn(open);
    const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 1000 });
    const { signal } = handle;
    await clock.advance(2000);
    await handle.heartbeat();
    await handle.end();
    expect([handle.id, handle.epoch, handle.signal]).toEqual(['a', 1, signal]);
  });

  it('is not to be had by looking like one', async () => {
    const { registry } = await worldOn(open);
    const handle = await registry.register({ id: 'a' });
    for (const fake of [{ id: 'a', epoch: 1 }, Object.create(SessionHandle.prototype), null, new Proxy(handle, {})]) {
      expect(() => SessionHandle.tenureOf(fake as SessionHandle)).toThrow();
    }
    expect(() => Object.create(handle).id).toThrow(TypeError);
  });

  it('fences what is done in its name, which an id alone does not', async () => {
    const { registry, clock } = await worldOn(open);
    await registry.register({ id: 'b' });
    const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 1000 });
    await clock.advance(1001);
    await expect(registry.steer('b', { message: 'x', by: handle })).rejects.toEqual(
      refusal('not_alive', 'a heartbeat revives it'),
    );
    await registry.steer('b', { message: 'x', by: 'a' });
    await registry.steer('b', { message: 'x', by: (await registry.get('a')) as Session });
    await handle.heartbeat();
    await registry.steer('b', { message: 'x', by: handle });
  });

  it('gives its name to nothing that is made after it', async () => {
    const { registry, mesh } = await worldOn(open);
    await registry.register({ id: 'b' });
    const handle = await registry.register({ id: 'a' });
    const imitations = {
      'a copy': { ...handle },
      'its JSON': JSON.parse(JSON.stringify(handle)),
      'an object like it': { id: 'a', epoch: 1, signal: handle.signal },
      'an object with its id': { id: 'a' },
      'an heir': Object.create(handle),
      'a proxy': new Proxy(handle, {}),
      'a proxy that reads it': new Proxy(handle, { get: (target, name) => Reflect.get(target, name) }),
      'a session of another form': { ...(await registry.get('a')), state: 'fine' },
      'a session without an id': { ...(await registry.get('a')), id: 'not an id' },
    };
    for (const [what, by] of Object.entries(imitations)) {
      const refused = refusal('invalid_input', 'to be the id of a session or its handle');
      await expect(registry.steer('b', { message: 'x', by }), what).rejects.toEqual(refused);
      await expect(registry.kill('b', { by }), what).rejects.toEqual(refused);
      await expect(mesh.memory.set('key', 1, { by }), what).rejects.toEqual(refused);
      await expect(mesh.keys.issue({ session: by }), what).rejects.toEqual(refused);
    }
    expect(await registry.get('b')).toMatchObject({ state: 'alive' });
  });

  it('spawns children with everything that a registration may have', async () => {
    const { registry } = await worldOn(open);
    const parent = await registry.register({ id: 'p' });
    const child = await parent.spawn({ id: 'c', capabilities: ['x'], heartbeat: 'manual', ttlMs: 5000, user: 'Ada' });
    expect(await registry.get('c')).toMatchObject({ parentId: 'p', capabilities: ['x'], ttlMs: 5000, user: 'Ada' });
    await expect(parent.spawn({ id: 'c' })).rejects.toEqual(refusal('already_exists'));
    await expect(child.spawn({ id: 'p', takeover: true })).rejects.toEqual(refusal('invalid_input', 'does not descend'));
    expect((await registry.list({ parentId: 'p' })).items.map(({ id }) => id)).toEqual(['c']);
  });
});

import { describe, expect, it } from 'vitest';
import type { Mesh } from '../../src/mesh.ts';
import type { SessionHandle } from '../../src/registry/session-handle.ts';
import { SessionRegistry } from '../../src/registry/session-registry.ts';
import { processOn, refusal, worldOn } from '../support/registry/meshes.ts';
import { counted } from '../support/registry/views.ts';
import { storages } from '../support/storages.ts';

/** Everything that is done in the name of a session. */
const ACTS: readonly (readonly [what: string, act: (mesh: Mesh, by: SessionHandle) => Promise<unknown>])[] = [
  ['steer', ({ registry }, by) => registry.steer('target', { direction: 'north', by })],
  ['kill', ({ registry }, by) => registry.kill('target', { by })],
  ['memory.set', ({ memory }, by) => memory.set('key', 1, { by })],
  ['memory.update', ({ memory }, by) => memory.update('key', () => undefined, { by })],
  ['memory.delete', ({ memory }, by) => memory.delete('key', { by })],
  ['memory.clear', ({ memory }, by) => memory.clear({ by })],
  ['hub.delegate', ({ hub }, to) => hub.delegate({ from: 'target', to, type: 'run' })],
  ['hub.delegate to { session }', ({ hub }, session) => hub.delegate({ from: 'target', to: { session }, type: 'run' })],
  ['hub.offer', ({ hub }, to) => hub.offer({ from: 'target', to, type: 'run' })],
  ['hub.handoff', ({ hub }, to) => hub.handoff('task', { by: 'target', to })],
  ['an invitation', ({ hub }, session) => hub.createCollaboration({ initiator: 'target', participants: [{ session }] })],
  ['keys.issue', ({ keys }, by) => keys.issue({ session: by })],
  ['keys.revokeAll', ({ keys }, by) => keys.revokeAll({ session: by })],
  ['keys.list', ({ keys }, by) => keys.list({ session: by })],
];

const quiet = (registry: SessionRegistry, id: string): Promise<SessionHandle> =>
  registry.register({ id, heartbeat: 'manual', ttlMs: 300_000 });

describe.each(storages)('a handle of another mesh on %s', (_name, open) => {
  const others: readonly (readonly [where: string, hasTwin: boolean])[] = [
    ['in another namespace', false],
    ['in another namespace, where its id is known', true],
  ];

  describe.each(others)('%s', (_where, hasTwin) => {
    it.each(ACTS)('is refused and left alone, before anything is asked of the storage: %s', async (_what, act) => {
      const { storage, registry } = await worldOn(open);
      const foreign = await quiet(registry, 'agent');
      const view = counted(storage);
      const { mesh } = processOn(view.storage, { namespace: 'other' });
      await quiet(mesh.registry, 'target');
      if (hasTwin) await quiet(mesh.registry, 'agent');
      view.calls.count = 0;
      await expect(act(mesh, foreign)).rejects.toEqual(
        refusal('invalid_input', 'expected a handle of this mesh, got that of session agent in another one'),
      );
      expect(view.calls.count).toBe(0);
      expect(foreign.signal.aborted).toBe(false);
      await foreign.update({ task: 'goes on' });
      expect(await foreign.heartbeat()).toMatchObject({ alive: true });
    });
  });

  it('on another storage is refused, also where lease and id are alike', async () => {
    const [here, there] = [await worldOn(open), await worldOn(open)];
    const foreign = await quiet(here.registry, 'agent');
    const own = await quiet(there.registry, 'agent');
    await expect(there.mesh.memory.set('key', 1, { by: foreign })).rejects.toEqual(refusal('invalid_input', 'of this mesh'));
    await there.mesh.memory.set('key', 1, { by: own });
    expect(foreign.signal.aborted).toBe(false);
  });

  it('is none, when its class stands by itself on the same storage and namespace', async () => {
    const { storage } = await worldOn(open);
    const registry = new SessionRegistry({ storage, namespace: 'shared' });
    const handle = await quiet(registry, 'agent');
    const { mesh } = processOn(storage, { namespace: 'shared' });
    expect(await mesh.memory.set('key', 1, { by: handle })).toMatchObject({ session: 'agent' });
    await registry.close();
  });
});

import { describe, expect, it } from 'vitest';
import { createMesh, InMemoryStorage, SessionRegistry } from '../src/index.ts';
import { VirtualClock } from '../src/testing/virtual-clock.ts';
import { wrapped } from './support/registry-kill/storages.ts';
import { isSettled, passUntil } from './support/timing.ts';

/** A storage that answers nothing from some time on. */
function hanging() {
  const clock = new VirtualClock();
  const inner = new InMemoryStorage({ clock });
  let hangs = false;
  const view = wrapped(inner, (_call, run) => (hangs ? new Promise<never>(() => {}) : run()));
  const storage = { ...view, close: () => (hangs ? new Promise<void>(() => {}) : inner.close()) };
  return { clock, storage, hang: () => (hangs = true) };
}

describe('a mesh on a storage that does not answer any more', () => {
  it('is closed within two seconds', async () => {
    const { clock, storage, hang } = hanging();
    const errors: unknown[] = [];
    const mesh = createMesh({ storage, onError: (error) => errors.push(error) });
    const a = await mesh.registry.register({ id: 'a' });
    const { token } = await mesh.keys.issue({});
    await mesh.keys.verify(token);
    await mesh.hub.send({ from: a, to: 'a', body: 'hello' });
    await mesh.hub.inbox(a).receive();
    await mesh.hub.delegate({ from: a, to: a, type: 'run' });
    const worker = mesh.hub.work(a, {}, () => new Promise(() => {}));
    await clock.advance(100);
    expect(worker.running).toBe(1);
    hang();
    const registering = mesh.registry.register({ id: 'late' });
    const closing = mesh.close();
    expect(a.signal.aborted).toBe(false);
    await clock.advance(1999);
    expect(await isSettled(clock, closing)).toBe(true);
    await closing;
    expect(a.signal.aborted).toBe(true);
    expect(await isSettled(clock, registering)).toBe(false);
    expect(clock.pending).toBe(0);
    expect(errors).toEqual([]);
  });

  it('lets go of its sessions at once, also while one is being registered', async () => {
    const { clock, storage, hang } = hanging();
    const registry = new SessionRegistry({ storage, onError: () => {} });
    const a = await registry.register({ id: 'a' });
    hang();
    registry.register({ id: 'late' }).catch(() => {});
    const closing = registry.close();
    expect(a.signal.aborted).toBe(true);
    await passUntil(clock, closing);
  });
});

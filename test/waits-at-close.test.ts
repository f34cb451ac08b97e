import { describe, expect, it } from 'vitest';
import { createMesh, MeshError } from '../src/index.ts';
import { createTestMesh } from '../src/testing/test-mesh.ts';
import { VirtualClock } from '../src/testing/virtual-clock.ts';
import { hooked } from './support/memory/observed.ts';
import { storages } from './support/storages.ts';
import { isSettled, passUntil } from './support/timing.ts';

describe('a wait ends with its mesh at once, in time that stands still', () => {
  it.each(['waitFor', 'steer', 'kill'] as const)('%s', async (kind) => {
    const { mesh, clock } = createTestMesh({ seed: 1 });
    await mesh.registry.register({ id: 'a', heartbeat: 'manual' });
    const waits = {
      waitFor: () => mesh.memory.waitFor('key', (value) => value === 1),
      steer: async () => (await mesh.registry.steer('a', { direction: 'left' })).settled(),
      kill: () => mesh.registry.kill('a', { graceMs: 10_000 }),
    };
    const waiting = waits[kind]();
    expect(await isSettled(clock, waiting)).toBe(false);
    await mesh.close();
    expect(await isSettled(clock, waiting)).toBe(true);
    await expect(waiting).rejects.toMatchObject({ code: 'closed' });
  });
});

it('a wait for a value hears at once that it vanished with its session', async () => {
  const { mesh, clock } = createTestMesh({ seed: 1 });
  const owner = await mesh.registry.register({ id: 'a', heartbeat: 'manual' });
  await mesh.memory.set('key', 1, { by: owner, untilSessionEnds: true });
  const waiting = mesh.memory.waitFor('key', (value) => value === undefined);
  expect(await isSettled(clock, waiting)).toBe(false);
  await owner.end();
  expect(await isSettled(clock, waiting)).toBe(true);
  expect(await waiting).toBeUndefined();
  await mesh.close();
});

describe.each(storages)('what is under way on %s', (_name, open) => {
  it('is done or told that the mesh is closed, and nothing else', async () => {
    const clock = new VirtualClock();
    const mesh = createMesh({ storage: await open(clock), closeStorage: false });
    const from = await mesh.registry.register({ id: 'ann', heartbeat: 'manual' });
    for (const id of ['bob', 'cara']) await mesh.registry.register({ id, heartbeat: 'manual' });
    const calls = Array.from({ length: 100 }, (_, n) =>
      (n % 2 === 0 ? mesh.hub.broadcast({ from }) : mesh.hub.send({ from, to: 'bob' })).then(
        () => 'done',
        ({ code }) => code,
      ),
    );
    await passUntil(clock, mesh.close());
    for (const outcome of await passUntil(clock, Promise.all(calls))) expect(['done', 'closed']).toContain(outcome);
  });

  it('waits for a directive to be settled also while the storage is out of reach', async () => {
    const clock = new VirtualClock();
    const storage = await open(clock);
    let isOut = false;
    const failing = hooked(storage, {
      async get() {
        if (isOut) throw new MeshError('unavailable', 'expected an answer, got none', { details: { transient: true } });
      },
    });
    const errors: unknown[] = [];
    const mesh = createMesh({ storage: failing, closeStorage: false, onError: (error) => errors.push(error) });
    const other = createMesh({ storage, closeStorage: false });
    const bob = await other.registry.register({ id: 'bob', heartbeat: 'manual', ttlMs: 3_600_000 });
    const settled = (await mesh.registry.steer('bob', { direction: 'left' })).settled();
    await clock.advance(10);
    isOut = true;
    await clock.advance(2500);
    isOut = false;
    const { value } = await bob.steers().next();
    await value?.applied();
    expect(await passUntil(clock, settled)).toEqual({ outcome: 'applied' });
    expect(new Set(errors.map((error) => (error as MeshError).code))).toEqual(new Set(['unavailable']));
    await Promise.all([mesh.close(), other.close()]);
  });
});

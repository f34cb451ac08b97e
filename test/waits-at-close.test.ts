import { describe, expect, it } from 'vitest';
import { createTestMesh } from '../src/testing/test-mesh.ts';
import { isSettled } from './support/timing.ts';

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

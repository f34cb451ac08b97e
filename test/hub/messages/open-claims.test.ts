import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { createTestMesh } from '../../../src/testing/test-mesh.ts';
import { passUntil } from '../../support/timing.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const TIMES = 50;
/** The last few may still be at hand somewhere. */
const AT_HAND = 5;

/** How many of these are still held by somebody. */
async function held(refs: readonly WeakRef<object>[]): Promise<number> {
  for (let n = 0; n < 3; n++) {
    await new Promise((resolve) => setImmediate(resolve));
    collect();
  }
  return refs.filter((ref) => ref.deref()).length;
}

it('lets go of what was answered and never acked', async () => {
  const { mesh, clock } = createTestMesh();
  const ann = await mesh.registry.register({ id: 'ann', ttlMs: 3_600_000 });
  const bob = await mesh.registry.register({ id: 'bob', ttlMs: 3_600_000 });
  const inbox = mesh.hub.inbox(bob);
  const refs: WeakRef<object>[] = [];
  for (let n = 0; n < TIMES; n++) {
    const answer = mesh.hub.request({ from: ann, to: bob });
    const [delivery] = await passUntil(clock, inbox.receive({ timeoutMs: 1000 }));
    if (!delivery) throw new Error('expected the request');
    await mesh.hub.reply(delivery.message, { from: bob });
    await passUntil(clock, answer);
    // To ack it as well is no error, once.
    if (n === 0) {
      await delivery.ack();
      await expect(delivery.ack()).rejects.toMatchObject({ code: 'stale_receipt' });
    }
    refs.push(new WeakRef(delivery.message));
  }
  expect(await held(refs)).toBeLessThan(AT_HAND);
  await mesh.close();
});

it('lets go of what lapsed, once it has been put back', async () => {
  const { mesh, clock } = createTestMesh({ hub: { maxDeliveries: TIMES + 1 } });
  const ann = await mesh.registry.register({ id: 'ann', ttlMs: 3_600_000 });
  await mesh.hub.send({ from: ann, to: ann });
  const inbox = mesh.hub.inbox(ann, { visibilityMs: 1000 });
  const refs: WeakRef<object>[] = [];
  for (let n = 0; n < TIMES; n++) {
    const [delivery] = await inbox.receive();
    if (!delivery) throw new Error('expected it again');
    refs.push(new WeakRef(delivery.message));
    await clock.advance(1001);
  }
  expect(await held(refs)).toBeLessThan(AT_HAND);
  await mesh.close();
});

it('lets go of what a session had claimed that is over, and of what an inbox has forgotten', async () => {
  const { mesh, clock } = createTestMesh();
  const ann = await mesh.registry.register({ id: 'ann', ttlMs: 3_600_000 });
  const refs: WeakRef<object>[] = [];
  for (let n = 0; n < TIMES; n++) {
    const session = await mesh.registry.register({ ttlMs: 3_600_000 });
    await mesh.hub.send({ from: ann, to: session });
    const [delivery] = await mesh.hub.inbox(session).receive();
    if (!delivery) throw new Error('expected a message');
    refs.push(new WeakRef(delivery.message));
    await session.end();
    await expect(delivery.ack()).rejects.toMatchObject({ code: 'lease_lost' });
  }
  for (let n = 0; n < TIMES; n++) {
    await mesh.hub.send({ from: ann, to: ann });
    const [delivery] = await mesh.hub.inbox(ann, { visibilityMs: 1000 }).receive();
    if (delivery) refs.push(new WeakRef(delivery.message));
    await clock.advance(62_000);
  }
  expect(refs).toHaveLength(2 * TIMES);
  expect(await held(refs)).toBeLessThan(2 * AT_HAND);
  await mesh.close();
});

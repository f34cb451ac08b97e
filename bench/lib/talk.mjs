import assert from 'node:assert/strict';
import { createMesh } from '../../dist/index.js';

/** What is sent in all rows: a body of 200 bytes and a small object. */
export const BODY = 'x'.repeat(200);
export const contentOf = (index) => ({ subject: 'Build', body: BODY, data: { pr: index, branch: 'main', urgent: false } });

/** Sessions that nobody has to renew while the rounds run. */
export const LASTING = { heartbeat: 'manual', ttlMs: 3_600_000 };

/** A mesh with a session that sends, another that receives, and the mailbox of that one. */
export async function pair(options = {}) {
  const mesh = createMesh(options);
  const planner = await mesh.registry.register({ id: 'planner-001', ...LASTING });
  const dev = await mesh.registry.register({ id: 'dev-001', ...LASTING });
  return { mesh, hub: mesh.hub, planner, dev, inbox: mesh.hub.inbox(dev) };
}

/** Sends so many at once, claims what is there at once, acks that at once; until all are through. Answers how many were. */
export async function cycle({ hub, planner, inbox }, { count, size }) {
  let through = 0;
  for (let done = 0; done < count; done += size) {
    if (size === 1) await hub.send({ from: planner, to: 'dev-001', ...contentOf(done) });
    else {
      await Promise.all(
        Array.from({ length: size }, (_, index) => hub.send({ from: planner, to: 'dev-001', ...contentOf(done + index) })),
      );
    }
    const deliveries = size === 1 ? await inbox.receive() : await inbox.receive({ limit: size });
    checkSum(
      deliveries.map(({ message }) => message),
      { first: done, size },
    );
    if (size === 1) await deliveries[0].ack();
    else await Promise.all(deliveries.map((delivery) => delivery.ack()));
    through += deliveries.length;
  }
  return through;
}

/** That these are the messages that were sent together, in any order: nobody has awaited one before the next. */
export function checkSum(messages, { first, size }) {
  let sum = 0;
  for (const { data } of messages) sum += data.pr;
  if (messages.length !== size || sum !== size * first + (size * (size - 1)) / 2) throw new Error('expected what was sent');
}

/** What was acked is settled: nothing waits, nothing is claimed, nothing was given up, and the newest is kept. */
export async function assertSettled({ mesh, hub }, session = 'dev-001') {
  const { messages } = await mesh.hub.stats();
  assert.deepEqual([messages.ready, messages.claimed, messages.dead], [0, 0, 0]);
  const { items } = await hub.messages({ session, unread: false, limit: 1 });
  assert.equal(items.length, 1);
}

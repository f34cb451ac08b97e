import { listens, notInstalled, peer, skipped, versioned } from './peers.mjs';

const REDIS_PORT = 6379;
const NATS_PORT = 4222;

/**
 * Queues of other packages behind one face: `cycle(count, make)` resolves when so many were added, worked on and
 * acknowledged. Each has a name of its own on its server, and removes it when it is closed.
 */

/** Functions in this process: nothing is copied, claimed, acknowledged or kept. */
export async function pQueue({ inFlight }) {
  const found = await peer(() => import('p-queue'));
  if (!found) return notInstalled('p-queue');
  const queue = new found.default({ concurrency: inFlight });
  return {
    version: versioned('p-queue'),
    async cycle(count, make) {
      for (let done = 0; done < count; done += inFlight) {
        const work = (index) => queue.add(async () => make(index));
        await Promise.all(Array.from({ length: inFlight }, (_, index) => work(done + index)));
      }
    },
    async close() {},
  };
}

export async function bullMq({ inFlight }) {
  const found = await peer(() => import('bullmq'));
  const client = await peer(() => import('ioredis'));
  if (!found || !client) return notInstalled('bullmq');
  if (!(await listens(REDIS_PORT))) return skipped(`no Redis answers on 127.0.0.1:${REDIS_PORT}`);
  const connection = { host: '127.0.0.1', port: REDIS_PORT, maxRetriesPerRequest: null };
  const name = `session-mesh-bench-${process.pid}`;
  const queue = new found.Queue(name, { connection });
  const arrived = arrivals();
  const worker = new found.Worker(name, async () => null, { connection, concurrency: inFlight });
  worker.on('completed', arrived.one);
  worker.on('error', () => {});
  await Promise.all([queue.waitUntilReady(), worker.waitUntilReady()]);
  return {
    version: `${versioned('bullmq')} with ${versioned('ioredis')}`,
    async cycle(count, make) {
      const all = arrived.wait(count);
      for (let done = 0; done < count; done += inFlight) {
        await Promise.all(Array.from({ length: inFlight }, (_, index) => queue.add('build', make(done + index))));
      }
      await all;
    },
    async close() {
      await worker.close();
      await queue.obliterate({ force: true });
      await queue.close();
    },
  };
}

export async function jetStream({ inFlight }) {
  const [transport, stream] = [
    await peer(() => import('@nats-io/transport-node')),
    await peer(() => import('@nats-io/jetstream')),
  ];
  if (!transport || !stream) return notInstalled('@nats-io/jetstream');
  if (!(await listens(NATS_PORT))) return skipped(`no NATS answers on 127.0.0.1:${NATS_PORT}`);
  const connection = await transport.connect({ servers: `127.0.0.1:${NATS_PORT}` });
  const name = `session-mesh-bench-${process.pid}`;
  const manager = await stream.jetstreamManager(connection);
  await manager.streams.add({ name, subjects: [name], storage: 'memory' });
  await manager.consumers.add(name, { durable_name: 'dev', ack_policy: 'explicit', max_ack_pending: 10 * inFlight });
  const client = stream.jetstream(connection);
  const arrived = arrivals();
  const consumer = await client.consumers.get(name, 'dev');
  const messages = await consumer.consume({
    max_messages: 10 * inFlight,
    callback(message) {
      message.json();
      message.ack();
      arrived.one();
    },
  });
  return {
    version: `${versioned('@nats-io/jetstream')} with nats-server ${connection.info.version}, stream in memory`,
    async cycle(count, make) {
      const all = arrived.wait(count);
      for (let done = 0; done < count; done += inFlight) {
        await Promise.all(
          Array.from({ length: inFlight }, (_, index) => client.publish(name, JSON.stringify(make(done + index)))),
        );
      }
      await all;
    },
    async close() {
      await messages.close();
      await manager.streams.delete(name);
      await connection.close();
    },
  };
}

/** Counts what arrives, and tells when as many have as were waited for. */
function arrivals() {
  let [count, wanted, resolve] = [0, 0, () => {}];
  return {
    one() {
      count += 1;
      if (count === wanted) resolve();
    },
    wait(more) {
      wanted = count + more;
      return new Promise((done) => {
        resolve = done;
      });
    },
  };
}

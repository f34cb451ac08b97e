import { createMesh } from '../../dist/index.js';
import { SqliteStorage } from '../../dist/sqlite.js';
import { contentOf, LASTING } from './talk.mjs';

/**
 * Another process of the same mesh: it sends when it is told to, answers every request, does every task; and it answers
 * by the channel between the processes what it is asked there.
 */
const mesh = createMesh({ storage: await SqliteStorage.open(process.argv[2]) });
const dev = await mesh.registry.register({ id: 'dev-001', ...LASTING });
const consumer = mesh.hub
  .inbox(dev)
  .handle((message) => mesh.hub.reply(message, { from: dev, data: { pr: message.data.pr } }), { concurrency: 64 });
const worker = mesh.hub.work(dev, { concurrency: 64 }, async ({ payload }) => ({ pr: payload.pr }));

process.on('message', async ({ send, ask }) => {
  if (ask !== undefined) return process.send({ answer: ask });
  const began = String(process.hrtime.bigint());
  await mesh.hub.send({ from: dev, to: 'planner-001', ...contentOf(send) });
  process.send({ began });
});
process.on('disconnect', async () => {
  await consumer.stop();
  await worker.stop();
  await mesh.close();
  process.exit();
});
process.send('ready');

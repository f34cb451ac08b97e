import { createMesh } from '../../dist/index.js';
import { SqliteStorage } from '../../dist/sqlite.js';
import { contentOf, LASTING } from './talk.mjs';

/** One of several processes on a file: does so many of what it is told, with sessions of its own, and says when it is done. */
const [file, name] = process.argv.slice(2);
const mesh = createMesh({ storage: await SqliteStorage.open(file) });
const { hub, memory, registry } = mesh;
const sender = await registry.register({ id: `${name}-sender`, ...LASTING });
const worker = await registry.register({ id: `${name}-worker`, capabilities: ['build'], ...LASTING });
const inbox = hub.inbox(worker);

const works = {
  async messages(count) {
    for (let n = 0; n < count; n++) {
      await hub.send({ from: sender, to: worker.id, ...contentOf(n) });
      const [delivery] = await inbox.receive();
      await delivery.ack();
    }
  },
  /** All processes take from one queue, so whose task it is that is done does not matter. */
  async tasks(count) {
    for (let n = 0; n < count; n++) {
      await hub.delegate({ from: sender, to: { capability: 'build' }, type: 'build', payload: contentOf(n) });
      const [assignment] = await hub.claim(worker, { limit: 1, capabilities: ['build'] });
      await assignment?.complete({ ok: true });
    }
  },
  async updates(count) {
    for (let n = 0; n < count; n++) await memory.update('counter', (value = 0) => value + 1);
  },
  async gets(count) {
    for (let n = 0; n < count; n++) await memory.get('counter');
  },
};

process.on('message', async ({ work, count }) => {
  await works[work](count);
  process.send('done');
});
process.on('disconnect', () => mesh.close().then(() => process.exit()));
process.send('ready');

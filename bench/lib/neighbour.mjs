import { SqliteStorage } from '../../dist/sqlite.js';

/** Another process on the same file: commits once for each message, and says when it began and when it had the answer. */
const storage = await SqliteStorage.open(process.argv[2]);

process.on('message', async (id) => {
  const began = process.hrtime.bigint();
  await storage.commit({ puts: [{ partition: 'inbox', key: 'm', value: { id }, stamped: true }] });
  process.send({ began: String(began), ended: String(process.hrtime.bigint()) });
});
process.on('disconnect', () => storage.close().then(() => process.exit()));
process.send('ready');

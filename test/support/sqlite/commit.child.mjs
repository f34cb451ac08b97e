// Commits one record for each line it is told, the line being its key, and reports the revision.
import { createInterface } from 'node:readline';
import { SqliteStorage } from '../../../dist/sqlite.js';

const [file] = process.argv.slice(2);
const storage = await SqliteStorage.open(file);
process.stdout.write('open\n');
for await (const key of createInterface({ input: process.stdin })) {
  const { revision } = await storage.commit({ puts: [{ partition: 'told', key, value: key }] });
  process.stdout.write(`${revision}\n`);
}
await storage.close();

// Watches a storage, leaves it open, and has nothing else to do.
import { SqliteStorage } from '../../../dist/sqlite.js';

const storage = await SqliteStorage.open(process.argv[2]);
storage.watch(() => {});
await storage.commit({ puts: [{ partition: 'p', key: 'k', value: 1 }] });
process.stdout.write('watching\n');

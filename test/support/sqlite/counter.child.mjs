// Increments one record, a number of times, each by compare-and-set.
import { SqliteStorage } from '../../../dist/sqlite.js';

const [file, times] = process.argv.slice(2);
const storage = await SqliteStorage.open(file, { busyTimeoutMs: 60_000 });
const address = { partition: 'counters', key: 'one' };
for (let done = 0; done < Number(times); ) {
  const [record] = await storage.get([address]);
  const result = await storage.commit({
    checks: [{ ...address, revision: record?.revision ?? null }],
    puts: [{ ...address, value: (record?.value ?? 0) + 1 }],
  });
  if (result.committed) done += 1;
}
await storage.close();

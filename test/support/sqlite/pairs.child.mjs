// Writes pairs of equal records until it is killed, and notes in a file of its own each commit that was acknowledged.
import { openSync, writeSync } from 'node:fs';
import { SqliteStorage } from '../../../dist/sqlite.js';

const [file, ledger, name] = process.argv.slice(2);
const storage = await SqliteStorage.open(file, { busyTimeoutMs: 60_000 });
const notes = openSync(ledger, 'a');
process.stdout.write('open\n');

async function write(slot) {
  for (let count = 0; ; count++) {
    const value = `${name} ${process.pid} ${slot} ${count}`;
    const key = `${name}-${slot}`;
    const result = await storage.commit({
      puts: [
        { partition: 'left', key, value },
        { partition: 'right', key, value },
        { partition: 'events', key: '', value, stamped: true },
      ],
    });
    // One write, so that a kill leaves a whole line or none.
    writeSync(notes, `${JSON.stringify([result.revision, value])}\n`);
  }
}
await Promise.all([0, 1, 2, 3].map(write));

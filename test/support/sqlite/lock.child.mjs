// Holds the write lock of a file, from the line it prints until it is told a line.
import { createInterface } from 'node:readline';
import { openRaw } from './raw.mjs';

const [file, how = 'BEGIN IMMEDIATE'] = process.argv.slice(2);
const database = await openRaw(file);
database.exec('PRAGMA busy_timeout = 10000');
database.exec(how);
process.stdout.write('locked\n');
const lines = createInterface({ input: process.stdin });
await new Promise((resolve) => lines.once('line', resolve));
lines.close();
database.exec('ROLLBACK');
database.close();
process.stdout.write('released\n');

// Dies in the middle of creating the schema, with pages of it in the file and the journal beside it.
import { openRaw } from './raw.mjs';

const database = await openRaw(process.argv[2]);
database.exec('PRAGMA cache_size = 1; PRAGMA cache_spill = 1');
database.exec('BEGIN IMMEDIATE');
database.exec('PRAGMA application_id = 0x6d657368; PRAGMA user_version = 1');
database.exec('CREATE TABLE record (partition TEXT, key TEXT, value TEXT, PRIMARY KEY (partition, key)) WITHOUT ROWID');
const insert = database.prepare('INSERT INTO record VALUES (?, ?, ?)');
for (let i = 0; i < 200; i++) insert.run('p', String(i), 'x'.repeat(500));
process.kill(process.pid, 'SIGKILL');

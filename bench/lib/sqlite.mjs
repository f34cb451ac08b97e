import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/**
 * The driver by itself, for references: the one that the library chooses too, which is `node:sqlite` where its SQLite
 * has a safe write-ahead log, and `@photostructure/sqlite` elsewhere.
 */
export function bareDriver() {
  for (const name of ['node:sqlite', '@photostructure/sqlite']) {
    const driver = process.getBuiltinModule?.(name) ?? (name.startsWith('node:') ? undefined : require(name));
    if (!driver) continue;
    const probe = new driver.DatabaseSync(':memory:');
    const { version } = probe.prepare('SELECT sqlite_version() AS version').get();
    probe.close();
    const [, minor, patch] = version.split('.').map(Number);
    if (minor > 51 || (minor === 51 && patch >= 3)) return { name, version, DatabaseSync: driver.DatabaseSync };
  }
  throw new Error('expected a SQLite driver from 3.51.3 on, got none');
}

/**
 * A database as one would write it by hand for the same records: the library's table, index and pragmas, and none of
 * its code. The newest revision is only counted in this process.
 */
export class HandWritten {
  revision = 0;

  constructor(file, { synchronous = 'normal' } = {}) {
    const { DatabaseSync } = bareDriver();
    const db = new DatabaseSync(file);
    db.exec(
      `PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = ${synchronous}; PRAGMA temp_store = MEMORY`,
    );
    db.exec(`CREATE TABLE record (
        partition TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, expires INTEGER, value TEXT NOT NULL,
        PRIMARY KEY (partition, key)
      ) WITHOUT ROWID;
      CREATE INDEX record_expires ON record (expires) WHERE expires IS NOT NULL`);
    this.db = db;
    this.begin = db.prepare('BEGIN IMMEDIATE');
    this.end = db.prepare('COMMIT');
    this.insert = db.prepare('INSERT OR REPLACE INTO record VALUES (?, ?, ?, NULL, ?)');
    this.one = arrays(db.prepare('SELECT revision, expires, value FROM record WHERE partition = ? AND key = ?'));
    this.first = arrays(db.prepare('SELECT key, revision, expires, value FROM record WHERE partition = ? ORDER BY key LIMIT ?'));
    this.delete = db.prepare('DELETE FROM record WHERE partition = ? AND key = ?');
    this.counted = arrays(db.prepare('SELECT count(*) FROM record WHERE partition = ?'));
  }

  /** All that `work` writes, with one revision. */
  transaction(work) {
    this.begin.run();
    this.revision += 1;
    const answer = work(this.revision);
    this.end.run();
    return answer;
  }

  put({ partition, key, value, stamped }, revision, position) {
    const place = stamped ? key + String(revision).padStart(16, '0') + String(position).padStart(4, '0') : key;
    this.insert.run(partition, place, revision, JSON.stringify(value));
  }

  countOf(partition) {
    return this.counted.get(partition)[0];
  }

  close() {
    this.db.close();
  }
}

/** What `work` puts into a storage by its last commit. */
export async function putsOf(storage, work) {
  const commit = storage.commit.bind(storage);
  let puts = [];
  storage.commit = (given) => {
    puts = given.puts ?? [];
    return commit(given);
  };
  await work();
  delete storage.commit;
  return puts.map(({ partition, key, value, stamped }) => ({ partition, key, value, stamped }));
}

/** Rows as arrays, which is how the drivers are fastest. */
function arrays(statement) {
  statement.setReturnArrays?.(true);
  return statement;
}

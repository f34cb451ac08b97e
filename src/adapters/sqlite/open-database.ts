import { MeshError } from '../../kernel/errors.ts';
import { warnProcess } from '../../kernel/report.ts';
import { inspectFile, locate } from './database-file.ts';
import {
  type Connection,
  chooseDriver,
  connectionOf,
  type Driver,
  hasSafeWal,
  type SqliteDatabase,
  sqliteVersionOf,
} from './driver.ts';
import type { OpenOptions } from './options.ts';
import { Patience } from './patience.ts';
import { createSchema, ownerOf, pragma, setPragma } from './schema.ts';
import { Statements } from './statements.ts';

/** A database with our schema and settings, ready for statements. */
export interface OpenDatabase {
  readonly connection: Connection;
  readonly statements: Statements;
  readonly sqliteVersion: string;
  readonly exclusive: boolean;
  /** The write-ahead log's path. */
  readonly log: string;
}

/**
 * The driver itself does not wait for a lock, since that blocks the event loop: `Patience` does. Twenty processes that
 * write to one file get no slower by it.
 */
const DRIVER_TIMEOUT_MS = 0;

/** Up to this size a file is checked from end to end when it is opened, which takes some 30 ms. */
const CHECKED_BYTES = 16 * 1024 * 1024;

const PAGE_CACHE_KIB = 8 * 1024;

/** What the write-ahead log is cut to when it starts anew after a burst. */
const LOG_BYTES = 16 * 1024 * 1024;

let warned = false;

/**
 * Opens the file, and creates it if it is not there.
 * @throws MeshError as `SqliteStorage.open`; a file that is refused is as it was
 */
export async function openFile(named: string | URL, options: OpenOptions): Promise<OpenDatabase> {
  const driver = await chooseDriver();
  const file = locate(named);
  const look = await inspectFile(file);
  const patience = new Patience(options.busyTimeoutMs);
  if (look.holds !== 'new' && !look.hotJournal) {
    await patience.during(() => inspectDatabase(driver, file, look.pendingLog), 'open');
  }
  // From the beginning each time: two that both hold on to the file would keep each other out for ever.
  return patience.during(() => opened(driver, file, options), 'open');
}

/** Each belongs to one storage, which remembers what it has written: SQLite tells a connection of the commits of others only. */
const adopted = new WeakSet<SqliteDatabase>();

/** Takes over a database that the user opened. */
export async function adoptDatabase(database: SqliteDatabase, options: OpenOptions): Promise<OpenDatabase> {
  if (adopted.has(database)) {
    throw new MeshError('invalid_input', 'expected a database of no other storage, got one that belongs to a storage already');
  }
  adopted.add(database);
  const connection = connectionOf(database);
  const adopt = (): OpenDatabase => prepare(connection, sqliteVersionOf(database), options, assertUndamaged);
  try {
    return await new Patience(options.busyTimeoutMs).during(adopt, 'open');
  } catch (error) {
    adopted.delete(database);
    throw error;
  }
}

/**
 * Looks at a file through SQLite before it is opened to be written. With commits waiting in its log the connection is
 * a read-only one, since the last other connection to close brings them into the file; without, a plain one leaves
 * nothing behind.
 */
function inspectDatabase(driver: Driver, file: string, pendingLog: boolean): void {
  const connection = driver.open(file, { readOnly: pendingLog });
  try {
    if (ownerOf(connection) === 'ours') assertUndamaged(connection);
  } finally {
    closeQuietly(connection);
  }
}

function opened(driver: Driver, file: string, options: OpenOptions): OpenDatabase {
  const connection = driver.open(file);
  try {
    return prepare(connection, driver.sqliteVersion, options);
  } catch (error) {
    closeQuietly(connection);
    throw error;
  }
}

function prepare(
  connection: Connection,
  sqliteVersion: string,
  options: OpenOptions,
  check?: (connection: Connection) => void,
): OpenDatabase {
  const exclusive = !hasSafeWal(sqliteVersion);
  setPragma(connection, `busy_timeout = ${DRIVER_TIMEOUT_MS}`);
  const log = `${fileOf(connection)}-wal`;
  // Before anything is read: then it is read under the lock that keeps other processes out.
  if (exclusive) setPragma(connection, 'locking_mode = EXCLUSIVE');
  check?.(connection);
  if (ownerOf(connection) === 'nobody') createSchema(connection);
  configure(connection, options);
  if (exclusive) lockForGood(connection);
  const statements = new Statements(connection);
  // The first read also takes the lock that keeps those out who want the file for themselves.
  if (!statements.newest.get()) throw new MeshError('corrupt', 'expected the record of the newest revision, got none');
  if (exclusive) warnOnce(sqliteVersion);
  return { connection, statements, sqliteVersion, exclusive, log };
}

/** In exclusive mode the lock of the first write is kept, whatever the connection did before. */
function lockForGood({ database }: Connection): void {
  database.exec('BEGIN IMMEDIATE');
  database.exec('COMMIT');
}

/** @throws MeshError `corrupt` */
function assertUndamaged(connection: Connection): void {
  if (Number(pragma(connection, 'page_count')) * Number(pragma(connection, 'page_size')) > CHECKED_BYTES) return;
  if (pragma(connection, 'quick_check(1)') === 'ok') return;
  throw new MeshError('corrupt', 'expected an undamaged database, got one that fails its integrity check');
}

function configure(connection: Connection, { synchronous }: OpenOptions): void {
  if (pragma(connection, 'journal_mode = WAL') !== 'wal') {
    throw new MeshError('unsupported', 'expected a file system that a write-ahead log can be shared on, got another');
  }
  setPragma(connection, `synchronous = ${synchronous}`);
  setPragma(connection, `journal_size_limit = ${LOG_BYTES}`);
  setPragma(connection, `cache_size = -${PAGE_CACHE_KIB}`);
  connection.database.exec('PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF');
  // Where a plain fsync leaves data in the drive's cache.
  if (synchronous === 'full') connection.database.exec('PRAGMA fullfsync = 1; PRAGMA checkpoint_fullfsync = 1');
}

function fileOf({ database, schema }: Connection): string {
  const rows = database.prepare('PRAGMA database_list').all() as { readonly name?: unknown; readonly file?: unknown }[];
  const file = rows.find(({ name }) => name === schema)?.file;
  if (typeof file === 'string' && file !== '') return file;
  throw new MeshError('invalid_input', 'expected a database in a file, got one in memory (use InMemoryStorage)');
}

function closeQuietly(connection: Connection): void {
  try {
    connection.close();
  } catch {
    // The failure that led here says more.
  }
}

function warnOnce(sqliteVersion: string): void {
  if (warned) return;
  warned = true;
  warnProcess(
    new Error(
      `session-mesh: SQLite ${sqliteVersion} can lose commits when processes share a file, so this one is open for this ` +
        'process only; install @photostructure/sqlite, or use a newer Node, to share it',
    ),
  );
}

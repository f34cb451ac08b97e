import { MeshError } from '../../kernel/errors.ts';

/** What goes into a statement. */
export type SqliteValue = string | number | null;

/**
 * A database object as this adapter uses it. `DatabaseSync` of `node:sqlite` or `@photostructure/sqlite` fits, and so
 * does `Database` of better-sqlite3.
 */
export interface SqliteDatabase {
  /** Makes a statement of SQL. */
  prepare(sql: string): SqliteStatement;
  /** Runs SQL that answers nothing. */
  exec(sql: string): unknown;
  /** Closes the database. */
  close(): unknown;
}

/** The members of a prepared statement that the adapter uses. */
export interface SqliteStatement {
  /** The first row, if there is one. */
  get(...values: SqliteValue[]): unknown;
  /** All rows. */
  all(...values: SqliteValue[]): unknown[];
  /** Runs it, and answers how many rows have changed. */
  run(...values: SqliteValue[]): { readonly changes: number | bigint };
}

/** A file that is open. */
export interface Connection {
  readonly database: SqliteDatabase;
  /** What the file is called in SQL. */
  readonly schema: string;
  /** Lets go of the file. */
  close(): void;
}

/** A library that can open SQLite files. */
export interface Driver {
  readonly sqliteVersion: string;
  open(file: string, options?: OpenMode): Connection;
}

interface OpenMode {
  readonly readOnly?: boolean;
}

interface DriverModule {
  readonly DatabaseSync: new (file: string, options?: OpenMode) => SqliteDatabase;
}

/** A way to come by a driver. `undefined`: it is not there. */
export type FindDriver = () => Driver | undefined | Promise<Driver | undefined>;

/**
 * The first driver whose SQLite is free of the WAL-reset bug, or else the first that there is.
 * @throws MeshError `unsupported` when there is none
 */
export async function chooseDriver(candidates: readonly FindDriver[] = [nodeDriver, photostructureDriver]): Promise<Driver> {
  let affected: Driver | undefined;
  for (const find of candidates) {
    const driver = await find();
    if (driver && hasSafeWal(driver.sqliteVersion)) return driver;
    affected ??= driver;
  }
  if (affected) return affected;
  throw new MeshError(
    'unsupported',
    'expected a SQLite driver, got none: run `npm install @photostructure/sqlite`, or use a Node that has node:sqlite',
  );
}

/**
 * Whether several processes may share a file. Before 3.51.3, 3.50.7 and 3.44.6 a writer that starts the write-ahead
 * log anew while another process finishes a checkpoint can lose committed pages.
 */
export function hasSafeWal(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number);
  if (major !== 3) return major > 3;
  if (minor === 44) return patch >= 6;
  if (minor === 50) return patch >= 7;
  return minor > 51 || (minor === 51 && patch >= 3);
}

/** The version of the SQLite behind a database object. */
export function sqliteVersionOf(database: SqliteDatabase): string {
  const row = database.prepare('SELECT sqlite_version() AS version').get() as { readonly version?: unknown } | undefined;
  return String(row?.version);
}

/** The connection that a database object itself is. */
export function connectionOf(database: SqliteDatabase): Connection {
  return { database, schema: 'main', close: () => database.close() };
}

function nodeDriver(): Driver | undefined {
  const module = process.getBuiltinModule?.('node:sqlite' as 'sqlite') as unknown as DriverModule | undefined;
  return module && driverOf(module, (file, mode) => connectionOf(new module.DatabaseSync(file, mode)));
}

async function photostructureDriver(): Promise<Driver | undefined> {
  try {
    const module = (await import('@photostructure/sqlite')) as unknown as DriverModule;
    return driverOf(module, (file, mode) => attached(new module.DatabaseSync(':memory:', mode), file));
  } catch {
    // Not installed, or without a build for this platform.
    return undefined;
  }
}

/**
 * The file as a second database of one in memory. With this driver a database stays open until the garbage collector
 * has found its last statement; one that was attached is closed when it is detached.
 */
function attached(database: SqliteDatabase, file: string): Connection {
  const schema = 'mesh';
  try {
    database.prepare(`ATTACH ? AS ${schema}`).run(file);
  } catch (error) {
    database.close();
    throw error;
  }
  return {
    database,
    schema,
    close: () => {
      try {
        database.exec(`DETACH ${schema}`);
      } finally {
        database.close();
      }
    },
  };
}

function driverOf({ DatabaseSync }: DriverModule, open: Driver['open']): Driver {
  const memory = new DatabaseSync(':memory:');
  const sqliteVersion = sqliteVersionOf(memory);
  memory.close();
  return { sqliteVersion, open: (file, mode = {}) => open(file, mode) };
}

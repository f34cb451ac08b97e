import { MeshError } from '../../kernel/errors.ts';
import type { Connection, SqliteDatabase } from './driver.ts';

/** `mesh` in ASCII: in the header of the file it says whose it is. */
export const APPLICATION_ID = 0x6d657368;
/** Stored in the file. A file of a higher version was written by a newer release. */
export const SCHEMA_VERSION = 1;

/**
 * The record that holds the newest revision. Its partition sorts directly behind `events`, so that a commit that
 * appends an event dirties no further page, and no caller can name it, since U+0000 is refused in names. It is spelled
 * in SQL because some drivers cut a bound string at U+0000.
 */
export const COUNTER = "partition = 'events' || char(0) AND key = ''";

const create = (schema: string): string => `
  CREATE TABLE ${schema}.record (
    partition TEXT NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    expires INTEGER,
    value TEXT NOT NULL,
    PRIMARY KEY (partition, key)
  ) WITHOUT ROWID;
  CREATE INDEX ${schema}.record_expires ON record (expires) WHERE expires IS NOT NULL;
  INSERT INTO ${schema}.record VALUES ('events' || char(0), '', 0, NULL, '');
  PRAGMA ${schema}.application_id = ${APPLICATION_ID};
  PRAGMA ${schema}.user_version = ${SCHEMA_VERSION};
`;

/**
 * Whose file it is, by its own marks: this library's, or nobody's, with nothing in it.
 * @throws MeshError `unsupported` for another program's or a newer release's, `corrupt` for one with marks of neither
 */
export function ownerOf(connection: Connection): 'ours' | 'nobody' {
  const { database } = connection;
  // In one snapshot: another process may be creating the schema.
  database.exec('BEGIN');
  try {
    const id = pragma(connection, 'application_id');
    const version = Number(pragma(connection, 'user_version'));
    if (id === APPLICATION_ID) return knownVersion(version);
    const empty = id === 0 && version === 0 && !hasTables(connection);
    if (empty && pragma(connection, 'encoding') === 'UTF-8') return 'nobody';
    throw foreignFile();
  } finally {
    rollback(database);
  }
}

/** @throws MeshError */
export function knownVersion(version: number): 'ours' {
  if (version === SCHEMA_VERSION) return 'ours';
  if (version === 0) throw new MeshError('corrupt', 'expected a database with a schema version, got one without');
  throw new MeshError(
    'unsupported',
    `expected a database of schema version ${SCHEMA_VERSION}, got ${version}: it needs a newer release`,
  );
}

export function foreignFile(): MeshError {
  return new MeshError('unsupported', 'expected a database of session-mesh, got one of another program');
}

/**
 * Creates the schema, unless another process was faster. All of it is one transaction in the journal mode that a file
 * starts with, so whoever dies on the way leaves an empty file or a complete one.
 */
export function createSchema(connection: Connection): void {
  const { database, schema } = connection;
  setPragma(connection, 'page_size = 4096');
  database.exec("PRAGMA encoding = 'UTF-8'");
  database.exec('BEGIN IMMEDIATE');
  try {
    if (!hasTables(connection)) database.exec(create(schema));
    database.exec('COMMIT');
  } catch (error) {
    rollback(database);
    throw error;
  }
}

/** The one value of a pragma. */
export function pragma({ database, schema }: Connection, name: string): unknown {
  const row: unknown = database.prepare(`PRAGMA ${schema}.${name}`).get();
  const value: unknown = Object.values((row ?? {}) as object)[0];
  return typeof value === 'bigint' ? Number(value) : value;
}

/** For a pragma whose answer does not matter, or that has none. */
export function setPragma({ database, schema }: Connection, setting: string): void {
  database.exec(`PRAGMA ${schema}.${setting}`);
}

function hasTables({ database, schema }: Connection): boolean {
  return database.prepare(`SELECT 1 FROM ${schema}.sqlite_schema LIMIT 1`).get() !== undefined;
}

/** Ends a transaction that failed; SQLite may have ended it already. */
export function rollback(database: SqliteDatabase): void {
  try {
    database.exec('ROLLBACK');
  } catch {
    // Nothing was left to roll back.
  }
}

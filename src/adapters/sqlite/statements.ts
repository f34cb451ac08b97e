import type { KeyRange } from '../../storage/storage.ts';
import type { Connection, SqliteDatabase, SqliteStatement, SqliteValue } from './driver.ts';
import { PutBuffer } from './put-buffer.ts';
import { COUNTER } from './schema.ts';

/** A row as the values of its columns in their order. */
export type Row = readonly unknown[];

/** A statement that answers rows. */
export interface Query {
  get(...values: SqliteValue[]): Row | undefined;
  all(...values: SqliteValue[]): Row[];
}

/** Of a record: its sort key, its revision, when it expires, its JSON. */
export type RecordRow = readonly [key: string, revision: number, expires: number | null, value: string | null];

const UNEXPIRED = '(expires IS NULL OR expires > ?)';

/** Every statement of the storage, prepared once. */
export class Statements {
  readonly #database: SqliteDatabase;
  readonly #lists: Query[] = [];
  readonly #rollback: SqliteStatement;
  readonly #removeFirst: SqliteStatement;
  readonly #removeFirstBefore: SqliteStatement;

  readonly begin: SqliteStatement;
  readonly beginRead: SqliteStatement;
  readonly commit: SqliteStatement;
  /** Changes when another connection has committed. */
  readonly dataVersion: Query;

  /** () → newest revision */
  readonly newest: Query;
  /** (newest revision) */
  readonly setNewest: SqliteStatement;

  /** (revision whose value is known, partition, key) → revision, expires, value or null where it is known */
  readonly read: Query;
  /** (partition, key) → revision, expires */
  readonly find: Query;
  /** (partition, start, now, at most) → how many records stand there, of which no more are counted */
  readonly count: Query;

  readonly puts: PutBuffer;
  /** (partition, key, revision, expires, value, now): changes nothing where an unexpired record stands */
  readonly putNew: SqliteStatement;
  /** (partition, key, now): leaves an expired one alone */
  readonly remove: SqliteStatement;
  /** (partition, first key, last key): expired ones too */
  readonly removeBetween: SqliteStatement;
  /** (expires, partition, key, revision) */
  readonly touch: SqliteStatement;
  /** (now, at most) */
  readonly purge: SqliteStatement;

  constructor({ database, schema }: Connection) {
    const prepare = (sql: string): SqliteStatement => database.prepare(sql);
    const query = (sql: string): Query => queryOf(database, sql);
    this.#database = database;
    this.begin = prepare('BEGIN IMMEDIATE');
    this.beginRead = prepare('BEGIN');
    this.commit = prepare('COMMIT');
    this.#rollback = prepare('ROLLBACK');
    this.dataVersion = query(`PRAGMA ${schema}.data_version`);
    this.newest = query(`SELECT revision FROM record WHERE ${COUNTER}`);
    this.setNewest = prepare(`UPDATE record SET revision = ? WHERE ${COUNTER}`);
    this.read = query(
      'SELECT revision, expires, CASE WHEN revision = ? THEN NULL ELSE value END FROM record WHERE partition = ? AND key = ?',
    );
    this.find = query('SELECT revision, expires FROM record WHERE partition = ? AND key = ?');
    this.count = query(`SELECT count(*) FROM (SELECT 1 FROM record WHERE partition = ? AND key >= ? AND ${UNEXPIRED} LIMIT ?)`);
    this.puts = new PutBuffer(database);
    this.putNew = prepare(
      `INSERT INTO record VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
        SET revision = excluded.revision, expires = excluded.expires, value = excluded.value WHERE record.expires <= ?`,
    );
    this.remove = prepare(`DELETE FROM record WHERE partition = ? AND key = ? AND ${UNEXPIRED}`);
    this.removeBetween = prepare('DELETE FROM record WHERE partition = ? AND key BETWEEN ? AND ?');
    this.#removeFirst = prepare(removeFirstSql(false));
    this.#removeFirstBefore = prepare(removeFirstSql(true));
    this.touch = prepare('UPDATE record SET expires = ? WHERE partition = ? AND key = ? AND revision = ?');
    this.purge = prepare(
      'DELETE FROM record WHERE (partition, key) IN (SELECT partition, key FROM record WHERE expires <= ? ORDER BY expires LIMIT ?)',
    );
  }

  /** Ends a transaction without its changes; after some failures SQLite has done so by itself. */
  abort(): void {
    try {
      this.#rollback.run();
    } catch {
      // Nothing was left to roll back.
    }
  }

  /** The first unexpired records of a range, or its last ones. Without `values` their JSON is left out. */
  list(
    partition: string,
    { start = '', end }: KeyRange,
    now: number,
    limit: number,
    reverse = false,
    values = true,
  ): RecordRow[] {
    const query = this.#listOf(end !== undefined, reverse, values);
    const rows: unknown =
      end === undefined ? query.all(partition, start, now, limit) : query.all(partition, start, end, now, limit);
    return rows as RecordRow[];
  }

  /** Deletes the first unexpired records of a range, and answers how many. */
  removeFirst(partition: string, { start = '', end }: KeyRange, now: number, limit: number): number {
    const { changes } =
      end === undefined
        ? this.#removeFirst.run(partition, partition, start, now, limit)
        : this.#removeFirstBefore.run(partition, partition, start, end, now, limit);
    return Number(changes);
  }

  /** There are eight shapes, of which a program uses a few. */
  #listOf(ended: boolean, reverse: boolean, values: boolean): Query {
    const shape = (ended ? 4 : 0) + (reverse ? 2 : 0) + (values ? 1 : 0);
    this.#lists[shape] ??= queryOf(
      this.#database,
      `SELECT key, revision, expires${values ? ', value' : ''} FROM record
        WHERE partition = ? AND key >= ?${ended ? ' AND key < ?' : ''} AND ${UNEXPIRED}
        ORDER BY key${reverse ? ' DESC' : ''} LIMIT ?`,
    );
    return this.#lists[shape];
  }
}

function removeFirstSql(ended: boolean): string {
  return `DELETE FROM record WHERE partition = ? AND key IN (
    SELECT key FROM record WHERE partition = ? AND key >= ?${ended ? ' AND key < ?' : ''} AND ${UNEXPIRED} ORDER BY key LIMIT ?)`;
}

/** What drivers offer beyond the members that every one has. */
interface Tunable {
  setReturnArrays?(enabled: boolean): void;
  setReadBigInts?(enabled: boolean): void;
  raw?(enabled: boolean): unknown;
  safeIntegers?(enabled: boolean): unknown;
}

/** Rows come as arrays, which is faster, where the driver can. */
function queryOf(database: SqliteDatabase, sql: string): Query {
  const statement = database.prepare(sql);
  const tunable = statement as Tunable;
  tunable.setReadBigInts?.(false);
  tunable.safeIntegers?.(false);
  if (tunable.setReturnArrays) tunable.setReturnArrays(true);
  else if (tunable.raw) tunable.raw(true);
  else return new ObjectRows(statement);
  return statement as unknown as Query;
}

class ObjectRows implements Query {
  readonly #statement: SqliteStatement;

  constructor(statement: SqliteStatement) {
    this.#statement = statement;
  }

  get(...values: SqliteValue[]): Row | undefined {
    const row = this.#statement.get(...values);
    return row === undefined ? undefined : Object.values(row as object);
  }

  all(...values: SqliteValue[]): Row[] {
    return this.#statement.all(...values).map((row) => Object.values(row as object));
  }
}

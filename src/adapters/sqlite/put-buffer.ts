import type { SqliteDatabase, SqliteStatement, SqliteValue } from './driver.ts';

const COLUMNS = 5;
const ROW = '(?, ?, ?, ?, ?)';

/** Rows in one statement: a call of the driver costs about as much as a row does. */
const BATCHES = [16, 4, 1] as const;

/**
 * Puts that wait to be written several at a time, and those of a partition one behind the other, as they will lie in
 * the file. Before other statements read or write a partition, its puts are to be written.
 */
export class PutBuffer {
  readonly #database: SqliteDatabase;
  readonly #statements: SqliteStatement[] = [];
  readonly #byPartition = new Map<string, SqliteValue[]>();

  constructor(database: SqliteDatabase) {
    this.#database = database;
  }

  add(partition: string, key: string, revision: number, expires: number | null, text: string): void {
    const values = this.#byPartition.get(partition);
    if (values) values.push(partition, key, revision, expires, text);
    else this.#byPartition.set(partition, [partition, key, revision, expires, text]);
  }

  /** Makes a partition ready for other statements. */
  settle(partition: string): void {
    if (this.#byPartition.size > 0 && this.#byPartition.has(partition)) this.flush();
  }

  flush(): void {
    for (const values of this.#byPartition.values()) this.#write(values);
    this.clear();
  }

  /** Forgets what was not written, after a transaction that failed. */
  clear(): void {
    this.#byPartition.clear();
  }

  #write(values: readonly SqliteValue[]): void {
    let from = 0;
    for (const rows of BATCHES) {
      for (const size = rows * COLUMNS; values.length - from >= size; from += size) {
        this.#statementOf(rows).run(...(values.length === size ? values : values.slice(from, from + size)));
      }
    }
  }

  #statementOf(rows: number): SqliteStatement {
    this.#statements[rows] ??= this.#database.prepare(
      `INSERT INTO record VALUES ${Array(rows).fill(ROW).join(', ')} ON CONFLICT DO UPDATE
        SET revision = excluded.revision, expires = excluded.expires, value = excluded.value`,
    );
    return this.#statements[rows];
  }
}

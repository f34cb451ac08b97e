import type { SqliteDatabase, SqliteStatement, SqliteValue } from '../../../src/adapters/sqlite/index.ts';

/** What a driver throws, for a statement and its values, or `undefined`. */
export type Fault = (sql: string, values: readonly SqliteValue[]) => Error | undefined;

/** An error as `node:sqlite` throws it, with a message that must not get out. */
export function sqliteError(errcode: number): Error {
  return Object.assign(new Error('CANARY: near "SELECT": /canary/mesh.db'), { code: 'ERR_SQLITE_ERROR', errcode });
}

/** A real database whose statements fail when told to, before they are run. */
export function faulty(database: SqliteDatabase, fault: Fault): SqliteDatabase {
  const check = (sql: string, values: readonly SqliteValue[]): void => {
    const error = fault(sql, values);
    if (error) throw error;
  };
  return {
    exec: (sql) => {
      check(sql, []);
      return database.exec(sql);
    },
    close: () => database.close(),
    prepare: (sql) => {
      const statement = database.prepare(sql);
      const checked: SqliteStatement = {
        get: (...values) => {
          check(sql, values);
          return statement.get(...values);
        },
        all: (...values) => {
          check(sql, values);
          return statement.all(...values);
        },
        run: (...values) => {
          check(sql, values);
          return statement.run(...values);
        },
      };
      return checked;
    },
  };
}

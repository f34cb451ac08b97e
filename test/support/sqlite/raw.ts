import type { SqliteDatabase } from '../../../src/adapters/sqlite/index.ts';

/** Kept alive by hand: some drivers' statements do not keep their database. */
const kept: SqliteDatabase[] = [];

/** A database of whichever driver this Node has, without the library. */
export async function openRaw(file: string): Promise<SqliteDatabase> {
  const builtIn = process.getBuiltinModule('node:sqlite' as 'sqlite') as unknown;
  const { DatabaseSync } = (builtIn ?? (await import('@photostructure/sqlite'))) as {
    readonly DatabaseSync: new (file: string) => SqliteDatabase;
  };
  const database = new DatabaseSync(file);
  kept.push(database);
  return database;
}

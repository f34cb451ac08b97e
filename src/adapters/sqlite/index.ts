export type { SqliteDatabase, SqliteStatement, SqliteValue } from './driver.ts';
export type { SqliteStorageOptions } from './options.ts';
export { SqliteStorage } from './sqlite-storage.ts';

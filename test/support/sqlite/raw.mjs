/** A database object of whichever driver this Node has, without the library. */
export async function openRaw(file, options = {}) {
  const { DatabaseSync } = process.getBuiltinModule('node:sqlite') ?? (await import('@photostructure/sqlite'));
  const database = new DatabaseSync(file, options);
  // Kept alive by hand: a statement does not keep its database.
  kept.push(database);
  return database;
}

const kept = [];

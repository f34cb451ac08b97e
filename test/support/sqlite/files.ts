import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach } from 'vitest';
import { SqliteStorage, type SqliteStorageOptions } from '../../../src/adapters/sqlite/index.ts';

const undo: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

/** Called after the test, last first. */
export function afterThisTest(step: () => Promise<void> | void): void {
  undo.push(step);
}

/** A folder that is removed after the test. */
export function temporaryFolder(parent = tmpdir()): string {
  const folder = mkdtempSync(path.join(parent, 'session-mesh-'));
  afterThisTest(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The path of a file that is not there, in a folder of its own. */
export function temporaryFile(): string {
  return path.join(temporaryFolder(), 'mesh.db');
}

/** A storage that is closed after the test. */
export async function openStorage(file: string | URL, options?: SqliteStorageOptions): Promise<SqliteStorage> {
  const storage = await SqliteStorage.open(file, options);
  afterThisTest(() => storage.close());
  return storage;
}

/** Everything in the folder of a file: each name with a digest of its content. */
export function folderOf(file: string): Record<string, string> {
  const folder = path.dirname(file);
  const entries = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    entries.map(({ name }) => [
      name,
      createHash('sha256')
        .update(readFileSync(path.join(folder, name)))
        .digest('hex'),
    ]),
  );
}

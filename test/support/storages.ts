import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { SqliteStorage } from '../../src/adapters/sqlite/index.ts';
import type { Clock } from '../../src/kernel/clock.ts';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';
import type { Storage } from '../../src/storage/storage.ts';

/** A fresh, empty storage on this clock, closed and removed after the test. */
export type OpenStorage = (clock: Clock) => Promise<Storage>;

const undo: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

/** The storages on which everything above them must work alike. */
export const storages: readonly (readonly [name: string, open: OpenStorage])[] = [
  [
    'memory',
    async (clock) => {
      const storage = new InMemoryStorage({ clock });
      undo.push(() => storage.close());
      return storage;
    },
  ],
  [
    'SQLite',
    async (clock) => {
      const storage = await SqliteStorage.open(temporaryFile(), { clock });
      undo.push(() => storage.close());
      return storage;
    },
  ],
];

/** The path of a database in a folder of its own, which is removed after the test. */
export function temporaryFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'session-mesh-'));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'mesh.db');
}

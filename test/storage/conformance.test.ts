import { describe, expect, it } from 'vitest';
import { SqliteStorage } from '../../src/adapters/sqlite/index.ts';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';
import { namespaced } from '../../src/storage/namespaced-storage.ts';
import { type OpenStorage, persistenceConformance, storageConformance } from '../../src/testing/conformance.ts';
import { withFaults } from '../../src/testing/faults.ts';
import { temporaryFile } from '../support/storages.ts';

const memory: OpenStorage = ({ clock }) => new InMemoryStorage({ clock });
let file: string;
const sqlite: OpenStorage = ({ clock }) => {
  file = temporaryFile();
  return SqliteStorage.open(file, { clock });
};
const reopened: OpenStorage = ({ clock }) => SqliteStorage.open(file, { clock });

function runAll(open: OpenStorage): void {
  it.each(storageConformance.map((c) => [c.name, c] as const))('%s', (_, c) => c.run(open));
}

/** A part of a storage that holds other things, too, and is closed with it. */
function view(open: OpenStorage): OpenStorage {
  return async (options) => {
    const storage = await open(options);
    await storage.commit({
      puts: ['p', 'q', 'nsp', 'ns'].map((partition) => ({ partition, key: 'a', value: 'not in the view' })),
    });
    const inside = namespaced(storage, 'ns');
    const close = inside.close.bind(inside);
    return Object.assign(inside, {
      close: async () => {
        await close();
        await storage.close();
      },
    });
  };
}

describe('the cases', () => {
  it('have names of their own', () => {
    const names = [...storageConformance, ...persistenceConformance].map(({ name }) => name);
    expect(names).toEqual([...new Set(names)]);
    expect(names.length).toBeGreaterThan(100);
  });
});

describe('InMemoryStorage', () => runAll(memory));

describe('a namespaced view of InMemoryStorage', () => runAll(view(memory)));

describe('InMemoryStorage behind a line without faults', () => runAll(async (options) => withFaults(await memory(options))));

describe('SqliteStorage', () => {
  runAll(sqlite);
  it.each(persistenceConformance.map((c) => [c.name, c] as const))('%s', (_, c) => c.run({ open: sqlite, reopen: reopened }));
});

describe('a namespaced view of SqliteStorage', () => runAll(view(sqlite)));

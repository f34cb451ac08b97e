import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import { MeshError } from '../../../src/kernel/errors.ts';
import type { Storage } from '../../../src/storage/storage.ts';
import { afterThisTest, openStorage, temporaryFile, temporaryFolder } from '../../support/sqlite/files.ts';
import { openRaw } from '../../support/sqlite/raw.ts';

const PARTITION = 'p';
const VALUE = 'x'.repeat(10_000);

/** Commits, eight at a time, until one is refused; answers the keys that were acknowledged and the errors. */
async function fill(storage: Storage): Promise<{ acknowledged: string[]; errors: unknown[] }> {
  const acknowledged: string[] = [];
  const errors: unknown[] = [];
  for (let round = 0; errors.length === 0 && round < 1000; round++) {
    const keys = Array.from({ length: 8 }, (_, index) => `${round}-${index}`);
    const results = await Promise.allSettled(
      keys.map((key) => storage.commit({ puts: [{ partition: PARTITION, key, value: VALUE }] })),
    );
    results.forEach((result, index) => {
      if (result.status === 'rejected') errors.push(result.reason);
      else acknowledged.push(keys[index] as string);
    });
  }
  return { acknowledged, errors };
}

async function keysOf(storage: Storage): Promise<string[]> {
  return (await storage.list(PARTITION, { values: false })).map(({ key }) => key);
}

function expectFull(errors: readonly unknown[]): void {
  expect(errors.length).toBeGreaterThan(0);
  for (const error of errors) {
    expect(error).toBeInstanceOf(MeshError);
    expect(error).toMatchObject({ code: 'storage_full' });
  }
}

/** A disk of two mebibytes, where this user may mount one. */
function smallDisk(): string | undefined {
  const folder = temporaryFolder();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', folder], { stdio: 'ignore' });
  } catch {
    return undefined;
  }
  afterThisTest(() => execFileSync('umount', ['-l', folder], { stdio: 'ignore' }) as unknown as undefined);
  return folder;
}

describe('a full disk', () => {
  it('refuses commits with `storage_full`, loses nothing, and takes commits again once there is room', async (context) => {
    const disk = smallDisk();
    if (!disk) return context.skip();
    const file = path.join(disk, 'mesh.db');
    const ballast = path.join(disk, 'ballast');
    writeFileSync(ballast, Buffer.alloc(700_000));
    const storage = await openStorage(file);
    const { acknowledged, errors } = await fill(storage);
    expectFull(errors);
    expect((await keysOf(storage)).sort()).toEqual([...acknowledged].sort());

    rmSync(ballast);
    expect(await storage.commit({ puts: [{ partition: PARTITION, key: 'after', value: 1 }] })).toMatchObject({ committed: true });
    await storage.close();
    const again = await openStorage(file);
    expect((await keysOf(again)).sort()).toEqual([...acknowledged, 'after'].sort());
  });

  it('refuses to create a storage with `storage_full`', async (context) => {
    const disk = smallDisk();
    if (!disk) return context.skip();
    const ballast = path.join(disk, 'ballast');
    expect(() => writeFileSync(ballast, Buffer.alloc(3_000_000))).toThrow();
    await expect(SqliteStorage.open(path.join(disk, 'mesh.db'))).rejects.toMatchObject({ code: 'storage_full' });
    rmSync(ballast);
    const storage = await openStorage(path.join(disk, 'mesh.db'));
    expect(await storage.commit({ puts: [{ partition: PARTITION, key: 'k', value: 1 }] })).toMatchObject({ revision: 1 });
  });
});

describe('a database that may not grow any more', () => {
  it('refuses commits with `storage_full`, loses nothing, and takes commits again once some were deleted', async () => {
    const database = await openRaw(temporaryFile());
    database.exec('PRAGMA max_page_count = 200');
    const storage = await SqliteStorage.from(database);
    afterThisTest(() => storage.close());
    const { acknowledged, errors } = await fill(storage);
    expectFull(errors);
    expect((await keysOf(storage)).sort()).toEqual([...acknowledged].sort());

    expect(await storage.commit({ deletes: [{ partition: PARTITION, limit: 10 }] })).toMatchObject({ committed: true });
    expect(await storage.commit({ puts: [{ partition: PARTITION, key: 'after', value: VALUE }] })).toMatchObject({
      committed: true,
    });
    expect(await keysOf(storage)).toHaveLength(acknowledged.length - 10 + 1);
  });
});

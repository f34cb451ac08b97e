import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import { isBusy, meshErrorOf } from '../../../src/adapters/sqlite/sqlite-errors.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { MeshError } from '../../../src/kernel/errors.ts';
import { faulty, sqliteError } from '../../support/sqlite/faulty.ts';
import { afterThisTest, openStorage, temporaryFile } from '../../support/sqlite/files.ts';
import { openRaw } from '../../support/sqlite/raw.ts';

const PUT = { partition: 'p', key: 'k', value: 1 };

describe('a failure of SQLite', () => {
  it.each([
    [5, 'unavailable', 'SQLITE_BUSY'],
    [517, 'unavailable', 'SQLITE_BUSY_SNAPSHOT'],
    [6, 'unavailable', 'SQLITE_LOCKED'],
    [7, 'unavailable', 'SQLITE_NOMEM'],
    [8, 'read_only', 'SQLITE_READONLY'],
    [1032, 'read_only', 'SQLITE_READONLY_DBMOVED'],
    [10, 'unavailable', 'SQLITE_IOERR'],
    [266, 'unavailable', 'SQLITE_IOERR_READ'],
    [4874, 'storage_full', 'SQLITE_IOERR_SHMSIZE'],
    [11, 'corrupt', 'SQLITE_CORRUPT'],
    [523, 'corrupt', 'SQLITE_CORRUPT'],
    [13, 'storage_full', 'SQLITE_FULL'],
    [14, 'unavailable', 'SQLITE_CANTOPEN'],
    [18, 'limit_exceeded', 'SQLITE_TOOBIG'],
    [26, 'corrupt', 'SQLITE_NOTADB'],
    [99, 'unavailable', 'SQLITE_ERROR'],
  ])('%i is `%s`, with its name and nothing else', (errcode, code, result) => {
    const error = meshErrorOf(sqliteError(errcode), 'run');
    expect(error).toMatchObject({ code, details: { result } });
    expect(inspect(error, { depth: 9 })).not.toContain('CANARY');
    expect(error.cause).toBeUndefined();
  });

  it('is known by its name too, as better-sqlite3 tells it', () => {
    const thrown = Object.assign(new Error('CANARY'), { code: 'SQLITE_IOERR_SHMSIZE' });
    expect(meshErrorOf(thrown, 'run')).toMatchObject({ code: 'storage_full', details: { result: 'SQLITE_IOERR_SHMSIZE' } });
    expect(isBusy(Object.assign(new Error(), { code: 'SQLITE_BUSY_RECOVERY' }))).toBe(true);
  });

  it('of the disk leaves a commit unknown, and nothing else', () => {
    expect(meshErrorOf(sqliteError(1034), 'commit').code).toBe('commit_unknown');
    expect(meshErrorOf(sqliteError(1034), 'run').code).toBe('unavailable');
    expect(meshErrorOf(sqliteError(13), 'commit').code).toBe('storage_full');
  });

  it('that may pass by itself is marked as transient', () => {
    expect(meshErrorOf(sqliteError(266), 'run').details).toMatchObject({ transient: true });
    expect(meshErrorOf(sqliteError(5), 'run').details).not.toHaveProperty('transient');
    expect(meshErrorOf(sqliteError(11), 'run').details).not.toHaveProperty('transient');
  });

  it('of permission is `read_only`, where the driver tells the system’s reason', () => {
    expect(meshErrorOf(Object.assign(sqliteError(14), { systemErrno: 13 }), 'open').code).toBe('read_only');
    expect(meshErrorOf(Object.assign(sqliteError(778), { systemErrno: 28 }), 'run').code).toBe('storage_full');
  });

  it('in the driver itself gets out as a MeshError, with nothing of it', () => {
    const error = meshErrorOf(new TypeError('CANARY'), 'run');
    expect(error).toBeInstanceOf(MeshError);
    expect(inspect(error)).not.toContain('CANARY');
    expect(meshErrorOf(undefined, 'run').code).toBe('unavailable');
  });

  it('because the database was closed elsewhere is `closed`', async () => {
    const database = await openRaw(temporaryFile());
    const storage = await SqliteStorage.from(database);
    database.close();
    expect(() => storage.get([PUT].map(({ partition, key }) => ({ partition, key })))).toThrow(
      expect.objectContaining({ code: 'closed' }),
    );
    await expect(storage.commit({ puts: [PUT] })).rejects.toMatchObject({ code: 'closed' });
  });
});

describe('a commit in a group', () => {
  /** A storage in which a statement that writes the text `poison` fails. */
  async function poisoned(errcode: number): Promise<SqliteStorage> {
    const fault = (_: string, values: readonly unknown[]): Error | undefined =>
      values.includes('"poison"') ? sqliteError(errcode) : undefined;
    const storage = await SqliteStorage.from(faulty(await openRaw(temporaryFile()), fault));
    afterThisTest(() => storage.close());
    return storage;
  }

  it('that fails leaves the others alone, each with its own result', async () => {
    const storage = await poisoned(13);
    const values = ['a', 'poison', 'b', 'c'];
    const results = await Promise.allSettled(
      values.map((value) => storage.commit({ puts: [{ partition: 'p', key: value, value }] })),
    );
    expect(results).toMatchObject([
      { value: { committed: true, revision: 1 } },
      { reason: { code: 'storage_full' } },
      { value: { committed: true, revision: 2 } },
      { value: { committed: true, revision: 3 } },
    ]);
    expect((await storage.list('p')).map(({ key }) => key)).toEqual(['a', 'b', 'c']);
    expect(await storage.commit({ puts: [PUT] })).toMatchObject({ revision: 4 });
  });

  it('that fails changes nothing, not even what it had written before', async () => {
    const storage = await poisoned(11);
    await storage.commit({ puts: [{ partition: 'p', key: 'old', value: 1 }] });
    const failing = storage.commit({
      deletes: [{ partition: 'p', key: 'old' }],
      puts: [
        { partition: 'p', key: 'new', value: 1 },
        { partition: 'q', key: 'new', value: 'poison' },
      ],
    });
    await expect(failing).rejects.toMatchObject({ code: 'corrupt' });
    expect((await storage.list('p')).map(({ key }) => key)).toEqual(['old']);
  });

  it('that the disk failed to acknowledge is unknown, and is not made again', async () => {
    let commits = 0;
    let failing = false;
    const fault = (sql: string): Error | undefined => {
      if (sql === 'COMMIT') commits += 1;
      return failing && sql === 'COMMIT' ? sqliteError(1034) : undefined;
    };
    const storage = await SqliteStorage.from(faulty(await openRaw(temporaryFile()), fault));
    afterThisTest(() => storage.close());
    await storage.commit({ puts: [PUT] });
    failing = true;
    commits = 0;
    const results = await Promise.allSettled([storage.commit({ puts: [PUT] }), storage.commit({ puts: [PUT] })]);
    expect(results).toMatchObject([{ reason: { code: 'commit_unknown' } }, { reason: { code: 'commit_unknown' } }]);
    expect(commits).toBe(1);
    failing = false;
    expect(await storage.commit({ puts: [PUT] })).toMatchObject({ committed: true });
  });

  it('waits when another process gets in between', async () => {
    let busy = 3;
    const fault = (sql: string): Error | undefined => (sql === 'COMMIT' && busy-- > 0 ? sqliteError(5) : undefined);
    const storage = await SqliteStorage.from(faulty(await openRaw(temporaryFile()), fault));
    afterThisTest(() => storage.close());
    expect(await storage.commit({ puts: [PUT] })).toMatchObject({ committed: true, revision: 1 });
    expect(busy).toBeLessThan(0);
  });
});

describe('takes in a group', () => {
  it('are each made once, also when they are tried one by one and another process gets in between', async () => {
    let begins = 0;
    let busyAt = 0;
    const fault = (sql: string): Error | undefined => {
      if (sql !== 'BEGIN IMMEDIATE') return undefined;
      begins += 1;
      return begins === busyAt ? sqliteError(5) : undefined;
    };
    const storage = await SqliteStorage.from(faulty(await openRaw(temporaryFile()), fault));
    afterThisTest(() => storage.close());
    await storage.commit({ puts: [PUT, { ...PUT, partition: 'q' }, { ...PUT, partition: 'r' }] });
    begins = 0;
    // The first of them is made, the second meets the lock.
    busyAt = 3;
    const [made, refused] = await Promise.all([
      storage.commit({ takes: [{ from: 'p', to: 's', limit: 1 }] }),
      storage.commit({ takes: [{ from: 'q', to: 'r', limit: 1 }] }),
    ]);
    expect(begins).toBe(4);
    expect(made).toMatchObject({ committed: true, taken: [{ partition: 's', key: 'k' }] });
    expect(refused).toEqual({ committed: false, conflicts: [{ partition: 'r', key: 'k' }] });
  });
});

describe('a clock that fails', () => {
  it('fails its commit, and none after it', async () => {
    let broken = false;
    const now = (): number => {
      if (broken) throw new Error('CANARY');
      return systemClock.now();
    };
    const storage = await openStorage(temporaryFile(), { clock: { ...systemClock, now } });
    broken = true;
    await expect(storage.commit({ puts: [PUT] })).rejects.toBeInstanceOf(MeshError);
    broken = false;
    expect(await storage.commit({ puts: [PUT] })).toMatchObject({ committed: true, revision: 1 });
  });
});

describe('a record that no commit wrote', () => {
  it('is `corrupt`, and its text stays where it is', async () => {
    const file = temporaryFile();
    const storage = await openStorage(file);
    await storage.commit({ puts: [PUT] });
    const database = await openRaw(file);
    database.exec("UPDATE record SET value = '{CANARY', revision = 9 WHERE partition = 'p'");
    for (const read of [() => storage.get([{ partition: 'p', key: 'k' }]), () => storage.list('p')]) {
      expect(read).toThrow(expect.objectContaining({ code: 'corrupt' }));
      expect(read).not.toThrow('CANARY');
    }
    database.close();
  });
});

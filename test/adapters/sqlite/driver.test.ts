import { describe, expect, it } from 'vitest';
import { chooseDriver, type Driver, hasSafeWal } from '../../../src/adapters/sqlite/driver.ts';
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import { startChild } from '../../support/children.ts';
import { afterThisTest, openStorage, temporaryFile } from '../../support/sqlite/files.ts';
import { openRaw } from '../../support/sqlite/raw.ts';

/** A driver of which only the version matters. */
function driver(sqliteVersion: string): Driver {
  return {
    sqliteVersion,
    open: () => {
      throw new Error('not to be opened');
    },
  };
}

describe('a version of SQLite', () => {
  it.each(['3.51.3', '3.51.10', '3.52.0', '3.53.0', '3.50.7', '3.50.12', '3.44.6', '4.0.0'])(
    '%s lets processes share a file',
    (version) => {
      expect(hasSafeWal(version)).toBe(true);
    },
  );

  it.each(['3.51.2', '3.51.0', '3.50.6', '3.50.4', '3.49.9', '3.47.2', '3.44.5', '3.45.0', '3.40.1', '3.7.0', 'nonsense'])(
    '%s can lose commits of processes that share a file',
    (version) => {
      expect(hasSafeWal(version)).toBe(false);
    },
  );
});

describe('the driver', () => {
  it('is the first with a SQLite that lets processes share a file', async () => {
    const safe = driver('3.53.0');
    expect(await chooseDriver([() => undefined, () => driver('3.50.4'), async () => safe, () => driver('3.54.0')])).toBe(safe);
  });

  it('is the first of all when none has', async () => {
    const first = driver('3.47.2');
    expect(await chooseDriver([() => undefined, async () => first, () => driver('3.50.4')])).toBe(first);
  });

  it('is missed with `unsupported` and the way to get one', async () => {
    const chosen = chooseDriver([() => undefined, async () => undefined]);
    await expect(chosen).rejects.toMatchObject({ code: 'unsupported' });
    await expect(chosen).rejects.toThrow('npm install @photostructure/sqlite');
  });

  it('is there on this Node, and can share a file', async () => {
    expect(hasSafeWal((await chooseDriver()).sqliteVersion)).toBe(true);
    expect((await openStorage(temporaryFile())).exclusive).toBe(false);
  });
});

describe('a storage on a SQLite that can lose commits of processes that share a file', () => {
  it('has the file for itself, says so, and warns once', async () => {
    const warnings: string[] = [];
    const warn = ({ message }: Error): number => warnings.push(message);
    process.on('warning', warn);
    afterThisTest(() => void process.off('warning', warn));

    const file = temporaryFile();
    const storage = await SqliteStorage.from(await affected(file));
    expect(storage).toMatchObject({ exclusive: true, sqliteVersion: '3.47.2' });
    await storage.commit({ puts: [{ partition: 'p', key: 'k', value: 1 }] });
    expect(await storage.list('p')).toHaveLength(1);

    const other = startChild('sqlite/open', [file, 'other', '', '300']);
    await other.line();
    other.say('go');
    expect(JSON.parse(await other.line())).toMatchObject({ code: 'unavailable' });
    await storage.close();
    await (await SqliteStorage.from(await affected(temporaryFile()))).close();
    expect(warnings.filter((message) => message.includes('3.47.2'))).toHaveLength(1);
  });

  // The other driver lets go of a database that it did not open itself only when its statements are collected.
  it.skipIf(!process.getBuiltinModule('node:sqlite' as 'sqlite'))('leaves the file to others when it is closed', async () => {
    const file = temporaryFile();
    const storage = await SqliteStorage.from(await affected(file));
    await storage.commit({ puts: [{ partition: 'p', key: 'k', value: 1 }] });
    await storage.close();
    expect(await (await openStorage(file)).list('p')).toHaveLength(1);
  });

  it('does not get a file that others share', async () => {
    const file = temporaryFile();
    const other = startChild('sqlite/commit', [file]);
    await other.line();
    const opening = SqliteStorage.from(await affected(file), { busyTimeoutMs: 100 });
    await expect(opening).rejects.toMatchObject({ code: 'unavailable' });
    other.say('still there');
    expect(await other.line()).toBe('1');
  });
});

/** A real database that claims an affected version. */
async function affected(file: string): Promise<Parameters<typeof SqliteStorage.from>[0]> {
  const database = await openRaw(file);
  return {
    exec: (sql) => database.exec(sql),
    close: () => database.close(),
    prepare: (sql) => database.prepare(sql.replace('sqlite_version()', "'3.47.2'")),
  };
}

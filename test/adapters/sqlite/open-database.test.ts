import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import { MeshError } from '../../../src/kernel/errors.ts';
import { startChild } from '../../support/children.ts';
import { folderOf, openStorage, temporaryFile, temporaryFolder } from '../../support/sqlite/files.ts';
import { openRaw } from '../../support/sqlite/raw.ts';

/** A storage with some hundred records, closed. */
async function filled(file: string): Promise<void> {
  const storage = await SqliteStorage.open(file);
  for (let page = 0; page < 5; page++) {
    await storage.commit({
      puts: Array.from({ length: 100 }, (_, i) => ({ partition: 'p', key: `${page}-${i}`, value: 'x'.repeat(200) })),
    });
  }
  await storage.close();
}

/** Another program's database. */
async function foreign(file: string, setUp: string): Promise<void> {
  const database = await openRaw(file);
  database.exec(setUp);
  database.close();
}

function overwrite(file: string, bytes: Buffer, position: number): void {
  const descriptor = openSync(file, 'r+');
  writeSync(descriptor, bytes, 0, bytes.length, position);
  closeSync(descriptor);
}

async function refusalOf(file: string): Promise<unknown> {
  const error: unknown = await SqliteStorage.open(file).then(
    (storage) => storage.close(),
    (refused: unknown) => refused,
  );
  expect(error).toBeInstanceOf(MeshError);
  // Nothing of where the file is gets out.
  expect(JSON.stringify([(error as MeshError).message, (error as MeshError).details])).not.toContain(path.dirname(file));
  return error;
}

describe('a new file', () => {
  it('is created with its directories', async () => {
    const file = path.join(temporaryFolder(), 'a', 'b', 'mesh.db');
    const storage = await openStorage(file);
    await storage.commit({ puts: [{ partition: 'p', key: 'k', value: 1 }] });
    expect(existsSync(file)).toBe(true);
  });

  it('may be named by a file URL', async () => {
    const file = temporaryFile();
    await openStorage(pathToFileURL(file));
    expect(existsSync(file)).toBe(true);
  });

  it('may be there already, with nothing in it', async () => {
    const file = temporaryFile();
    writeFileSync(file, '');
    const storage = await openStorage(file);
    expect(await storage.commit({ puts: [{ partition: 'p', key: 'k', value: 1 }] })).toMatchObject({ revision: 1 });
  });

  it('may be a database that nobody has used', async () => {
    const file = temporaryFile();
    await foreign(file, 'PRAGMA journal_mode = WAL');
    const storage = await openStorage(file);
    expect(await storage.commit({ puts: [{ partition: 'p', key: 'k', value: 1 }] })).toMatchObject({ revision: 1 });
  });

  it('is named by its real name behind a symbolic link', async () => {
    const folder = temporaryFolder();
    await filled(path.join(folder, 'real.db'));
    symlinkSync('real.db', path.join(folder, 'link.db'));
    const storage = await openStorage(path.join(folder, 'link.db'));
    expect(await storage.list('p', { limit: 1 })).toHaveLength(1);
  });

  it('is created once when twenty processes open it at the same moment', async () => {
    const file = path.join(temporaryFolder(), 'new', 'mesh.db');
    const openers = Array.from({ length: 20 }, (_, index) => startChild('sqlite/open', [file, String(index)]));
    await Promise.all(openers.map((opener) => opener.line()));
    for (const opener of openers) opener.say('go');
    const reports = await Promise.all(openers.map(async (opener) => JSON.parse(await opener.line())));
    expect(reports.map(({ revision }) => revision).sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    const storage = await openStorage(file);
    expect(await storage.list('opened')).toHaveLength(20);
  });

  it.each([
    ['before anything of it was written', () => Buffer.alloc(0)],
    ['with room for its first page', () => Buffer.alloc(4096)],
    ['with its first page written', (whole: string) => readFileSync(whole).subarray(0, 4096)],
    ['with all of it written', (whole: string) => readFileSync(whole)],
  ])('is created after all when its creator was killed half-way, %s', async (_, written) => {
    const whole = temporaryFile();
    await filled(whole);
    const file = temporaryFile();
    expect(await startChild('sqlite/hot-journal', [file]).ended).toBe('SIGKILL');
    expect(statSync(`${file}-journal`).size).toBeGreaterThan(0);
    writeFileSync(file, written(whole));
    const storage = await openStorage(file);
    expect(await storage.list('p')).toEqual([]);
    expect(await storage.commit({ puts: [{ partition: 'p', key: 'k', value: 1 }] })).toMatchObject({ revision: 1 });
  });

  // Kills real processes at random moments, which takes real time.
  it('is created after all when its creators are killed at any moment', async () => {
    for (let round = 0; round < 10; round++) {
      const file = temporaryFile();
      const openers = [startChild('sqlite/open', [file, 'a']), startChild('sqlite/open', [file, 'b'])];
      await Promise.all(openers.map((opener) => opener.line()));
      for (const opener of openers) opener.say('go');
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 25));
      for (const opener of openers) opener.process.kill('SIGKILL');
      await Promise.all(openers.map(({ ended }) => ended));
      const storage = await openStorage(file);
      expect(await storage.commit({ puts: [{ partition: 'p', key: 'k', value: 1 }] })).toMatchObject({ committed: true });
    }
  });
});

describe('a file of our own', () => {
  it('is opened with the commits that a killed process left in its log', async () => {
    const file = temporaryFile();
    const writer = startChild('sqlite/commit', [file]);
    await writer.line();
    for (const key of ['a', 'b']) {
      writer.say(key);
      await writer.line();
    }
    writer.process.kill('SIGKILL');
    await writer.ended;
    expect(statSync(`${file}-wal`).size).toBeGreaterThan(0);
    const storage = await openStorage(file);
    expect((await storage.list('told')).map(({ key }) => key)).toEqual(['a', 'b']);
  });

  it('is opened when a checkpoint was cut short, though it is shorter than its header says', async () => {
    const file = temporaryFile();
    const writer = startChild('sqlite/commit', [file]);
    await writer.line();
    for (let key = 0; key < 100; key++) {
      writer.say(`key-${key} ${'x'.repeat(400)}`);
      await writer.line();
    }
    writer.process.kill('SIGKILL');
    await writer.ended;
    // The checkpoint writes the first page first; of a finished one it is taken over.
    const copy = temporaryFile();
    writeFileSync(copy, readFileSync(file));
    writeFileSync(`${copy}-wal`, readFileSync(`${file}-wal`));
    await foreign(copy, 'PRAGMA wal_checkpoint(TRUNCATE)');
    expect(statSync(copy).size).toBeGreaterThan(statSync(file).size);
    overwrite(file, readFileSync(copy).subarray(0, 4096), 0);

    const storage = await openStorage(file);
    expect(await storage.list('told')).toHaveLength(100);
  });

  it('keeps its records over a close, whole and with nothing beside it', async () => {
    const file = temporaryFile();
    await filled(file);
    expect(Object.keys(folderOf(file))).toEqual(['mesh.db']);
    const copy = temporaryFile();
    writeFileSync(copy, readFileSync(file));
    const storage = await openStorage(copy);
    expect(await storage.list('p')).toHaveLength(500);
    expect(await storage.commit({ puts: [{ partition: 'p', key: 'k', value: 1 }] })).toMatchObject({ revision: 6 });
  });
});

describe('a file that is refused', () => {
  const cases: [name: string, code: string, make: (file: string) => Promise<void> | void][] = [
    ['a text', 'corrupt', (file) => writeFileSync(file, 'Dear diary, today I wrote no database.\n'.repeat(500))],
    ['a short text', 'corrupt', (file) => writeFileSync(file, 'hello')],
    ['a page of zeros', 'corrupt', (file) => writeFileSync(file, Buffer.alloc(4096))],
    [
      'a database that was cut short',
      'corrupt',
      async (file) => {
        await filled(file);
        truncateSync(file, 8192 + 100);
      },
    ],
    [
      'a database with a damaged page',
      'corrupt',
      async (file) => {
        await filled(file);
        overwrite(file, Buffer.alloc(300, 0xa5), 4 * 4096);
      },
    ],
    ['another program’s database', 'unsupported', (file) => foreign(file, 'CREATE TABLE notes (text)')],
    [
      'another program’s database that keeps a log',
      'unsupported',
      (file) => foreign(file, 'PRAGMA journal_mode = WAL; CREATE TABLE notes (text)'),
    ],
    ['another program’s empty database', 'unsupported', (file) => foreign(file, 'PRAGMA application_id = 5; VACUUM')],
    ['another program’s database without tables', 'unsupported', (file) => foreign(file, 'PRAGMA user_version = 3')],
    [
      'an empty database of another encoding',
      'unsupported',
      (file) => foreign(file, "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (x); DROP TABLE t"),
    ],
    [
      'a database of a newer release',
      'unsupported',
      async (file) => {
        await filled(file);
        await foreign(file, 'PRAGMA user_version = 2');
      },
    ],
    [
      'a database that has lost its table',
      'corrupt',
      async (file) => {
        await filled(file);
        await foreign(file, 'DROP TABLE record');
      },
    ],
    [
      'a file that nobody may write',
      'read_only',
      async (file) => {
        await filled(file);
        chmodSync(file, 0o444);
      },
    ],
  ];

  it.each(cases)('is %s: %s, and stays as it was, with nothing beside it', async (_, code, make) => {
    const file = temporaryFile();
    await make(file);
    const before = folderOf(file);
    expect(await refusalOf(file)).toMatchObject({ code });
    expect(await refusalOf(file)).toMatchObject({ code });
    expect(folderOf(file)).toEqual(before);
  });

  it('is another program’s with commits in its log, which stays as well', async () => {
    const file = temporaryFile();
    const other = await openRaw(file);
    other.exec('PRAGMA journal_mode = WAL; CREATE TABLE notes (text)');
    // As its program left it, were it killed now.
    const left = temporaryFile();
    for (const name of ['', '-wal']) writeFileSync(left + name, readFileSync(file + name));
    other.close();
    const before = folderOf(left);
    expect(Object.keys(before)).toHaveLength(2);
    expect(await refusalOf(left)).toMatchObject({ code: 'unsupported' });
    expect(folderOf(left)).toEqual(before);
  });

  it('is one whose newer schema is still in its log', async () => {
    const file = temporaryFile();
    await filled(file);
    const newer = await openRaw(file);
    newer.exec('PRAGMA user_version = 2');
    const left = temporaryFile();
    for (const name of ['', '-wal']) writeFileSync(left + name, readFileSync(file + name));
    newer.close();
    const before = folderOf(left);
    expect(await refusalOf(left)).toMatchObject({ code: 'unsupported' });
    expect(folderOf(left)).toMatchObject(before);
  });

  it.each([
    ['a directory', () => temporaryFolder()],
    ['below a file', () => path.join(import.meta.filename, 'mesh.db')],
    ['no name', () => ''],
    ['the memory', () => ':memory:'],
    ['a URI in a string', () => 'file:///data/mesh.db?mode=memory'],
    ['a name with U+0000', () => `${tmpdir()}/a\0b`],
    ['a name too long', () => path.join(tmpdir(), 'x'.repeat(300))],
  ])('is %s: invalid_input', async (_, name) => {
    expect(await refusalOf(name())).toMatchObject({ code: 'invalid_input' });
  });

  it('says where memory belongs', async () => {
    await expect(SqliteStorage.open(':memory:')).rejects.toThrow('InMemoryStorage');
  });

  it('is no path at all', async () => {
    await expect(SqliteStorage.open(5 as unknown as string)).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(SqliteStorage.open(new URL('https://example.com/mesh.db'))).rejects.toMatchObject({ code: 'invalid_input' });
  });

  it.skipIf(process.getuid?.() !== 0)('is one that this user may not write', async () => {
    const folder = temporaryFolder();
    chmodSync(folder, 0o755);
    const file = path.join(folder, 'mesh.db');
    await filled(file);
    const before = folderOf(file);
    expect(await openAsNobody(file)).toMatchObject({ code: 'read_only' });
    // A file that may be written, in a folder in which no log can be created.
    chmodSync(file, 0o666);
    expect(await openAsNobody(file)).toMatchObject({ code: 'read_only' });
    expect(await openAsNobody(path.join(folder, 'new.db'))).toMatchObject({ code: 'read_only' });
    expect(await openAsNobody(path.join(folder, 'new', 'new.db'))).toMatchObject({ code: 'read_only' });
    expect(folderOf(file)).toEqual(before);
    chmodSync(folder, 0o777);
    expect(await openAsNobody(file)).toMatchObject({ revision: 6 });
  });
});

describe('options', () => {
  it.each([
    ['an unknown option', { syncronous: 'full' }],
    ['an unknown level', { synchronous: 'off' }],
    ['a negative time', { busyTimeoutMs: -1 }],
    ['a time that is no number', { busyTimeoutMs: '5000' }],
    ['a clock that is none', { clock: { now: () => 1 } }],
    ['a cache of no size', { cacheBytes: Number.NaN }],
    ['no object', null],
  ])('are refused: %s', async (_, options) => {
    const file = temporaryFile();
    await expect(SqliteStorage.open(file, options as object)).rejects.toMatchObject({ code: 'invalid_input' });
    expect(existsSync(file)).toBe(false);
  });

  it('say how much a commit survives', async () => {
    expect((await openStorage(temporaryFile())).durability).toBe('process');
    expect((await openStorage(temporaryFile(), { synchronous: 'full' })).durability).toBe('os');
  });
});

/** What another user makes of a file. */
async function openAsNobody(file: string): Promise<unknown> {
  const child = startChild('sqlite/open', [file, 'nobody', '65534']);
  await child.line();
  child.say('go');
  return JSON.parse(await child.line());
}

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import { afterThisTest, folderOf, openStorage, temporaryFile, temporaryFolder } from '../../support/sqlite/files.ts';

describe('a file that this process has open already', () => {
  it.skipIf(!existsSync('/proc/locks'))('keeps its locks when it is opened once more', async () => {
    const file = temporaryFile();
    const first = await openStorage(file);
    await first.commit({ puts: [{ partition: 'p', key: 'first', value: 1 }] });
    expect(locksOn(file)).toBeGreaterThan(0);
    const second = await openStorage(file);
    expect(locksOn(file)).toBeGreaterThan(0);
    expect(await second.list('p')).toHaveLength(1);
    await second.close();
    expect(locksOn(file)).toBeGreaterThan(0);
  });
});

describe('a disk that is mounted read-only', () => {
  it('is refused with `read_only`, and stays as it was', async (context) => {
    const folder = temporaryFolder();
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', folder], { stdio: 'ignore' });
    } catch {
      return context.skip();
    }
    afterThisTest(() => execFileSync('umount', ['-l', folder], { stdio: 'ignore' }) as unknown as undefined);
    const file = path.join(folder, 'mesh.db');
    await (await SqliteStorage.open(file)).close();
    execFileSync('mount', ['-o', 'remount,ro', folder]);
    const before = folderOf(file);
    await expect(SqliteStorage.open(file)).rejects.toMatchObject({ code: 'read_only' });
    await expect(SqliteStorage.open(path.join(folder, 'new', 'mesh.db'))).rejects.toMatchObject({ code: 'read_only' });
    expect(folderOf(file)).toEqual(before);
  });
});

/** How many locks this process has on a file. To close any descriptor of the file drops them all. */
function locksOn(file: string): number {
  const held = ` ${process.pid} `;
  const inode = `:${statSync(file).ino} `;
  return readFileSync('/proc/locks', 'utf8')
    .split('\n')
    .filter((line) => line.includes(held) && line.includes(inode)).length;
}

import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import { padded } from '../../../src/storage/keys.ts';
import type { Address, Committed, Put, Storage } from '../../../src/storage/storage.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { startChild } from '../../support/children.ts';
import { faulty, sqliteError } from '../../support/sqlite/faulty.ts';
import { afterThisTest, folderOf, openStorage, temporaryFile } from '../../support/sqlite/files.ts';
import { openRaw } from '../../support/sqlite/raw.ts';

const A: Address = { partition: 'p', key: 'a' };

function put(key: string, value: Put['value'] = 1): Put {
  return { partition: 'p', key, value };
}

async function keysOf(storage: Storage, partition = 'p'): Promise<string[]> {
  return (await storage.list(partition)).map(({ key }) => key);
}

async function rowsIn(file: string, where: string): Promise<number> {
  const database = await openRaw(file);
  const row = database.prepare(`SELECT count(*) AS n FROM record WHERE ${where}`).get() as { n: number };
  database.close();
  return row.n;
}

/** What this process has open in a folder, where the system tells. */
function descriptorsIn(folder: string): string[] {
  if (!existsSync('/proc/self/fd')) return [];
  const targets = readdirSync('/proc/self/fd').map((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`);
    } catch {
      return '';
    }
  });
  return targets.filter((target) => target.startsWith(folder));
}

describe('revisions', () => {
  it('are spent by commits that change something, and by no others', async () => {
    const storage = await openStorage(temporaryFile());
    const revisionOf = async (commit: Parameters<Storage['commit']>[0]): Promise<number> =>
      ((await storage.commit(commit)) as Committed).revision;
    expect(await revisionOf({})).toBe(0);
    expect(await revisionOf({ puts: [put('a')] })).toBe(1);
    expect(await revisionOf({ deletes: [{ partition: 'p', key: 'none' }] })).toBe(1);
    expect(await revisionOf({ deletes: [{ partition: 'none', limit: 10 }] })).toBe(1);
    expect(await revisionOf({ takes: [{ from: 'none', to: 'p', limit: 10 }] })).toBe(1);
    expect(await revisionOf({ touches: [{ ...A, revision: 1, ttlMs: 1000 }] })).toBe(1);
    expect(await revisionOf({ checks: [{ ...A, revision: 1 }] })).toBe(1);
    expect(await revisionOf({ deletes: [A] })).toBe(2);
    expect(await storage.commit({ checks: [{ ...A, revision: 1 }], puts: [put('a')] })).toEqual({
      committed: false,
      conflicts: [A],
    });
    expect(await revisionOf({ puts: [put('a')] })).toBe(3);
  });

  it('are not used again, not after a delete, a close, or a kill', async () => {
    const file = temporaryFile();
    const first = await openStorage(file);
    await first.commit({ puts: [put('a')] });
    await first.commit({ deletes: [A] });
    await first.close();

    const writer = startChild('sqlite/commit', [file]);
    await writer.line();
    writer.say('b');
    expect(await writer.line()).toBe('3');
    writer.process.kill('SIGKILL');
    await writer.ended;

    const second = await openStorage(file);
    expect(await second.commit({ puts: [put('a')] })).toMatchObject({ revision: 4 });
  });

  it('are one after another in a group', async () => {
    const storage = await openStorage(temporaryFile());
    const results = await Promise.all([
      storage.commit({ puts: [put('a')] }),
      storage.commit({ checks: [{ ...A, revision: 99 }], puts: [put('b')] }),
      storage.commit({}),
      storage.commit({ puts: [{ partition: 'p', key: 'stamped-', value: 1, stamped: true }] }),
    ]);
    expect(results).toMatchObject([{ revision: 1 }, { committed: false, conflicts: [A] }, { revision: 1 }, { revision: 2 }]);
    expect(await keysOf(storage)).toEqual(['a', `stamped-${padded(2)}0000`]);
  });

  it('stand in no partition that anybody could list', async () => {
    const storage = await openStorage(temporaryFile());
    const names = ['events', 'events\u0001', 'event', 'events0', 'd', 'f'];
    for (const partition of names) {
      await storage.commit({ puts: [{ partition, key: 'a', value: 1 }] });
      expect(await keysOf(storage, partition)).toEqual(['a']);
    }
    expect(() => storage.list('events\0')).toThrow(expect.objectContaining({ code: 'invalid_input' }));
    for (const partition of names) await storage.commit({ deletes: [{ partition, limit: 1000 }] });
    expect(await storage.commit({ puts: [put('a')] })).toMatchObject({ revision: 13 });
  });
});

describe('commits of one group', () => {
  it('see each other in the order in which they were made', async () => {
    const storage = await openStorage(temporaryFile());
    const results = await Promise.all([
      storage.commit({ puts: [put('a', 'first')] }),
      storage.commit({ checks: [{ ...A, revision: 1 }], puts: [put('a', 'second')] }),
      storage.commit({ checks: [{ partition: 'p', fewerThan: 1 }], puts: [put('b')] }),
      storage.commit({ takes: [{ from: 'p', to: 'q', limit: 1 }] }),
      storage.commit({ checks: [{ ...A, revision: null }], puts: [put('a', 'third')] }),
      storage.commit({ deletes: [A] }),
      storage.commit({ checks: [{ ...A, revision: null }] }),
    ]);
    expect(results.map(({ committed }) => committed)).toEqual([true, true, false, true, true, true, true]);
    expect(results[3]).toMatchObject({ taken: [{ partition: 'q', key: 'a', value: 'second', revision: 3 }] });
    expect(await keysOf(storage)).toEqual([]);
    expect(await storage.list('q')).toMatchObject([{ key: 'a', value: 'second', revision: 3 }]);
  });

  it('are left alone by one whose take would overwrite a record', async () => {
    const storage = await openStorage(temporaryFile());
    await storage.commit({ puts: [put('a', 'from'), { partition: 'q', key: 'a', value: 'there' }] });
    const results = await Promise.all([
      storage.commit({ puts: [put('b')] }),
      storage.commit({ takes: [{ from: 'p', to: 'q', limit: 1 }], puts: [put('c')] }),
      storage.commit({ puts: [put('d')] }),
    ]);
    expect(results).toMatchObject([
      { committed: true, revision: 2 },
      { committed: false, conflicts: [{ partition: 'q', key: 'a' }] },
      { committed: true, revision: 3 },
    ]);
    expect(await storage.list('p')).toMatchObject([
      { key: 'a', value: 'from', revision: 1 },
      { key: 'b', revision: 2 },
      { key: 'd', revision: 3 },
    ]);
    expect(await storage.list('q')).toMatchObject([{ key: 'a', value: 'there', revision: 1 }]);
  });

  it('may write more rows than go into one statement, and the same record again', async () => {
    const storage = await openStorage(temporaryFile());
    const keys = Array.from({ length: 37 }, (_, index) => padded(index));
    await Promise.all([
      storage.commit({ puts: keys.map((key) => put(key, 'old')) }),
      storage.commit({ puts: keys.slice(0, 21).map((key) => put(key, 'new')) }),
    ]);
    const records = await storage.list('p');
    expect(records.map(({ key }) => key)).toEqual(keys);
    expect(records.map(({ value, revision }) => [value, revision])).toEqual([
      ...Array(21).fill(['new', 2]),
      ...Array(16).fill(['old', 1]),
    ]);
  });
});

describe('values', () => {
  it('come back deeply frozen and equal, names like __proto__ included', async () => {
    const file = temporaryFile();
    const value = JSON.parse('{"__proto__":{"polluted":true},"constructor":1,"list":[[1,"\\u0000\\u2028"],{}],"null":null}');
    await (await openStorage(file)).commit({ puts: [put('a', value)] });
    const other = await openStorage(file);
    for (const read of [() => other.get([A]), () => other.list('p')]) {
      const [record] = await read();
      expect(JSON.stringify(record?.value)).toBe(JSON.stringify(value));
      const { list } = record?.value as { list: unknown[] };
      expect([record?.value, list, list[0], list[1]].every(Object.isFrozen)).toBe(true);
      expect((record?.value as { polluted?: unknown }).polluted).toBeUndefined();
    }
  });

  it('are parsed once and put again without a copy', async () => {
    const file = temporaryFile();
    await (await openStorage(file)).commit({ puts: [put('a', { deep: [1, 2, 3] })] });
    const storage = await openStorage(file);
    const [first] = await storage.get([A]);
    const [second] = await storage.get([A]);
    expect(second?.value).toBe(first?.value);
    await storage.commit({ puts: [put('a', first?.value ?? null)] });
    const [third] = await storage.get([A]);
    expect(third).toMatchObject({ revision: 2 });
    expect(third?.value).toBe(first?.value);
  });

  it('are new when another process has changed them', async () => {
    const file = temporaryFile();
    const storage = await openStorage(file);
    const told: Address = { partition: 'told', key: 'x' };
    await storage.commit({ puts: [{ ...told, value: 'mine' }] });
    await storage.commit({ puts: [{ ...told, key: 'y', value: 'mine' }] });
    expect(await storage.list('told')).toMatchObject([{ value: 'mine' }, { value: 'mine' }]);
    const other = startChild('sqlite/commit', [file]);
    await other.line();
    other.say('x');
    expect(await other.line()).toBe('3');
    expect(await storage.get([told])).toMatchObject([{ value: 'x', revision: 3 }]);
    other.say('y');
    expect(await other.line()).toBe('4');
    expect(await storage.list('told')).toMatchObject([
      { value: 'x', revision: 3 },
      { value: 'y', revision: 4 },
    ]);
  });

  it('are not those of a commit that failed, whose revision another process then used', async () => {
    const file = temporaryFile();
    let full = false;
    const fault = (sql: string): Error | undefined => (full && sql === 'COMMIT' ? sqliteError(13) : undefined);
    const storage = await SqliteStorage.from(faulty(await openRaw(file), fault));
    afterThisTest(() => storage.close());
    await storage.commit({ puts: [put('a', 'old')] });
    expect(await storage.get([A])).toMatchObject([{ value: 'old', revision: 1 }]);
    full = true;
    await expect(storage.commit({ puts: [put('a', 'failed')] })).rejects.toMatchObject({ code: 'storage_full' });
    const other = await openStorage(file);
    expect(await other.commit({ puts: [put('a', 'theirs')] })).toMatchObject({ revision: 2 });
    expect(await storage.get([A])).toMatchObject([{ value: 'theirs', revision: 2 }]);
  });

  it('are the same without a cache', async () => {
    const storage = await openStorage(temporaryFile(), { cacheBytes: 0 });
    await storage.commit({ puts: [put('a', { n: 1 })] });
    await storage.commit({ puts: [put('a', { n: 2 })] });
    expect(await storage.get([A, A])).toMatchObject([{ value: { n: 2 } }, { value: { n: 2 } }]);
  });

  it('are what they were when the commit was made, whatever its caller does with them meanwhile', async () => {
    const storage = await openStorage(temporaryFile());
    const value = { n: 1 };
    const puts = [{ partition: 'p', key: 'a', value }];
    const checks = [{ partition: 'p', key: 'b', revision: null as number | null }];
    const commit = storage.commit({ checks, puts });
    value.n = 2;
    (puts[0] as { key: string }).key = 'changed';
    (checks[0] as { revision: number | null }).revision = 5;
    puts.push({ partition: 'p', key: 'more', value });
    expect(await commit).toMatchObject({ committed: true });
    expect(await storage.list('p')).toMatchObject([{ key: 'a', value: { n: 1 } }]);
  });
});

describe('a read', () => {
  it('of several records is of one snapshot, while another process writes', async () => {
    const file = temporaryFile();
    const storage = await openStorage(file);
    const writer = startChild('sqlite/pairs', [file, `${file}-ledger`, 'w']);
    await writer.line();
    const addresses = Array.from({ length: 50 }, (_, index) => ({ partition: index % 2 ? 'right' : 'left', key: 'w-0' }));
    const seen = new Set<number | undefined>();
    for (let round = 0; round < 2000 && seen.size < 50; round++) {
      const revisions = new Set((await storage.get(addresses)).map((record) => record?.revision));
      expect(revisions.size).toBe(1);
      for (const revision of revisions) seen.add(revision);
    }
    expect(seen.size).toBeGreaterThan(10);
  });

  it('answers at once', async () => {
    const storage = await openStorage(temporaryFile());
    await storage.commit({ puts: [put('a')] });
    expect(storage.get([A])).toMatchObject([{ value: 1 }]);
    expect(storage.list('p')).toMatchObject([{ value: 1 }]);
  });
});

describe('expired records', () => {
  it('leave the file some time later, a bounded number at a time', async () => {
    const file = temporaryFile();
    const clock = new VirtualClock();
    const storage = await openStorage(file, { clock });
    await storage.commit({ puts: Array.from({ length: 700 }, (_, index) => ({ ...put(padded(index)), ttlMs: 1000 })) });
    await storage.commit({ puts: [{ ...put('later'), ttlMs: 100_000 }, put('ever')] });
    await clock.advance(1000);
    expect(await keysOf(storage)).toEqual(['ever', 'later']);
    expect(await rowsIn(file, "partition = 'p'")).toBe(702);

    await clock.advance(5000);
    await storage.commit({ puts: [{ partition: 'q', key: 'a', value: 1 }] });
    expect(await rowsIn(file, "partition = 'p'")).toBe(202);
    // What is left goes soon, not in the same breath.
    await storage.commit({ puts: [{ partition: 'q', key: 'b', value: 1 }] });
    expect(await rowsIn(file, "partition = 'p'")).toBe(202);
    await clock.advance(100);
    await storage.commit({ puts: [{ partition: 'q', key: 'c', value: 1 }] });
    expect(await rowsIn(file, "partition = 'p'")).toBe(2);
    expect(await keysOf(storage)).toEqual(['ever', 'later']);
  });

  it('do not leave with a commit that changes nothing', async () => {
    const file = temporaryFile();
    const clock = new VirtualClock();
    const storage = await openStorage(file, { clock });
    await storage.commit({ puts: [{ ...put('a'), ttlMs: 1000 }] });
    await clock.advance(10_000);
    await storage.commit({ deletes: [A] });
    await storage.commit({ checks: [{ ...A, revision: 5 }] });
    expect(await rowsIn(file, "partition = 'p'")).toBe(1);
  });
});

describe('closing', () => {
  it('lets the commits before it end, and refuses everything after', async () => {
    const file = temporaryFile();
    const storage = await SqliteStorage.open(file);
    const commits = Promise.all(Array.from({ length: 300 }, (_, index) => storage.commit({ puts: [put(padded(index))] })));
    const closing = storage.close();
    const closed = expect.objectContaining({ code: 'closed' });
    expect(() => storage.commit({ puts: [put('late')] })).toThrow(closed);
    expect(() => storage.get([A])).toThrow(closed);
    expect(() => storage.list('p')).toThrow(closed);
    expect(() => storage.watch(() => {})).toThrow(closed);
    expect((await commits).every(({ committed }) => committed)).toBe(true);
    await closing;
    await storage.close();
    expect(() => storage.list('p')).toThrow(closed);
    expect(await keysOf(await openStorage(file))).toHaveLength(300);
  });

  it('leaves nothing behind: no timer, no watch, no open file, nothing beside the file', async () => {
    const file = temporaryFile();
    const before = process.getActiveResourcesInfo();
    const storage = await SqliteStorage.open(file);
    storage.watch(() => {});
    await storage.commit({ puts: [put('a')] });
    await storage.close();
    const left = process.getActiveResourcesInfo();
    for (const resource of before) left.splice(left.indexOf(resource), left.includes(resource) ? 1 : 0);
    expect(left).toEqual([]);
    expect(descriptorsIn(path.dirname(file))).toEqual([]);
    expect(Object.keys(folderOf(file))).toEqual(['mesh.db']);
  });

  it('gives up its waiting commits when the lock stays with another process', async () => {
    const file = temporaryFile();
    const storage = await SqliteStorage.open(file, { busyTimeoutMs: 200 });
    const holder = startChild('sqlite/lock', [file]);
    await holder.line();
    const commit = storage.commit({ puts: [put('a')] });
    await Promise.all([expect(commit).rejects.toMatchObject({ code: 'unavailable' }), storage.close()]);
  });
});

it('renews what another commit of the same moment has put', async () => {
  const storage = await openStorage(temporaryFile(), { clock: new VirtualClock() });
  const first = await storage.commit({ puts: [{ ...put('a'), ttlMs: 100 }] });
  const revision = first.committed ? first.revision : 0;
  // Known from now on, and not read again.
  await storage.commit({ checks: [{ ...A, revision }] });
  const results = await Promise.all([
    storage.commit({ puts: [{ ...put('a'), ttlMs: 100 }] }),
    storage.commit({ touches: [{ ...A, revision: revision + 1, ttlMs: 5000 }] }),
  ]);
  expect(results).toMatchObject([{ committed: true }, { committed: true }]);
  expect(await storage.get([A])).toMatchObject([{ revision: revision + 1, expiresAt: storage.now() + 5000 }]);
});

describe('a database that the user opened', () => {
  it('is a storage, and is closed with it', async () => {
    const file = temporaryFile();
    const database = await openRaw(file);
    const storage = await SqliteStorage.from(database);
    await storage.commit({ puts: [put('a', { n: 1 })] });
    expect(await storage.get([A])).toMatchObject([{ value: { n: 1 } }]);
    await storage.close();
    expect(() => database.prepare('SELECT 1')).toThrow();
    expect(await keysOf(await openStorage(file))).toEqual(['a']);
  });

  it('is one storage at a time: two would not see what the other commits', async () => {
    const database = await openRaw(temporaryFile());
    const storage = await SqliteStorage.from(database);
    await expect(SqliteStorage.from(database)).rejects.toMatchObject({ code: 'invalid_input' });
    await storage.commit({ puts: [put('a')] });
    await storage.close();
  });

  it('is refused when it is in memory, another program’s, or no database', async () => {
    await expect(SqliteStorage.from(await openRaw(':memory:'))).rejects.toMatchObject({ code: 'invalid_input' });
    const foreign = await openRaw(temporaryFile());
    foreign.exec('CREATE TABLE notes (text)');
    await expect(SqliteStorage.from(foreign)).rejects.toMatchObject({ code: 'unsupported' });
    expect(foreign.prepare('SELECT count(*) AS n FROM notes').get()).toMatchObject({ n: 0 });
    for (const nothing of [undefined, {}, 'mesh.db', { prepare: () => {} }]) {
      await expect(SqliteStorage.from(nothing as never)).rejects.toMatchObject({ code: 'invalid_input' });
    }
  });

  it('may read integers as bigints', async () => {
    const database = await openRaw(temporaryFile());
    const bigints = {
      exec: (sql: string) => database.exec(sql),
      close: () => database.close(),
      prepare: (sql: string) => {
        const statement = database.prepare(sql) as ReturnType<typeof database.prepare> & {
          setReadBigInts?: (on: boolean) => void;
        };
        statement.setReadBigInts?.(true);
        return statement;
      },
    };
    const storage = await SqliteStorage.from(bigints);
    afterThisTest(() => storage.close());
    expect(await storage.commit({ puts: [{ ...put('a'), ttlMs: 10_000 }] })).toMatchObject({ revision: 1 });
    expect(await storage.get([A])).toMatchObject([{ revision: 1, expiresAt: expect.any(Number) }]);
    expect(await storage.commit({ deletes: [A] })).toMatchObject({ revision: 2 });
  });
});

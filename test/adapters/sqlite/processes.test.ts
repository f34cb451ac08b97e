import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { StoredRecord } from '../../../src/storage/storage.ts';
import { startChild } from '../../support/children.ts';
import { openStorage, temporaryFile } from '../../support/sqlite/files.ts';
import { openRaw } from '../../support/sqlite/raw.ts';

const KILLS = Number(process.env['SOAK_KILLS'] ?? 200);
/** How many processes write, are killed and started again, at any time. */
const WRITERS = 2;
/** A writer that has opened the file is killed after so many of its commits at the most. */
const LONGEST_LIFE_MS = 60;

describe('one file of many processes', () => {
  it('loses no update when twenty of them count together', async () => {
    const file = temporaryFile();
    const counters = Array.from({ length: 20 }, () => startChild('sqlite/counter', [file, '50']));
    expect(await Promise.all(counters.map(({ ended }) => ended))).toEqual(Array(20).fill(0));
    const storage = await openStorage(file);
    const [record] = await storage.get([{ partition: 'counters', key: 'one' }]);
    expect(record).toMatchObject({ value: 1000, revision: 1000 });
  });

  // Kills real processes at random moments, which takes real time.
  it(`keeps every acknowledged commit, whole, when its writers are killed ${KILLS} times`, async () => {
    const file = temporaryFile();
    const folder = path.dirname(file);
    let killed = 0;
    const ledgers: string[] = [];
    const writeAndDie = async (name: string): Promise<void> => {
      while (killed < KILLS) {
        killed += 1;
        const ledger = path.join(folder, `ledger-${ledgers.length}`);
        ledgers.push(ledger);
        const writer = startChild('sqlite/pairs', [file, ledger, name]);
        // Now and then before it has even opened the file.
        if (killed % 10 !== 0) await writer.line();
        await new Promise((resolve) => setTimeout(resolve, Math.random() * LONGEST_LIFE_MS));
        writer.process.kill('SIGKILL');
        expect(await writer.ended).toBe('SIGKILL');
      }
    };
    await Promise.all(Array.from({ length: WRITERS }, (_, index) => writeAndDie(`writer${index}`)));

    const storage = await openStorage(file);
    const [left, right] = [await storage.list('left'), await storage.list('right')];
    expect(left.map(({ key, value, revision }) => [key, value, revision])).toEqual(
      right.map(({ key, value, revision }) => [key, value, revision]),
    );

    const log = new Map<number, StoredRecord>();
    for (let start = ''; ; ) {
      const page = await storage.list('events', { start });
      for (const record of page) {
        // A revision that was used twice would stand here twice.
        expect(log.has(record.revision)).toBe(false);
        log.set(record.revision, record);
      }
      const last = page.at(-1);
      if (!last || page.length < 1000) break;
      start = `${last.key}\u0001`;
    }

    const acknowledged = ledgers.flatMap(linesOf);
    expect(acknowledged.length).toBeGreaterThan(KILLS);
    const lost = acknowledged.filter(([revision, value]) => log.get(revision)?.value !== value);
    expect(lost).toEqual([]);
    const newest = new Map(left.map(({ key, revision }) => [key, revision]));
    for (const [revision, value] of acknowledged) {
      const [name, , slot] = String(value).split(' ');
      expect(newest.get(`${name}-${slot}`)).toBeGreaterThanOrEqual(revision);
    }

    const database = await openRaw(file);
    expect(Object.values(database.prepare('PRAGMA integrity_check').get() as object)).toEqual(['ok']);
    database.close();
  }, 240_000);
});

/** The lines of a ledger that were written whole. One that was never opened has none. */
function linesOf(ledger: string): [revision: number, value: string][] {
  try {
    return readFileSync(ledger, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  } catch {
    return [];
  }
}

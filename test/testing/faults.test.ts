import { describe, expect, it } from 'vitest';
import { MeshError } from '../../src/kernel/errors.ts';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';
import type { Commit, Hint } from '../../src/storage/storage.ts';
import { type FaultOptions, type FaultyStorage, withFaults } from '../../src/testing/faults.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';

function scene(options?: FaultOptions) {
  const clock = new VirtualClock();
  const storage = new InMemoryStorage({ clock });
  const faulty = withFaults(storage, options);
  return { clock, storage, faulty, counts: faulty.faults.counts };
}

const put = (key: string): Commit => ({ puts: [{ partition: 'p', key, value: 1 }] });
const create = (key: string): Commit => ({ checks: [{ partition: 'p', key, revision: null }], ...put(key) });

/** What became of commits, one letter each: committed, conflict or unknown. */
async function outcomes(faulty: FaultyStorage, commits: readonly Commit[]): Promise<string> {
  let text = '';
  for (const commit of commits) {
    try {
      text += (await faulty.commit(commit)).committed ? '.' : 'c';
    } catch (error) {
      expect(error).toMatchObject({ code: 'commit_unknown' });
      text += 'u';
    }
  }
  return text;
}

const count = (text: string, letter: string): number => text.split(letter).length - 1;
const keys = (number: number): string[] => Array.from({ length: number }, (_, index) => `k${index}`);

describe('withFaults', () => {
  it('changes nothing unless it is told to', async () => {
    const { storage, faulty, counts } = scene();
    expect(await outcomes(faulty, keys(50).map(create))).toBe('.'.repeat(50));
    expect(await faulty.list('p')).toEqual(storage.list('p'));
    expect(await faulty.get([{ partition: 'p', key: 'k1' }])).toEqual(storage.get([{ partition: 'p', key: 'k1' }]));
    expect([faulty.durability, faulty.now(), faulty.clock, faulty.uncertain]).toEqual([
      'memory',
      storage.now(),
      storage.clock,
      false,
    ]);
    expect(counts).toEqual({ calls: 52, conflicts: 0, unknownApplied: 0, unknownNotApplied: 0, hintsDropped: 0 });
  });

  it('does the same for the same seed, and otherwise for another', async () => {
    const options = { conflictRate: 0.2, unknownRate: 0.2 };
    const run = async (seed?: number): Promise<unknown[]> => {
      const { faulty, storage, counts } = scene({ ...options, ...(seed !== undefined && { seed }) });
      return [await outcomes(faulty, keys(300).map(create)), storage.list('p'), counts];
    };
    expect(await run(7)).toEqual(await run(7));
    expect(await run(7)).not.toEqual(await run(8));
    expect(await run()).toEqual(await run(1));
  });

  it('draws for each call alone: what one is, or how it ends, changes no other', async () => {
    const options = { seed: 3, conflictRate: 0.3, unknownRate: 0.3 };
    const all = keys(200);
    const checked = await outcomes(scene(options).faulty, all.map(create));
    const plain = await outcomes(scene(options).faulty, all.map(put));
    expect(plain.replaceAll('.', '?').length).toBe(200);
    for (const [index, letter] of [...checked].entries()) if (letter !== 'c') expect(plain[index]).toBe(letter);
    const rarer = await outcomes(scene({ ...options, conflictRate: 0.1 }).faulty, all.map(create));
    for (const [index, letter] of [...rarer].entries()) if (letter === 'c') expect(checked[index]).toBe('c');
  });
});

describe('an injected conflict', () => {
  it('names one check or touch of the commit, and changes nothing', async () => {
    const { faulty, storage, counts } = scene({ conflictRate: 1 });
    const { revision } = storage.commit({ puts: keys(3).map((key) => ({ partition: 'p', key, value: 1, ttlMs: 60_000 })) }) as {
      revision: number;
    };
    const before = storage.list('p');
    const commit: Commit = {
      checks: [
        { partition: 'p', key: 'k0', revision },
        { partition: 'p', fewerThan: 100 },
        { partition: 'q', start: 'x', fewerThan: 100 },
      ],
      touches: [{ partition: 'p', key: 'k1', revision, ttlMs: 90_000 }],
      puts: [{ partition: 'p', key: 'new', value: 1 }],
    };
    const named = new Set<string>();
    for (let round = 0; round < 100; round++) {
      const result = await faulty.commit(commit);
      if (result.committed) throw new Error('expected a conflict');
      expect(result.conflicts).toHaveLength(1);
      named.add(JSON.stringify(result.conflicts[0]));
    }
    const expected = [
      ['p', 'k0'],
      ['p', ''],
      ['q', 'x'],
      ['p', 'k1'],
    ].map(([partition, key]) => JSON.stringify({ partition, key }));
    expect([...named].sort()).toEqual(expected.sort());
    expect(storage.list('p')).toEqual(before);
    expect(counts).toMatchObject({ calls: 100, conflicts: 100 });
  });

  it('never comes to a commit without conditions', async () => {
    const { faulty, storage, counts } = scene({ conflictRate: 1 });
    await faulty.commit(put('a'));
    await faulty.commit({ takes: [{ from: 'p', to: 'q', limit: 1 }] });
    expect([storage.list('q').length, counts.conflicts]).toEqual([1, 0]);
  });

  it('comes as often as it is told to', async () => {
    const { faulty, counts } = scene({ conflictRate: 0.25 });
    const text = await outcomes(faulty, keys(2000).map(create));
    expect(Math.abs(count(text, 'c') - 500)).toBeLessThan(80);
    expect(counts.conflicts).toBe(count(text, 'c'));
  });
});

describe('an unknown outcome', () => {
  it('was applied or not, as the counts say', async () => {
    const { faulty, storage, counts } = scene({ unknownRate: 0.5 });
    const all = keys(1000);
    const text = await outcomes(faulty, all.map(put));
    const present = new Set(storage.list('p').map(({ key }) => key));
    const unknown = all.filter((_, index) => text[index] === 'u');
    expect(Math.abs(unknown.length - 500)).toBeLessThan(80);
    expect(all.filter((key) => !unknown.includes(key)).every((key) => present.has(key))).toBe(true);
    expect(counts.unknownApplied).toBe(unknown.filter((key) => present.has(key)).length);
    expect(counts.unknownNotApplied).toBe(unknown.filter((key) => !present.has(key)).length);
    expect(Math.abs(counts.unknownApplied - counts.unknownNotApplied)).toBeLessThan(120);
  });

  it('of a commit that conflicted was not applied', async () => {
    const { faulty, storage, counts } = scene({ unknownRate: 1 });
    storage.commit(put('a'));
    expect(
      await outcomes(
        faulty,
        Array.from({ length: 20 }, () => create('a')),
      ),
    ).toBe('u'.repeat(20));
    expect([counts.unknownApplied, counts.unknownNotApplied]).toEqual([0, 20]);
  });

  it('makes the storage say that it is uncertain', () => {
    expect(scene({ unknownRate: 0.1 }).faulty.uncertain).toBe(true);
    const twice = withFaults(scene({ unknownRate: 0.1 }).faulty);
    expect(twice.uncertain).toBe(true);
  });
});

describe('latency', () => {
  it('holds a call up before the storage has it, and its answer afterwards', async () => {
    const { clock, storage, faulty } = scene({ latencyMs: 100, seed: 5 });
    const started = clock.now();
    let answered = 0;
    void faulty.commit(put('a')).then(() => {
      answered = clock.now() - started;
    });
    let applied = 0;
    for (let waited = 0; waited <= 200; waited++) {
      if (applied === 0 && storage.list('p').length > 0) applied = waited;
      await clock.advance(1);
    }
    expect(applied).toBeGreaterThan(0);
    expect(applied).toBeLessThanOrEqual(100);
    expect(answered).toBeGreaterThan(applied);
    expect(answered).toBeLessThanOrEqual(200);
    expect(clock.pending).toBe(0);
  });

  it('differs from call to call, so that they overtake each other', async () => {
    const { clock, faulty } = scene({ latencyMs: 50 });
    const order: number[] = [];
    const all = keys(20).map((key, index) => faulty.commit(put(key)).then(() => order.push(index)));
    await clock.advance(100);
    await Promise.all(all);
    expect(order).not.toEqual([...order].sort((a, b) => a - b));
  });

  it('is there for reads and for errors, too', async () => {
    const { clock, faulty } = scene({ latencyMs: 1000, seed: 9 });
    const done: string[] = [];
    void faulty.get([{ partition: 'p', key: 'a' }]).then(() => done.push('get'));
    void faulty.list('p').then(() => done.push('list'));
    faulty.list('').catch(() => done.push('error'));
    await clock.settle();
    expect(done).toEqual([]);
    await clock.advance(2_000);
    expect(done.sort()).toEqual(['error', 'get', 'list']);
  });

  it('keeps what the caller does with its commit meanwhile out of it', async () => {
    const { clock, storage, faulty } = scene({ latencyMs: 1000 });
    const value = { count: 1 };
    const answer = faulty.commit({ puts: [{ partition: 'p', key: 'a', value }] });
    value.count = 2;
    await clock.advance(2_000);
    await answer;
    expect(storage.list('p')[0]?.value).toEqual({ count: 1 });
  });
});

describe('hints', () => {
  const heard = async (dropHints: boolean | number): Promise<number> => {
    const { faulty, counts } = scene({ dropHints });
    const hints: Hint[] = [];
    faulty.watch((hint) => hints.push(hint));
    for (const key of keys(200)) {
      await faulty.commit(put(key));
      await Promise.resolve();
    }
    expect(hints.length + counts.hintsDropped).toBe(200);
    return hints.length;
  };

  it('are lost as often as they are told to', async () => {
    expect(await heard(false)).toBe(200);
    expect(await heard(0)).toBe(200);
    expect(await heard(true)).toBe(0);
    expect(await heard(1)).toBe(0);
    expect(Math.abs((await heard(0.5)) - 100)).toBeLessThan(30);
  });

  it('are said to be reliable only where none is lost', () => {
    expect(scene().faulty.reliableHints).toBe(true);
    expect(scene({ dropHints: 0.01 }).faulty.reliableHints).toBe(false);
    expect(scene({ dropHints: true }).faulty.reliableHints).toBe(false);
  });

  it('end with the watch', async () => {
    const { faulty } = scene();
    const hints: Hint[] = [];
    faulty.watch((hint) => hints.push(hint))();
    await faulty.commit(put('a'));
    expect(hints).toEqual([]);
  });

  it('draw nothing from what calls draw', async () => {
    const options = { seed: 4, conflictRate: 0.3, dropHints: 0.5 };
    const quiet = scene(options).faulty;
    const watched = scene(options).faulty;
    watched.watch(() => {});
    expect(await outcomes(watched, keys(100).map(create))).toBe(await outcomes(quiet, keys(100).map(create)));
  });
});

describe('pause', () => {
  it('ends all faults until resume', async () => {
    const { faulty, counts } = scene({ conflictRate: 1, unknownRate: 1, dropHints: true, latencyMs: 60_000 });
    const hints: Hint[] = [];
    faulty.watch((hint) => hints.push(hint));
    faulty.faults.pause();
    expect(await outcomes(faulty, keys(20).map(create))).toBe('.'.repeat(20));
    await Promise.resolve();
    expect(hints.length).toBeGreaterThan(0);
    expect(counts).toMatchObject({ calls: 20, conflicts: 0, unknownApplied: 0, unknownNotApplied: 0, hintsDropped: 0 });
    faulty.faults.resume();
    const late = faulty.commit(create('late'));
    faulty.faults.pause();
    expect((await late).committed).toBe(false);
  });

  it('lets calls go on that are held up', async () => {
    const { clock, faulty } = scene({ latencyMs: 60_000 });
    const calls = keys(10).map((key) => faulty.commit(put(key)));
    await clock.advance(1);
    faulty.faults.pause();
    await Promise.all(calls);
    expect([(await faulty.list('p')).length, clock.pending]).toEqual([10, 0]);
  });
});

describe('close', () => {
  it('lets calls under way come to their end without time passing, closes the storage, and refuses what follows', async () => {
    const { clock, storage, faulty } = scene({ latencyMs: 60_000 });
    const calls = keys(10).map((key) => faulty.commit(put(key)));
    await clock.advance(1);
    const closed = faulty.close();
    await expect(faulty.commit(put('late'))).rejects.toMatchObject({ code: 'closed' });
    await Promise.all([closed, faulty.close()]);
    expect((await Promise.all(calls)).every(({ committed }) => committed)).toBe(true);
    expect(() => storage.list('p')).toThrow(expect.objectContaining({ code: 'closed' }));
    expect(clock.pending).toBe(0);
    await expect(faulty.list('p')).rejects.toMatchObject({ code: 'closed' });
    expect(() => faulty.watch(() => {})).toThrow(expect.objectContaining({ code: 'closed' }));
  });
});

describe('what breaks the contract', () => {
  it('is refused as such, and draws no conflict', async () => {
    const { faulty, counts } = scene({ conflictRate: 1, unknownRate: 1 });
    const bad = { checks: [{ partition: 'p', key: '', revision: null }] };
    await expect(faulty.commit(bad)).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(faulty.commit(null as never)).rejects.toMatchObject({ code: 'invalid_input' });
    expect(counts.calls).toBe(0);
  });

  it.each<[unknown]>([
    [{ seed: 1.5 }],
    [{ seed: 'a' }],
    [{ conflictRate: -0.1 }],
    [{ conflictRate: 1.1 }],
    [{ conflictRate: true }],
    [{ unknownRate: Number.NaN }],
    [{ unknownRate: '0.5' }],
    [{ latencyMs: -1 }],
    [{ latencyMs: 1.5 }],
    [{ latencyMs: 2 ** 31 }],
    [{ dropHints: 2 }],
    [{ dropHints: 'all' }],
    [{ conflictrate: 0.5 }],
    [{ dropHintRate: 0.5 }],
    [null],
    ['all'],
  ])('among the options is refused: %o', (options) => {
    const refusal = (() => {
      try {
        withFaults(new InMemoryStorage(), options as FaultOptions);
      } catch (error) {
        return error;
      }
      return undefined;
    })();
    expect(MeshError.is(refusal, 'invalid_input')).toBe(true);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MeshError } from '../../src/kernel/errors.ts';
import { toJson } from '../../src/kernel/json.ts';
import { checkAddresses, checkedCommit, checkList, LIMITS } from '../../src/storage/checked.ts';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';
import type { Commit, Put } from '../../src/storage/storage.ts';

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof MeshError) return error.code;
    throw error;
  }
  return 'accepted';
}

const put = (fields: Partial<Put> = {}): Put => ({ partition: 'p', key: 'k', value: 1, ...fields });

/** Objects that look like checks and writes, with anything in their fields. */
const field = fc.constantFrom(
  'partition',
  'key',
  'revision',
  'start',
  'end',
  'fewerThan',
  'limit',
  'from',
  'to',
  'leaseMs',
  'ttlMs',
  'value',
  'stamped',
);
const content = fc.oneof(
  fc.constantFrom<unknown>('p', 'k', '', 1, 5, 0, -1, 1.5, null, undefined, true, 'a\0', '\ud800', Number.NaN),
  fc.anything({ withBigInt: true, withNullPrototype: true }),
);
const item = fc.oneof(
  { weight: 5, arbitrary: fc.dictionary(field, content, { maxKeys: 6 }) },
  { weight: 1, arbitrary: fc.anything() },
);
const list = fc.oneof({ weight: 5, arbitrary: fc.array(item, { maxLength: 3 }) }, { weight: 1, arbitrary: fc.anything() });
const anyCommit = fc.oneof(
  { weight: 9, arbitrary: fc.dictionary(fc.constantFrom('checks', 'deletes', 'takes', 'touches', 'puts'), list, { maxKeys: 5 }) },
  { weight: 1, arbitrary: fc.anything() },
);

describe('whatever it is given, a storage', () => {
  it('accepts a commit or refuses it with a MeshError, and then has changed nothing', () => {
    let accepted = 0;
    fc.assert(
      fc.property(anyCommit, (commit) => {
        const storage = new InMemoryStorage();
        storage.commit({ puts: [put()] });
        const before = JSON.stringify(storage.list('p'));
        const code = codeOf(() => storage.commit(commit as Commit));
        expect(['accepted', 'invalid_input', 'limit_exceeded']).toContain(code);
        expect(codeOf(() => checkedCommit(commit as Commit))).toBe(code);
        if (code === 'accepted') accepted += 1;
        else expect([JSON.stringify(storage.list('p')), storage.commit({})]).toMatchObject([before, { revision: 1 }]);
      }),
      { numRuns: 2000 },
    );
    expect(accepted).toBeGreaterThan(50);
  });

  it('accepts addresses and ranges or refuses them with a MeshError', () => {
    const storage = new InMemoryStorage();
    storage.commit({ puts: [put()] });
    fc.assert(
      fc.property(fc.oneof(list, fc.anything()), item, (addresses, range) => {
        const codes = ['accepted', 'invalid_input', 'limit_exceeded'];
        expect(codes).toContain(codeOf(() => storage.get(addresses as never)));
        expect(codes).toContain(codeOf(() => storage.list('p', range as never)));
        expect(codes).toContain(codeOf(() => storage.list(range as never)));
      }),
      { numRuns: 1000 },
    );
  });
});

describe('checkedCommit', () => {
  it('fills in the lists that were left out', () => {
    expect(checkedCommit({})).toEqual({ checks: [], deletes: [], takes: [], touches: [], puts: [], bytesAtMost: 0 });
  });

  it('answers accepted values, and leaves the commit as it was', () => {
    const value = { list: [1] };
    const commit = { puts: [put({ value }), put({ key: 'l' })] };
    const checked = checkedCommit(commit);
    expect(checked.puts.map((one) => one.value)).toEqual([{ list: [1] }, 1]);
    expect(checked.puts[0]?.value).not.toBe(value);
    expect(Object.isFrozen(checked.puts[0]?.value)).toBe(true);
    expect(commit.puts[0]?.value).toBe(value);
    expect(Object.isFrozen(value)).toBe(false);
  });

  it('copies nothing when all values have been accepted before', () => {
    const puts = [put({ value: toJson({ list: [1] }, 'value', 100) })];
    expect(checkedCommit({ puts }).puts).toBe(puts);
  });

  it('accepts what it has answered, again', () => {
    const { bytesAtMost, ...checked } = checkedCommit({ puts: [put({ value: { a: 1 } })] });
    expect(checkedCommit(checked)).toEqual({ ...checked, bytesAtMost });
  });

  it('bounds the bytes of all values', () => {
    const puts = [put({ value: { text: 'x'.repeat(100) } }), put({ key: 'l', value: 'ä'.repeat(50) })];
    const { bytesAtMost } = checkedCommit({ puts });
    expect(bytesAtMost).toBeGreaterThanOrEqual(Buffer.byteLength(JSON.stringify(puts.map(({ value }) => value))) - 10);
  });

  it('says what it expected and got, without the content', () => {
    const secret = `secret ${'x'.repeat(2000)}`;
    for (const commit of [{ puts: [put({ key: secret })] }, { puts: [put({ ttlMs: secret as never })] }, { [secret]: [] }]) {
      let message = '';
      try {
        checkedCommit(commit as Commit);
      } catch (error) {
        message = (error as Error).message;
      }
      expect(message).toMatch(/^expected .*, got /);
      expect(message).not.toContain('secret');
    }
  });

  it('finds an address that is written twice among few and among many', () => {
    const many = (count: number): Put[] => Array.from({ length: count }, (_, index) => put({ key: `k${index}` }));
    for (const count of [2, 8, 9, 1000]) {
      expect(codeOf(() => checkedCommit({ puts: many(count) }))).toBe('accepted');
      expect(codeOf(() => checkedCommit({ puts: [...many(count - 1), put({ key: `k${count - 2}` })] }))).toBe('invalid_input');
    }
    // Neither partition nor key alone is the address, nor both glued together.
    const apart = [put({ partition: 'a', key: 'bc' }), put({ partition: 'ab', key: 'c' }), put({ partition: 'a', key: 'b' })];
    expect(codeOf(() => checkedCommit({ puts: [...apart, ...many(20)] }))).toBe('accepted');
    // A stamp makes every key its own.
    expect(codeOf(() => checkedCommit({ puts: [put({ stamped: true }), put({ stamped: true }), put()] }))).toBe('accepted');
  });

  it('refuses what is over every limit, and accepts the limit itself', () => {
    const name = (bytes: number): string => 'é'.repeat(Math.floor(bytes / 2)) + 'x'.repeat(bytes % 2);
    const attempts: Record<string, (number: number) => Commit> = {
      nameBytes: (number) => ({ puts: [put({ partition: name(number), key: name(number) })] }),
      writes: (number) => ({ deletes: Array.from({ length: number }, (_, index) => ({ partition: 'p', key: `k${index}` })) }),
      checks: (number) => ({ checks: Array.from({ length: number }, () => ({ partition: 'p', key: 'k', revision: 1 })) }),
      page: (limit) => ({ deletes: [{ partition: 'p', limit }] }),
      bound: (fewerThan) => ({ checks: [{ partition: 'p', fewerThan }] }),
      ttlMs: (ttlMs) => ({ puts: [put({ ttlMs })] }),
      valueBytes: (number) => ({ puts: [put({ value: 'x'.repeat(number - 2) })] }),
    };
    for (const [name, attempt] of Object.entries(attempts)) {
      const limit = LIMITS[name as keyof typeof LIMITS];
      expect([name, codeOf(() => checkedCommit(attempt(limit)))]).toEqual([name, 'accepted']);
      expect([name, codeOf(() => checkedCommit(attempt(limit + 1)))]).toEqual([name, 'limit_exceeded']);
    }
  });

  it('counts the bytes of a commit exactly, and stops counting when there are too many', () => {
    const mebibyte = toJson('"'.repeat(512 * 1024 - 1), 'value', LIMITS.valueBytes);
    const puts = (count: number): Put[] =>
      Array.from({ length: count }, (_, index) => put({ key: `k${index}`, value: mebibyte }));
    const milliseconds = (code: string, all: readonly Put[]): number => {
      const before = process.cpuUsage();
      expect(codeOf(() => checkedCommit({ puts: all }))).toBe(code);
      return process.cpuUsage(before).user / 1000;
    };
    const enough = milliseconds('accepted', puts(16));
    milliseconds('limit_exceeded', [...puts(16), put()]);
    // As much work as for what is accepted, and not sixty times as much.
    expect(milliseconds('limit_exceeded', puts(1000))).toBeLessThan(10 * enough + 100);
  });
});

describe('checkAddresses and checkList', () => {
  it('accept the longest names, also with the deadline of a take', () => {
    const key = 'k'.repeat(1024);
    const leased = `0000000000000001>${key}`;
    expect(
      codeOf(() =>
        checkAddresses([
          { partition: key, key },
          { partition: key, key: leased },
        ]),
      ),
    ).toBe('accepted');
    expect(codeOf(() => checkAddresses([{ partition: key, key: `${leased}k` }]))).toBe('limit_exceeded');
    expect(codeOf(() => checkAddresses([{ partition: leased, key }]))).toBe('limit_exceeded');
    expect(codeOf(() => checkList(key, { start: `${leased}\u0001`, end: `${leased}\u0001` }))).toBe('accepted');
    expect(codeOf(() => checkList(key, { start: `${leased}\u0001k` }))).toBe('limit_exceeded');
  });
});

it('stores -0 as 0, also where it is the whole value', () => {
  expect(Object.is(checkedCommit({ puts: [{ partition: 'p', key: 'k', value: -0 }] }).puts[0]?.value, 0)).toBe(true);
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compareKeys,
  deadlineOf,
  keyAfter,
  LEASE_PREFIX_LENGTH,
  leasedKey,
  orderOf,
  padded,
  prefixRange,
  stampedKey,
  unleasedKey,
} from '../../src/storage/keys.ts';

/** Half of them from the places where UTF-16 and UTF-8 order differ. */
const key = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1 }),
  fc
    .array(
      fc.constantFrom('a', 'z', '\u0001', '\u007f', '\u0080', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '😀', '\u{10ffff}'),
      { minLength: 1 },
    )
    .map((parts) => parts.join('')),
);

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function byOrder(a: string, b: string): number {
  return orderOf(a) < orderOf(b) ? -1 : orderOf(a) === orderOf(b) ? 0 : 1;
}

function within(text: string, { start, end }: { start?: string; end?: string }): boolean {
  return (start === undefined || byBytes(start, text) <= 0) && (end === undefined || byBytes(text, end) < 0);
}

describe('orderOf', () => {
  it('orders as the bytes of UTF-8 do', () => {
    fc.assert(
      fc.property(key, key, (a, b) => {
        expect(byOrder(a, b)).toBe(byBytes(a, b));
        expect(Math.sign(compareKeys(a, b))).toBe(byBytes(a, b));
      }),
      { numRuns: 5000 },
    );
  });

  it('orders every two code points as their bytes do, at all edges', () => {
    const edges = [0x1, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xfffd, 0xffff, 0x10000, 0x103ff, 0x10400, 0xfffff, 0x10ffff];
    const texts = edges.flatMap((code) => [
      String.fromCodePoint(code),
      `a${String.fromCodePoint(code)}`,
      `${String.fromCodePoint(code)}a`,
    ]);
    for (const a of texts) for (const b of texts) expect([a, b, byOrder(a, b)]).toEqual([a, b, byBytes(a, b)]);
  });

  it('is its own for every key without surrogates and what is above them', () => {
    expect(orderOf('planner-001/ä漢')).toBe('planner-001/ä漢');
  });
});

describe('ranges', () => {
  it('after a key begin with the first key that is possible behind it', () => {
    fc.assert(
      fc.property(key, key, (a, b) => {
        expect(within(b, { start: keyAfter(a) })).toBe(byBytes(b, a) > 0 && !b.startsWith(`${a}\0`));
      }),
    );
  });

  it('of a prefix hold the keys that begin with it, and no other', () => {
    const prefix = fc.oneof(key, fc.constant(''));
    fc.assert(
      fc.property(prefix, key, (start, text) => {
        expect(within(text, prefixRange(start))).toBe(text.startsWith(start));
        expect(within(start + text, prefixRange(start))).toBe(true);
      }),
      { numRuns: 3000 },
    );
  });

  it('of the last code points are open at their end', () => {
    expect(prefixRange('a\u{10ffff}')).toEqual({ start: 'a\u{10ffff}', end: 'b' });
    expect(prefixRange('\u{10ffff}\u{10ffff}')).toEqual({ start: '\u{10ffff}\u{10ffff}' });
    expect(prefixRange('\ud7ff')).toEqual({ start: '\ud7ff', end: '\ue000' });
  });
});

describe('numbers in keys', () => {
  it('are ordered as text as they are as numbers', () => {
    const number = fc.oneof(fc.nat(), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }));
    fc.assert(fc.property(number, number, (a, b) => Math.sign(a - b) === byBytes(padded(a), padded(b))));
    expect(padded(Number.MAX_SAFE_INTEGER)).toHaveLength(16);
  });

  it('stamp a key with revision and position', () => {
    expect(stampedKey('log/', padded(42), 7)).toBe('log/00000000000000420007');
    expect(stampedKey('', padded(1), 999)).toBe('00000000000000010999');
  });
});

describe('leased keys', () => {
  it('begin with their deadline, and end with the key', () => {
    expect(leasedKey('a', 1_700_000_000_000)).toBe('0001700000000000>a');
    expect(leasedKey('', 5)).toHaveLength(LEASE_PREFIX_LENGTH);
  });

  it('give back deadline and key, also after another lease', () => {
    const plain = key.filter((text) => deadlineOf(text) === undefined);
    const time = fc.integer({ min: 0, max: 9_999_999_999_999 });
    fc.assert(
      fc.property(plain, time, time, (text, first, second) => {
        const leased = leasedKey(text, first);
        expect([deadlineOf(leased), unleasedKey(leased)]).toEqual([first, text]);
        expect(leasedKey(leased, second)).toBe(leasedKey(text, second));
        expect(unleasedKey(text)).toBe(text);
      }),
    );
  });

  it.each([
    '',
    'a',
    '0000000000000001',
    '000000000000001>a',
    '00000000000000001>a',
    '0000000000000001a',
    'a000000000000001>a',
    '٠000000000000001>a',
    ' 000000000000001>a',
    '0000000000000001>',
  ])('are not keys like %j', (text) => {
    expect(deadlineOf(text)).toBeUndefined();
    expect(unleasedKey(text)).toBe(text);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { globMatcher, literalPrefix, matchesGlob } from '../../src/memory/glob.ts';
import { compareKeys, prefixRange } from '../../src/storage/keys.ts';

/** By definition: a star is any number of characters, tried one after the other. */
function reference(pattern: readonly string[], text: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return text.length === 0;
  if (first === '*') return reference(rest, text) || (text.length > 0 && reference(pattern, text.slice(1)));
  return text.length > 0 && (first === '?' || first === text[0]) && reference(rest, text.slice(1));
}

const letters = fc.constantFrom('a', 'b', '😀', '😁', '\ue000', 'é', '[', '\\', '.');
const patterns = fc.array(fc.oneof({ weight: 2, arbitrary: letters }, fc.constantFrom('*', '?')), { maxLength: 9 });
const texts = fc.array(letters, { maxLength: 9 });

describe('a pattern', () => {
  it.each([
    ['task_*', 'task_1', true],
    ['task_*', 'task_', true],
    ['task_*', 'task', false],
    ['*', '', true],
    ['*', 'anything at all', true],
    ['', '', true],
    ['', 'a', false],
    ['a', '', false],
    ['?', 'a', true],
    ['?', '', false],
    ['?', 'ab', false],
    ['a?c', 'abc', true],
    ['*.md', 'notes.md', true],
    ['*.md', 'notes.md.bak', false],
    ['a*b*c', 'a-b-b-c', true],
    ['a*b*c', 'a-c-b', false],
    ['**', 'a', true],
    ['a**', 'a', true],
    ['*?*', '', false],
    ['task', 'Task', false],
  ])('%j and the key %j: %j', (pattern, text, matches) => {
    expect(matchesGlob(pattern, text)).toBe(matches);
  });

  it.each(['[ab]', '{a,b}', '\\*', '\\d', 'a.b', '^a$', 'a+', '(a|b)', '!a', '[!a]', 'a/b', '%', '_', '$&'])(
    'has no other special characters: %j is itself',
    (text) => {
      expect(matchesGlob(text.replace('*', '?'), text)).toBe(true);
      expect(matchesGlob(text, text)).toBe(true);
      for (const other of ['a', 'b', 'axb', '3', 'aa', '', '*']) expect(matchesGlob(text, other)).toBe(false);
    },
  );

  it('takes a character beyond the basic plane for one', () => {
    expect(matchesGlob('?', '😀')).toBe(true);
    expect(matchesGlob('??', '😀')).toBe(false);
    expect(matchesGlob('*?', '😀')).toBe(true);
    expect(matchesGlob('*??', '😀')).toBe(false);
    expect(matchesGlob('*?*?', '😀')).toBe(false);
    expect(matchesGlob('?*😁', '😀😁')).toBe(true);
    // The two differ in their second half only.
    expect(matchesGlob('*😀', '😁')).toBe(false);
    expect(matchesGlob('😀?', '😀a')).toBe(true);
  });

  it('means what it says, whatever it is', () => {
    fc.assert(
      fc.property(patterns, texts, (pattern, text) => {
        const expected = reference(pattern, text);
        expect(matchesGlob(pattern.join(''), text.join(''))).toBe(expected);
        expect(globMatcher(pattern.join(''))(text.join(''))).toBe(expected);
      }),
      { numRuns: 3000 },
    );
  });

  it('takes time in proportion to pattern and text, also where the stars could be anywhere', () => {
    // What tries each star again needs more steps for the first of these than there are atoms.
    for (const length of [512, 4096]) {
      const text = 'a'.repeat(length);
      for (const pattern of [`${'*a'.repeat(20)}*b`, `${'*a'.repeat(127)}*b`, `${'a*'.repeat(127)}b`, `${'*?'.repeat(127)}b`]) {
        expect(stepsOf(pattern, text)).toBeLessThan(8 * (pattern.length + length));
      }
      for (const pattern of [`*${'a'.repeat(254)}b`, `*${'?'.repeat(254)}b`, `*a*${'a'.repeat(250)}b*`]) {
        expect(stepsOf(pattern, text)).toBeLessThan(4 * pattern.length * length);
      }
    }
  });
});

/** How often a character is looked at. */
function stepsOf(pattern: string, text: string): number {
  let steps = 0;
  const counted = (string: string): string => {
    const charCodeAt = (index: number): number => {
      steps += 1;
      return string.charCodeAt(index);
    };
    return { length: string.length, charCodeAt } as unknown as string;
  };
  expect(matchesGlob(counted(pattern), counted(text))).toBe(false);
  return steps;
}

describe('the literal beginning of a pattern', () => {
  it.each([
    ['task_*', 'task_'],
    ['task', 'task'],
    ['*', ''],
    ['?', ''],
    ['a?b*', 'a'],
    ['[a]*', '[a]'],
    ['😀*', '😀'],
  ])('of %j is %j', (pattern, prefix) => {
    expect(literalPrefix(pattern)).toBe(prefix);
  });

  it('gives a range with every key that matches and none that begins otherwise, up to the last code point', () => {
    const ends = ['\ud7ff', '\uffff', '\u{10ffff}', 'z', '\u{10ffff}\u{10ffff}'];
    const keys = ends.flatMap((end) =>
      ['', 'a', '\u{10ffff}', '\ue000', '\u0001'].flatMap((more) => [end + more, `p${end}${more}`]),
    );
    const others = ['\ue000', '\ud7fe', 'p', 'pz', 'q', '\u{10fffe}', '\ufffe', 'p\ue000', '{'];
    for (const prefix of [...ends, ...ends.map((end) => `p${end}`)]) {
      const { start = '', end } = prefixRange(prefix);
      for (const key of [...keys, ...others]) {
        const inside = compareKeys(key, start) >= 0 && (end === undefined || compareKeys(key, end) < 0);
        if (key.startsWith(prefix)) expect([prefix, key, inside]).toEqual([prefix, key, true]);
        // Nothing comes behind the last code point, so a range that ends there needs no end and holds nothing else.
        else if (!/^\u{10ffff}+$/u.test(prefix)) expect([prefix, key, inside]).toEqual([prefix, key, false]);
      }
    }
  });
});

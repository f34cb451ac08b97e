import type { KeyRange } from './storage.ts';

/** Sort keys: their order, the ranges over them, and the two ways in which a store itself makes one. */

export const REVISION_DIGITS = 16;
const POSITION_DIGITS = 4;
/** What a stamp adds to a sort key. */
export const STAMP_LENGTH = REVISION_DIGITS + POSITION_DIGITS;
export const LEASE_PREFIX_LENGTH = REVISION_DIGITS + 1;
const LEASE_MARK = '>';

/**
 * A string that JavaScript's `<` orders as UTF-8 bytes order the key. They differ only where one key has a surrogate
 * pair and the other a unit above the surrogates, so nearly every key is its own.
 */
export function orderOf(key: string): string {
  return HIGH_UNITS.test(key) ? key.replace(EACH_HIGH_UNIT, lift) : key;
}

const HIGH_UNITS = /[\uD800-\uFFFF]/;
const EACH_HIGH_UNIT = /[\uD800-\uFFFF]/g;

/** Moves surrogates above all other units, as their code points are, and keeps everything else in order. */
function lift(unit: string): string {
  const code = unit.charCodeAt(0);
  return String.fromCharCode(code >= 0xe000 ? code - 0x800 : code + 0x2000);
}

/** Compares two keys by their UTF-8 bytes: negative, zero or positive. */
export function compareKeys(a: string, b: string): number {
  if (a === b) return 0;
  return orderOf(a) < orderOf(b) ? -1 : 1;
}

/** The first possible key after this one, for a range that begins behind it. */
export function keyAfter(key: string): string {
  return `${key}\u0001`;
}

/** The range of the keys that begin with a prefix. */
export function prefixRange(prefix: string): KeyRange {
  const points = [...prefix];
  let last = points.pop()?.codePointAt(0);
  while (last === 0x10ffff) last = points.pop()?.codePointAt(0);
  // Nothing comes behind the keys that begin with the last code point.
  if (last === undefined) return { start: prefix };
  const next = last === 0xd7ff ? 0xe000 : last + 1;
  return { start: prefix, end: points.join('') + String.fromCodePoint(next) };
}

/** A time or revision in 16 digits, so that text order is number order. */
export function padded(number: number): string {
  const last = number < TIMES_FROM ? lastNumber : lastTime;
  if (number === last.number) return last.text;
  if (number < SMALL.length && SMALL[number] !== undefined) return SMALL[number];
  const thousands = Math.floor(number / 1000);
  if (thousands !== last.thousands) {
    last.thousands = thousands;
    last.beginning = String(thousands).padStart(REVISION_DIGITS - LAST_DIGITS, '0');
  }
  const end = LAST[number - 1000 * thousands];
  if (end === undefined) return String(number).padStart(REVISION_DIGITS, '0');
  last.number = number;
  last.text = last.beginning + end;
  return last.text;
}

const LAST_DIGITS = 3;
const LAST: readonly string[] = Array.from({ length: 1000 }, (_, n) => String(n).padStart(LAST_DIGITS, '0'));
/** Versions count from 1 for each key: kept in one piece, so that all that have one share it. */
const SMALL: readonly string[] = Array.from({ length: 1000 }, (_, n) => String(n).padStart(REVISION_DIGITS, '0'));

/** Who names a revision or a time names it again next, or one that is near. The two come in turns. */
const lastNumber = { number: 0, text: '0'.repeat(REVISION_DIGITS), thousands: -1, beginning: '' };
const lastTime = { ...lastNumber };
/** What is larger is more likely a time. */
const TIMES_FROM = 1e11;

/** The positions that a commit has, each as text. */
const POSITIONS: readonly string[] = Array.from({ length: 1000 }, (_, n) => String(n).padStart(POSITION_DIGITS, '0'));

/** The sort key of a stamped put: its prefix, the commit's revision as `padded` gives it, its position in the commit. */
export function stampedKey(prefix: string, paddedRevision: string, position: number): string {
  return prefix + paddedRevision + (POSITIONS[position] ?? String(position).padStart(POSITION_DIGITS, '0'));
}

/** The sort key of a taken record: the deadline, `>`, the key it had without one. */
export function leasedKey(key: string, deadline: number): string {
  return padded(deadline) + LEASE_MARK + unleasedKey(key);
}

/** The sort key without the deadline of a take, or itself when it has none. */
export function unleasedKey(key: string): string {
  return deadlineOf(key) === undefined ? key : key.slice(LEASE_PREFIX_LENGTH);
}

/** The deadline that leads the sort key of a taken record, in epoch milliseconds. A key that is no more has none. */
export function deadlineOf(key: string): number | undefined {
  if (key.charAt(REVISION_DIGITS) !== LEASE_MARK || key.length === LEASE_PREFIX_LENGTH) return undefined;
  return numberIn(key, 0, REVISION_DIGITS);
}

/** The digits from one place up to another, read where they stand; nothing where there is anything else. */
function numberIn(text: string, from: number, to: number): number | undefined {
  let number = 0;
  for (let index = from; index < to; index++) {
    const digit = text.charCodeAt(index) - ZERO;
    if (!(digit >= 0 && digit <= 9)) return undefined;
    number = number * 10 + digit;
  }
  // What is larger was rounded on the way, and otherwise than by a conversion.
  return number <= Number.MAX_SAFE_INTEGER ? number : Number(text.slice(from, to));
}

const ZERO = 48;

/** The same stamp, so many positions further on in its commit, at the end of a text. */
export function stampBehind(text: string, positions: number): string {
  const end = text.length - POSITION_DIGITS;
  const position = numberIn(text, end, text.length) ?? 0;
  return stampedKey('', text.slice(end - REVISION_DIGITS, end), position + positions);
}

import * as z from 'zod';
import type { Clock } from './clock.ts';
import { describe } from './describe.ts';
import { MeshError } from './errors.ts';
import { type JsonObject, type JsonValue, toJson, utf8Length } from './json.ts';

/** Ids: a letter or digit, then letters, digits and `. _ : / @ + -`, 1 to 128 characters. */
export const ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$/;

/** Names of capabilities, tags and groups: as ids, also with `#`, 1 to 64 characters. */
const NAME_PATTERN = /^[A-Za-z0-9#][A-Za-z0-9._:/@+#-]{0,63}$/;
const MAX_NAMES = 64;
/** C0, DEL and C1. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it is for
const CONTROLS = /[\u0000-\u001f\u007f-\u009f]/;

/** What a built-in object says of itself, other than an object, an array or `null`. */
const EXOTIC = /^\[object (?!Object\]|Array\]|Null\])/;

/** Values that users store, as UTF-8 JSON. */
const MAX_VALUE_BYTES = 1024 * 1024;
/** Leases, messages and memory entries live at least so long … */
export const MIN_TTL_MS = 1000;
/** … and at most 30 days. */
export const MAX_TTL_MS = 30 * 86_400_000;

/**
 * Checks an input at the public edge, before anything else is done with it.
 * @param what the input's name in an error
 * @throws MeshError `invalid_input`, of the form *expected X, got Y*
 */
export function parse<T>(schema: z.ZodType<T>, input: unknown, what: string): T {
  let refused: MeshError;
  try {
    // zod takes a Map, a Date or a promise that was not awaited for an object without fields.
    const isExotic =
      schema instanceof z.ZodObject && typeof input === 'object' && EXOTIC.test(Object.prototype.toString.call(input));
    const result = isExotic ? undefined : schema.safeParse(input);
    if (result?.success) return result.data;
    refused = result
      ? refusal(result.error.issues[0] as z.core.$ZodIssue, input, what)
      : new MeshError('invalid_input', `expected ${what} to be a plain object, got ${describe(input)}`, {
          details: { path: what },
        });
  } catch {
    // An accessor or a proxy. Its own error is the caller's, and may tell anything.
    refused = new MeshError('invalid_input', `expected ${what} to be plain data, got something that throws when it is read`, {
      details: { path: what },
    });
  }
  throw refused;
}

function refusal(issue: z.core.$ZodIssue, input: unknown, what: string): MeshError {
  const path = [what, ...issue.path.map(String)].join('.');
  const got = valueAt(input, issue.path);
  const at: unknown = issue.code === 'custom' ? issue.params?.['at'] : undefined;
  if (typeof at !== 'number') return new MeshError('invalid_input', sentence(issue, path, describe(got)), { details: { path } });
  const item = `an array with ${describe((got as readonly unknown[])[at])} at ${at}`;
  return new MeshError('invalid_input', sentence(issue, path, item), { details: { path: `${path}[${at}]` } });
}

/** A policy told in words: what is expected, as it stands between *expected … to be* and *, got …*. */
export function policy<T>(accepts: (value: unknown) => value is T, expected: string): z.ZodType<T> {
  return z.custom<T>((value) => accepts(value), { message: expected });
}

/** What the first policy makes of a value that accepts it, so that what was judged is what is used. */
export function firstOf<T>(expected: string, ...policies: readonly z.ZodType<T>[]): z.ZodType<T> {
  return z.unknown().transform((value, { issues }) => {
    for (const each of policies) {
      const { success, data } = each.safeParse(value);
      if (success) return data;
    }
    issues.push({ code: 'custom', message: expected, input: value });
    return z.NEVER;
  });
}

/** A whole number within bounds, both of which it may be. */
export function wholeNumber(min: number, max: number): z.ZodType<number> {
  const accepts = (value: unknown): value is number =>
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max;
  return policy(accepts, `a whole number between ${min} and ${max}`);
}

/** A function, which zod itself can't tell more about. */
export function callback<T>(): z.ZodType<T> {
  return policy((value): value is T => typeof value === 'function', 'a function');
}

function sentence(issue: z.core.$ZodIssue, path: string, got: string): string {
  switch (issue.code) {
    case 'unrecognized_keys':
      return `expected ${path} to have known options only, got ${issue.keys.map(describe).join(', ')}`;
    case 'invalid_type':
      return `expected ${path} to be ${KINDS[issue.expected] ?? issue.expected}, got ${got}`;
    case 'invalid_value':
      return `expected ${path} to be one of ${issue.values.map(describe).join(', ')}, got ${got}`;
    default:
      return `expected ${path} to be ${issue.message}, got ${got}`;
  }
}

/** What zod calls some kinds of values, as people do. */
const KINDS: Readonly<Record<string, string>> = {
  nonoptional: 'given',
  object: 'an object',
  array: 'an array',
  string: 'a string',
  number: 'a number',
};

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input;
  for (const step of path) value = (value as Record<PropertyKey, unknown> | undefined)?.[step];
  return value;
}

const isId = (value: unknown): value is string => typeof value === 'string' && ID_PATTERN.test(value);

/** An id, by the one rule for ids. */
export const id: z.ZodType<string> = policy(
  isId,
  'an id (a letter or digit, then letters, digits and . _ : / @ + -, at most 128 characters)',
);

/**
 * Different strings, each of which `accepts`. What comes out is a copy that nobody can change: what was judged is what
 * will be stored, whatever the caller does with its own array meanwhile.
 */
export function distinct(
  accepts: (value: unknown) => value is string,
  expected: string,
  atMost = MAX_NAMES,
): z.ZodType<readonly string[]> {
  return z.unknown().transform((value, { issues }) => {
    const copy = plainArray(value, atMost);
    const at = copy?.findIndex((item, n) => !accepts(item) || copy.indexOf(item) < n);
    if (copy && at === -1) return copy as readonly string[];
    const params = at === undefined ? {} : { at };
    issues.push({ code: 'custom', message: `an array of at most ${atMost} different ${expected}`, input: value, params });
    return z.NEVER;
  });
}

/** A frozen copy of an array of at most so many items of plain data. */
export function plainArray(value: unknown, atMost: number): readonly JsonValue[] | undefined {
  try {
    return Array.isArray(value) && value.length <= atMost ? (jsonValue(value, 'array') as readonly JsonValue[]) : undefined;
  } catch {
    return undefined;
  }
}

/** Capabilities, tags, groups. */
export const names: z.ZodType<readonly string[]> = distinct(
  (value): value is string => typeof value === 'string' && NAME_PATTERN.test(value),
  'names (letters, digits and . _ : / @ + - #, 1 to 64 characters each)',
);

/** One line of well-formed text without control characters, of at most so many UTF-8 bytes. */
export function line(maxBytes: number): z.ZodType<string> {
  const accepts = (value: unknown): value is string =>
    typeof value === 'string' &&
    value !== '' &&
    value.length <= maxBytes &&
    value.isWellFormed() &&
    !CONTROLS.test(value) &&
    isWithin(value, maxBytes);
  return policy(accepts, `one line of 1 to ${maxBytes} bytes of well-formed Unicode`);
}

/** Free text of at most so many UTF-8 bytes. */
export function text(maxBytes: number): z.ZodType<string> {
  const accepts = (value: unknown): value is string =>
    typeof value === 'string' && value.isWellFormed() && isWithin(value, maxBytes);
  return policy(accepts, `at most ${maxBytes} bytes of well-formed Unicode`);
}

/** Whether a text is of at most so many UTF-8 bytes; of a short one that is seen from its length. */
function isWithin(value: string, maxBytes: number): boolean {
  return value.length * 3 <= maxBytes || (value.length <= maxBytes && utf8Length(value) <= maxBytes);
}

/** The signal of a call that waits. */
export const abortSignal: z.ZodType<AbortSignal> = policy(
  (value): value is AbortSignal =>
    typeof value === 'object' &&
    value !== null &&
    typeof (value as AbortSignal).addEventListener === 'function' &&
    'aborted' in value,
  'an AbortSignal',
);

/**
 * A value that a user stores or sends: any JSON of at most 1 MiB.
 * @throws MeshError `invalid_input`, `limit_exceeded`
 */
export function jsonValue(value: unknown, what: string): JsonValue {
  return toJson(value, what, MAX_VALUE_BYTES);
}

/** The same, of an object. */
export function jsonObject(value: unknown, what: string): JsonObject {
  const accepted = jsonValue(value, what);
  if (typeof accepted === 'object' && accepted !== null && !Array.isArray(accepted)) return accepted as JsonObject;
  throw new MeshError('invalid_input', `expected ${what} to be an object, got ${describe(value)}`, { details: { path: what } });
}

/** Whether it is an object that has these methods, its own or inherited. */
export function hasMethods(value: unknown, names: readonly string[]): boolean {
  return typeof value === 'object' && value !== null && names.every((name) => typeof Reflect.get(value, name) === 'function');
}

const isClock = (value: unknown): value is Clock => hasMethods(value, ['now', 'setTimeout', 'clearTimeout', 'nextTurn']);

export const clockPolicy: z.ZodType<Clock> = policy(isClock, 'a clock');

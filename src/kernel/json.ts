import { MeshError } from './errors.ts';
import { Acceptance, type Mark } from './json-mark.ts';
import { type JsonLimits, MAX_ARRAY_SEARCHED, MAX_JSON_DEPTH, MAX_JSON_PARTS, refusal } from './json-refusal.ts';

/** Plain JSON data, deeply frozen wherever this library hands it out. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
/** An object of plain JSON. */
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** A code unit takes at most six bytes of JSON (`\u0007`). */
const MAX_UNIT_BYTES = 6;
/** The longest have a sign, `0.`, five zeros and 17 digits: `-0.0000010556834894432702`. */
const MAX_NUMBER_BYTES = 25;
/** An upper bound of a size is at most so many times the size: 26 bytes are set aside for a digit and a comma. */
const BOUND_TO_SIZE = 13;
/** A text that may be larger is measured as it is parsed, since whoever stores its value again would have to. */
const MEASURED_FROM = 1024 * 1024;

/**
 * The one pass at the public edge: validates, copies, freezes and sizes, so that nothing behind it does so again.
 * What it has accepted once it takes as it is, also inside a larger value.
 *
 * `-0` becomes `0`; `__proto__` and its like are data. Refused, with the path of the offender: `undefined`, functions,
 * symbols, BigInt, `NaN` and infinities, lone surrogates, accessors, sparse arrays, instances of classes (also `Date`,
 * `Map`, boxed strings), cycles, more than 64 levels and more than 32,768 containers and names.
 *
 * @param name what the value is called in an error, the first part of the path
 * @param maxBytes the largest size as UTF-8 JSON
 * @param room how much deeper and richer it may be
 * @throws MeshError `invalid_input`, `limit_exceeded`
 */
export function toJson(value: unknown, name: string, maxBytes: number, room = NO_ROOM): JsonValue {
  if (typeof value === 'object' && value !== null && Acceptance.fits(value, maxBytes, MAX_JSON_DEPTH + room.levels)) {
    return value as JsonValue;
  }
  if (typeof value === 'number' && Number.isFinite(value) && maxBytes >= MAX_NUMBER_BYTES) return value + 0;
  const pass = new Pass(maxBytes, MAX_JSON_DEPTH + room.levels, MAX_JSON_PARTS + room.parts);
  const accepted = copyWith(pass, value, name);
  if (pass.bytesAtMost > maxBytes) {
    const bytes = utf8Length(JSON.stringify(accepted));
    if (bytes > maxBytes) {
      throw new MeshError('limit_exceeded', `expected ${name} of at most ${maxBytes} bytes of JSON, got ${bytes}`);
    }
    // Known now, so that it is not measured again wherever the bound would be too much.
    pass.measured(bytes);
  }
  if (typeof accepted === 'object' && accepted !== null && accepted !== value) {
    new Acceptance(accepted, pass);
    return Object.freeze(accepted);
  }
  return accepted;
}

/** What a record of this library may have beyond a value that a user stores in it. */
export interface JsonRoom {
  readonly levels: number;
  readonly parts: number;
}

const NO_ROOM: JsonRoom = { levels: 0, parts: 0 };

function copyWith(pass: Pass, value: unknown, name: string): JsonValue {
  try {
    const copy = pass.copy(value, 0);
    if (copy !== undefined && !pass.isTooRich) return copy;
    throw refusal(value, name, pass.limits);
  } catch (error) {
    if (error instanceof MeshError) throw error;
    // A proxy, or an accessor in an array too long to be searched for one.
    throw new MeshError('invalid_input', `expected ${name} to be plain data, got something that throws when it is read`);
  }
}

/**
 * The value of a text that a store wrote with `JSON.stringify` of an accepted value: accepted again, frozen in place,
 * with nothing copied.
 * @throws SyntaxError when the text is not JSON
 */
export function parseAccepted(text: string): JsonValue {
  const value = JSON.parse(text) as JsonValue;
  if (typeof value === 'object' && value !== null) {
    const pass = new Pass();
    if (text.length * 3 <= MEASURED_FROM) pass.bytesAtMost = text.length * 3;
    else pass.measured(utf8Length(text));
    pass.adopt(value, 1);
    new Acceptance(value, pass);
  }
  return value;
}

/**
 * A record that this library has just made, of texts and numbers that were checked and of accepted values: accepted as
 * well, frozen in place, with nothing copied. Nobody else may hold it yet.
 */
export function acceptOwn(record: object): JsonValue {
  if (Acceptance.has(record)) return record as JsonValue;
  const pass = new Pass();
  pass.own(record, 1);
  new Acceptance(record, pass);
  return record as JsonValue;
}

/** An upper bound of the size of a text as UTF-8 JSON. */
export function textBytesAtMost(text: string | undefined): number {
  return text === undefined ? 0 : text.length * MAX_UNIT_BYTES + 2;
}

/** An upper bound of the size of an accepted value as UTF-8 JSON. Costs no walk. */
export function jsonBytesAtMost(value: JsonValue): number {
  if (typeof value === 'string') return textBytesAtMost(value);
  if (typeof value !== 'object' || value === null) return MAX_NUMBER_BYTES;
  return Acceptance.bytesOf(value) ?? utf8Length(JSON.stringify(value));
}

/** The same where it costs nothing: of what was accepted as a whole. */
export function knownBytesAtMost(value: object): number | undefined {
  return Acceptance.bytesOf(value);
}

/** The length of a string in UTF-8. */
export function utf8Length(text: string): number {
  return encoder.encode(text).length;
}

const encoder = new TextEncoder();

/** What one walk learns of the value it copies. */
class Pass {
  bytesAtMost = 0;
  isExact = false;
  parts = 0;
  height = 0;
  readonly #maxBytes: number;
  readonly #mostBound: number;
  readonly #maxDepth: number;
  readonly #maxParts: number;
  /** By how much what was measured before is more than its bound tells, as a bound. */
  #known = 0;

  constructor(maxBytes = Number.POSITIVE_INFINITY, maxDepth = Number.POSITIVE_INFINITY, maxParts = Number.POSITIVE_INFINITY) {
    this.#maxBytes = maxBytes;
    this.#mostBound = maxBytes * BOUND_TO_SIZE;
    this.#maxDepth = maxDepth;
    this.#maxParts = maxParts;
  }

  get isTooRich(): boolean {
    return this.parts > this.#maxParts;
  }

  get limits(): JsonLimits {
    return { bytes: this.#maxBytes, depth: this.#maxDepth, parts: this.#maxParts };
  }

  /** What it takes, which its bound has only limited. */
  measured(bytes: number): void {
    this.bytesAtMost = bytes;
    this.isExact = true;
  }

  /**
   * The copy, frozen but for its outermost container, or `undefined` where something in it is refused. A value that
   * cannot be within `maxBytes` is refused before it is read on: the same part may stand in it a million times.
   */
  copy(value: unknown, depth: number): JsonValue | undefined {
    switch (typeof value) {
      case 'string':
        if (this.#exceeds(value.length)) return undefined;
        this.bytesAtMost += value.length * MAX_UNIT_BYTES + 3;
        return value.isWellFormed() ? value : undefined;
      case 'number':
        this.bytesAtMost += MAX_NUMBER_BYTES + 1;
        return Number.isFinite(value) ? value + 0 : undefined;
      case 'boolean':
        this.bytesAtMost += 6;
        return value;
      case 'object': {
        if (value === null) {
          this.bytesAtMost += 5;
          return null;
        }
        const known = Acceptance.of(value);
        if (known) return this.#reuse(value as JsonValue, known, depth);
        this.parts += 1;
        if (depth >= this.#maxDepth || this.parts > this.#maxParts) return undefined;
        if (depth >= this.height) this.height = depth + 1;
        this.bytesAtMost += 3;
        const copy = Array.isArray(value) ? this.#array(value, depth + 1) : this.#object(value, depth + 1);
        return copy === undefined || depth === 0 ? copy : Object.freeze(copy);
      }
      default:
        return undefined;
    }
  }

  /** Freezes and counts what was parsed a moment ago, so that nobody else can hold it. */
  adopt(value: object, depth: number): void {
    const members: readonly unknown[] = Array.isArray(value) ? value : Object.values(value);
    this.parts += members === value ? 1 : 1 + members.length;
    if (depth > this.height) this.height = depth;
    for (const member of members) if (typeof member === 'object' && member !== null) this.adopt(member, depth + 1);
    Object.freeze(value);
  }

  /** Freezes and counts what was made a moment ago; what was accepted before is counted by its mark. */
  own(value: object, depth: number): void {
    this.parts += 1;
    if (depth > this.height) this.height = depth;
    this.bytesAtMost += 3;
    if (Array.isArray(value)) {
      for (let n = 0; n < value.length; n++) this.#ownMember(value[n], depth);
    } else {
      const keys = Object.keys(value);
      for (let n = 0; n < keys.length; n++) {
        const key = keys[n] as string;
        this.bytesAtMost += key.length * MAX_UNIT_BYTES + 3;
        this.#ownMember((value as Record<string, unknown>)[key], depth);
      }
    }
    Object.freeze(value);
  }

  #ownMember(member: unknown, depth: number): void {
    this.parts += 1;
    if (typeof member === 'string') this.bytesAtMost += member.length * MAX_UNIT_BYTES + 3;
    else if (typeof member !== 'object' || member === null) this.bytesAtMost += MAX_NUMBER_BYTES + 1;
    else {
      const known = Acceptance.of(member);
      if (!known) this.own(member, depth + 1);
      else {
        this.bytesAtMost += known.bytesAtMost + 1;
        this.parts += known.parts;
        if (depth + known.height > this.height) this.height = depth + known.height;
      }
    }
  }

  #reuse(value: JsonValue, known: Mark, depth: number): JsonValue | undefined {
    const atLeast = known.isExact ? known.bytesAtMost : known.bytesAtMost / BOUND_TO_SIZE;
    if (depth + known.height > this.#maxDepth || this.#exceeds(atLeast)) return undefined;
    this.bytesAtMost += known.bytesAtMost + 1;
    this.#known += atLeast * BOUND_TO_SIZE - known.bytesAtMost;
    this.parts += known.parts;
    this.height = Math.max(this.height, depth + known.height);
    return value;
  }

  #exceeds(more: number): boolean {
    return this.bytesAtMost + this.#known + more * BOUND_TO_SIZE > this.#mostBound;
  }

  #array(source: readonly unknown[], depth: number): JsonValue[] | undefined {
    const { length } = source;
    if (Object.getPrototypeOf(source) !== Array.prototype || this.#exceeds(2 * length)) return undefined;
    const searched = length <= MAX_ARRAY_SEARCHED;
    if (searched && (Object.keys(source).length !== length || hasSymbols(source))) return undefined;
    // Of this very length where it is short: an array that grows takes room for 17 items with the first.
    const copy: JsonValue[] = searched ? new Array(length) : [];
    for (let index = 0; index < length; index++) {
      if (searched && isAccessor(source, index)) return undefined;
      const item = this.copy(source[index], depth);
      if (item === undefined) return undefined;
      copy[index] = item;
    }
    return copy;
  }

  #object(source: object, depth: number): JsonObject | undefined {
    const prototype: unknown = Object.getPrototypeOf(source);
    if ((prototype !== Object.prototype && prototype !== null) || hasSymbols(source)) return undefined;
    const copy: Record<string, JsonValue> = {};
    const keys = Object.keys(source);
    this.parts += keys.length;
    if (this.parts > this.#maxParts) return undefined;
    for (const key of keys) {
      // Asked before it is read, so that it is refused without having run.
      if (isAccessor(source, key)) return undefined;
      const value = this.copy((source as Record<string, unknown>)[key], depth);
      if (value === undefined || this.#exceeds(key.length) || !key.isWellFormed()) return undefined;
      this.bytesAtMost += key.length * MAX_UNIT_BYTES + 3;
      if (key === '__proto__') Object.defineProperty(copy, key, { value, enumerable: true });
      else copy[key] = value;
    }
    return copy;
  }
}

const { __lookupGetter__: lookupGetter } = Object.prototype as unknown as {
  readonly __lookupGetter__: (this: object, key: PropertyKey) => unknown;
};

/**
 * Whether reading a property of its own would run a getter. Asked for the getter itself, which makes no descriptor: that
 * would be a quarter of the whole copy. A property that has only a setter reads as `undefined`, which is refused as well.
 */
function isAccessor(source: object, key: PropertyKey): boolean {
  return lookupGetter.call(source, key) !== undefined;
}

function hasSymbols(source: object): boolean {
  return Object.getOwnPropertySymbols(source).length > 0;
}

import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MeshError } from '../../src/kernel/errors.ts';
import { type JsonValue, jsonBytesAtMost, parseAccepted, toJson, utf8Length } from '../../src/kernel/json.ts';

const MAX = 1024 * 1024 + 64 * 1024;
/** More than any machine needs, and far less than what a walk without bounds takes. Of this process's own time, not the clock's. */
const BOUND_MS = 3_000;

function milliseconds(work: () => void): number {
  const before = process.cpuUsage();
  work();
  return process.cpuUsage(before).user / 1_000;
}

const accept = (value: unknown): JsonValue => toJson(value, 'value', MAX);

function refused(value: unknown, maxBytes = MAX): MeshError {
  try {
    toJson(value, 'value', maxBytes);
  } catch (error) {
    if (error instanceof MeshError) return error;
    throw error;
  }
  throw new Error('expected a refusal, got none');
}

function isFrozen(value: unknown): boolean {
  return typeof value !== 'object' || value === null || (Object.isFrozen(value) && Object.values(value).every(isFrozen));
}

/** Everything that JSON can say, with names that mean something to JavaScript. */
const json = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    fc.constantFrom(null, true, false),
    fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer()),
    fc.string({ unit: 'binary' }),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(
      fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('__proto__', 'constructor', 'toString', '', '0')),
      tie('value'),
      {
        maxKeys: 5,
      },
    ),
  ),
})).value;

describe('toJson', () => {
  it('answers what a round trip through JSON would', () => {
    fc.assert(
      fc.property(fc.oneof(json, fc.jsonValue({ noUnicodeString: false }) as fc.Arbitrary<JsonValue>), (value) => {
        const before = JSON.stringify(value);
        const accepted = accept(value);
        assert.deepEqual(accepted, JSON.parse(before));
        expect(JSON.stringify(accepted)).toBe(before);
        expect(JSON.stringify(value)).toBe(before);
      }),
      { numRuns: 2000 },
    );
  });

  it('freezes what it answers to the depth, and nothing of what it was given', () => {
    fc.assert(
      fc.property(json, (value) => {
        const accepted = accept(value);
        expect(isFrozen(accepted)).toBe(true);
        if (typeof value === 'object' && value !== null) {
          expect(Object.isFrozen(value)).toBe(false);
          expect(accepted).not.toBe(value);
        }
      }),
    );
  });

  it('takes what it has accepted as it is, also inside of more', () => {
    fc.assert(
      fc.property(json, (value) => {
        const accepted = accept(value);
        expect(accept(accepted)).toBe(accepted);
        const larger = accept({ inside: [accepted] }) as { inside: JsonValue[] };
        expect(larger.inside[0]).toBe(accepted);
      }),
    );
  });

  it('refuses one byte less than the size of the JSON, and accepts the size', () => {
    fc.assert(
      fc.property(json, (value) => {
        const bytes = Buffer.byteLength(JSON.stringify(value));
        assert.deepEqual(toJson(value, 'value', bytes), JSON.parse(JSON.stringify(value)));
        const again = accept(value);
        expect(toJson(again, 'value', bytes)).toBe(again);
        if (bytes > 1) expect(refused(value, bytes - 1).code).toBe('limit_exceeded');
        if (bytes > 1 && typeof again === 'object') expect(refused(again, bytes - 1).code).toBe('limit_exceeded');
      }),
      { numRuns: 1000 },
    );
  });

  it('takes nothing for larger than it is, whatever comes after many small parts', () => {
    for (const small of [1, true, null, '', [], {}, { '': 0 }]) {
      const value = [...Array.from({ length: 1000 }, () => small), 'text', [[]], { name: 'x' }];
      const bytes = Buffer.byteLength(JSON.stringify(value));
      assert.deepEqual(toJson(value, 'value', bytes), value);
      expect(toJson([accept(value), 'text'], 'value', bytes + 9)).toBeDefined();
    }
  });

  it('accepts JSON or throws a MeshError, whatever it is given', () => {
    const anything = fc.anything({
      withBigInt: true,
      withBoxedValues: true,
      withDate: true,
      withMap: true,
      withNullPrototype: true,
      withObjectString: true,
      withSet: true,
      withSparseArray: true,
      withTypedArray: true,
      withUnicodeString: true,
    });
    fc.assert(
      fc.property(anything, (value) => {
        let accepted: JsonValue;
        try {
          accepted = accept(value);
        } catch (error) {
          expect(MeshError.is(error, 'invalid_input', 'limit_exceeded')).toBe(true);
          return;
        }
        expect(JSON.stringify(accepted)).toBe(JSON.stringify(value));
        expect(isFrozen(accepted)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  it('names the path of the offender, wherever it stands', () => {
    const step = fc.oneof(fc.integer({ min: 0, max: 5 }), fc.stringMatching(/^[a-z]{1,5}$/));
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 20 }),
        fc.constantFrom(undefined, Number.NaN, 1n, new Date(0)),
        (path, offender) => {
          let value: unknown = offender;
          for (const at of [...path].reverse()) {
            value = typeof at === 'number' ? [...Array.from({ length: at }, () => null), value] : { before: 1, [at]: value };
          }
          const error = refused(value);
          const expected = path.map((at) => (typeof at === 'number' ? `[${at}]` : `.${at}`)).join('');
          expect(error.details).toEqual({ path: `value${expected}` });
          expect(error.message).toContain(`at value${expected}`);
        },
      ),
    );
  });

  it('turns -0 into 0', () => {
    expect(accept(-0)).toBe(0);
    expect(accept([-0])).toStrictEqual([0]);
  });

  it('keeps __proto__ and its like as data, and changes no prototype', () => {
    const text = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"hasOwnProperty":1}';
    const accepted = accept(JSON.parse(text));
    expect(JSON.stringify(accepted)).toBe(text);
    expect(Object.getPrototypeOf(accepted)).toBe(Object.prototype);
    expect('polluted' in {}).toBe(false);
  });

  it('takes objects without prototype, and gives them one', () => {
    const accepted = accept(Object.assign(Object.create(null), { a: 1 }));
    expect(accepted).toStrictEqual({ a: 1 });
  });

  it('accepts 64 levels, and refuses 65, also where the inner ones were accepted before', () => {
    const nested = (levels: number, core: unknown): unknown => {
      let value = core;
      for (let level = 0; level < levels; level++) value = level % 2 ? [value] : { a: value };
      return value;
    };
    expect(JSON.stringify(accept(nested(64, 1)))).toBe(JSON.stringify(nested(64, 1)));
    expect(refused(nested(65, 1)).message).toMatch(/^expected at most 64 levels, got more, at value/);
    const inner = accept(nested(30, 1));
    expect(accept(nested(34, inner))).toBeDefined();
    expect(refused(nested(35, inner)).message).toMatch(/^expected at most 64 levels/);
  });
});

describe('what toJson refuses', () => {
  class Point {
    x = 1;
  }
  const cycle: { list: unknown[] } = { list: [] };
  cycle.list.push(cycle);
  const { proxy: revoked, revoke } = Proxy.revocable({}, {});
  revoke();
  const keysThatNeverEnd = Object.assign([1], {
    *keys() {
      for (;;) yield 0;
    },
  });
  const longWithAccessor = Array.from({ length: 100 }, () => 1);
  Object.defineProperty(longWithAccessor, 50, {
    get() {
      throw new Error('thrown by an accessor');
    },
    enumerable: true,
  });

  it.each<[string, unknown, string]>([
    ['undefined', undefined, 'expected JSON, got undefined (remove it or use null), at value'],
    ['undefined inside', { a: undefined }, 'expected JSON, got undefined (remove it or use null), at value.a'],
    ['a function', () => {}, 'expected JSON, got a function, at value'],
    ['a symbol', Symbol('s'), 'expected JSON, got a symbol, at value'],
    ['a bigint', [1n], 'expected JSON, got a bigint, at value[0]'],
    ['NaN', Number.NaN, 'expected a finite number, got NaN, at value'],
    ['infinity', { a: [Number.NEGATIVE_INFINITY] }, 'expected a finite number, got -Infinity, at value.a[0]'],
    ['a lone surrogate', 'a\ud800', 'expected well-formed Unicode, got a lone surrogate, at value'],
    ['a lone surrogate in a name', { 'a\udc00': 1 }, 'expected a well-formed name, got a lone surrogate, at value["a\\udc00"]'],
    ['a date', new Date(0), 'expected a plain object, got an instance of Date, at value'],
    ['a map', new Map(), 'expected a plain object, got an instance of Map, at value'],
    ['a boxed string', new String('a'), 'expected a plain object, got an instance of String, at value'],
    ['bytes', new Uint8Array(2), 'expected a plain object, got an instance of Uint8Array, at value'],
    ['a buffer', Buffer.from('a'), 'expected a plain object, got an instance of Buffer, at value'],
    ['an error', new Error('x'), 'expected a plain object, got an instance of Error, at value'],
    ['a promise', Promise.resolve(), 'expected a plain object, got an instance of Promise, at value'],
    ['an instance of a class', { at: new Point() }, 'expected a plain object, got an instance of Point, at value.at'],
    ['an object with a prototype of its own', Object.create({ a: 1 }), 'expected a plain object, got an object, at value'],
    ['an array of a subclass', new (class extends Array {})(), 'expected a plain array, got one of another class, at value'],
    ['a cycle', cycle, 'expected a tree, got a cycle, at value.list[0]'],
    ['a hole', Object.assign([1], { 2: 3 }), 'expected a value, got a hole (use null), at value[1]'],
    ['nothing but holes', new Array(2 ** 20), 'expected a value, got a hole (use null), at value[0]'],
    ['an array with a name', Object.assign([1], { extra: 1 }), 'expected an array without named properties, got one, at value'],
    ['an array whose keys never end', keysThatNeverEnd, 'expected an array without named properties, got one, at value'],
    ['a symbol as name', { [Symbol('s')]: 1 }, 'expected names that are strings, got a symbol, at value'],
    [
      'an array with a symbol',
      Object.assign([1], { [Symbol('s')]: 1 }),
      'expected names that are strings, got a symbol, at value',
    ],
    ['toJSON', { toJSON: () => 1 }, 'expected JSON, got a function, at value.toJSON'],
    [
      'an odd name',
      { 'a b': { '"': undefined } },
      'expected JSON, got undefined (remove it or use null), at value["a b"]["\\""]',
    ],
    ['a revoked proxy', { a: revoked }, 'expected value to be plain data, got something that throws when it is read'],
    [
      'a long array with an accessor',
      longWithAccessor,
      'expected value to be plain data, got something that throws when it is read',
    ],
  ])('%s', (_, value, message) => {
    const error = refused(value);
    expect([error.code, error.message]).toEqual(['invalid_input', message]);
  });

  it('an accessor, without running it', () => {
    let ran = 0;
    const accessor = {
      get a() {
        ran += 1;
        return 1;
      },
    };
    const list = Object.defineProperty([1, 2], 1, { get: () => (ran += 1), enumerable: true });
    expect(refused(accessor).message).toBe('expected a plain value, got an accessor, at value.a');
    expect(refused(list).message).toBe('expected a plain value, got an accessor, at value[1]');
    expect(refused({ set a(_: number) {} }).message).toBe('expected a plain value, got an accessor, at value.a');
    expect(ran).toBe(0);
  });

  it('a proxy that answers otherwise the second time', () => {
    const fickle = new Proxy([1], { get: (target, name) => (name === '0' ? undefined : Reflect.get(target, name)) });
    expect(refused(fickle).message).toBe('expected plain data, got something that changes, at value');
  });

  it('a path that would fill the screen, cut to be read', () => {
    const error = refused({ ['😀'.repeat(500)]: { a: undefined } });
    expect(error.message.length).toBeLessThan(300);
    expect(error.message.isWellFormed()).toBe(true);
  });
});

describe('the work of toJson is bounded', () => {
  const long = 'é漢'.repeat(256 * 1024);
  const numbers = Array.from({ length: 2000 }, () => 1);
  const half = accept(['x'.repeat(MAX / 2)]);
  const bomb = (levels: number): unknown => {
    let value: unknown = ['x'];
    for (let level = 0; level < levels; level++) value = [value, value, value, value, value, value, value, value];
    return value;
  };
  const names = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [long + index, 1]));

  it.each<[string, () => unknown]>([
    ['a tree of eight branches, 30 levels deep, that is one list shared', () => bomb(30)],
    ['one list of numbers, sixty thousand times', () => Array.from({ length: 60_000 }, () => numbers)],
    ['one long string, half a million times', () => Array.from({ length: 500_000 }, () => long)],
    ['one long name, in twenty thousand objects', () => Array.from({ length: 20_000 }, () => names)],
    ['one accepted value, ten thousand times', () => Array.from({ length: 10_000 }, () => half)],
    ['four million numbers', () => Array.from({ length: 4_000_000 }, () => 1)],
    ['a list of the greatest length, with holes', () => Object.assign([1], { length: 2 ** 32 - 1 })],
    ['a hundred thousand empty objects', () => Array.from({ length: 100_000 }, () => ({}))],
    [
      'an object of a hundred thousand names',
      () => Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [index, 1])),
    ],
    ['a string of 64 MiB', () => 'é'.repeat(32 * 1024 * 1024)],
  ])('for %s', (_, make) => {
    const value = make();
    let error = new MeshError('closed', 'expected a refusal, got none');
    expect(
      milliseconds(() => {
        error = refused(value);
      }),
    ).toBeLessThan(BOUND_MS);
    expect(['limit_exceeded', 'invalid_input']).toContain(error.code);
    expect(error.message.length).toBeLessThan(200);
  });

  it('for the largest values that it accepts', () => {
    const values = [
      long.slice(0, 200 * 1024),
      Array.from({ length: 500_000 }, () => 1),
      Array.from({ length: 30_000 }, () => ({})),
    ];
    expect(milliseconds(() => values.forEach(accept))).toBeLessThan(BOUND_MS);
  });

  it('says so when there is too much inside, or too many bytes', () => {
    expect(refused(Array.from({ length: 70_000 }, () => [])).message).toBe(
      'expected value with at most 32768 containers and names inside, got more',
    );
    expect(refused(Array.from({ length: 10 }, () => half)).message).toBe(
      `expected value of at most ${MAX} bytes of JSON, got more`,
    );
    expect(refused(['12345'], 8).message).toBe('expected value of at most 8 bytes of JSON, got 9');
  });
});

describe('jsonBytesAtMost', () => {
  it('is the size of what had to be measured, also inside of something else and once it was parsed', () => {
    const names = Object.fromEntries(Array.from({ length: 30_000 }, (_, n) => [`name-${n}`, 'ü']));
    const bytes = Buffer.byteLength(JSON.stringify(names));
    const accepted = accept(names);
    expect(jsonBytesAtMost(accepted)).toBe(bytes);
    expect(jsonBytesAtMost(parseAccepted(JSON.stringify(names)))).toBe(bytes);
    expect(jsonBytesAtMost(accept([accepted]))).toBeLessThan(bytes + 100);
  });

  it('is never less than the size', () => {
    fc.assert(
      fc.property(json, (value) => {
        expect(jsonBytesAtMost(accept(value))).toBeGreaterThanOrEqual(Buffer.byteLength(JSON.stringify(value)));
      }),
      { numRuns: 1000 },
    );
  });

  it('knows how long a number may be', () => {
    for (const longest of [Number('-0.0000010556834894432702'), -Number.MAX_VALUE, -Number.MIN_VALUE]) {
      expect(String(longest).length).toBeLessThanOrEqual(25);
      for (const value of [longest, [longest, longest], { a: longest }]) {
        expect(jsonBytesAtMost(accept(value))).toBeGreaterThanOrEqual(JSON.stringify(value).length);
        expect(jsonBytesAtMost(parseAccepted(JSON.stringify(value)))).toBeGreaterThanOrEqual(JSON.stringify(value).length);
      }
    }
  });

  it('knows values that toJson has not seen by their size', () => {
    expect(jsonBytesAtMost({ a: [1] })).toBe(9);
  });
});

describe('parseAccepted', () => {
  it('answers the value of its text, frozen to the depth and accepted', () => {
    fc.assert(
      fc.property(json, (value) => {
        const text = JSON.stringify(value);
        const parsed = parseAccepted(text);
        assert.deepEqual(parsed, JSON.parse(text));
        expect(isFrozen(parsed)).toBe(true);
        expect(accept(parsed)).toBe(parsed);
        expect(jsonBytesAtMost(parsed)).toBeGreaterThanOrEqual(Buffer.byteLength(text));
        const bytes = Buffer.byteLength(text);
        expect(toJson([parsed], 'value', bytes + 2)).toBeDefined();
        expect(refused([parsed], bytes + 1).code).toBe('limit_exceeded');
      }),
    );
  });

  it('counts levels and parts as toJson does', () => {
    const deep = '['.repeat(40) + ']'.repeat(40);
    const nest = (levels: number): unknown =>
      JSON.parse('['.repeat(levels) + ']'.repeat(levels), (_, item) => (item.length ? item : [parseAccepted(deep)]));
    expect(accept(nest(24))).toBeDefined();
    expect(refused(nest(25)).message).toMatch(/^expected at most 64 levels/);
    const many = JSON.stringify(Array.from({ length: 20_000 }, () => ({})));
    expect(accept([parseAccepted(many)])).toBeDefined();
    expect(refused([parseAccepted(many), parseAccepted(many)]).message).toMatch(/^expected value with at most 32768 containers/);
  });

  it('throws a SyntaxError for what is no JSON', () => {
    expect(() => parseAccepted('{"a":')).toThrow(SyntaxError);
  });
});

describe('utf8Length', () => {
  it('is the length of the bytes', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => utf8Length(text) === Buffer.byteLength(text)));
  });
});

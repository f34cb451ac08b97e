import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { KeyManager, SharedMemory } from '../../src/index.ts';
import { MeshError } from '../../src/kernel/errors.ts';
import { distinct, id, line, names, parse, policy } from '../../src/kernel/inputs.ts';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';

const SECRET = 'only for the caller';
const fail = (): never => {
  throw new Error(SECRET);
};

/** Objects that throw when they are read, each at another place. */
const THROWING: Record<string, object> = {
  'a getter': {
    get id() {
      return fail();
    },
  },
  'a getter of an unknown option': {
    get other() {
      return fail();
    },
  },
  'a proxy': new Proxy({ id: 'a' }, { get: fail }),
  'a proxy without names': new Proxy({ id: 'a' }, { ownKeys: fail }),
  'a proxy without prototype': new Proxy({ id: 'a' }, { getPrototypeOf: fail }),
  'what throws once it was refused': new Proxy(
    { id: '*' },
    {
      get: (() => {
        let asked = 0;
        return () => (++asked > 1 ? fail() : '*');
      })(),
    },
  ),
};

describe('options that throw when they are read', () => {
  const OPTIONS = z.strictObject({ id: id.optional() });

  it.each(Object.entries(THROWING))('are refused, and their error stays with the caller: %s', (_what, options) => {
    let error: unknown;
    try {
      parse(OPTIONS, options, 'options');
    } catch (thrown) {
      error = thrown;
    }
    expect(MeshError.is(error, 'invalid_input')).toBe(true);
    expect(JSON.stringify([(error as MeshError).message, String((error as MeshError).cause)])).not.toContain(SECRET);
  });

  it('are refused also where an option has a policy of its own', () => {
    const hidden = policy((value): value is string => (value as { deep: { er: string } }).deep.er === '', 'deep');
    expect(() => parse(hidden, null, 'options')).toThrow('expected options to be plain data, got something that throws');
  });

  it('are refused by those who do not leave all to one parser', async () => {
    const storage = new InMemoryStorage();
    const throwing = {
      storage,
      get historyPerKey() {
        return fail();
      },
    };
    expect(() => new SharedMemory(throwing)).toThrow('got something that throws when it is read');
    const keys = new KeyManager({ storage });
    await expect(
      keys.verify('x', {
        get scope() {
          return fail();
        },
      }),
    ).rejects.toThrow('got something that throws when it is read');
    await keys.close();
  });
});

describe('names', () => {
  it('are a copy that nobody can change', () => {
    const given = ['a', 'b'];
    const accepted = parse(names, given, 'names');
    given.push('c');
    expect(accepted).toEqual(['a', 'b']);
    expect(Object.isFrozen(accepted)).toBe(true);
    expect(Object.isFrozen(given)).toBe(false);
  });

  it('are judged as they are kept, whatever the array says the next time', () => {
    let asked = 0;
    const fickle = new Proxy(['a'], {
      get: (target, name) => (name === '0' && ++asked > 1 ? 'not a name' : Reflect.get(target, name)),
    });
    expect(parse(names, fickle, 'names')).toEqual(['a']);
  });

  it('are not read where there are too many', () => {
    const long = new Proxy(new Array(1_000_000), {
      get: (target, name) => {
        if (name === 'length') return target.length;
        throw new Error(`expected nobody to read ${String(name)}`);
      },
    });
    expect(names.safeParse(long).success).toBe(false);
  });

  it('are refused with the rule that they break', () => {
    const rule = 'expected names to be an array of at most 64 different names (letters, digits and . _ : / @ + - #, 1 to 64';
    const holes: string[] = [];
    holes[2] = 'a';
    const accessor = Object.defineProperty(['a'], 0, { get: () => 'a', enumerable: true });
    const { proxy: revoked, revoke } = Proxy.revocable(['a'], {});
    for (const wrong of [accessor, Object.assign(['a'], { more: 1 }), class extends Array {}.from(['a'])])
      expect(() => parse(names, wrong, 'names')).toThrow(rule);
    revoke();
    expect(names.safeParse([revoked]).success).toBe(false);
    for (const wrong of ['a', [''], ['a', 'a'], ['a b'], [5], [['a']], holes, { length: 1, 0: 'a' }, null, Array(65).fill('a')])
      expect(() => parse(names, wrong, 'names')).toThrow(rule);
    for (const [wrong, got, path] of [
      [['ok', 'two words'], 'got an array with "two words" at 1', 'names[1]'],
      [['a', 'b', 'a'], 'got an array with "a" at 2', 'names[2]'],
      [[5], 'got an array with 5 at 0', 'names[0]'],
      ['a', 'got "a"', 'names'],
    ] as const) {
      const refused = expect.objectContaining({ message: expect.stringContaining(got), details: { path } });
      expect(() => parse(names, wrong, 'names')).toThrow(refused);
    }
    const ids = Array.from({ length: 65 }, (_, n) => `n${n}`);
    expect(parse(names, ids.slice(1), 'names')).toHaveLength(64);
    expect(() => parse(names, ids, 'names')).toThrow(rule);
    const isDigit = (value: unknown): value is string => typeof value === 'string' && /^\d$/.test(value);
    expect(() => parse(distinct(isDigit, 'digits', 2), ['1', '2', '3'], 'them')).toThrow(
      'at most 2 different digits, got an array',
    );
  });
});

describe('one line', () => {
  it('has no control characters, those of Latin-1 included', () => {
    const accepts = (text: string): boolean => line(16).safeParse(text).success;
    for (let unit = 0; unit < 0x120; unit++) {
      const isControl = unit < 0x20 || (unit >= 0x7f && unit < 0xa0);
      expect(accepts(`a${String.fromCharCode(unit)}b`), unit.toString(16)).toBe(!isControl);
    }
  });
});

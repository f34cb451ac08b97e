import { expect, describe as group, it } from 'vitest';
import { describe, saidBy } from '../../src/kernel/describe.ts';
import { oddErrors } from '../support/odd-errors.ts';

class Point {}

group('describe', () => {
  it.each([
    ['short', '"short"'],
    ['', '""'],
    ['"\n', '"\\"\\n"'],
    ['x'.repeat(40), `"${'x'.repeat(40)}"`],
    ['x'.repeat(41), 'a string of 41 characters'],
    [7, '7'],
    [Number.NaN, 'NaN'],
    [true, 'true'],
    [null, 'null'],
    [undefined, 'undefined'],
    [7n, 'a bigint'],
    [Symbol('secret'), 'a symbol'],
    [() => 'secret', 'a function'],
    [['secret'], 'an array'],
    [{ secret: 1 }, 'an object'],
    [Object.create(null), 'an object'],
    [new Point(), 'an instance of Point'],
    [new Date(0), 'an instance of Date'],
    [new String('secret'), 'an instance of String'],
  ])('says what %o is', (value, expected) => {
    expect(describe(value)).toBe(expected);
  });

  it('says something of objects that throw when they are read', () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    class Nameless {}
    Object.defineProperty(Nameless, 'name', {
      get() {
        throw new Error('no name');
      },
    });
    expect(describe(proxy)).toBe('an object');
    expect(describe(new Nameless())).toBe('an object');
  });

  it('stays short and well-formed', () => {
    const named = { [`${'C'.repeat(39)}😀`]: class {} };
    const [Long] = Object.values(named);
    const text = describe(Long && new Long());
    expect(text.length).toBeLessThanOrEqual(60);
    expect(text.isWellFormed()).toBe(true);
  });
});

group('saidBy', () => {
  it.each(oddErrors())('is text, whatever was thrown: %s', (_what, thrown) => {
    const said = saidBy(thrown, 20);
    expect(said.length).toBeLessThanOrEqual(20);
    expect(said.isWellFormed()).toBe(true);
    expect(said).not.toBe('');
  });

  it.each([
    [new Error('broken'), 'broken'],
    [new TypeError(''), 'TypeError'],
    ['plain text', 'plain text'],
    [new Error('x'.repeat(30)), 'x'.repeat(20)],
    [{ message: 'no error' }, 'an object'],
    [undefined, 'undefined'],
  ])('is what %o says of itself', (thrown, said) => {
    expect(saidBy(thrown, 20)).toBe(said);
  });
});

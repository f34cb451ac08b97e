import { describe, expect, it } from 'vitest';
import { beginsLikeToken, crc32, detached, isKeyId, newKeyId, newToken, parseToken } from '../../src/keys/token.ts';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const { id, secret, token } = newToken(newKeyId());

describe('a token', () => {
  it('is smk_<id>_<secret><checksum>, of letters and digits', () => {
    expect(token).toMatch(/^smk_[0-9A-Za-z]{16}_[0-9A-Za-z]{43}[0-9A-Za-z]{6}$/);
    expect(token.startsWith(`smk_${id}_${secret}`)).toBe(true);
    expect(parseToken(token)).toEqual({ id, secret });
  });

  it('ends with the CRC-32 of its id and secret to the base 62', () => {
    // The test vector of every description of CRC-32.
    expect(crc32('123456789')).toBe(0xcbf43926);
    expect(crc32('')).toBe(0);
    expect(crc32('xx123456789yy', 2, 11)).toBe(0xcbf43926);
    const value = [...token.slice(-6)].reduce((sum, digit) => sum * 62 + ALPHABET.indexOf(digit), 0);
    expect(value).toBe(crc32(`${id}_${secret}`));
  });

  it('is another one each time, of 10,000', () => {
    const tokens = Array.from({ length: 10_000 }, () => newToken(newKeyId()));
    expect(new Set(tokens.map((one) => one.token)).size).toBe(10_000);
    expect(new Set(tokens.map((one) => one.id)).size).toBe(10_000);
    expect(new Set(tokens.map((one) => one.secret)).size).toBe(10_000);
    expect(tokens.every((one) => parseToken(one.token)?.secret === one.secret)).toBe(true);
  });

  it('holds 256 random bits, with every letter and digit as likely at each place', () => {
    const secrets = Array.from({ length: 10_000 }, () => newToken(id).secret);
    expect(Math.log2(62) * secret.length).toBeGreaterThan(256);
    const overall = countsOf(secrets.join(''));
    // 61 degrees of freedom: 61 is expected, and above 140 comes once in ten million runs.
    expect(unevenness(overall)).toBeLessThan(140);
    for (let place = 0; place < secret.length; place++) {
      expect(unevenness(countsOf(secrets.map((one) => one[place]).join('')))).toBeLessThan(150);
    }
  });
});

describe('parseToken refuses', () => {
  const accepted = (changed: unknown): boolean => parseToken(changed) !== undefined;

  it('every change of a single character into any other letter, digit or sign', () => {
    const others = [...ALPHABET, '_', '-', ' ', '.', '/', '+', '\n', '\0', 'é', 'Ā', '😀'];
    const passed: string[] = [];
    for (let place = 0; place < token.length; place++) {
      for (const other of others) {
        if (other === token[place]) continue;
        const changed = token.slice(0, place) + other + token.slice(place + 1);
        if (accepted(changed)) passed.push(changed);
      }
    }
    expect(passed).toEqual([]);
  });

  it('a character that differs from the right one only above its lowest byte, which a checksum of bytes would not see', () => {
    const passed: number[] = [];
    for (let place = 0; place < token.length; place++) {
      for (const high of [0x80, 0x100, 0x200, 0x8000, 0xd800]) {
        const other = String.fromCharCode((token.charCodeAt(place) + high) & 0xffff);
        if (accepted(token.slice(0, place) + other + token.slice(place + 1))) passed.push(place);
      }
    }
    expect(passed).toEqual([]);
  });

  it('a token with two neighbours swapped, and any two characters swapped', () => {
    const passed: string[] = [];
    for (let a = 0; a < token.length; a++) {
      for (let b = a + 1; b < token.length; b++) {
        if (token[a] === token[b]) continue;
        const characters = [...token];
        [characters[a], characters[b]] = [characters[b] as string, characters[a] as string];
        if (accepted(characters.join(''))) passed.push(characters.join(''));
      }
    }
    expect(passed).toEqual([]);
  });

  it('every shorter and every longer text', () => {
    for (let length = 0; length < token.length; length++) {
      expect(accepted(token.slice(0, length))).toBe(false);
      expect(accepted(token.slice(token.length - length))).toBe(false);
      expect(accepted(token.slice(0, length) + token.slice(length + 1))).toBe(false);
      expect(accepted(token.slice(0, length) + token[length] + token.slice(length))).toBe(false);
    }
    for (const more of ['a', '0', '_', ' ', '\n', '\0', token]) {
      expect(accepted(token + more)).toBe(false);
      expect(accepted(more + token)).toBe(false);
    }
  });

  it('other cases, white space, other prefixes and things that are no strings', () => {
    const strange: unknown[] = [
      token.toLowerCase(),
      token.toUpperCase(),
      token.replace('smk_', 'SMK_'),
      token.replace('smk_', 'smk-'),
      ` ${token}`,
      `${token} `,
      `${token}\n`,
      `\uFEFF${token}`,
      `Bearer ${token}`,
      token.normalize('NFD').replaceAll('_', '＿'),
      '',
      'smk_',
      'smk__',
      '_'.repeat(70),
      'a'.repeat(70),
      '\uD800'.repeat(70),
      '😀'.repeat(35),
      'smk_'.repeat(1_000_000),
      undefined,
      null,
      0,
      70,
      true,
      Symbol('token'),
      70n,
      {},
      [],
      [token],
      [...token],
      new String(token),
      { toString: () => token },
      { length: 70, startsWith: () => true, slice: () => token },
      () => token,
    ];
    expect(strange.filter(accepted)).toEqual([]);
  });

  it('one made of the parts of two good ones', () => {
    const other = newToken(newKeyId());
    const ends = token.slice(-6);
    expect(accepted(`smk_${other.id}_${secret}${ends}`)).toBe(false);
    expect(accepted(`smk_${id}_${other.secret}${ends}`)).toBe(false);
    expect(accepted(`smk_${id}_${secret}${other.token.slice(-6)}`)).toBe(false);
  });

  it('strange letters although somebody has computed the checksum for them', () => {
    const forge = (forgedId: string, forgedSecret: string): string => {
      const body = `${forgedId}_${forgedSecret}`;
      let rest = crc32(body);
      let sum = '';
      for (let digit = 0; digit < 6; digit++) {
        sum = ALPHABET.charAt(rest % 62) + sum;
        rest = Math.floor(rest / 62);
      }
      return `smk_${body}${sum}`;
    };
    expect(accepted(forge(id, secret))).toBe(true);
    for (const sign of ['_', '-', '.', '/', ' ', '\0', '\u007f', '\u0130', '\ud800', '*', "'", '%']) {
      expect(accepted(forge(sign + id.slice(1), secret))).toBe(false);
      expect(accepted(forge(id.slice(1) + sign, secret))).toBe(false);
      expect(accepted(forge(id, sign + secret.slice(1)))).toBe(false);
      expect(accepted(forge(id, secret.slice(1) + sign))).toBe(false);
    }
  });
});

describe('what a token leaves behind', () => {
  it('is nothing that the next regular expression of somebody else could tell', () => {
    /x/.exec('x');
    parseToken(token);
    expect((RegExp as unknown as Record<string, string>)['input']).toBe('x');
  });

  it('is an id that is a text of its own', () => {
    expect(detached(id)).toBe(id);
    expect(detached(token.slice(4, 20))).toBe(id);
  });
});

describe('beginsLikeToken', () => {
  it('is true of a token and of what is left of one, and not of other ids', () => {
    for (const like of [token, token.slice(0, 21), token.slice(0, 40), `${token}x`]) expect(beginsLikeToken(like)).toBe(true);
    for (const other of ['', 'smk_', token.slice(0, 20), 'smk_planner', id, secret, `x${token}`, 'smk_a.b-c/d@e+f:g_h_1_x']) {
      expect(beginsLikeToken(other)).toBe(false);
    }
  });
});

describe('isKeyId', () => {
  it('accepts ids, and nothing that holds a token or a part of its secret', () => {
    expect(isKeyId(id)).toBe(true);
    const others = [
      token,
      secret,
      secret.slice(0, 17),
      id.slice(1),
      `${id}a`,
      `${id} `,
      `smk_${id}`,
      '',
      7,
      null,
      undefined,
      [id],
      new String(id),
    ];
    expect(others.filter(isKeyId)).toEqual([]);
  });
});

function countsOf(text: string): number[] {
  const counts = new Map<string, number>([...ALPHABET].map((letter) => [letter, 0]));
  for (const letter of text) counts.set(letter, (counts.get(letter) ?? Number.NaN) + 1);
  return [...counts.values()];
}

/** Pearson's chi-square against all being as likely. */
function unevenness(counts: readonly number[]): number {
  const expected = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

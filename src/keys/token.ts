import { randomLetters } from '../kernel/ids.ts';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const ID_LENGTH = 16;
/** 43 of 62 letters and digits: 256 bits. */
const SECRET_LENGTH = 43;
const CHECKSUM_LENGTH = 6;
const ID_START = 'smk_'.length;
const ID_END = ID_START + ID_LENGTH;
const SECRET_START = ID_END + 1;
const SECRET_END = SECRET_START + SECRET_LENGTH;
const TOKEN_LENGTH = SECRET_END + CHECKSUM_LENGTH;

/** The two parts of a token: the public id under which its record is found, and what only its holder knows. */
export interface TokenParts {
  readonly id: string;
  readonly secret: string;
}

export function newKeyId(): string {
  return randomLetters(ID_LENGTH);
}

export function isKeyId(value: unknown): value is string {
  return typeof value === 'string' && value.length === ID_LENGTH && isAlphanumeric(value, 0, ID_LENGTH);
}

/** A new token for a key: `smk_<id>_<secret><checksum>`, of letters and digits. */
export function newToken(id: string): TokenParts & { readonly token: string } {
  const secret = randomLetters(SECRET_LENGTH);
  const token = `smk_${id}_${secret}`;
  return { id, secret, token: token + checksum(crc32(token, ID_START, SECRET_END)) };
}

/**
 * The parts of a well-formed token, or `undefined`. The checksum is a CRC-32 of id and secret, which changes with every
 * change of up to 32 bits in a row: a mistyped or cut token is told without a look at the store.
 *
 * No regular expression: the last text that one matched stays to be read by everybody, in `RegExp.input`.
 */
export function parseToken(token: unknown): TokenParts | undefined {
  if (typeof token !== 'string' || token.length !== TOKEN_LENGTH || !token.startsWith('smk_')) return undefined;
  if (token[ID_END] !== '_' || !isAlphanumeric(token, ID_START, ID_END) || !isAlphanumeric(token, SECRET_START, TOKEN_LENGTH)) {
    return undefined;
  }
  if (crc32(token, ID_START, SECRET_END) !== numberAt(token, SECRET_END)) return undefined;
  return { id: token.slice(ID_START, ID_END), secret: token.slice(SECRET_START, SECRET_END) };
}

/** Whether a text begins like a token, however it goes on: so does one that was cut. */
export function beginsLikeToken(text: string): boolean {
  return text.startsWith('smk_') && text[ID_END] === '_' && isAlphanumeric(text, ID_START, ID_END);
}

/**
 * An id as a text of its own. What is cut out of a longer text keeps all of that in memory, unless it is as short as each
 * half here: whoever keeps an id must not keep the token with it.
 */
export function detached(id: string): string {
  return id.slice(0, ID_LENGTH / 2) + id.slice(ID_LENGTH / 2);
}

function isAlphanumeric(text: string, start: number, end: number): boolean {
  let wrong = 0;
  for (let index = start; index < end; index++) {
    const code = text.charCodeAt(index);
    // Negative for whatever is no letter or digit, or beyond the table.
    wrong |= (DIGITS[code & 0x7f] as number) | (0x7f - code);
  }
  return wrong >= 0;
}

/** CRC-32 as in IEEE 802.3 of the characters from `start` to `end`, which are ASCII. */
export function crc32(text: string, start = 0, end = text.length): number {
  let crc = 0xffffffff;
  for (let index = start; index < end; index++) crc = (TABLE[(crc ^ text.charCodeAt(index)) & 0xff] as number) ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Six digits to the base 62 hold 32 bits, each number in one way. */
function checksum(crc: number): string {
  let rest = crc;
  let text = '';
  for (let digit = 0; digit < CHECKSUM_LENGTH; digit++) {
    text = ALPHABET.charAt(rest % ALPHABET.length) + text;
    rest = Math.floor(rest / ALPHABET.length);
  }
  return text;
}

/** The number that the letters and digits from `start` on stand for. */
function numberAt(text: string, start: number): number {
  let value = 0;
  for (let index = start; index < text.length; index++)
    value = value * ALPHABET.length + (DIGITS[text.charCodeAt(index)] as number);
  return value;
}

/** Reflected, byte by byte. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** From the code of a letter or digit to its value; of everything else to -1. */
const DIGITS = Int8Array.from({ length: 128 }, (_, code) => ALPHABET.indexOf(String.fromCharCode(code)));

import { customAlphabet } from 'nanoid';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const LENGTH = 21;

/** Makes a fresh id that begins with `<prefix>_`. Give your own to have readable or repeatable ids. */
export type GenerateId = (prefix: string) => string;

/** So many letters and digits from the system's secure source; each holds 5.95 bits. */
export const randomLetters: (length: number) => string = customAlphabet(ALPHABET, LENGTH);

/** `<prefix>_` and 21 random letters or digits (125 bits): an id that every policy of this library accepts. */
export const generateId: GenerateId = (prefix) => inOnePiece(`${prefix}_${randomLetters(LENGTH)}`);

/**
 * A text that was put together letter by letter is kept as a chain of its parts, many times its size, until somebody
 * reads a letter of it; and nobody reads those of an id which is only ever compared.
 */
function inOnePiece(text: string): string {
  text.charCodeAt(0);
  return text;
}

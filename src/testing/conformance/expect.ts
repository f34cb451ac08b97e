import { MeshError, type MeshErrorCode } from '../../kernel/errors.ts';

/** What the cases say when something does not hold. No test runner is needed: a case fails by throwing. */

/** @throws Error unless both are the same data, to the depth; `-0` is not `0`. */
export function equal(got: unknown, expected: unknown, what: string): void {
  if (!same(got, expected)) throw new Error(`${what}: expected ${show(expected)}, got ${show(got)}`);
}

/** @throws Error */
export function ensure(condition: boolean, what: string, got?: unknown): asserts condition {
  if (!condition) throw new Error(got === undefined ? `expected ${what}` : `expected ${what}, got ${show(got)}`);
}

/** Waits for an action to throw or reject with a MeshError of one of the codes. */
export async function refuses(action: () => unknown, codes: readonly MeshErrorCode[], what: string): Promise<void> {
  let answer: unknown;
  try {
    answer = await action();
  } catch (error) {
    if (MeshError.is(error, ...codes)) return;
    const got = error instanceof MeshError ? `${error.code} (${error.message})` : String(error);
    throw new Error(`${what}: expected a MeshError ${codes.join(' or ')}, got ${got}`);
  }
  throw new Error(`${what}: expected a MeshError ${codes.join(' or ')}, got the answer ${show(answer)}`);
}

/** Data of the same shape and content. A property that is `undefined` counts as absent. */
function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  if (Array.isArray(a) && Array.isArray(b) && a.length !== b.length) return false;
  const left = present(a);
  const right = new Map(present(b));
  return left.length === right.size && left.every(([name, value]) => right.has(name) && same(value, right.get(name)));
}

function present(value: object): [string, unknown][] {
  return Object.entries(value).filter(([, item]) => item !== undefined);
}

const SHOWN = 300;

function show(value: unknown): string {
  if (Object.is(value, -0)) return '-0';
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // What JSON cannot say is named by its type.
  }
  text ??= String(typeof value);
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}… (${text.length} characters)`;
}

import { expect } from 'vitest';
import { MeshError } from '../../../src/index.ts';
import type { Counted } from './storages.ts';

/** What is no id, whoever asks. */
export const NO_IDS: readonly unknown[] = [
  undefined,
  null,
  42,
  Number.NaN,
  true,
  '',
  ' ',
  'a b',
  '-rf',
  '*',
  '../x',
  '👾',
  'a\u0000',
  'a\nb',
  'x'.repeat(129),
  new String('agent'),
  ['agent'],
  { id: 'agent' },
  Symbol('agent'),
  () => 'agent',
];

/** Fails with `invalid_input` in a promise (not at the call), and asks nothing of the storage. */
export async function expectRefused(
  counter: Counted,
  act: () => unknown,
  what: string,
  codes = ['invalid_input'],
): Promise<void> {
  counter.take();
  let promise: unknown;
  try {
    promise = act();
  } catch (error) {
    throw new Error(`expected ${what} to be refused in the promise, got it thrown at the call`, { cause: error });
  }
  const error = await Promise.resolve(promise).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error, what).toBeInstanceOf(MeshError);
  expect(codes, what).toContain((error as MeshError).code);
  expect((error as MeshError).message, what).toMatch(/^expected .+, got .+/s);
  expect(counter.take(), what).toEqual({ get: 0, list: 0, commit: 0 });
}

/** A value of any kind, for a message. */
export function named(value: unknown): string {
  if (typeof value === 'object' && value !== null) {
    try {
      return JSON.stringify(value) ?? 'an object';
    } catch {
      return 'an object';
    }
  }
  return String(value).slice(0, 40);
}

import { expect } from 'vitest';
import { MeshError, type MeshErrorCode } from '../../src/kernel/errors.ts';

/** What `expect(promise).rejects` gets for an error of this code. */
export function refusal(code: MeshErrorCode, message = ''): unknown {
  return expect.toSatisfy(
    (error: unknown) => MeshError.is(error, code) && error.message.includes(message),
    `a MeshError ${code}${message && ` with "${message}"`}`,
  );
}

import { describe, expect, it } from 'vitest';
import { MeshError } from '../../src/kernel/errors.ts';

describe('MeshError', () => {
  it('has a code for programs, a message for people, and details', () => {
    const error = new MeshError('limit_exceeded', 'expected at most 5, got 6', { details: { max: 5 } });
    expect(error).toBeInstanceOf(Error);
    expect(error.name).toBe('MeshError');
    expect(error.code).toBe('limit_exceeded');
    expect(error.message).toBe('expected at most 5, got 6');
    expect(error.details).toEqual({ max: 5 });
    expect(String(error)).toBe('MeshError: expected at most 5, got 6');
  });

  it('has no cause and no details unless given', () => {
    const error = new MeshError('closed', 'expected an open storage, got a closed one');
    expect('cause' in error).toBe(false);
    expect(error.details).toEqual({});
  });

  it('keeps the cause that a caller gave', () => {
    const reason = new Error('the user went away');
    expect(new MeshError('aborted', 'expected an end, got an abort', { cause: reason }).cause).toBe(reason);
  });

  it('is told apart by code', () => {
    const error: unknown = new MeshError('not_found', 'expected a session, got none');
    expect(MeshError.is(error)).toBe(true);
    expect(MeshError.is(error, 'not_found')).toBe(true);
    expect(MeshError.is(error, 'conflict', 'not_found')).toBe(true);
    expect(MeshError.is(error, 'conflict')).toBe(false);
  });

  it.each([undefined, null, 'not_found', new Error('not_found'), { code: 'not_found', name: 'MeshError' }])(
    'is not %s',
    (other) => {
      expect(MeshError.is(other)).toBe(false);
    },
  );
});

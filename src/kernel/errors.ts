import type { JsonValue } from './json.ts';

/** What went wrong, for programs. `docs/errors.md` says for each code what to do about it. */
export type MeshErrorCode =
  | 'invalid_input'
  | 'limit_exceeded'
  | 'not_found'
  | 'already_exists'
  | 'not_alive'
  | 'lease_lost'
  | 'conflict'
  | 'stale_receipt'
  | 'mailbox_full'
  | 'timed_out'
  | 'aborted'
  | 'task_failed'
  | 'task_canceled'
  | 'task_rejected'
  | 'unauthorized'
  | 'forbidden'
  | 'unavailable'
  | 'commit_unknown'
  | 'storage_full'
  | 'read_only'
  | 'corrupt'
  | 'unsupported'
  | 'closed';

/** What a new `MeshError` carries besides its message. */
export interface MeshErrorOptions {
  /** What caused it, when that is the caller's own (an abort reason, a handler's error); never a driver's error. */
  readonly cause?: unknown;
  readonly details?: Readonly<Record<string, JsonValue>>;
}

/**
 * The one error this library throws. `code` is for programs, `message` (of the form *expected X, got Y*) for people.
 * Neither holds a secret, SQL, a path or a credential.
 */
export class MeshError extends Error {
  override readonly name = 'MeshError';
  readonly code: MeshErrorCode;
  readonly details: Readonly<Record<string, JsonValue>>;

  constructor(code: MeshErrorCode, message: string, { cause, details = {} }: MeshErrorOptions = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }

  /** True for a `MeshError` of one of the codes, or of any code when none is named. */
  static is(error: unknown, ...codes: MeshErrorCode[]): error is MeshError {
    return error instanceof MeshError && (codes.length === 0 || codes.includes(error.code));
  }
}

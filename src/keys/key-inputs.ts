import * as z from 'zod';
import { describe } from '../kernel/describe.ts';
import { MeshError } from '../kernel/errors.ts';
import { distinct, jsonObject, line, parse, policy, text, wholeNumber } from '../kernel/inputs.ts';
import type { JsonObject } from '../kernel/json.ts';
import { type SessionRef, sessionRef } from '../registry/session-inputs.ts';
import { beginsLikeToken, isKeyId } from './token.ts';

const MIN_TTL_MS = 1000;
const MAX_TTL_MS = 366 * 86_400_000;
const SCOPE = /^[A-Za-z0-9#][A-Za-z0-9._:/@+#-]{0,63}$/;

const isScope = (value: unknown): value is string =>
  typeof value === 'string' &&
  (SCOPE.test(value) || (value.endsWith(':*') && value.length <= 64 && SCOPE.test(value.slice(0, -2))));

const scope = policy(
  isScope,
  'a scope (letters, digits and . _ : / @ + - #, 1 to 64 characters, :* at the end for all below it)',
);

const scopes = distinct(isScope, 'scopes');

/** What `keys.derive` is told besides the token. */
export interface DeriveOptions {
  /** At most 64, such as `messages:send`; `memory:*` covers all that begin with `memory:`. Default none. */
  readonly scopes?: readonly string[] | undefined;
  /** 1 s … 366 days. Default: for ever, or as long as the parent. */
  readonly ttlMs?: number | undefined;
  /** Epoch milliseconds by the store's clock, before which it is refused. */
  readonly notBefore?: number | undefined;
  /** How many verifications it passes. Default: any number. */
  readonly maxUses?: number | undefined;
  /** For people: at most 256 bytes. */
  readonly name?: string | undefined;
  /** Any JSON object. Default empty. */
  readonly metadata?: unknown;
}

/** What `keys.issue` is told. */
export interface IssueOptions extends DeriveOptions {
  /** Whom it proves. The session must exist, and the key is refused once this incarnation of it is over. Default: nobody. */
  readonly session?: SessionRef | undefined;
}

const DERIVE = z.strictObject({
  scopes: scopes.optional(),
  ttlMs: wholeNumber(MIN_TTL_MS, MAX_TTL_MS).optional(),
  notBefore: wholeNumber(0, Number.MAX_SAFE_INTEGER).optional(),
  maxUses: wholeNumber(1, Number.MAX_SAFE_INTEGER).optional(),
  name: line(256).optional(),
  metadata: z.unknown().optional(),
});
const ISSUE = DERIVE.extend({ session: sessionRef.optional() });

/** What a token is checked for. */
export interface VerifyOptions {
  /** Must be covered by the scopes of the key. Default: none is needed. */
  readonly scope?: string | undefined;
}

const VERIFY = z.strictObject({ scope: scope.optional() });

/** What `keys.rotate` is told besides the id. */
export interface RotateOptions {
  /** How long the old token stays good: 0 … 366 days. Default 0. */
  readonly overlapMs?: number | undefined;
}

export const ROTATE = z.strictObject({ overlapMs: wholeNumber(0, MAX_TTL_MS).default(0) });

/** What `keys.revoke` is told besides the id. */
export interface RevokeOptions {
  /** At most 1 KiB. */
  readonly reason?: string | undefined;
}

export const REVOKE = z.strictObject({ reason: text(1024).optional() });

/** Whose keys `keys.revokeAll` revokes. */
export interface RevokeAllOptions extends RevokeOptions {
  /** An id: the keys of all its incarnations. A handle: those of its own. */
  readonly session: SessionRef;
}

const REVOKE_ALL = REVOKE.extend({ session: sessionRef });

/** Conditions and paging of `keys.list`. */
export interface ListKeysOptions {
  readonly session?: SessionRef | undefined;
  /** 1 … 1,000. Default 100. */
  readonly limit?: number | undefined;
  /** The `next` of the page before. */
  readonly after?: string | undefined;
}

const LIST_KEYS = z.strictObject({
  session: sessionRef.optional(),
  limit: wholeNumber(1, 1000).default(100),
  after: policy((value): value is string => typeof value === 'string', 'the next of a page').optional(),
});

/** What a new key is asked to be. Nothing of it is the caller's any more. */
export interface KeyRequest {
  readonly scopes: readonly string[];
  readonly metadata: JsonObject;
  readonly ttlMs?: number | undefined;
  readonly notBefore?: number | undefined;
  readonly maxUses?: number | undefined;
  readonly name?: string | undefined;
}

/** @throws MeshError `invalid_input`, `limit_exceeded` */
export function issueRequest(options: IssueOptions): KeyRequest & { readonly session?: SessionRef | undefined } {
  return owned(withoutToken(parse(ISSUE, options, 'options')));
}

/** @throws MeshError `invalid_input`, `limit_exceeded` */
export function deriveRequest(options: DeriveOptions): KeyRequest {
  return owned(parse(DERIVE, options, 'options'));
}

/**
 * The scope that is asked for. By hand where it is right, because it is asked for at every verification.
 * @throws MeshError `invalid_input`
 */
export function scopeOf(options: VerifyOptions | undefined): string | undefined {
  if (options === undefined) return undefined;
  try {
    if (isJustScope(options)) {
      const { scope } = options;
      if (isScope(scope)) return scope;
    }
  } catch {
    // What throws when it is read is refused like everything else.
  }
  return parse(VERIFY, options, 'options').scope;
}

function isJustScope(options: unknown): boolean {
  if (typeof options !== 'object' || Array.isArray(options)) return false;
  for (const name in options) if (name !== 'scope') return false;
  return options !== null;
}

/** @throws MeshError `invalid_input` */
export function revokeAllRequest(options: RevokeAllOptions): z.output<typeof REVOKE_ALL> {
  return withoutToken(parse(REVOKE_ALL, options, 'options'));
}

/** @throws MeshError `invalid_input` */
export function listRequest(options: ListKeysOptions): z.output<typeof LIST_KEYS> {
  const request = withoutToken(parse(LIST_KEYS, options, 'options'));
  if (request.after !== undefined) assertKeyId(request.after, 'options.after');
  return request;
}

/** A token by mistake in the place of a session's id would be looked for in the store, and told by who does not find it. */
function withoutToken<Request extends { readonly session?: SessionRef | undefined }>(request: Request): Request {
  const { session } = request;
  if (typeof session !== 'string' || !beginsLikeToken(session)) return request;
  const details = { path: 'options.session' };
  throw new MeshError('invalid_input', 'expected options.session to be the id of a session or its handle, got a token', {
    details,
  });
}

/** Copies what the caller could change later. */
function owned<Options extends z.output<typeof DERIVE>>(options: Options) {
  const { scopes = [], metadata = {} } = options;
  return { ...options, scopes, metadata: jsonObject(metadata, 'options.metadata') };
}

/**
 * So strict that a token given by mistake is refused, and not looked up; nor is it told, nor a part of it.
 * @throws MeshError `invalid_input`
 */
export function assertKeyId(value: unknown, path: string): asserts value is string {
  if (isKeyId(value)) return;
  const got = typeof value === 'string' ? `a string of ${value.length} characters` : describe(value);
  throw new MeshError('invalid_input', `expected ${path} to be the id of a key, got ${got}`, { details: { path } });
}

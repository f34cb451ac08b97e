import type { JsonObject } from '../kernel/json.ts';
import { isTerminal, type SessionSnapshot, stateOf } from '../registry/session.ts';

/** A key as it is stored. Of its secret there is only the digest. */
export interface KeyRecord {
  readonly digest: string;
  /** The digest that a rotation has replaced, accepted before `until`. */
  readonly previous?: { readonly digest: string; readonly until: number };
  readonly name?: string;
  readonly scopes: readonly string[];
  readonly metadata: JsonObject;
  /** The session it is bound to, in this incarnation. */
  readonly session?: string;
  readonly incarnation?: string;
  /** The key it was derived from, and that one's ancestors: nearest first. */
  readonly ancestors: readonly string[];
  readonly createdAt: number;
  readonly notBefore?: number;
  readonly expiresAt?: number;
  readonly maxUses?: number;
  readonly revoked?: { readonly at: number; readonly reason?: string };
}

/** A key as the owner of the store sees it. */
export interface ApiKey {
  readonly id: string;
  readonly name?: string;
  readonly scopes: readonly string[];
  readonly metadata: JsonObject;
  readonly session?: string;
  readonly parentId?: string;
  readonly createdAt: number;
  readonly notBefore?: number;
  readonly expiresAt?: number;
  readonly maxUses?: number;
  readonly uses?: number;
  /** To the minute. */
  readonly lastUsedAt?: number;
  readonly revokedAt?: number;
  readonly revokeReason?: string;
}

/** Whom a token proves. */
export interface Principal {
  readonly keyId: string;
  readonly name?: string;
  readonly session?: string;
  readonly scopes: readonly string[];
  readonly metadata: JsonObject;
  readonly expiresAt?: number;
}

/** Why a token is refused. For the owner of the store only: to everybody else every reason is `unauthorized`. */
export type Refusal =
  | 'malformed'
  | 'unknown'
  | 'expired'
  | 'not_yet_valid'
  | 'revoked'
  | 'session_ended'
  | 'exhausted'
  | 'insufficient_scope';

/** Whether one of the granted scopes covers the wanted one. `memory:*` covers all that begin with `memory:`. */
export function covers(granted: readonly string[], wanted: string): boolean {
  return granted.some((scope) => scope === wanted || (scope.endsWith(':*') && wanted.startsWith(scope.slice(0, -1))));
}

/** What is wrong with a key at this time, apart from its session and its ancestors. */
export function refusalOf({ revoked, notBefore, expiresAt }: KeyRecord, now: number): Refusal | undefined {
  if (revoked) return 'revoked';
  if (expiresAt !== undefined && expiresAt <= now) return 'expired';
  if (notBefore !== undefined && now < notBefore) return 'not_yet_valid';
  return undefined;
}

/** Whether the incarnation that a key is bound to is over. Offline is not over. */
export function sessionIsOver({ session, incarnation }: KeyRecord, found: SessionSnapshot | undefined): boolean {
  if (session === undefined) return false;
  return !found || found.record.incarnation !== incarnation || isTerminal(stateOf(found));
}

export function principalOf(keyId: string, { name, session, scopes, metadata, expiresAt }: KeyRecord): Principal {
  return Object.freeze({
    keyId,
    ...(name !== undefined && { name }),
    ...(session !== undefined && { session }),
    scopes,
    metadata,
    ...(expiresAt !== undefined && { expiresAt }),
  });
}

export function apiKeyOf(id: string, record: KeyRecord, uses: number | undefined, lastUsedAt: number | undefined): ApiKey {
  const { name, session, notBefore, expiresAt, maxUses, revoked } = record;
  const [parentId] = record.ancestors;
  return Object.freeze({
    id,
    ...(name !== undefined && { name }),
    scopes: record.scopes,
    metadata: record.metadata,
    ...(session !== undefined && { session }),
    ...(parentId !== undefined && { parentId }),
    createdAt: record.createdAt,
    ...(notBefore !== undefined && { notBefore }),
    ...(expiresAt !== undefined && { expiresAt }),
    ...(maxUses !== undefined && { maxUses, uses: uses ?? 0 }),
    ...(lastUsedAt !== undefined && { lastUsedAt }),
    ...(revoked !== undefined && {
      revokedAt: revoked.at,
      ...(revoked.reason !== undefined && { revokeReason: revoked.reason }),
    }),
  });
}

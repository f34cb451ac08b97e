import { MeshError } from '../kernel/errors.ts';
import { CLOSING_MS, inTime } from '../kernel/in-time.ts';
import { parse } from '../kernel/inputs.ts';
import { Fence } from '../registry/fence.ts';
import { isTerminal, stateOf } from '../registry/session.ts';
import type { SessionRef } from '../registry/session-inputs.ts';
import type { Versioned } from '../storage/collection.ts';
import { Draft } from '../storage/draft.ts';
import { Engine, type EngineOptions } from '../storage/engine.ts';
import { EventSource } from '../storage/events/event-source.ts';
import { type Condition, type Page, query } from '../storage/query.ts';
import type { MaybePromise, RevisionCheck } from '../storage/storage.ts';
import { type ApiKey, apiKeyOf, covers, type KeyRecord, type Principal, type Refusal } from './api-key.ts';
import { sha256 } from './digest.ts';
import { KEY_EVENTS, type KeyEvents } from './events.ts';
import {
  assertKeyId,
  type DeriveOptions,
  deriveRequest,
  type IssueOptions,
  issueRequest,
  type KeyRequest,
  type ListKeysOptions,
  listRequest,
  REVOKE,
  type RevokeAllOptions,
  type RevokeOptions,
  ROTATE,
  type RotateOptions,
  revokeAllRequest,
  scopeOf,
  type VerifyOptions,
} from './key-inputs.ts';
import { type KeyIndex, type KeySnapshot, KeyStore } from './key-store.ts';
import { Removal } from './removal.ts';
import { newKeyId, newToken } from './token.ts';
import { Uses } from './uses.ts';
import { assertRenewable, type Verification, Verifier } from './verification.ts';

/** Options of a key manager of its own, without a mesh. */
export type KeyManagerOptions = EngineOptions;

/** The token is shown here and nowhere else, ever. */
export interface IssuedKey {
  readonly token: string;
  readonly apiKey: ApiKey;
}

/** Counts of keys in the store, and of refusals by this process. */
export interface KeyStats {
  readonly total: number;
  /** Neither revoked nor expired. */
  readonly active: number;
  /** Verifications that this process refused since it began, by reason. They are counted, not stored. */
  readonly refused: Readonly<Partial<Record<Refusal, number>>>;
}

/** What a new key has from the session or the key that it is bound to. */
interface Binding {
  readonly session?: string;
  readonly incarnation?: string;
  /** The longest it may live. */
  readonly expiresAt?: number;
  readonly ancestors: readonly string[];
}

const MAX_ANCESTORS = 16;
const REVOKED_AT_ONCE = 100;
const ATTEMPTS = 1000;

/**
 * API keys: secret tokens that prove a principal. Only a SHA-256 digest of a token's secret is stored; a token is found by
 * its public id and compared in constant time.
 */
export class KeyManager extends EventSource<KeyEvents> {
  readonly #engine: Engine;
  readonly #ownsEngine: boolean;
  readonly #store: KeyStore;
  readonly #removal: Removal;
  readonly #uses: Uses;
  readonly #verifier: Verifier;
  readonly #fence: Fence;
  readonly #refused: Partial<Record<Refusal, number>> = {};

  /** @param options a storage, or the engine that a mesh shares among its classes */
  constructor(options: KeyManagerOptions | Engine) {
    const engine = options instanceof Engine ? options : Engine.open(options);
    super({ log: engine.log, report: engine.report, names: KEY_EVENTS });
    this.#engine = engine;
    this.#ownsEngine = engine !== options;
    this.#store = new KeyStore(engine);
    this.#removal = new Removal(this.#store);
    this.#uses = new Uses(this.#store, this.#removal);
    this.#verifier = new Verifier(this.#store, this.#uses);
    this.#fence = new Fence(this.#store.sessions);
    this.#removal.start((id) => this.#verifier.isOver(id));
    engine.sweep();
  }

  /**
   * Makes a key. Bound to a session it is refused from the instant at which that incarnation ends, is killed or taken
   * over; while the session is offline it is good.
   * @throws MeshError `invalid_input`, `limit_exceeded` (the metadata), `not_found`, `not_alive` (the session is over; or
   * it is offline, when given by its handle), `lease_lost` (a handle that no longer holds)
   */
  async issue(options: IssueOptions = {}): Promise<IssuedKey> {
    const { session, ...request } = issueRequest(options);
    this.#assertHasTime(request);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const draft = new Draft();
      const bound = session === undefined ? undefined : await this.#stageSession(draft, session);
      const issued = await this.#stageKey(draft, request, { ...bound, ancestors: [] }, this.#engine.now());
      if ((await this.#engine.commit(draft)).committed) return issued;
    }
    throw neverPassed('a new key');
  }

  /**
   * Judges a token: well-formed, known, not revoked, in its time, its session not over, its ancestors likewise, uses left,
   * the scope covered. The first of these that fails is the reason, which is nobody else's business: at a boundary use
   * `authenticate`. Without a scope none is looked at. Only a verification that passes takes a use.
   * @throws MeshError `invalid_input` (the scope), and whatever the storage throws: a failure of it is never "valid"
   */
  async verify(token: string, options?: VerifyOptions): Promise<Verification> {
    const scope = scopeOf(options);
    const answer = this.#verifier.verify(token, scope);
    const verification = answer instanceof Promise ? await answer : answer;
    if (!verification.valid) this.#count(verification.code);
    return verification;
  }

  /**
   * The same for a boundary: answers whom the token proves, or throws an error that tells a stranger nothing.
   * @throws MeshError `unauthorized`; `forbidden` when the token is good and the scope is not
   */
  async authenticate(token: string, options?: VerifyOptions): Promise<Principal> {
    const verification = await this.verify(token, options);
    if (verification.valid) return verification.principal;
    if (verification.code === 'insufficient_scope') throw forbidden('expected a token with this scope, got one without');
    throw unauthorized();
  }

  /**
   * Makes a key from another one: never wider, never longer, and refused as soon as that one is. It is bound to the same
   * session. A key with `maxUses` can't be derived from, nor one that has 16 ancestors.
   * @throws MeshError `invalid_input`, `limit_exceeded` (the metadata), `unauthorized` (the token), `forbidden` (a scope or
   * time beyond the parent's)
   */
  async derive(token: string, options: DeriveOptions = {}): Promise<IssuedKey> {
    const request = deriveRequest(options);
    this.#assertHasTime(request);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const parent = await this.#verifier.judge(token);
      if (typeof parent === 'string') {
        this.#count(parent);
        throw unauthorized();
      }
      const { id, record, at, snapshot } = parent;
      assertDerivable(record, request, at);
      const draft = new Draft();
      draft.checks.push(...revisionsOf(snapshot));
      const inherited = {
        ...(record.session !== undefined && { session: record.session }),
        ...(record.incarnation !== undefined && { incarnation: record.incarnation }),
        ...(record.expiresAt !== undefined && { expiresAt: record.expiresAt }),
        ancestors: [id, ...record.ancestors],
      };
      const issued = await this.#stageKey(draft, request, inherited, at);
      if (!(await this.#engine.commit(draft)).committed) continue;
      this.#uses.seen(id, at);
      return issued;
    }
    throw neverPassed('a new key');
  }

  /**
   * Gives a key a new token. The old one is good for `overlapMs` more (default 0), so that there is no gap; of several
   * rotations within an overlap only the last old one. Keys that were derived stay good.
   * @throws MeshError `invalid_input`, `not_found`, `unauthorized` (it or one that it was derived from is revoked or expired,
   * or its session is over: no token of it would be good)
   */
  async rotate(id: string, options: RotateOptions = {}): Promise<IssuedKey> {
    const { overlapMs } = parse(ROTATE, options, 'options');
    assertKeyId(id, 'id');
    const { secret, token } = newToken(id);
    const digest = await sha256(secret);
    const apiKey = await this.#store.change(id, async (current, draft) => {
      await assertRenewable(this.#store, id, current);
      const now = this.#engine.now();
      this.#store.event(draft, 'key_rotated', id, current);
      const { previous: _previous, ...rest } = current;
      return { ...rest, digest, ...(overlapMs > 0 && { previous: { digest: current.digest, until: now + overlapMs } }) };
    });
    return { token, apiKey: apiKey as ApiKey };
  }

  /**
   * Refuses a key, and all that were derived from it, in every verification that begins after this resolves, in any
   * process. The first reason stays.
   * @throws MeshError `invalid_input`, `not_found`
   */
  async revoke(id: string, options: RevokeOptions = {}): Promise<void> {
    const { reason } = parse(REVOKE, options, 'options');
    assertKeyId(id, 'id');
    await this.#revoke(id, reason);
  }

  /**
   * Revokes every key that is bound to a session; named by its handle, only those that are bound to this incarnation, so
   * that an owner who was replaced does not reach those of its successor. One that is issued meanwhile may stay.
   * @returns how many were not revoked before
   * @throws MeshError `invalid_input`
   */
  async revokeAll(options: RevokeAllOptions): Promise<number> {
    const { session, reason } = revokeAllRequest(options);
    const incarnation = this.#fence.tenureOf(session)?.incarnation;
    const isMeant = ({ value }: Versioned<KeyRecord>): boolean =>
      !value.revoked && (incarnation === undefined || value.incarnation === incarnation);
    let revoked = 0;
    let after: string | undefined;
    do {
      const page: Page<string> = await this.#query({
        session,
        select: (records) => records.map((record) => (isMeant(record) ? record.id : undefined)),
        limit: REVOKED_AT_ONCE,
        after,
      });
      const done = await Promise.all(page.items.map((id) => this.#revokeIfKnown(id, reason)));
      revoked += done.filter(Boolean).length;
      after = page.next;
    } while (after !== undefined);
    return revoked;
  }

  /**
   * Keys in the order of their ids, of one session or all; also those that are over, which stay for at least seven days.
   * @throws MeshError `invalid_input`
   */
  async list(options: ListKeysOptions = {}): Promise<Page<ApiKey>> {
    const { session, limit, after } = listRequest(options);
    return this.#query({ session, select: (records) => this.#store.views(records), limit, after });
  }

  /** Counts all keys, for which it reads them. */
  async stats(): Promise<KeyStats> {
    const now = this.#engine.now();
    let total = 0;
    let active = 0;
    let after: string | undefined;
    do {
      const page: Page<KeyRecord> = await this.#query({
        select: (records) => records.map(({ value }) => value),
        limit: 1000,
        after,
      });
      total += page.items.length;
      active += page.items.filter(({ revoked, expiresAt }) => !revoked && (expiresAt === undefined || expiresAt > now)).length;
      after = page.next;
    } while (after !== undefined);
    return { total, active, refused: { ...this.#refused } };
  }

  /** Writes the last uses that were noted, and ends what runs in the background. */
  async close(): Promise<void> {
    await inTime(this.#engine.clock, this.#uses.close(), CLOSING_MS.uses);
    if (this.#ownsEngine) await this.#engine.close();
  }

  /** Stages that the session is there, and answers the binding to this incarnation of it. */
  async #stageSession(draft: Draft, session: SessionRef): Promise<{ session: string; incarnation: string }> {
    await this.#fence.stageActor(draft, session);
    const snapshot = await this.#store.sessions.require(typeof session === 'string' ? session : session.id);
    const state = stateOf(snapshot);
    if (isTerminal(state)) throw new MeshError('not_alive', `expected session ${snapshot.id} not to be over, got ${state}`);
    const { collection } = this.#store.sessions;
    draft.checks.push({ ...collection.address(snapshot.id), revision: snapshot.revision });
    return { session: snapshot.id, incarnation: snapshot.record.incarnation };
  }

  /** Refuses what could never be used, whatever is stored. */
  #assertHasTime({ notBefore, ttlMs }: KeyRequest): void {
    if (ttlMs !== undefined) assertHasTime(notBefore, this.#engine.now() + ttlMs);
  }

  async #stageKey(
    draft: Draft,
    { ttlMs, ...request }: KeyRequest,
    { expiresAt: atMost, ...binding }: Binding,
    createdAt: number,
  ): Promise<IssuedKey> {
    const { name, notBefore, maxUses } = request;
    const id = newKeyId();
    const { secret, token } = newToken(id);
    const digest = await sha256(secret);
    const expiresAt = ttlMs === undefined ? atMost : createdAt + ttlMs;
    assertHasTime(notBefore, expiresAt);
    const record: KeyRecord = {
      digest,
      ...(name !== undefined && { name }),
      scopes: request.scopes,
      metadata: request.metadata,
      ...binding,
      createdAt,
      ...(notBefore !== undefined && { notBefore }),
      ...(expiresAt !== undefined && { expiresAt }),
      ...(maxUses !== undefined && { maxUses }),
    };
    this.#store.keys.create(draft, id, record);
    this.#store.event(draft, 'key_issued', id, record);
    draft.puts.push(...this.#removal.first(id, record));
    return { token, apiKey: apiKeyOf(id, record, undefined, undefined) };
  }

  /** Answers whether it was not revoked before. */
  async #revoke(id: string, reason: string | undefined): Promise<boolean> {
    const changed = await this.#store.change(id, (current, draft) => {
      if (current.revoked) return undefined;
      const at = this.#engine.now();
      this.#store.event(draft, 'key_revoked', id, current);
      if (current.expiresAt === undefined || current.expiresAt > at) draft.puts.push(this.#removal.last(id, at));
      return { ...current, revoked: { at, ...(reason !== undefined && { reason }) } };
    });
    return changed !== undefined;
  }

  /** One that was removed since it was found is nothing to fail for. */
  async #revokeIfKnown(id: string, reason: string | undefined): Promise<boolean> {
    try {
      return await this.#revoke(id, reason);
    } catch (error) {
      if (MeshError.is(error, 'not_found')) return false;
      throw error;
    }
  }

  #query<Item>({ session, select, limit, after }: KeyQuery<Item>): Promise<Page<Item>> {
    const id = session && this.#fence.nameOf(session);
    const where: Condition<KeyIndex>[] = id === undefined ? [] : [{ index: 'session', anyOf: [id] }];
    return query(this.#engine.storage, this.#store.keys, { where, select, limit, ...(after !== undefined && { after }) });
  }

  #count(code: Refusal): void {
    this.#refused[code] = (this.#refused[code] ?? 0) + 1;
  }
}

interface KeyQuery<Item> {
  readonly session?: SessionRef | undefined;
  readonly select: (records: readonly Versioned<KeyRecord>[]) => MaybePromise<readonly (Item | undefined)[]>;
  readonly limit: number;
  readonly after: string | undefined;
}

function assertDerivable(parent: KeyRecord, { scopes, ttlMs }: KeyRequest, now: number): void {
  if (parent.maxUses !== undefined) throw forbidden('expected a key without a number of uses to derive from, got one with');
  if (parent.ancestors.length >= MAX_ANCESTORS) throw forbidden(`expected at most ${MAX_ANCESTORS} ancestors, got more`);
  if (!scopes.every((scope) => covers(parent.scopes, scope))) throw forbidden('expected scopes that the parent has, got others');
  if (ttlMs !== undefined && parent.expiresAt !== undefined && now + ttlMs > parent.expiresAt) {
    throw forbidden('expected a time to live within that of the parent, got a longer one');
  }
}

/** A key that expires before it begins would never be good, and only its user would notice. */
function assertHasTime(notBefore: number | undefined, expiresAt: number | undefined): void {
  if (notBefore === undefined || expiresAt === undefined || notBefore < expiresAt) return;
  const details = { path: 'options.notBefore' };
  throw new MeshError('invalid_input', `expected options.notBefore before the key expires at ${expiresAt}, got ${notBefore}`, {
    details,
  });
}

/** That the key and its ancestors are as they were read. */
function revisionsOf({ key, ancestors }: KeySnapshot): RevisionCheck[] {
  return [key, ...ancestors].flatMap((record) =>
    record ? [{ partition: record.partition, key: record.key, revision: record.revision }] : [],
  );
}

function unauthorized(): MeshError {
  return new MeshError('unauthorized', 'expected a valid token, got none');
}

function forbidden(message: string): MeshError {
  return new MeshError('forbidden', message);
}

function neverPassed(what: string): MeshError {
  return new MeshError('conflict', `expected ${what} to be stored, got ${ATTEMPTS} conflicts`);
}

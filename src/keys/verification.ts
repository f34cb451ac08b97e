import { BoundedCache } from '../kernel/bounded-cache.ts';
import { MeshError } from '../kernel/errors.ts';
import type { Address, MaybePromise, StoredRecord } from '../storage/storage.ts';
import { covers, type KeyRecord, type Principal, principalOf, type Refusal, refusalOf, sessionIsOver } from './api-key.ts';
import { sameDigest, sha256 } from './digest.ts';
import { type KeySnapshot, type KeyStore, recordOf } from './key-store.ts';
import { detached, parseToken } from './token.ts';
import type { Uses } from './uses.ts';

/** The answer of `keys.verify`: whom the token proves, or the reason against it. */
export type Verification =
  | { readonly valid: true; readonly principal: Principal }
  | { readonly valid: false; readonly code: Refusal };

/** What of a key is kept in the process. */
interface Known {
  readonly id: string;
  /** Where it is, and everything on which it depends. */
  readonly addresses: readonly Address[];
}

/** A key as it was read. */
interface Read {
  readonly id: string;
  readonly snapshot: KeySnapshot;
}

/** A key whose token was shown and which is good, but for its uses and scopes. */
export interface Judged {
  readonly id: string;
  readonly record: KeyRecord;
  readonly at: number;
  readonly snapshot: KeySnapshot;
}

const CACHED = 10_000;
/** Nobody loses this often in a row while others move on. */
const ATTEMPTS = 1000;

/**
 * Judges tokens. Every verification reads the key, its ancestors and its session in one snapshot, so a revocation or the
 * end of a session holds for every verification that begins after it. Cached is only which records those are: that never
 * changes, and it makes one read of two. Where the storage answers at once, so does everything here but counted uses.
 */
export class Verifier {
  readonly #store: KeyStore;
  readonly #uses: Uses;
  readonly #known = new BoundedCache<Known>(CACHED);

  constructor(store: KeyStore, uses: Uses) {
    this.#store = store;
    this.#uses = uses;
  }

  /** All conditions. The scope comes last, so that `insufficient_scope` is said of a token that is good otherwise. */
  verify(token: unknown, scope: string | undefined): MaybePromise<Verification> {
    const judged = this.judge(token);
    return judged instanceof Promise
      ? judged.then((known) => this.#conclude(known, token, scope))
      : this.#conclude(judged, token, scope);
  }

  /** All conditions but the number of uses and the scope. A malformed token costs no look at the store. */
  judge(token: unknown): MaybePromise<Judged | Refusal> {
    const parts = parseToken(token);
    if (!parts) return 'malformed';
    // Before the key is looked for, so that an unknown id takes as long as a wrong secret.
    const digest = sha256(parts.secret);
    const read = this.#read(parts.id);
    return digest instanceof Promise || read instanceof Promise
      ? Promise.all([digest, read]).then(([hashed, found]) => this.#judge(hashed, found))
      : this.#judge(digest, read);
  }

  /** Whether a key is refused for good, whoever shows its token. Its uses are not looked at. */
  async isOver(id: string): Promise<boolean> {
    const read = await this.#read(id);
    const refusal = read && standing(read.snapshot, this.#store.engine.now());
    return !read || (refusal !== undefined && refusal !== 'not_yet_valid');
  }

  #judge(digest: string, read: Read | undefined): Judged | Refusal {
    if (!read) return 'unknown';
    const { id, snapshot } = read;
    const at = this.#store.engine.now();
    const record = recordOf(snapshot.key);
    if (!isDigestOf(record, digest, at)) return 'unknown';
    return standing(snapshot, at) ?? { id, record, at, snapshot };
  }

  #conclude(judged: Judged | Refusal, token: unknown, scope: string | undefined): MaybePromise<Verification> {
    if (typeof judged === 'string') return refused(judged);
    const { id, record, at } = judged;
    const isCovered = scope === undefined || covers(record.scopes, scope);
    if (record.maxUses !== undefined) return this.#spend(judged, record.maxUses, isCovered, token);
    if (!isCovered) return refused('insufficient_scope');
    this.#uses.seen(id, at);
    return { valid: true, principal: principalOf(id, record) };
  }

  /** The same with a number of uses: one is taken only when everything else is right, and of the key as it was judged. */
  async #spend(first: Judged, maxUses: number, isCovered: boolean, token: unknown): Promise<Verification> {
    let judged: Judged | Refusal = first;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (typeof judged === 'string') return refused(judged);
      const { id, record, at, snapshot }: Judged = judged;
      if (!isCovered) return refused((await this.#uses.areLeft(id, maxUses)) ? 'insufficient_scope' : 'exhausted');
      const outcome = await this.#uses.use(id, snapshot.key.revision, maxUses);
      if (outcome === 'exhausted') return refused('exhausted');
      if (outcome === 'used') {
        this.#uses.seen(id, at);
        return { valid: true, principal: principalOf(id, record) };
      }
      judged = await this.judge(token);
    }
    throw new MeshError('conflict', `expected a use of a key to pass, got ${ATTEMPTS} conflicts`);
  }

  #read(id: string): MaybePromise<Read | undefined> {
    const known = this.#known.get(id);
    if (known) return this.#readAll(known);
    const answer = this.#store.engine.storage.get([this.#store.keys.address(id)]);
    return answer instanceof Promise ? answer.then(([key]) => this.#learn(id, key)) : this.#learn(id, answer[0]);
  }

  /** A key on its own has been read already. */
  #learn(idInToken: string, key: StoredRecord | undefined): MaybePromise<Read | undefined> {
    if (!key) return undefined;
    const id = detached(idInToken);
    const known = { id, addresses: this.#store.snapshotAddresses(id, recordOf(key)) };
    this.#known.set(id, known);
    return known.addresses.length === 1 ? readOf(id, this.#store.snapshotOf([key])) : this.#readAll(known);
  }

  #readAll({ id, addresses }: Known): MaybePromise<Read | undefined> {
    const answer = this.#store.engine.storage.get(addresses);
    return answer instanceof Promise
      ? answer.then((records) => readOf(id, this.#store.snapshotOf(records)))
      : readOf(id, this.#store.snapshotOf(answer));
  }
}

function readOf(id: string, snapshot: KeySnapshot | undefined): Read | undefined {
  return snapshot && { id, snapshot };
}

/** What is wrong with a key at this time: itself, then its session, then its ancestors, the nearest first. */
function standing({ key, ancestors, session }: KeySnapshot, now: number): Refusal | undefined {
  const record = recordOf(key);
  const own = refusalOf(record, now);
  if (own) return own;
  // The ancestors are bound to the same incarnation: who derives a key hands on its own binding.
  if (sessionIsOver(record, session)) return 'session_ended';
  for (const ancestor of ancestors) {
    // One that is gone was over before.
    const inherited = ancestor ? refusalOf(recordOf(ancestor), now) : 'revoked';
    if (inherited) return inherited;
  }
  return undefined;
}

/** What no new token helps against. */
const NEVER_AGAIN: Readonly<Partial<Record<Refusal, string>>> = {
  revoked: 'one that is revoked, or was derived from such',
  expired: 'one that has expired, or was derived from such',
  session_ended: 'one whose session has ended',
};

/** @throws MeshError `unauthorized` for a key of which no token would be good, ever */
export async function assertRenewable(store: KeyStore, id: string, current: KeyRecord): Promise<void> {
  const addresses = store.snapshotAddresses(id, current);
  // A key on its own has been read already.
  const found = addresses.length === 1 ? undefined : store.snapshotOf(await store.engine.storage.get(addresses));
  const now = store.engine.now();
  const refusal = found ? standing(found, now) : refusalOf(current, now);
  const got = refusal && NEVER_AGAIN[refusal];
  if (got !== undefined) throw new MeshError('unauthorized', `expected a key that can be good again, got ${got}`);
}

function isDigestOf({ digest, previous }: KeyRecord, given: string, now: number): boolean {
  // Both are compared whatever the first comparison says.
  const isCurrent = sameDigest(digest, given);
  const isPrevious = previous !== undefined && sameDigest(previous.digest, given) && now < previous.until;
  return isCurrent || isPrevious;
}

function refused(code: Refusal): Verification {
  return { valid: false, code };
}

import { BoundedCache } from '../../kernel/bounded-cache.ts';
import { MeshError } from '../../kernel/errors.ts';
import type { JsonValue } from '../../kernel/json.ts';
import { type SessionSnapshot, type SessionState, stateOf } from '../../registry/session.ts';
import { snapshotOf } from '../../registry/session-store.ts';
import type { Draft } from '../../storage/draft.ts';
import type { DueOutcome } from '../../storage/due.ts';
import { type Address, type Check, type MaybePromise, type Put, whenDone } from '../../storage/storage.ts';
import type { Actor, HubCore } from '../hub-core.ts';
import { markerAddress } from './mailbox.ts';

/** A session as it was read, and what must still hold of it in a commit that relies on it. */
export interface Standing {
  readonly session: string;
  readonly state: SessionState;
  readonly incarnation: string;
  readonly checks: readonly Check[];
  /** The revision of its mailbox's marker; `null`: nobody has written to it yet. */
  readonly marker: number | null;
  readonly markerCheck: Check;
  /** What a send to it alone answers. */
  readonly recipients: readonly [{ readonly session: string; readonly state: SessionState }];
  /** Some of those who are known to have written to it: to look one up takes no name of the pair. */
  readonly talkers: Set<string>;
}

const REMEMBERED = 10_000;
const TALKERS_AT_HAND = 100;
export const MAILBOX_DUE = 'mailbox';
export const TALK_DUE = 'talk';

/**
 * Who may write to whom. Standings and talks are remembered and checked by the commits that use them, so a send to a
 * known session reads nothing; whoever is refused because of an old one forgets it and reads again.
 */
export class Routes {
  readonly #core: HubCore;
  readonly #retainMs: number;
  readonly #standings = new BoundedCache<Standing>(REMEMBERED);
  readonly #talks = new BoundedCache<true>(REMEMBERED);

  constructor(core: HubCore, retainMs: number) {
    this.#core = core;
    this.#retainMs = retainMs;
  }

  /** @throws MeshError `not_found` */
  standing(session: string): MaybePromise<Standing> {
    return this.#standings.get(session) ?? this.#read(session);
  }

  /** What is known of a session without a read. */
  remembered(session: string): Standing | undefined {
    return this.#standings.get(session);
  }

  /** For many at once: those that are known or can be read; `undefined` where there is no such session. */
  async standings(sessions: readonly string[]): Promise<(Standing | undefined)[]> {
    const found = sessions.map((session) => this.#standings.get(session));
    const missing = [...sessions.keys()].filter((n) => !found[n]);
    for (let start = 0; start < missing.length; start += 200) {
      const part = missing.slice(start, start + 200);
      const records = await this.#core.engine.storage.get(part.flatMap((n) => this.#addresses(sessions[n] as string)));
      part.forEach((n, k) => {
        found[n] = this.#remember(sessions[n] as string, records.slice(4 * k, 4 * k + 4));
      });
    }
    return found;
  }

  /** Whether a message between these two needs nothing to be read, and nothing to be put but itself. */
  isKnown({ id, tenure }: Actor, to: string): boolean {
    const standing = this.#standings.get(to);
    if (!standing || standing.marker === null || !this.isTalking(id, standing)) return false;
    return tenure !== undefined || this.#standings.has(id);
  }

  /** Whether it is known that one has written to the other. */
  isTalking(from: string, { session, talkers }: Standing): boolean {
    if (talkers.has(from)) return true;
    if (!this.#talks.has(`${from}>${session}`)) return false;
    if (talkers.size === TALKERS_AT_HAND) talkers.clear();
    talkers.add(from);
    return true;
  }

  forget(session: string): void {
    this.#standings.delete(session);
  }

  /** For whoever would leave a session out because it was offline: no commit would find that it is back. */
  forgetOffline(session: string): void {
    if (this.#standings.get(session)?.state === 'offline') this.#standings.delete(session);
  }

  /** Stages what must hold of a recipient, and its mailbox's marker, which is put when nobody has written to it before. */
  stageRecipient(draft: Draft, { session, checks, marker, markerCheck }: Standing): void {
    for (const check of checks) draft.checks.push(check);
    draft.checks.push(markerCheck);
    if (marker === null) this.stageMarker(draft, session);
  }

  /** Stages the marker of a mailbox to which nobody has written before. */
  stageMarker(draft: Draft, session: string): void {
    this.#stageNew(draft, session, null);
  }

  /** Stages that an incarnation has taken up a mailbox, of which the marker is of this revision. */
  stageTakeUp(draft: Draft, session: string, marker: number | null, incarnation: string): void {
    draft.checks.push({ ...markerAddress(session), revision: marker });
    if (marker === null) this.#stageNew(draft, session, { incarnation });
    else draft.puts.push({ ...markerAddress(session), value: { incarnation } });
  }

  /** A marker where there was none, with the due entry by which the mail is removed in the end. */
  #stageNew(draft: Draft, session: string, value: JsonValue): void {
    const { due } = this.#core.engine;
    const at = this.#core.engine.now() + this.#retainMs;
    draft.puts.push({ ...markerAddress(session), value }, due.put(at, MAILBOX_DUE, session));
  }

  /** Stages that these two have talked, unless that is known, until one of them is gone. */
  stageTalk(draft: Draft, from: string, standing: Standing): MaybePromise<void> {
    if (this.isTalking(from, standing)) return undefined;
    const key = `${from}>${standing.session}`;
    const address: Address = { partition: TALKS, key };
    return whenDone(this.#core.engine.storage.get([address]), ([known]) => {
      if (known) this.#talks.set(key, true);
      else draft.puts.push({ ...address, value: null }, this.#talkDue(key));
    });
  }

  /** Nobody needs to know to whom a session has talked that is not even remembered. */
  async endTalk(key: string): Promise<DueOutcome> {
    const { sessions, engine } = this.#core;
    const [from = '', to = ''] = key.split('>');
    const found = await sessions.readMany([from, to]);
    if (!found.includes(undefined)) return { moveTo: engine.now() + this.#retainMs };
    this.#talks.delete(key);
    this.#standings.get(to)?.talkers.delete(from);
    return { deletes: [{ partition: TALKS, key }] };
  }

  #talkDue(key: string): Put {
    const { due } = this.#core.engine;
    return due.put(this.#core.engine.now() + this.#retainMs, TALK_DUE, key);
  }

  #read(session: string): MaybePromise<Standing> {
    return whenDone(this.#core.engine.storage.get(this.#addresses(session)), (records) => {
      const standing = this.#remember(session, records);
      if (!standing) throw new MeshError('not_found', `expected a known session, got ${session}`, { details: { session } });
      return standing;
    });
  }

  #addresses(session: string): Address[] {
    const { sessions } = this.#core;
    return [
      sessions.collection.address(session),
      sessions.leaseAddress(session),
      sessions.sightingAddress(session),
      markerAddress(session),
    ];
  }

  #remember(session: string, records: Parameters<typeof snapshotOf>[1][]): Standing | undefined {
    const [record, lease, sighting, marker] = records;
    const snapshot = snapshotOf(session, record, lease, sighting);
    if (!snapshot) return undefined;
    const state = stateOf(snapshot);
    const standing: Standing = {
      session,
      state,
      incarnation: snapshot.record.incarnation,
      checks: this.#checks(snapshot, sighting?.revision ?? null),
      marker: marker?.revision ?? null,
      markerCheck: { ...markerAddress(session), revision: marker?.revision ?? null },
      recipients: Object.freeze([Object.freeze({ session, state })] as const),
      talkers: new Set(),
    };
    // Of a session that is over nothing is remembered: its id may be used again.
    if (standing.state === 'alive' || standing.state === 'offline') this.#standings.set(session, standing);
    return standing;
  }

  /** A lease that is still of this put proves all there is to prove; without one, record, absence and sighting do. */
  #checks({ id, revision, lease }: SessionSnapshot, sighting: number | null): Check[] {
    const { sessions } = this.#core;
    const check = sessions.leaseCheck(id, lease?.revision ?? null);
    if (lease) return [check];
    return [check, { ...sessions.collection.address(id), revision }, { ...sessions.sightingAddress(id), revision: sighting }];
  }
}

/** Who has written to whom, once for each pair. */
export const TALKS = 'talks';

/**
 * Refuses a recipient to whom nobody can write any more.
 * @throws MeshError `not_alive`
 */
export function assertReachable({ session, state }: Standing, requireAlive: boolean): void {
  if (state === 'alive' || (state === 'offline' && !requireAlive)) return;
  throw new MeshError(
    'not_alive',
    `expected session ${session} to be ${requireAlive ? 'alive' : 'alive or offline'}, got ${state}`,
    {
      details: { session },
    },
  );
}

/**
 * Only who is alive gets mail.
 * @throws MeshError `not_alive`
 */
export function assertLeased({ session, state }: Standing): void {
  if (state === 'alive' || state === 'stopping') return;
  throw new MeshError('not_alive', `expected session ${session} to be alive, got ${state}`, { details: { session } });
}

/**
 * Refuses a sender that is over. An id is the host's authority, so it may be offline or stopping.
 * @throws MeshError `not_alive`
 */
export function assertNotOver({ session, state }: Standing): void {
  if (state !== 'ended' && state !== 'killed') return;
  throw new MeshError('not_alive', `expected session ${session} not to be over, got ${state}`, { details: { session } });
}

import type { JsonObject, JsonValue } from '../kernel/json.ts';

export const SESSION_STATES = ['alive', 'offline', 'stopping', 'ended', 'killed'] as const;

/** What a session says of itself. */
export type SessionStatus = 'active' | 'idle' | 'working' | 'waiting';

/**
 * Computed at every read: `alive` while the lease is there; `offline` after it lapsed; `stopping` between a kill order
 * and its effect; `ended` by its owner or after its retention; `killed`.
 */
export type SessionState = (typeof SESSION_STATES)[number];

/** What kind of agent a session is. */
export interface AgentInfo {
  readonly name: string;
  readonly type: string;
  readonly framework?: string;
}

/** One agent's presence in the mesh, as a caller sees it. */
export interface Session {
  readonly id: string;
  readonly agent: AgentInfo;
  readonly user?: string;
  readonly capabilities: readonly string[];
  readonly groups: readonly string[];
  readonly state: SessionState;
  readonly status: SessionStatus;
  readonly task?: string;
  readonly parentId?: string;
  /** The number of this incarnation of the id; grows on registration of a known id, takeover, kill and end. */
  readonly epoch: number;
  readonly metadata: JsonObject;
  /** How much work it takes at a time, by which its load is divided. */
  readonly capacity: number;
  readonly ttlMs: number;
  readonly registeredAt: number;
  /** The last heartbeat or write that renewed the lease. */
  readonly lastSeenAt: number;
  /** The last time it said that it got on: registration or `update`. */
  readonly lastActivityAt: number;
  readonly endedAt?: number;
  /** What the owner gave to `end`. */
  readonly result?: JsonValue;
  /** Why it was killed or ended. */
  readonly reason?: string;
}

/** A kill order that has not taken effect yet. */
export interface StopOrder {
  readonly root: string;
  readonly reason: string;
  readonly by?: string;
  readonly at: number;
  /** Through this millisecond the session lives. */
  readonly deadline: number;
}

export interface Ending {
  readonly kind: 'ended' | 'killed';
  readonly at: number;
  readonly lastSeenAt: number;
  readonly reason?: string | undefined;
  /** Stored apart from the record. */
  readonly result?: JsonValue | undefined;
  /** Of a kill: the owner ended within the grace. */
  readonly graceful?: boolean;
}

/** A session as it is stored. */
export interface SessionRecord {
  /** Random for each registration, so that nothing bound to an old one fits a new one of the same id and epoch. */
  readonly incarnation: string;
  readonly epoch: number;
  readonly agent: AgentInfo;
  readonly user?: string;
  readonly capabilities: readonly string[];
  readonly groups: readonly string[];
  readonly status: SessionStatus;
  readonly task?: string;
  readonly parentId?: string;
  readonly metadata: JsonObject;
  readonly capacity: number;
  readonly ttlMs: number;
  readonly retentionMs: number;
  readonly registeredAt: number;
  readonly lastActivityAt: number;
  /** How often this incarnation was revived after a lapse; absent: never. */
  readonly stint?: number;
  /** The lapse that `session_offline` has told. */
  readonly offlineAt?: number;
  readonly stopping?: StopOrder;
  readonly ending?: Ending;
}

/** The lease's value. Its revision is the fence; its expiry by the store's clock is the end of the lease. */
export interface Lease {
  readonly incarnation: string;
  /** The watch list on which the session stands. */
  readonly watch: string;
  /** That of the record: work that was claimed in an earlier stint is no longer its own. */
  readonly stint?: number;
  /** The last lease of the session: nobody renews it. */
  readonly final?: true;
}

export interface LeaseRecord {
  readonly value: Lease;
  readonly revision: number;
  readonly expiresAt: number;
}

/** Everything that is stored of one session, of one snapshot. */
export interface SessionSnapshot {
  readonly id: string;
  readonly record: SessionRecord;
  readonly revision: number;
  readonly lease: LeaseRecord | undefined;
  /** From the record that outlives the lease; gone once the retention has passed. */
  readonly seenAt: number | undefined;
}

/** A lease lives through `ttlMs` inclusive, so it is stored with one millisecond more. */
export const LEASE_EXTRA_MS = 1;

export function stateOf({ record, lease, seenAt }: SessionSnapshot): SessionState {
  if (record.ending) return record.ending.kind;
  const leased = lease !== undefined && lease.value.incarnation === record.incarnation;
  if (record.stopping) return leased ? 'stopping' : 'killed';
  if (leased) return 'alive';
  return seenAt === undefined ? 'ended' : 'offline';
}

/** When the lease was renewed last, as far as that is still known. */
export function lastSeenAt({ record, lease, seenAt }: SessionSnapshot): number {
  if (record.ending) return record.ending.lastSeenAt;
  return seenAt ?? record.offlineAt ?? (lease ? record.registeredAt : record.lastActivityAt);
}

type View = { -readonly [Name in keyof Session]: Session[Name] };

/** Named one by one, which takes a third of the time of spreads; they are made by the thousand. */
function viewIn(state: SessionState, id: string, record: SessionRecord, seenAt: number): View {
  const { user, task, parentId } = record;
  const view: View = {
    id,
    agent: record.agent,
    capabilities: record.capabilities,
    groups: record.groups,
    state,
    status: record.status,
    epoch: record.epoch,
    metadata: record.metadata,
    capacity: record.capacity,
    ttlMs: record.ttlMs,
    registeredAt: record.registeredAt,
    lastSeenAt: seenAt,
    lastActivityAt: record.lastActivityAt,
  };
  if (user !== undefined) view.user = user;
  if (task !== undefined) view.task = task;
  if (parentId !== undefined) view.parentId = parentId;
  return view;
}

/** A session that is alive: nothing has ended it, nor is about to. */
export function aliveView(id: string, record: SessionRecord, seenAt: number): Session {
  return viewIn('alive', id, record, seenAt);
}

export function viewOf(snapshot: SessionSnapshot): Session {
  const { id, record } = snapshot;
  const { ending, stopping } = record;
  const state = stateOf(snapshot);
  const view = viewIn(state, id, record, lastSeenAt(snapshot));
  const reason = ending?.reason ?? stopping?.reason;
  const endedAt = ending?.at ?? (stopping && state === 'killed' ? stopping.deadline + 1 : undefined);
  if (endedAt !== undefined) view.endedAt = endedAt;
  if (ending?.result !== undefined) view.result = ending.result;
  if (reason !== undefined) view.reason = reason;
  return view;
}

/** True when nothing more can become of this incarnation. */
export function isTerminal(state: SessionState): boolean {
  return state === 'ended' || state === 'killed';
}

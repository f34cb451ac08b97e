import type { JsonValue } from '../kernel/json.ts';
import type { Draft } from '../storage/draft.ts';
import { stageWithoutDirectives } from './directives.ts';
import { type Ending, lastSeenAt, type SessionRecord, type SessionSnapshot, type StopOrder } from './session.ts';
import type { SessionStore } from './session-store.ts';

/** The kinds of due entries that the registry handles. */
export const RETENTION = 'retention';

export interface EndingDetails {
  readonly result?: JsonValue | undefined;
  readonly reason?: string | undefined;
}

/**
 * Stages the end of an incarnation: the record says so, the epoch grows, the lease goes, and what remains is removed
 * after the retention. A session with a kill order does not end, it is killed.
 */
export function stageEnd(draft: Draft, store: SessionStore, snapshot: SessionSnapshot, details: EndingDetails): SessionRecord {
  const { id, record } = snapshot;
  if (record.stopping) return stageKilled(draft, store, snapshot, { ...record.stopping, graceful: true, result: details.result });
  const ended = stageEnding(draft, store, snapshot, { kind: 'ended', ...pick(details) });
  store.event(draft, 'session_ended', id, ended.epoch, {});
  return ended;
}

/** Stages the effect of a kill: at once when forced, at the owner's end, or after the deadline. */
export function stageKilled(
  draft: Draft,
  store: SessionStore,
  snapshot: SessionSnapshot,
  {
    reason,
    root,
    by,
    graceful,
    result,
  }: Pick<StopOrder, 'reason' | 'root' | 'by'> & Pick<EndingDetails, 'result'> & { readonly graceful: boolean },
): SessionRecord {
  const killed = stageEnding(draft, store, snapshot, { kind: 'killed', graceful, ...pick({ reason, result }) });
  store.event(draft, 'agent_killed', snapshot.id, killed.epoch, { graceful, root, ...(by !== undefined && { by }) });
  return killed;
}

/**
 * Stages the event of a lapse, unless the session has not lapsed or its lapse was told. Whatever makes an end of a lapse
 * does so, since no sweeper may have seen it.
 */
export function stageLapse(draft: Draft, store: SessionStore, snapshot: SessionSnapshot): void {
  const { id, record, lease } = snapshot;
  if (lease || record.ending || record.stopping || record.offlineAt !== undefined) return;
  store.event(draft, 'session_offline', id, record.epoch, { lastSeenAt: lastSeenAt(snapshot) });
}

/**
 * Stages the terminal event of an incarnation whose record is about to go, unless it was told. Under a kill order it is
 * killed, as every reader has seen it since.
 */
export function stageLastEvent(draft: Draft, store: SessionStore, { id, record }: SessionSnapshot): void {
  if (record.ending) return;
  const { stopping } = record;
  if (!stopping) return store.event(draft, 'session_ended', id, record.epoch, {});
  const { root, by } = stopping;
  store.event(draft, 'agent_killed', id, record.epoch, { graceful: false, root, ...(by !== undefined && { by }) });
}

/** Stages the removal of a session, with everything that belongs to it: its end, if that was not told. It must have no children. */
export async function stageRemoval(draft: Draft, store: SessionStore, snapshot: SessionSnapshot): Promise<void> {
  const { id, record, revision, lease } = snapshot;
  stageLapse(draft, store, snapshot);
  stageLastEvent(draft, store, snapshot);
  store.aftermath.stage(draft, id, record.incarnation);
  draft.checks.push({ partition: store.collection.indexPartition('parent', id), fewerThan: 1 });
  store.collection.remove(draft, { id, value: record, revision });
  draft.deletes.push(store.leaseAddress(id), store.sightingAddress(id));
  if (lease) draft.deletes.push(store.watchAddress(lease.value.watch, id));
  await stageWithoutDirectives(draft, store.engine.storage, id);
  store.event(draft, 'session_removed', id, record.epoch, {});
}

function stageEnding(
  draft: Draft,
  store: SessionStore,
  snapshot: SessionSnapshot,
  how: Omit<Ending, 'at' | 'lastSeenAt'>,
): SessionRecord {
  const { id, record, revision, lease } = snapshot;
  const at = store.engine.now();
  stageLapse(draft, store, snapshot);
  const { offlineAt: _offlineAt, stopping: _stopping, ...rest } = record;
  const { result, ...ending } = how;
  const ended: SessionRecord = { ...rest, epoch: record.epoch + 1, ending: { ...ending, at, lastSeenAt: lastSeenAt(snapshot) } };
  store.collection.replace(draft, { id, value: record, revision }, ended);
  draft.deletes.push(store.leaseAddress(id));
  if (result === undefined) draft.deletes.push(store.sightingAddress(id));
  else draft.puts.push({ ...store.sightingAddress(id), value: result });
  if (lease) draft.deletes.push(store.watchAddress(lease.value.watch, id));
  draft.puts.push(store.engine.due.put(at + record.retentionMs, RETENTION, id));
  store.aftermath.stage(draft, id, record.incarnation);
  return ended;
}

function pick({ result, reason }: EndingDetails): EndingDetails {
  return { ...(result !== undefined && { result }), ...(reason !== undefined && { reason }) };
}

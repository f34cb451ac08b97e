import { MeshError } from '../../kernel/errors.ts';
import { stateOf } from '../../registry/session.ts';
import type { Draft } from '../../storage/draft.ts';
import type { Committed, MaybePromise } from '../../storage/storage.ts';
import type { Actor, HubCore } from '../hub-core.ts';

/** In the name of whom a task is claimed, and the lease that proves it in the commit. */
export interface Standing {
  readonly session: string;
  readonly incarnation: string;
  readonly stint: number;
  readonly lease: number;
  /** A kill order is on it: it may finish what it has, and take no more. */
  readonly stopping: boolean;
}

/**
 * The session as it stands now. A handle knows; for an id the store is asked.
 * @throws MeshError `not_found`, `not_alive`; `lease_lost` of a handle
 */
export async function standingOf(core: HubCore, { id, tenure }: Actor): Promise<Standing> {
  if (tenure) {
    if (tenure.end) throw tenure.end;
    const { incarnation, stint, leaseRevision, stopping } = tenure;
    return { session: id, incarnation, stint, lease: leaseRevision, stopping };
  }
  const snapshot = await core.sessions.require(id);
  const state = stateOf(snapshot);
  const { lease } = snapshot;
  if (!lease || (state !== 'alive' && state !== 'stopping')) throw notAlive(id, state);
  const { incarnation, stint = 0 } = lease.value;
  return { session: id, incarnation, stint, lease: lease.revision, stopping: state === 'stopping' };
}

/**
 * Commits what `stage` stages while the lease is there, under which it was staged; again after each conflict.
 * @throws MeshError as `standingOf`, and `not_alive` of a handle whose lease has lapsed
 */
export function writeAs<T>(
  core: HubCore,
  actor: Actor,
  stage: (draft: Draft, standing: Standing) => MaybePromise<T>,
): Promise<{ readonly made: T; readonly committed: Committed | undefined }> {
  return core.write(actor, async (draft) => {
    const standing = await standingOf(core, actor);
    // Under a handle the write itself checks it.
    if (!actor.tenure) draft.checks.push(core.sessions.leaseCheck(standing.session, standing.lease));
    return stage(draft, standing);
  });
}

export function notAlive(session: string, state: string): MeshError {
  return new MeshError('not_alive', `expected session ${session} to be alive, got ${state}`, { details: { session, state } });
}

/** @throws MeshError `not_alive` for a session that is told to stop: it may finish what it has, and take no more */
export function assertMayTake({ session, stopping }: Standing): void {
  if (stopping) throw notAlive(session, 'stopping');
}

import type { Collaboration } from '../../../src/hub/collaborations/collaboration.ts';
import type { CollaborationTask } from '../../../src/hub/collaborations/collaboration-tasks.ts';
import { Collaborations } from '../../../src/hub/collaborations/collaborations.ts';
import type { CreateCollaborationOptions } from '../../../src/hub/collaborations/creation.ts';
import { COLLABORATION_EVENTS } from '../../../src/hub/collaborations/events.ts';
import { HubCore } from '../../../src/hub/hub-core.ts';
import type { MeshOptions } from '../../../src/mesh.ts';
import type { SessionHandle } from '../../../src/registry/session-handle.ts';
import type { LoggedEvent } from '../../../src/storage/events/event-reader.ts';
import type { Storage } from '../../../src/storage/storage.ts';
import { recordsOf } from '../memory/observed.ts';
import { quiet, type World, worldOn } from '../memory/worlds.ts';
import type { OpenStorage } from '../storages.ts';

export interface Team extends World {
  readonly all: Collaborations;
  /** The tasks that a collaboration is said to have. */
  readonly tasks: Map<string, CollaborationTask[]>;
  readonly lead: SessionHandle;
  readonly dev: SessionHandle;
  /** A collaboration of lead and dev, with `qa` invited: design, then implementation by dev and docs, then review by qa. */
  start(options?: Partial<CreateCollaborationOptions>): Promise<Collaboration>;
}

/** Sessions that work together on a fresh storage, with tasks that the test makes up. */
export async function teamOn(open: OpenStorage, options: MeshOptions = {}): Promise<Team> {
  const world = await worldOn(open, options);
  const tasks = new Map<string, CollaborationTask[]>();
  const all = new Collaborations(new HubCore(world.registry), {
    of: (id) => tasks.get(id) ?? [],
    delegate: () => Promise.reject(new Error('expected a test without delegation')),
  });
  const lead = await quiet(world.registry, 'lead');
  const dev = await quiet(world.registry, 'dev');
  const start = (more: Partial<CreateCollaborationOptions> = {}): Promise<Collaboration> =>
    all.create({
      initiator: lead,
      participants: [
        { session: 'dev', role: 'implementer' },
        { session: 'qa', role: 'reviewer' },
      ],
      steps: STEPS,
      ...more,
    });
  return { ...world, all, tasks, lead, dev, start };
}

export const STEPS: NonNullable<CreateCollaborationOptions['steps']> = [
  { name: 'design' },
  { name: 'implementation', requires: ['dev'], after: ['design'] },
  { name: 'docs', after: ['design'], description: 'for users' },
  { name: 'review', requires: ['qa'], after: ['implementation', 'docs'] },
];

/** Events of collaborations so far, each without what it shares with all others. */
export async function toldOf(storage: Storage): Promise<Record<string, unknown>[]> {
  const events = (await recordsOf(storage, 'events')).map(({ value }) => value as unknown as LoggedEvent);
  return events
    .filter(({ name }) => (COLLABORATION_EVENTS as readonly string[]).includes(name))
    .map(({ at: _at, ...event }) => event);
}

/** The same as `name detail`. */
export async function namesTold(storage: Storage): Promise<string[]> {
  return (await toldOf(storage)).map(({ name, session, step, version }) =>
    [name, session ?? step ?? version].filter((part) => part !== undefined).join(' '),
  );
}

/** What the storage has of collaborations, by partition; keys only. */
export async function leftOf({ seen }: World): Promise<Record<string, string[]>> {
  const left: Record<string, string[]> = {};
  for (const partition of [...seen.partitions].sort()) {
    if (!partition.startsWith('collaborations') && partition !== 'due') continue;
    const keys = (await recordsOf(seen.storage, partition)).map(({ key }) => key).filter(isOfCollaborations(partition));
    if (keys.length > 0) left[partition] = keys;
  }
  return left;
}

function isOfCollaborations(partition: string): (key: string) => boolean {
  return (key) => partition !== 'due' || key.includes('/collaboration/');
}

export function task(id: string, more: Partial<CollaborationTask> = {}): CollaborationTask {
  return { id, type: 'work', state: 'working', updatedAt: 0, ...more };
}

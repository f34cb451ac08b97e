import { MeshError } from '../../kernel/errors.ts';
import type { JsonObject, JsonValue } from '../../kernel/json.ts';
import { jsonBytesAtMost } from '../../kernel/json.ts';
import { Collection, type Versioned } from '../../storage/collection.ts';
import type { Draft } from '../../storage/draft.ts';
import type { Engine } from '../../storage/engine.ts';
import { padded, prefixRange, stampedKey } from '../../storage/keys.ts';
import type { Address, Delete } from '../../storage/storage.ts';
import type { HubCore } from '../hub-core.ts';
import { priorityDigit } from '../priority.ts';
import type { TaskEvents } from './events.ts';
import { type Held, isOver, queueOf, type TaskRecord, type TaskTarget } from './task.ts';

export type TaskIndex = 'session' | 'worker' | 'waiting' | 'collaboration';

/** What stands in a queue, and in a worker's reservations. */
export interface QueueEntry {
  readonly task: string;
  readonly type: string;
}

type EventFields<Name extends keyof TaskEvents> = Omit<
  TaskEvents[Name],
  'name' | 'at' | 'cursor' | 'task' | 'from' | 'attempt' | 'collaboration' | 'step'
>;

const PARTS = 'tasks.parts';
/** Values larger than this stand in a record of their own. */
const HELD_BYTES = 32 * 1024;

/** The records of tasks, where they wait, and what belongs to them. */
export class TaskStore {
  readonly core: HubCore;
  readonly engine: Engine;
  readonly tasks: Collection<TaskRecord, TaskIndex>;

  constructor(core: HubCore) {
    this.core = core;
    this.engine = core.engine;
    this.tasks = new Collection<TaskRecord, TaskIndex>({
      storage: core.engine.storage,
      name: 'tasks',
      indexes: {
        session: sessionsOf,
        worker: ({ claim }) => claim?.session,
        waiting: waitingFor,
        collaboration: ({ collaborationId }) => collaborationId,
      },
    });
  }

  /** @throws MeshError `not_found` */
  async require(id: string): Promise<Versioned<TaskRecord>> {
    const found = await this.tasks.get(id);
    if (!found) throw new MeshError('not_found', `expected a known task, got ${id}`, { details: { task: id } });
    return found;
  }

  queuePartition(queue: string): string {
    return `queue/${queue}`;
  }

  reservedPartition(session: string, incarnation: string): string {
    return `reserved/${session}>${incarnation}`;
  }

  markerAddress(session: string, incarnation: string): Address {
    return { partition: 'workers', key: `${session}>${incarnation}` };
  }

  /** The place of a task in its queue, if that is where it waits. */
  queuePlace({ value, revision }: Versioned<TaskRecord>): Address | undefined {
    const { place, to, priority } = value;
    if (place?.in !== 'queue' || !to) return undefined;
    const key = stampedKey(priorityDigit(priority), padded(revision), place.position);
    return { partition: this.queuePartition(queueOf(to)), key };
  }

  event<Name extends keyof TaskEvents>(
    draft: Draft,
    name: Name,
    id: string,
    record: TaskRecord,
    fields: EventFields<Name>,
  ): void {
    const { from, attempt, collaborationId, step } = record;
    draft.puts.push(
      this.engine.log.put(name, {
        task: id,
        from,
        attempt,
        ...(collaborationId !== undefined && { collaboration: collaborationId }),
        ...(step !== undefined && { step }),
        ...(fields as unknown as JsonObject),
      }),
    );
  }

  /** Stages a value of a task, apart from its record if it is large. `parts` counts those of the task. */
  hold(draft: Draft, id: string, value: JsonValue, parts: number): { readonly held: Held; readonly parts: number } {
    if (jsonBytesAtMost(value) <= HELD_BYTES) return { held: { value }, parts };
    draft.puts.push({ ...this.#part(id, parts), value: { value } });
    return { held: { part: parts }, parts: parts + 1 };
  }

  /** Stages that a value is needed no more. */
  drop(draft: Draft, id: string, held: Held | undefined): void {
    if (held && 'part' in held) draft.deletes.push(this.#part(id, held.part));
  }

  /** The values of a task that are not in its record, of the record as it is now. `undefined`: it is gone. */
  async load(task: Versioned<TaskRecord>): Promise<LoadedTask | undefined> {
    for (let current: Versioned<TaskRecord> | undefined = task; current; ) {
      const { id, value }: Versioned<TaskRecord> = current;
      const apart = [value.payload, value.context, value.question, value.input, value.output, value.progress?.data].flatMap(
        (held) => (held && 'part' in held ? [held.part] : []),
      );
      if (apart.length === 0) return { task: current, contentOf: inRecord };
      const found = await this.engine.storage.get(apart.map((part) => this.#part(id, part)));
      const records = found.filter((record) => record !== undefined);
      if (records.length === apart.length) {
        const parts = new Map(records.map((record, n) => [apart[n], (record.value as unknown as { value: JsonValue }).value]));
        return { task: current, contentOf: (held) => ('part' in held ? (parts.get(held.part) as JsonValue) : held.value) };
      }
      // The record has changed since it was read: it names others now.
      current = await this.tasks.get(id);
    }
    return undefined;
  }

  /** What removes all values that stand apart. There are few: each change drops what it replaces. */
  allParts(id: string): Delete {
    return { partition: PARTS, ...prefixRange(`${id}!`), limit: 1000 };
  }

  #part(id: string, part: number): Address {
    return { partition: PARTS, key: `${id}!${part}` };
  }
}

export interface LoadedTask {
  readonly task: Versioned<TaskRecord>;
  readonly contentOf: (held: Held) => JsonValue;
}

function inRecord(held: Held): JsonValue {
  return 'value' in held ? held.value : null;
}

/** Whose task it is in any way: for those who look for the tasks of a session. */
function sessionsOf({ from, to, worker, offer }: TaskRecord): string[] {
  const sessions = new Set([from]);
  const addressed = sessionOf(to);
  if (addressed !== undefined) sessions.add(addressed);
  if (worker !== undefined) sessions.add(worker);
  for (const session of offer?.asked ?? []) sessions.add(session);
  return [...sessions];
}

/** The sessions for which it waits elsewhere than in a queue, so that it is found when one of them is over. */
function waitingFor(record: TaskRecord): readonly string[] {
  if (isOver(record) || !record.place) return [];
  if (record.place.in === 'offer') {
    const { asked = [], declined = [] } = record.offer ?? {};
    return asked.filter((session) => !declined.includes(session));
  }
  const session = sessionOf(record.to);
  return record.place.in === 'backoff' && session !== undefined ? [session] : [];
}

/** The session to which a task is addressed. */
export function sessionOf(to: TaskTarget | undefined): string | undefined {
  return to && 'session' in to ? to.session : undefined;
}

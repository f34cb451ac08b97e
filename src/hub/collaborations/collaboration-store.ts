import { MeshError } from '../../kernel/errors.ts';
import type { JsonObject, JsonValue } from '../../kernel/json.ts';
import { Collection, type Versioned } from '../../storage/collection.ts';
import type { Draft } from '../../storage/draft.ts';
import type { Engine } from '../../storage/engine.ts';
import { type Address, type MaybePromise, whenDone } from '../../storage/storage.ts';
import type { CollaborationRecord, ContextRecord, Ending, Outcome } from './collaboration-record.ts';
import { type CollaborationEvents, collaborationTopic } from './events.ts';

/** The kind of due entries that look after a collaboration: whether it has timed out, and later that it is removed. */
export const LOOK = 'collaboration';
/** How long a collaboration that has ended can still be read. */
export const RETENTION_MS = 7 * 86_400_000;
/** A task may be removed after some days, so long timeouts are looked at meanwhile, to note what its tasks have done. */
const LOOK_AT_LEAST_MS = 86_400_000;
const MAX_OUTPUTS = 100;

export type Found = Versioned<CollaborationRecord>;
type EventFields<Name extends keyof CollaborationEvents> = Omit<
  CollaborationEvents[Name],
  'name' | 'at' | 'cursor' | 'collaboration'
>;

/** The records of a collaboration and how a change of them is staged. */
export class CollaborationStore {
  readonly engine: Engine;
  readonly collection: Collection<CollaborationRecord, 'session'>;

  constructor(engine: Engine) {
    this.engine = engine;
    this.collection = new Collection<CollaborationRecord, 'session'>({
      storage: engine.storage,
      name: 'collaborations',
      indexes: { session: ({ participants }) => participants.map(({ session }) => session) },
    });
  }

  contextAddress(id: string): Address {
    return { partition: 'collaborations.context', key: id };
  }

  outcomeAddress(id: string): Address {
    return { partition: 'collaborations.outcome', key: id };
  }

  outputAddress(id: string, step: string): Address {
    return { partition: `collaborations.output=${id}`, key: step };
  }

  /** @throws MeshError `not_found` */
  async require(id: string): Promise<Found> {
    const found = await this.collection.get(id);
    if (!found) throw unknown(id);
    return found;
  }

  /** The shared context; `undefined` when the collaboration is gone. */
  context(id: string): MaybePromise<Versioned<ContextRecord> | undefined> {
    return whenDone(
      this.engine.storage.get([this.contextAddress(id)]),
      ([record]) => record && { id, value: record.value as unknown as ContextRecord, revision: record.revision },
    );
  }

  /** What a step was completed with. */
  output(id: string, step: string): MaybePromise<JsonValue | undefined> {
    return whenDone(this.engine.storage.get([this.outputAddress(id, step)]), ([record]) => record?.value);
  }

  putContext(draft: Draft, id: string, context: ContextRecord): void {
    draft.puts.push({ ...this.contextAddress(id), value: context as unknown as JsonValue });
  }

  /** Stages a look when it may have timed out. */
  stageLook(draft: Draft, id: string, deadline: number, now: number): void {
    draft.puts.push(this.engine.due.put(Math.min(deadline, now + LOOK_AT_LEAST_MS), LOOK, id));
  }

  /** Stages the one terminal change. */
  stageEnding(draft: Draft, found: Found, ending: Ending, outcome: Outcome): void {
    const { id, value } = found;
    this.collection.replace(draft, found, { ...value, ending });
    if (Object.keys(outcome).length > 0) draft.puts.push({ ...this.outcomeAddress(id), value: outcome as JsonObject });
    draft.puts.push(this.engine.due.put(ending.at + RETENTION_MS, LOOK, id));
    const by = ending.by !== undefined && { by: ending.by };
    if (ending.state === 'completed') this.event(draft, 'collaboration_completed', id, { ...by });
    else this.event(draft, 'collaboration_terminated', id, { ...by, ...(ending.timedOut && { timedOut: true }) });
  }

  /** Stages that nothing of it is left. */
  stageRemoval(draft: Draft, found: Found): void {
    this.collection.remove(draft, found);
    const { partition } = this.outputAddress(found.id, '');
    draft.deletes.push(this.contextAddress(found.id), this.outcomeAddress(found.id), { partition, limit: MAX_OUTPUTS });
  }

  event<Name extends keyof CollaborationEvents>(draft: Draft, name: Name, id: string, fields: EventFields<Name>): void {
    draft.puts.push(this.engine.log.put(name, { collaboration: id, ...(fields as unknown as JsonObject) }));
  }

  /** Says whom events of collaborations wake. */
  static defineTopics(engine: Engine, names: readonly string[]): void {
    for (const name of names) engine.log.defineTopics(name, (event) => [collaborationTopic(String(event['collaboration']))]);
  }
}

export function unknown(id: string): MeshError {
  return new MeshError('not_found', `expected a known collaboration, got ${id}`, { details: { collaboration: id } });
}

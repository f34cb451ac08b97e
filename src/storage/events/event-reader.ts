import { MeshError } from '../../kernel/errors.ts';
import type { JsonValue } from '../../kernel/json.ts';
import { keyAfter, REVISION_DIGITS, stampedKey } from '../keys.ts';
import { type MaybePromise, type Put, type Storage, type StoredRecord, whenDone } from '../storage.ts';

/** An event as every process reads it. It names ids, and never bodies, values or secrets. */
export interface LoggedEvent {
  readonly name: string;
  /** When the change was made, by the store's clock, in epoch milliseconds. */
  readonly at: number;
  /** Its place in the log: give it as `after` to go on behind it. Text order is the order of the log. */
  readonly cursor: string;
  /** What else it tells; `undefined`, where an optional one is absent. */
  readonly [field: string]: JsonValue | undefined;
}

/** The stamped partition of all events. */
export const EVENTS = 'events';
/** Holds the last cursor that was trimmed, so that a reader knows when it has missed something. */
export const TRIMMED = { partition: 'events.trimmed', key: 'cursor' };
export const EVENT_PAGE = 1000;

/** Reads the event log from the store. */
export class EventReader {
  readonly #storage: Storage;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /** The cursor of the newest event, `''` while there is none. */
  tail(): MaybePromise<string> {
    const newest = this.#storage.list(EVENTS, { reverse: true, limit: 1, values: false });
    return whenDone(newest, (records) => records[0]?.key ?? '');
  }

  /** The cursor of the oldest event that is kept. */
  oldest(): MaybePromise<string | undefined> {
    const oldest = this.#storage.list(EVENTS, { limit: 1, values: false });
    return whenDone(oldest, (records) => records[0]?.key);
  }

  /** Up to 1,000 events behind a cursor; behind `''`, from the oldest on. */
  read(after: string): MaybePromise<LoggedEvent[]> {
    const range = after === '' ? { limit: EVENT_PAGE } : { start: keyAfter(after), limit: EVENT_PAGE };
    return whenDone(this.#storage.list(EVENTS, range), (records) => records.map(eventOf));
  }

  /**
   * Fails when events behind this cursor were trimmed.
   * @throws MeshError `not_found` with `details.oldest`, the oldest cursor that is kept
   */
  async assertKept(after: string): Promise<void> {
    const [trimmed] = await this.#storage.get([TRIMMED]);
    if (after === '' || !trimmed || (trimmed.value as string) <= after) return;
    const oldest = (await this.oldest()) ?? null;
    throw new MeshError('not_found', 'expected a cursor that the log still has, got an older one', { details: { oldest } });
  }
}

/**
 * A field of an event that names what its commit stamped, and so can't be known before: `message 0 dev-001!` is the field
 * `message`, of the prefix `dev-001!` and the stamp of the put at position 0.
 */
export function stampedField(field: string, prefix: string, position: number): string {
  return `${field} ${position} ${prefix}`;
}

/** The put of an event as it is stored, accepted: its name, its time, its fields, and those that the commit stamps. */
export function eventPut(value: JsonValue): Put {
  return { partition: EVENTS, key: '', value, stamped: true };
}

type StoredEvent = Record<string, JsonValue> & { readonly name: string; readonly at: number };

function eventOf({ key, value }: StoredRecord): LoggedEvent {
  if (!('stamped' in (value as StoredEvent))) return Object.freeze({ ...(value as StoredEvent), cursor: key });
  const { stamped, ...fields } = value as StoredEvent;
  const [field = '', position, prefix = ''] = (stamped as string).split(' ');
  const stamp = stampedKey(prefix, key.slice(0, REVISION_DIGITS), Number(position));
  return Object.freeze({ ...fields, [field]: stamp, name: fields.name, at: fields.at, cursor: key } as LoggedEvent);
}

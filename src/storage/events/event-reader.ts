import { MeshError } from '../../kernel/errors.ts';
import type { JsonValue } from '../../kernel/json.ts';
import { keyAfter, REVISION_DIGITS, stampedKey } from '../keys.ts';
import { OwnPut } from '../own-put.ts';
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
    return whenDone(this.records(after), (records) => records.map(eventOf));
  }

  /** The same as they are stored: for whoever passes most of them over. */
  records(after: string): MaybePromise<StoredRecord[]> {
    return this.#storage.list(EVENTS, after === '' ? { limit: EVENT_PAGE } : { start: keyAfter(after), limit: EVENT_PAGE });
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

/**
 * A field of an event that is a list of ids, as one text: `messages dev-001!… dev-001!…`. A list of texts takes several
 * times as much room as the texts.
 */
export function listedField(field: string, ids: readonly string[]): string {
  return [field, ...ids].join(' ');
}

/**
 * The put of an event that is told often, of fields that were checked: its name, its time, its fields, and the one that
 * the commit stamps.
 */
export function eventPut(event: StoredEvent, bytesAtMost: number): Put {
  return new OwnPut(EVENTS, '', event, bytesAtMost, true);
}

/** An event as it is stored: without its cursor, and without what its commit has stamped. */
export type StoredEvent = Readonly<Record<string, JsonValue>> & { readonly name: string; readonly at: number };

/** The event of a record of the log. */
export function eventOf({ key, value }: StoredRecord): LoggedEvent {
  const stored = value as StoredEvent;
  const event: Record<string, JsonValue> = { name: stored.name, at: stored.at };
  // Field by field: to spread it takes ten times as long.
  for (const field in stored) {
    if (field === STAMPED) nameStamped(event, stored[STAMPED] as string, key);
    else if (field === LISTED) nameListed(event, stored[LISTED] as string);
    else event[field] = stored[field] as JsonValue;
  }
  event['cursor'] = key;
  return Object.freeze(event) as LoggedEvent;
}

const STAMPED = 'stamped';
const LISTED = 'listed';

function nameListed(event: Record<string, JsonValue>, listed: string): void {
  const [field = '', ...ids] = listed.split(' ');
  event[field] = Object.freeze(ids);
}

function nameStamped(event: Record<string, JsonValue>, stamped: string, cursor: string): void {
  const field = stamped.indexOf(' ');
  const position = stamped.indexOf(' ', field + 1);
  const prefix = stamped.slice(position + 1);
  event[stamped.slice(0, field)] = stampedKey(
    prefix,
    cursor.slice(0, REVISION_DIGITS),
    Number(stamped.slice(field + 1, position)),
  );
}

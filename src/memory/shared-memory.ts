import { parse } from '../kernel/inputs.ts';
import type { JsonValue } from '../kernel/json.ts';
import { isThenable } from '../kernel/report.ts';
import { Engine, type EngineOptions, SHARED_OPTIONS } from '../storage/engine.ts';
import type { LoggedEvent } from '../storage/events/event-reader.ts';
import { EventSource } from '../storage/events/event-source.ts';
import type { Condition, Page } from '../storage/query.ts';
import { storagePolicy } from '../storage/storage-policy.ts';
import { type EntryRecord, entryOf, type MemoryEntry, type MemoryTombstone } from './entry.ts';
import { keyTopic, MEMORY_EVENTS, type MemoryEvents } from './events.ts';
import { Expiries } from './expiries.ts';
import { readHistory } from './history.ts';
import {
  type AcceptedOptions,
  acceptContent,
  acceptOptions,
  type ClearOptions,
  checkCallback,
  checkKey,
  DELETE,
  type DeleteOptions,
  HISTORY,
  type HistoryOptions,
  MEMORY_OPTIONS,
  type MemoryOptions,
  namespacePath,
  PATTERN,
  SEARCH,
  SET_OPTIONS,
  type SearchOptions,
  type SetOptions,
  UPDATE_OPTIONS,
  WAIT,
  WATCH,
  type WaitOptions,
  type WatchOptions,
} from './memory-inputs.ts';
import { searchEntries } from './memory-search.ts';
import { type MemoryIndex, MemoryStore } from './memory-store.ts';
import { type Made, MemoryWriter } from './memory-writer.ts';
import { type MemoryChange, waitForValue, watchChanges } from './watching.ts';

export interface SharedMemoryOptions extends EngineOptions, MemoryOptions {}

/** Counts of entries. */
export interface MemoryStats {
  /** Keys that have a value, in this namespace. */
  readonly entries: number;
  readonly byType: Readonly<Record<string, number>>;
  readonly bySession: Readonly<Record<string, number>>;
}

const CLEARED_AT_ONCE = 64;

/**
 * Values under keys that all sessions of a mesh share: each write is a new version, attributed to who wrote it, and
 * none is lost to another. What is read is frozen.
 */
export class SharedMemory extends EventSource<MemoryEvents> {
  readonly #engine: Engine;
  readonly #ownsEngine: boolean;
  readonly #store: MemoryStore;
  readonly #writer: MemoryWriter;

  /**
   * @param options a storage; the engine that a mesh shares among its classes; the records of a namespace
   * @param own what goes with an engine
   */
  constructor(options: SharedMemoryOptions | Engine | MemoryStore, own?: MemoryOptions) {
    const store = options instanceof MemoryStore ? options : rootStore(options, own);
    const { engine } = store;
    const accepts = (event: LoggedEvent): boolean => event['namespace'] === store.namespace;
    super({ log: engine.log, report: engine.report, names: MEMORY_EVENTS, accepts });
    this.#engine = engine;
    this.#ownsEngine = options !== engine && options !== store;
    this.#store = store;
    this.#writer = new MemoryWriter(store);
    for (const name of MEMORY_EVENTS) {
      engine.log.defineTopics(name, (event) => [keyTopic(String(event['namespace']), String(event['key']))]);
    }
    Expiries.on(engine, store.historyPerKey);
    engine.sweep();
  }

  /**
   * Writes a new version of a key: the value, type, tags and metadata given now and nothing of the version before.
   * @throws MeshError `invalid_input`, `limit_exceeded`, `conflict` (`ifVersion`; `details.version` is the newest, 0 without a value),
   * `not_found` and `not_alive` (`untilSessionEnds`), `lease_lost` and `not_alive` (`by` is a handle that no longer holds)
   */
  async set(key: string, value: unknown, options?: SetOptions): Promise<MemoryEntry> {
    checkKey(key);
    const given = acceptOptions(SET_OPTIONS, options);
    const content = acceptContent(value, given);
    const writing = this.#writer.write(key, given, () => content);
    return (writing instanceof Promise ? await writing : writing) as MemoryEntry;
  }

  /** The newest value; `undefined` when there is none. `null` is a value. */
  async get<Value = JsonValue>(key: string): Promise<Value | undefined> {
    const found = this.#store.current(checkKey(key));
    return (found instanceof Promise ? await found : found)?.value as Value | undefined;
  }

  /** The newest version with everything that belongs to it. */
  async getEntry<Value = JsonValue>(key: string): Promise<MemoryEntry<Value> | undefined> {
    const found = this.#store.current(checkKey(key));
    const record = found instanceof Promise ? await found : found;
    return record && (entryOf(key, record) as MemoryEntry<Value>);
  }

  /**
   * The versions of a key that are kept, newest first and without a gap. A tombstone stands where the key was deleted or
   * expired, and for each version whose own time is over. `limit`: 1 … 10,000, default 100.
   * @throws MeshError `invalid_input`
   */
  async history<Value = JsonValue>(key: string, options: HistoryOptions = {}): Promise<(MemoryEntry<Value> | MemoryTombstone)[]> {
    const { limit } = parse(HISTORY, options, 'options');
    return (await readHistory(this.#store, checkKey(key), limit)) as (MemoryEntry<Value> | MemoryTombstone)[];
  }

  /**
   * Makes a new value of the newest one, again when another write came in between, so that none is lost. `change` gets
   * `undefined` when there is no value; when it answers `undefined`, nothing is written. It may run many times and must
   * not write the key itself. Type, tags, metadata, expiry and the session with which the entry vanishes stay unless given.
   * @returns what there is afterwards
   * @throws MeshError as `set`, and whatever `change` throws
   */
  async update<Value = JsonValue>(
    key: string,
    change: (value: Value | undefined) => unknown,
    options?: Omit<SetOptions, 'ifVersion'>,
  ): Promise<MemoryEntry<Value> | undefined> {
    checkKey(key);
    checkCallback(change, 'change');
    const given = acceptOptions(UPDATE_OPTIONS, options);
    const writing = this.#writer.write(key, given, (current) => {
      const next = change(current?.value as Value | undefined);
      return isThenable(next)
        ? Promise.resolve(next).then((value) => changedTo(value, given, current))
        : changedTo(next, given, current);
    });
    return (writing instanceof Promise ? await writing : writing) as MemoryEntry<Value> | undefined;
  }

  /**
   * Newest versions that meet all conditions, in the order of their keys. In a pattern `*` is any run of characters, `?`
   * one, everything else itself.
   * @throws MeshError `invalid_input`
   */
  async search<Value = JsonValue>(options: SearchOptions = {}): Promise<Page<MemoryEntry<Value>>> {
    const { pattern, tags, match, session, type, limit, after } = parse(SEARCH, options, 'options');
    const where: Condition<MemoryIndex>[] = [];
    if (session !== undefined) where.push({ index: 'session', anyOf: [session] });
    if (tags && match === 'any') where.push({ index: 'tag', anyOf: tags });
    else for (const tag of tags ?? []) where.push({ index: 'tag', anyOf: [tag] });
    return (await searchEntries(this.#store, { where, pattern, type, limit, after })) as Page<MemoryEntry<Value>>;
  }

  /**
   * Deletes a key, or with `session` only if that session wrote the newest version. What it was stays in its history.
   * @returns whether there was something to delete
   * @throws MeshError `invalid_input`, `lease_lost` and `not_alive` (`by` is a handle that no longer holds)
   */
  async delete(key: string, options: DeleteOptions = {}): Promise<boolean> {
    const { by, session } = parse(DELETE, options, 'options');
    return this.#writer.remove(checkKey(key), by, session);
  }

  /**
   * Deletes every key of this namespace, or those whose newest version `session` wrote. Goes through the keys once: what
   * others write meanwhile may or may not be deleted.
   * @returns how many
   * @throws MeshError as `delete`
   */
  async clear(options: ClearOptions = {}): Promise<number> {
    const { by, session } = parse(DELETE, options, 'options');
    await this.#writer.prove(by);
    let deleted = 0;
    for await (const items of this.#pages(session, CLEARED_AT_ONCE)) {
      const done = await Promise.all(items.map(({ key }) => this.#writer.remove(key, by, session)));
      deleted += done.filter(Boolean).length;
    }
    return deleted;
  }

  /**
   * Follows changes of the keys that match: sets, deletes and expiry, in the order of the event log, behind `after` or
   * from now on, until the signal aborts or the mesh is closed. A change tells which version there is; `getEntry` reads it.
   * @throws MeshError `invalid_input`, `not_found` (changes behind `after` were trimmed), `aborted`
   */
  watch(pattern: string, options: WatchOptions = {}): AsyncGenerator<MemoryChange, void, undefined> {
    return watchChanges(this.#store, parse(PATTERN, pattern, 'pattern'), parse(WATCH, options, 'options'));
  }

  /**
   * Waits until the value of a key fits, which it may already do; `undefined` stands for no value. Default: 30 s.
   * @returns the value that did
   * @throws MeshError `invalid_input`, `timed_out`, `aborted`, `closed`, and whatever `fits` throws
   */
  async waitFor<Value = JsonValue>(
    key: string,
    fits: (value: Value | undefined) => boolean | Promise<boolean>,
    options: WaitOptions = {},
  ): Promise<Value | undefined> {
    checkCallback(fits, 'fits');
    return waitForValue(this.#store, checkKey(key), fits, parse(WAIT, options, 'options'));
  }

  /**
   * Keys of their own under a name, which never meet those of another name or of this level; nor does anybody who listens
   * here hear of them. Names within names are at most 360 characters together.
   * @throws MeshError `invalid_input`, `limit_exceeded`
   */
  namespace(name: string): SharedMemory {
    const { namespace, historyPerKey } = this.#store;
    return new SharedMemory(new MemoryStore(this.#engine, namespacePath(namespace, name), historyPerKey));
  }

  /** Counts by going through all entries; for people, not for loops. */
  async stats(): Promise<MemoryStats> {
    const byType = new Map<string, number>();
    const bySession = new Map<string, number>();
    let entries = 0;
    for await (const items of this.#pages(undefined, 1000)) {
      for (const { type, session } of items) {
        entries += 1;
        byType.set(type, (byType.get(type) ?? 0) + 1);
        if (session !== undefined) bySession.set(session, (bySession.get(session) ?? 0) + 1);
      }
    }
    return { entries, byType: Object.fromEntries(byType), bySession: Object.fromEntries(bySession) };
  }

  /** Ends what runs in the background, when this was not made by a mesh. */
  async close(): Promise<void> {
    if (this.#ownsEngine) await this.#engine.close();
  }

  /** All entries, or those that a session wrote. The loop is yielded between pages. */
  async *#pages(session: string | undefined, limit: number): AsyncGenerator<readonly MemoryEntry[], void, undefined> {
    const where: Condition<MemoryIndex>[] = session === undefined ? [] : [{ index: 'session', anyOf: [session] }];
    let after: string | undefined;
    do {
      const page: Page<MemoryEntry> = await searchEntries(this.#store, { where, limit, after });
      yield page.items;
      after = page.next;
      await new Promise<void>((resolve) => this.#engine.clock.nextTurn(resolve));
    } while (after !== undefined);
  }
}

const OPTIONS = MEMORY_OPTIONS.extend({ storage: storagePolicy, ...SHARED_OPTIONS });

function rootStore(options: SharedMemoryOptions | Engine, own: MemoryOptions = {}): MemoryStore {
  if (options instanceof Engine) return new MemoryStore(options, '', parse(MEMORY_OPTIONS, own, 'options.memory').historyPerKey);
  const { historyPerKey, ...rest } = parse(OPTIONS, options, 'options');
  return new MemoryStore(new Engine(rest), '', historyPerKey);
}

/** What a change has made of an entry: it expires and vanishes as it did before. */
function changedTo(value: unknown, given: AcceptedOptions, current: EntryRecord | undefined): Made | undefined {
  if (value === undefined) return undefined;
  const made: { -readonly [Name in keyof Made]: Made[Name] } = acceptContent(value, given, current);
  if (current?.expiresAt !== undefined) made.expiresAt = current.expiresAt;
  if (current?.owner !== undefined && given.untilSessionEnds === undefined) made.owner = current.owner;
  return made;
}

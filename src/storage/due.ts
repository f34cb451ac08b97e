import type { Clock } from '../kernel/clock.ts';
import type { JsonValue } from '../kernel/json.ts';
import type { ReportError } from '../kernel/report.ts';
import { keyAfter, padded } from './keys.ts';
import {
  type Address,
  type Commit,
  type CommitResult,
  type MaybePromise,
  type Put,
  type Storage,
  type StoredRecord,
  whenDone,
} from './storage.ts';

/** Something that must be looked at when its time has come. */
export interface DueEntry {
  /** Epoch milliseconds by the store's clock. */
  readonly at: number;
  /** Who looks at it: the name under which a handler was given. */
  readonly kind: string;
  readonly id: string;
  readonly data: JsonValue;
}

/**
 * What is to be done: a commit, which also removes the entry, so that of many sweepers one succeeds (an empty one just
 * removes it); or, when it was found too early, the time to which it moves.
 */
export type DueOutcome = (Commit & { readonly moveTo?: undefined }) | { readonly moveTo: number };
export type DueHandler = (entry: DueEntry) => MaybePromise<DueOutcome>;

const DUE = 'due';
const PAGE = 100;
/** What one sweep handles at most; the next one goes on. */
const SWEPT_AT_MOST = 20_000;

export interface DueListOptions {
  readonly storage: Storage;
  /** The way to write of those who share the list, so that whoever listens hears of what was due. */
  readonly commit: (commit: Commit) => MaybePromise<CommitResult>;
  readonly clock: Clock;
  readonly report: ReportError;
}

/**
 * What expires with a witness: an event, a count or index entries go with it, so a store's own expiry will not do. The
 * owner of such a record judges it by the time in its value whenever it reads; an entry here makes some process look at
 * it soon after, also when nobody reads.
 */
export class DueList {
  readonly #storage: Storage;
  readonly #commit: DueListOptions['commit'];
  readonly #clock: Clock;
  readonly #report: ReportError;
  readonly #handlers = new Map<string, DueHandler>();

  constructor({ storage, commit, clock, report }: DueListOptions) {
    this.#storage = storage;
    this.#commit = commit;
    this.#clock = clock;
    this.#report = report;
  }

  /** Where the entry of this time, kind and id is: for the commit that no longer needs it. A kind has no `/`. */
  address(at: number, kind: string, id: string): Address {
    return { partition: DUE, key: `${padded(at)}/${kind}/${id}` };
  }

  /** The put of an entry, for the commit of the record that it is about. */
  put(at: number, kind: string, id: string, data: JsonValue = null): Put {
    return { ...this.address(at, kind, id), value: data };
  }

  /**
   * The put of an entry about what the same commit stamps: its id is the prefix with a stamp of its own, of which the
   * revision is that of the commit.
   */
  putStamped(at: number, kind: string, prefix: string, data: JsonValue = null): Put {
    const { partition, key } = this.address(at, kind, prefix);
    return { partition, key, value: data, stamped: true };
  }

  /** Says who looks at the entries of a kind. Kinds without a handler here are left to other processes. */
  handle(kind: string, handler: DueHandler): void {
    this.#handlers.set(kind, handler);
  }

  /** When the earliest entry is due, whoever handles it. */
  next(): MaybePromise<number | undefined> {
    return whenDone(this.#storage.list(DUE, { limit: 1, values: false }), ([record]) => record && entryOf(record).at);
  }

  /** Handles what is due by now. Entries of one page are handled together; answers how many were found. */
  async sweep(): Promise<number> {
    let found = 0;
    let start = '';
    while (found < SWEPT_AT_MOST) {
      const page = await this.#storage.list(DUE, { start, end: padded(this.#storage.now() + 1), limit: PAGE });
      await Promise.all(page.map((record) => this.#settle(record)));
      found += page.length;
      const last = page[page.length - 1];
      if (!last || page.length < PAGE) break;
      start = keyAfter(last.key);
      await new Promise<void>((resolve) => this.#clock.nextTurn(resolve));
    }
    return found;
  }

  async #settle(record: StoredRecord): Promise<void> {
    const entry = entryOf(record);
    const handler = this.#handlers.get(entry.kind);
    if (!handler) return;
    try {
      const outcome = await handler(entry);
      const commit =
        outcome.moveTo !== undefined ? { puts: [this.put(outcome.moveTo, entry.kind, entry.id, entry.data)] } : outcome;
      const { partition, key, revision } = record;
      // A conflict means that the world moved on: another sweeper was faster, or the next sweep sees what changed.
      await this.#commit({
        ...commit,
        checks: [{ partition, key, revision }, ...(commit.checks ?? [])],
        deletes: [{ partition, key }, ...(commit.deletes ?? [])],
      });
    } catch (error) {
      this.#report(error);
    }
  }
}

function entryOf({ key, value }: StoredRecord): DueEntry {
  const [time = '', kind = ''] = key.split('/', 2);
  return { at: Number(time), kind, id: key.slice(time.length + kind.length + 2), data: value };
}

import { MeshError } from '../kernel/errors.ts';
import { stepAside } from '../kernel/step-aside.ts';
import { Fence } from '../registry/fence.ts';
import type { SessionRef } from '../registry/session-inputs.ts';
import type { Tenure } from '../registry/tenure.ts';
import { Draft } from '../storage/draft.ts';
import { type MaybePromise, whenDone } from '../storage/storage.ts';
import { type Content, type EntryRecord, entryOf, isExpired, type MemoryEntry, type Owner } from './entry.ts';
import type { AcceptedOptions } from './memory-inputs.ts';
import type { Head, MemoryStore } from './memory-store.ts';
import { currentOf, nextVersion, stageEntry, stageRemoval } from './staging.ts';

/** What is made of the version before: what a caller gives, and what stays. */
export type Made = Content & Pick<EntryRecord, 'expiresAt' | 'owner'>;

/** Nobody loses this often in a row while others move on. */
const ATTEMPTS = 1000;

type Make = (current: EntryRecord | undefined) => MaybePromise<Made | undefined>;

/** A version on its way. */
interface Writing {
  readonly key: string;
  readonly options: AcceptedOptions;
  readonly make: Make;
  readonly session: string | undefined;
  readonly tenure: Tenure | undefined;
}

/** Something else came in between. */
const LOST = Symbol('lost');
type Written = MemoryEntry | undefined | typeof LOST;

/** Writes versions: reads, stages and commits, again until nothing else came in between. */
export class MemoryWriter {
  readonly #store: MemoryStore;
  readonly #fence: Fence;

  constructor(store: MemoryStore) {
    this.#store = store;
    this.#fence = new Fence(store.sessions);
  }

  /**
   * Writes what `make` makes of what there is, unless that is `undefined`. Answers what there is then, at once where the
   * storage does.
   */
  write(key: string, options: AcceptedOptions, make: Make): MaybePromise<MemoryEntry | undefined> {
    const { by } = options;
    const session = typeof by === 'string' ? by : by?.id;
    const writing: Writing = { key, options, make, session, tenure: this.#fence.tenureOf(by) };
    const written = this.#try(writing);
    if (written instanceof Promise) return written.then((entry) => (entry === LOST ? this.#again(writing) : entry));
    return written === LOST ? this.#again(writing) : written;
  }

  async #again(writing: Writing): Promise<MemoryEntry | undefined> {
    for (let attempt = 2; attempt <= ATTEMPTS; attempt++) {
      await stepAside(this.#store.engine.clock, attempt);
      const written = await this.#try(writing);
      if (written !== LOST) return written;
    }
    throw contended();
  }

  #try(writing: Writing): MaybePromise<Written> {
    if (writing.tenure?.end) throw writing.tenure.end;
    const head = this.#store.head(writing.key);
    return head instanceof Promise ? head.then((read) => this.#make(writing, read)) : this.#make(writing, head);
  }

  #make(writing: Writing, head: Head): MaybePromise<Written> {
    const current = currentOf(head);
    assertVersion(writing.key, writing.options.ifVersion, current);
    const made = writing.make(current);
    return made instanceof Promise ? made.then((content) => this.#own(writing, head, content)) : this.#own(writing, head, made);
  }

  #own(writing: Writing, head: Head, made: Made | undefined): MaybePromise<Written> {
    const { key, options, session, tenure } = writing;
    const draft = new Draft();
    if (!made) {
      const current = currentOf(head);
      return whenDone(this.#commit(draft, tenure), (isCommitted) => (isCommitted ? current && entryOf(key, current) : LOST));
    }
    if (!options.untilSessionEnds || session === undefined) return this.#stage(writing, head, made, draft, made.owner);
    return whenDone(this.#owner(draft, session, tenure), (owner) => this.#stage(writing, head, made, draft, owner));
  }

  #stage(writing: Writing, head: Head, made: Made, draft: Draft, owner: Owner | undefined): MaybePromise<Written> {
    const { key, options, session, tenure } = writing;
    const at = this.#store.engine.now();
    const current = currentOf(head);
    // It expired while the new version was made, which is to be made of nothing then.
    if (current && isExpired(current, at)) return LOST;
    const expiresAt = options.ttlMs === undefined ? made.expiresAt : at + options.ttlMs;
    const { value, type, tags, metadata } = made;
    const version = nextVersion(head);
    const record: { -readonly [Name in keyof EntryRecord]: EntryRecord[Name] } = { value, version, type, tags, at, metadata };
    if (session !== undefined) record.session = session;
    if (expiresAt !== undefined) record.expiresAt = expiresAt;
    if (owner !== undefined) record.owner = Object.freeze(owner);
    stageEntry(draft, this.#store, head, record);
    const committing = this.#commit(draft, tenure);
    if (committing instanceof Promise) return committing.then((isCommitted) => (isCommitted ? entryOf(key, record) : LOST));
    return committing ? entryOf(key, record) : LOST;
  }

  /** A handle proves that it may write, also where there is nothing to be written. */
  async prove(by: SessionRef | undefined): Promise<void> {
    const tenure = this.#fence.tenureOf(by);
    if (tenure) await this.#fence.commit(tenure, () => {});
  }

  /** Deletes a key, or only what `onlyOf` wrote; answers whether there was something. */
  async remove(key: string, by: SessionRef | undefined, onlyOf: string | undefined): Promise<boolean> {
    const session = typeof by === 'string' ? by : by?.id;
    const tenure = this.#fence.tenureOf(by);
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      if (attempt > 1) await stepAside(this.#store.engine.clock, attempt);
      if (tenure?.end) throw tenure.end;
      const head = await this.#store.head(key);
      const current = currentOf(head);
      const draft = new Draft();
      const isThere = current !== undefined && (onlyOf === undefined || current.session === onlyOf);
      if (isThere && head.entry) stageRemoval(draft, this.#store, head, head.entry, { name: 'memory_deleted', session });
      if (await this.#commit(draft, tenure)) return isThere;
    }
    throw contended();
  }

  /**
   * Whether it was committed. A handle's commit checks its lease, also when nothing is to be written: so it learns that
   * it may not write any more. When the check fails the fence says why, or takes up the newer lease of the incarnation.
   */
  #commit(draft: Draft, tenure: Tenure | undefined): MaybePromise<boolean> {
    const { engine, sessions } = this.#store;
    if (tenure) draft.checks.push(sessions.leaseCheck(tenure.id, tenure.leaseRevision));
    else if (draft.puts.length === 0) return true;
    return whenDone(engine.commit(draft), (result) => {
      if (result.committed) return true;
      const lease = tenure && sessions.leaseAddress(tenure.id);
      if (!lease || !result.conflicts.some(({ partition, key }) => partition === lease.partition && key === lease.key))
        return false;
      return this.#fence.read(tenure).then(() => false);
    });
  }

  /** The incarnation that an entry is to vanish with. That of a handle is proved by its lease. */
  #owner(draft: Draft, session: string, tenure: Tenure | undefined): MaybePromise<Owner> {
    return tenure ? { session, incarnation: tenure.incarnation } : this.#store.stageOwner(draft, session);
  }
}

function assertVersion(key: string, expected: number | undefined, current: EntryRecord | undefined): void {
  const version = current?.version ?? 0;
  if (expected === undefined || expected === version) return;
  const message = `expected version ${expected} of the key, got ${version === 0 ? 'no value' : version}`;
  throw new MeshError('conflict', message, { details: { key, version } });
}

function contended(): MeshError {
  return new MeshError('conflict', `expected a write to pass, got ${ATTEMPTS} conflicts`);
}

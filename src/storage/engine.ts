import * as z from 'zod';
import { type Clock, systemClock } from '../kernel/clock.ts';
import { MeshError } from '../kernel/errors.ts';
import { type GenerateId, generateId as generateRandomId } from '../kernel/ids.ts';
import { CLOSING_MS, inTime } from '../kernel/in-time.ts';
import { callback, id, parse, wholeNumber } from '../kernel/inputs.ts';
import { type ReportError, reliable, warnProcess } from '../kernel/report.ts';
import { DueList } from './due.ts';
import { EventLog } from './events/event-log.ts';
import { EventTrim } from './events/event-trim.ts';
import { namespaced } from './namespaced-storage.ts';
import { steady } from './steady-storage.ts';
import type { Commit, CommitResult, MaybePromise, Storage } from './storage.ts';
import { storagePolicy } from './storage-policy.ts';
import { Sweeper } from './sweeper.ts';

/** What all classes of a mesh accept. */
export interface EngineOptions {
  readonly storage: Storage;
  /** Keeps several meshes of one storage apart. Default: none. */
  readonly namespace?: string | undefined;
  /** Default: random ids of 21 letters and digits. */
  readonly generateId?: GenerateId | undefined;
  /** Hears what no caller can: errors of listeners and of background work. Default: a process warning. */
  readonly onError?: ReportError | undefined;
  /** How often to look for news without a hint, in milliseconds: 1 … 60,000. Default 100. */
  readonly pollIntervalMs?: number | undefined;
  /** How often to look for what is due, in milliseconds: 10 … 3,600,000. Default 1,000. */
  readonly sweepIntervalMs?: number | undefined;
}

const MEMORY_EVENTS = 10_000;
const DISK_EVENTS = 100_000;
const DISK_EVENTS_AGE_MS = 86_400_000;
const SWEEPS_PER_TRIM = 10;

/**
 * What the four classes of a mesh share on one storage: the event log, the list of what is due, ids, the clock, and
 * one way to commit.
 */
export class Engine {
  readonly storage: Storage;
  readonly clock: Clock;
  readonly log: EventLog;
  readonly due: DueList;
  readonly generateId: GenerateId;
  readonly report: ReportError;
  readonly #sweeper: Sweeper;
  readonly #chores: (() => Promise<unknown>)[];
  /** As it was given, and the part of it that this mesh has. */
  readonly #origin: Storage;
  readonly #namespace: string | undefined;
  #sweeping = false;

  /** @throws MeshError `invalid_input` */
  static open(options: EngineOptions): Engine {
    return new Engine(parse(ENGINE_OPTIONS, options, 'options'));
  }

  constructor(options: EngineOptions) {
    const { storage, namespace, generateId = generateRandomId, onError = warnProcess } = options;
    const { pollIntervalMs = 100, sweepIntervalMs = 1000 } = options;
    this.#origin = storage;
    this.#namespace = namespace;
    this.storage = steady(namespace === undefined ? storage : namespaced(storage, namespace));
    this.clock = storage.clock ?? systemClock;
    this.generateId = generateId === generateRandomId ? generateId : checked(generateId);
    const report = reliable(onError);
    // What was still under way when this was closed has been told so.
    this.report = (error) => {
      if (!(this.log.closed && MeshError.is(error, 'closed'))) report(error);
    };
    const shared = { storage: this.storage, clock: this.clock, report: this.report };
    this.log = new EventLog({ ...shared, pollIntervalMs });
    this.due = new DueList({ ...shared, commit: (commit) => this.commit(commit) });
    this.#chores = [() => this.due.sweep(), this.#trimming()];
    this.#sweeper = new Sweeper({
      ...shared,
      intervalMs: sweepIntervalMs,
      next: () => this.due.next(),
      chores: this.#chores,
    });
  }

  now(): number {
    return this.storage.now();
  }

  /** Whether this is the storage that it was given. */
  standsOn(storage: Storage): boolean {
    return this.#origin === storage;
  }

  /** Whether both are of one mesh: of the same storage and namespace. */
  isOfOneMeshWith(other: Engine): boolean {
    return this.#origin === other.#origin && this.#namespace === other.#namespace;
  }

  /** The one way to write: whoever has begun to listen will hear of it. */
  commit(commit: Commit): MaybePromise<CommitResult> {
    const ready = this.log.ready();
    return ready ? ready.then(() => this.storage.commit(commit)) : this.storage.commit(commit);
  }

  /** Has this done at each sweep as well. */
  onSweep(chore: () => Promise<unknown>): void {
    this.#chores.push(chore);
  }

  /** Begins to look for what is due and to trim the log: for whoever writes due entries and events. */
  sweep(): void {
    if (this.#sweeping) return;
    this.#sweeping = true;
    this.#sweeper.start();
  }

  /** Ends everything that runs in the background. Whoever uses the engine from now on gets `closed`; the storage stays open. */
  async close(): Promise<void> {
    await inTime(this.clock, this.#sweeper.close(), CLOSING_MS.sweep);
    this.log.close();
    await this.storage.close();
  }

  #trimming(): () => Promise<void> {
    const { storage, clock } = this;
    const onDisk = storage.durability !== 'memory';
    const trim = new EventTrim({
      storage,
      clock,
      maxEvents: onDisk ? DISK_EVENTS : MEMORY_EVENTS,
      ...(onDisk && { maxAgeMs: DISK_EVENTS_AGE_MS }),
    });
    let sweeps = 0;
    return async () => {
      sweeps += 1;
      // In memory a burst is a burden at once, and there may be no tenth sweep for long: the sweeper rests while nothing changes.
      if (sweeps % SWEEPS_PER_TRIM === 0 || (!onDisk && (await trim.hasGrown()))) await trim.run();
    };
  }
}

/** Ids lead to records, so what a caller makes is held to the one rule for ids. */
function checked(generate: GenerateId): GenerateId {
  return (prefix) => parse(id, generate(prefix), 'generateId()');
}

/** What everything that stands on a storage of its own accepts besides it. */
export const SHARED_OPTIONS = {
  namespace: id.optional(),
  generateId: callback<GenerateId>().optional(),
  onError: callback<ReportError>().optional(),
  pollIntervalMs: wholeNumber(1, 60_000).optional(),
  sweepIntervalMs: wholeNumber(10, 3_600_000).optional(),
};

const ENGINE_OPTIONS: z.ZodType<EngineOptions> = z.strictObject({ storage: storagePolicy, ...SHARED_OPTIONS });

import { isTerminal, type SessionSnapshot, stateOf } from '../../registry/session.ts';
import type { Versioned } from '../../storage/collection.ts';
import type { Draft } from '../../storage/draft.ts';
import type { DueOutcome } from '../../storage/due.ts';
import { keyAfter, padded, prefixRange, unleasedKey } from '../../storage/keys.ts';
import type { StoredRecord } from '../../storage/storage.ts';
import { stageDeclined } from './offers.ts';
import { isCurrent, isOver, isOverdue, type TaskRecord } from './task.ts';
import { type QueueEntry, sessionOf, type TaskStore } from './task-store.ts';
import { concerned, queued, stageFailed, stageOver, stageTimedOut } from './transitions.ts';
import { WORKER, workerOf } from './workforce.ts';

const AT_ONCE = 50;

/**
 * What becomes of the work of those that are gone: claims of an incarnation or stint that is over are handed on, what it
 * had only reserved goes back, and what was meant for a session that has ended fails. Whoever comes first does it, under
 * a check of what it saw; the others find nothing left.
 */
export class Recovery {
  readonly #store: TaskStore;

  constructor(store: TaskStore) {
    this.#store = store;
    const { core, engine } = store;
    core.sessions.aftermath.add((session) => this.settle(session));
    engine.due.handle(WORKER, (entry) => this.#look(entry.id));
  }

  /** Settles what a session has left behind; of one that is as it was when it claimed, nothing. */
  async settle(session: string): Promise<void> {
    // Read first: of an incarnation that is gone by now, what it had claimed is handed on before its marker goes.
    const lease = (await this.#store.core.sessions.read(session))?.lease;
    const markers = await this.#markersOf(session);
    await this.#handOn(session);
    for (const marker of markers) await this.#letGo(marker, lease);
    if (!isGone(await this.#store.core.sessions.read(session))) return;
    // In this order, since what waits may come into the queue meanwhile.
    await this.#endWaiting(session);
    await this.#endQueued(session);
  }

  /** Looks after an incarnation that works, each time its lease would end if nobody had renewed it. */
  async #look(key: string): Promise<DueOutcome> {
    const { session, incarnation } = workerOf(key);
    await this.settle(session);
    const { core, engine, tasks } = this.#store;
    const address = this.#store.markerAddress(session, incarnation);
    const [marker] = await engine.storage.get([address]);
    const lease = (await core.sessions.read(session))?.lease;
    if (!marker) return {};
    // Another incarnation: this one was not settled yet, so it is the next time.
    if (!lease || lease.value.incarnation !== incarnation) return { moveTo: engine.now() + 1 };
    const claims = tasks.indexPartition('worker', session);
    const reserved = this.#store.reservedPartition(session, incarnation);
    for (const partition of [claims, reserved]) {
      const held = await engine.storage.list(partition, { limit: 1, values: false });
      if (held.length > 0) return { moveTo: lease.expiresAt };
    }
    return {
      checks: [
        { ...address, revision: marker.revision },
        { partition: claims, fewerThan: 1 },
        { partition: reserved, fewerThan: 1 },
      ],
      deletes: [address],
    };
  }

  #handOn(session: string): Promise<void> {
    const { core, tasks, engine } = this.#store;
    return this.#eachOf(tasks.indexPartition('worker', session), async (draft, listed) => {
      const snapshot = await core.sessions.read(session);
      const found = await tasks.getMany(listed.map(({ key }) => key));
      const stale = found.filter(
        (task): task is Versioned<TaskRecord> => task?.value.claim?.session === session && !isCurrent(task.value.claim, snapshot),
      );
      if (stale.length === 0) return;
      // What was over is over for good; but the clock may have been set back since.
      draft.checks.push(core.sessions.leaseCheck(session, snapshot?.lease?.revision ?? null));
      for (const task of stale) {
        if (isOverdue(task.value, engine.now())) stageTimedOut(draft, this.#store, task);
        else if (sessionOf(task.value.to) === session && isGone(snapshot)) stageNotAlive(draft, this.#store, task);
        else stageFailed(draft, this.#store, task, { reason: 'worker_lost', message: 'worker_lost', atOnce: true });
      }
    });
  }

  #markersOf(session: string): Promise<StoredRecord[]> {
    return Promise.resolve(this.#store.engine.storage.list('workers', { ...prefixRange(`${session}>`), values: false }));
  }

  /** Gives back what an incarnation has reserved and not claimed: all of it when it is over, else what took too long. */
  async #letGo(marker: StoredRecord, lease: SessionSnapshot['lease']): Promise<void> {
    const { session, incarnation } = workerOf(marker.key);
    const { core, engine } = this.#store;
    const isThere = lease?.value.incarnation === incarnation;
    const partition = this.#store.reservedPartition(session, incarnation);
    const range = isThere ? { end: padded(engine.now()) } : {};
    await this.#eachOf(partition, (draft, listed) => this.#stageBack(draft, listed), range);
    if (isThere) return;
    await engine.commit({
      checks: [
        { partition: marker.partition, key: marker.key, revision: marker.revision },
        core.sessions.leaseCheck(session, lease?.revision ?? null),
        { partition, fewerThan: 1 },
      ],
      deletes: [{ partition: marker.partition, key: marker.key }],
    });
  }

  async #stageBack(draft: Draft, listed: readonly StoredRecord[]): Promise<void> {
    const reserved = (await this.#store.engine.storage.get(listed)).filter((record) => record !== undefined);
    const tasks = await this.#store.tasks.getMany(reserved.map(taskOf));
    reserved.forEach(({ partition, key, revision, value }, n) => {
      draft.checks.push({ partition, key, revision });
      draft.deletes.push({ partition, key });
      const task = tasks[n];
      const place = task && this.#store.queuePlace(task);
      if (!task || place?.key !== unleasedKey(key)) return;
      // It may be over by the time of the commit, and nothing is to wait for what is over.
      draft.checks.push({ ...this.#store.tasks.address(task.id), revision: task.revision });
      draft.puts.push({ ...place, value });
      this.#store.event(draft, 'task_updated', task.id, task.value, {
        change: 'returned',
        ...concerned(task.value),
        ...queued(task.value),
      });
    });
  }

  #endWaiting(session: string): Promise<void> {
    const { tasks } = this.#store;
    return this.#eachOf(tasks.indexPartition('waiting', session), async (draft, listed) => {
      if (!(await this.#stageGone(draft, session))) return;
      for (const task of await tasks.getMany(listed.map(({ key }) => key))) {
        if (!task || isOver(task.value)) continue;
        if (task.value.place?.in === 'offer') {
          stageDeclined(draft, this.#store, task, session, { reason: 'not_alive', message: 'not_alive' });
        } else if (task.value.place && sessionOf(task.value.to) === session) stageNotAlive(draft, this.#store, task);
      }
    });
  }

  #endQueued(session: string): Promise<void> {
    const partition = this.#store.queuePartition(`s=${session}`);
    return this.#eachOf(partition, async (draft, listed) => {
      if (!(await this.#stageGone(draft, session))) return;
      const places = (await this.#store.engine.storage.get(listed)).filter((record) => record !== undefined);
      const tasks = await this.#store.tasks.getMany(places.map(taskOf));
      places.forEach(({ key, revision }, n) => {
        const task = tasks[n];
        draft.checks.push({ partition, key, revision });
        if (task && this.#store.queuePlace(task)?.key === key) stageNotAlive(draft, this.#store, task);
        else draft.deletes.push({ partition, key });
      });
    });
  }

  /** Stages that the session is gone, and answers whether it is: its id may have been taken again. */
  async #stageGone(draft: Draft, session: string): Promise<boolean> {
    const { sessions } = this.#store.core;
    const snapshot = await sessions.read(session);
    if (!isGone(snapshot)) return false;
    draft.checks.push(sessions.leaseCheck(session, snapshot?.lease?.revision ?? null), {
      ...sessions.collection.address(session),
      revision: snapshot?.revision ?? null,
    });
    return true;
  }

  /** Goes through a partition, some records a commit; what they are is read anew for each attempt. */
  async #eachOf(
    partition: string,
    stage: (draft: Draft, listed: readonly StoredRecord[]) => Promise<void>,
    range: { readonly end?: string } = {},
  ): Promise<void> {
    const { core, engine } = this.#store;
    for (let start = ''; ; ) {
      const listed = await engine.storage.list(partition, { ...range, start, limit: AT_ONCE, values: false });
      const last = listed[listed.length - 1];
      if (!last) return;
      await core.write(undefined, (draft) => stage(draft, listed));
      if (listed.length < AT_ONCE) return;
      start = keyAfter(last.key);
      await core.nextTurn();
    }
  }
}

/** Nothing more comes of the session, until its id is taken again. */
function isGone(snapshot: SessionSnapshot | undefined): boolean {
  return !snapshot || isTerminal(stateOf(snapshot));
}

function stageNotAlive(draft: Draft, store: TaskStore, task: Versioned<TaskRecord>): void {
  stageOver(draft, store, task, 'failed', { reason: 'not_alive', message: 'the session that was to do it is not alive' });
}

function taskOf({ value }: StoredRecord): string {
  return (value as unknown as QueueEntry).task;
}

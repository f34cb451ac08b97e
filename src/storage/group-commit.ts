import { systemClock } from '../kernel/clock.ts';
import { MeshError } from '../kernel/errors.ts';
import type { MaybePromise } from './storage.ts';

/** What one commit costs its group: bounds on a group keep the backend, and a synchronous one this process, responsive. */
export interface CommitSize {
  /** An upper bound of the bytes of its values. */
  readonly bytes: number;
  /** How many records it looks at or writes at the most. */
  readonly steps: number;
}

/** What a `GroupCommit` needs of its backend. */
export interface GroupCommitOptions<Item, Result> {
  /**
   * Brings commits to the backend in one go and answers each, in their order: its result, or its own error. What the
   * call itself throws or rejects with is everybody's error.
   */
  readonly send: (items: readonly Item[]) => MaybePromise<readonly (Result | MeshError)[]>;
}

const MAX_COMMITS = 256;
const MAX_BYTES = 1024 * 1024;
const MAX_STEPS = 4096;

/**
 * For so many microtasks without a further commit a group stays open. Loops that were answered together come back with
 * their next commits together, some of them after a few awaits of their own; a lone commit waits less than a microsecond.
 */
const QUIET_HOPS = 4;

/** Its `then` calls back in the next microtask, for a fraction of what `queueMicrotask` costs on Node. */
const SOON = Promise.resolve();

/** Longer than this, microtasks must not keep timers and I/O waiting. */
const MAX_TURN_MS = 10;

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly size: CommitSize;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Sends commits to a backend in groups, of which one is under way at a time: those that arrive meanwhile, or in the
 * same turn of the event loop, go together. A group has at most 256 commits, 1 MiB and 4,096 steps; a commit beyond
 * that goes alone. Each commit stays atomic by itself and has its own result; they go in the order of their `add`.
 */
export class GroupCommit<Item, Result> {
  readonly #send: GroupCommitOptions<Item, Result>['send'];
  readonly #queue: Waiting<Item, Result>[] = [];
  #scheduled = false;
  #underWay = false;
  #closed = false;
  #quietHops = 0;
  #seen = 0;
  /** When the current turn of the event loop sent its first group, as long as that turn lasts. */
  #turnBegan: number | undefined;
  readonly #idle: (() => void)[] = [];

  constructor({ send }: GroupCommitOptions<Item, Result>) {
    this.#send = send;
  }

  /** @throws MeshError `closed` after `close`, and what the backend answers */
  add(item: Item, size: CommitSize): Promise<Result> {
    if (this.#closed) throw new MeshError('closed', 'expected an open storage, got a closed one');
    return new Promise((resolve, reject) => {
      this.#queue.push({ item, size, resolve, reject });
      this.#schedule();
    });
  }

  /** Takes no more commits and resolves when those it has are answered. May be called again. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#queue.length === 0 && !this.#underWay && this.#turnBegan === undefined) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #schedule(): void {
    if (this.#scheduled || this.#underWay) return;
    this.#scheduled = true;
    this.#quietHops = 0;
    this.#seen = this.#queue.length;
    SOON.then(this.#hop);
  }

  readonly #hop = (): void => {
    const { length } = this.#queue;
    this.#quietHops = length === this.#seen ? this.#quietHops + 1 : 0;
    this.#seen = length;
    if (this.#quietHops < QUIET_HOPS && length < MAX_COMMITS) SOON.then(this.#hop);
    else if (this.#turnIsLong()) systemClock.nextTurn(this.#flush);
    else this.#flush();
  };

  #turnIsLong(): boolean {
    const now = systemClock.now();
    if (this.#turnBegan !== undefined) return Math.abs(now - this.#turnBegan) > MAX_TURN_MS;
    this.#turnBegan = now;
    systemClock.nextTurn(() => {
      this.#turnBegan = undefined;
      this.#settleClose();
    });
    return false;
  }

  readonly #flush = (): void => {
    this.#scheduled = false;
    this.#underWay = true;
    const group = this.#queue.splice(0, this.#groupLength());
    const failed = (error: unknown): void => this.#answer(group, undefined, error);
    try {
      const answers = this.#send(group.map(({ item }) => item));
      if (answers instanceof Promise) answers.then((later) => this.#answer(group, later, undefined), failed);
      else this.#answer(group, answers, undefined);
    } catch (error) {
      failed(error);
    }
  };

  #groupLength(): number {
    let bytes = 0;
    let steps = 0;
    let length = 0;
    for (const { size } of this.#queue) {
      bytes += size.bytes;
      steps += size.steps;
      if (length > 0 && (length === MAX_COMMITS || bytes > MAX_BYTES || steps > MAX_STEPS)) break;
      length += 1;
    }
    return length;
  }

  #answer(group: readonly Waiting<Item, Result>[], answers: readonly (Result | MeshError)[] | undefined, error: unknown): void {
    this.#underWay = false;
    for (let index = 0; index < group.length; index++) {
      const { resolve, reject } = group[index] as Waiting<Item, Result>;
      const answer = answers?.[index];
      if (answers === undefined) reject(error);
      else if (answer instanceof MeshError) reject(answer);
      else resolve(answer as Result);
    }
    if (this.#queue.length > 0) this.#schedule();
    else this.#settleClose();
  }

  #settleClose(): void {
    if (this.#queue.length > 0 || this.#underWay || this.#turnBegan !== undefined) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}

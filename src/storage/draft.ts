import type { Check, Commit, Delete, Put, Take, Touch } from './storage.ts';

interface Begun {
  readonly checks?: Check[];
  readonly deletes?: Delete[];
  readonly takes?: Take[];
  readonly puts?: Put[];
}

const NOTHING: Begun = {};

/** A commit in the making: each part that takes part in a change stages its checks and writes here. */
export class Draft implements Commit {
  readonly checks: Check[];
  readonly deletes: Delete[];
  readonly takes: Take[];
  readonly touches: Touch[] = [];
  readonly puts: Put[];
  #bytesAtMost = 0;

  /** Lists that are given have room for just their items, where one that grows takes room for 17 with the first. */
  constructor({ checks = [], deletes = [], takes = [], puts = [] }: Begun = NOTHING) {
    this.checks = checks;
    this.deletes = deletes;
    this.takes = takes;
    this.puts = puts;
  }

  /** What a storage finds out when it checks the commit. No field, so that a copy of a draft is a plain commit. */
  get bytesAtMost(): number {
    return this.#bytesAtMost;
  }

  set bytesAtMost(bytes: number) {
    this.#bytesAtMost = bytes;
  }
}

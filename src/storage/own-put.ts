import type { JsonValue } from '../kernel/json.ts';
import type { Put } from './storage.ts';

/**
 * A put of a value that the library has just made, of texts and numbers that were checked and of accepted values: no
 * storage looks at it again, and the value needs no mark. For what is put most often. A copy of it is an ordinary put.
 */
export class OwnPut implements Put {
  readonly partition: string;
  readonly key: string;
  readonly value: JsonValue;
  readonly stamped: boolean;
  readonly #bytesAtMost: number;

  /**
   * @param value frozen here; its containers are frozen already
   * @param bytesAtMost what it takes as JSON, at most
   */
  constructor(partition: string, key: string, value: object, bytesAtMost: number, stamped: boolean) {
    this.partition = partition;
    this.key = key;
    this.value = Object.freeze(value) as JsonValue;
    this.stamped = stamped;
    this.#bytesAtMost = bytesAtMost;
  }

  /** Nothing for any other put. */
  static bytesOf(put: Put): number | undefined {
    return #bytesAtMost in put ? put.#bytesAtMost : undefined;
  }

  /** The same in another partition. */
  in(partition: string): OwnPut {
    return new OwnPut(partition, this.key, this.value as object, this.#bytesAtMost, this.stamped);
  }
}

import { LRUCache } from 'lru-cache';

/**
 * The entries that were used last, up to so many. It takes its memory with the first of them: `LRUCache` makes room for
 * all at once, which takes a millisecond for ten thousand, and many a mesh in a test never writes one.
 */
export class BoundedCache<Value extends object | string | true> {
  readonly #max: number;
  #cache: LRUCache<string, Value> | undefined;

  constructor(max: number) {
    this.#max = max;
  }

  get(key: string): Value | undefined {
    return this.#cache?.get(key);
  }

  has(key: string): boolean {
    return this.#cache?.has(key) ?? false;
  }

  set(key: string, value: Value): void {
    this.#cache ??= new LRUCache({ max: this.#max });
    this.#cache.set(key, value);
  }

  delete(key: string): void {
    this.#cache?.delete(key);
  }
}

const KEPT = 10_000;

/**
 * Names with a common beginning and end, each made once: a string that was just put together has to be copied, hashed and
 * compared before a map finds it, and the one that is in the map already has not.
 */
export class NamesOf {
  readonly #beginning: string;
  readonly #end: string;
  readonly #made = new Map<string, string>();

  constructor(beginning: string, end = '') {
    this.#beginning = beginning;
    this.#end = end;
  }

  of(middle: string): string {
    const made = this.#made.get(middle);
    if (made !== undefined) return made;
    if (this.#made.size === KEPT) this.#made.clear();
    const name = this.#beginning + middle + this.#end;
    this.#made.set(middle, name);
    return name;
  }
}

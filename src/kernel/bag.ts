/** What is put into a bag knows where it stands there. It is in one bag at a time. */
export interface Placed {
  place: number;
}

/** A callback in a bag. */
export interface Waiting<Told extends readonly unknown[] = []> extends Placed {
  readonly wake: (...told: Told) => void;
}

/** So many places are kept for who comes next. */
const KEPT = 1024;

/**
 * Things that come and go all the time, in the order in which they came. A `Set` or `Map` of such things keeps half of
 * what was removed alive until the next full garbage collection: V8 makes it a new table each time that the old one is
 * full of holes, and an old table that has become old keeps whatever stood in it, and the table that followed it.
 */
export class Bag<Item extends Placed> {
  #places: (Item | undefined)[] = [];
  /** Behind the last place that is taken. */
  #end = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(item: Item): boolean {
    return this.#places[item.place] === item;
  }

  /** Answers what was added. */
  add(item: Item): Item {
    if (this.#end > 2 * this.#size + KEPT) this.#closeUp();
    item.place = this.#end;
    this.#places[this.#end] = item;
    this.#end += 1;
    this.#size += 1;
    return item;
  }

  /** Answers whether it was in it. */
  delete(item: Item): boolean {
    if (this.#places[item.place] !== item) return false;
    this.#places[item.place] = undefined;
    item.place = -1;
    this.#size -= 1;
    if (this.#size > 0) return true;
    this.#end = 0;
    if (this.#places.length > KEPT) this.#places = [];
    return true;
  }

  /** What is in it now, whatever comes and goes while somebody goes through it. */
  all(): readonly Item[] {
    const items: Item[] = [];
    for (let place = 0; place < this.#end; place++) {
      const item = this.#places[place];
      if (item) items.push(item);
    }
    return items;
  }

  /** Empties it, and answers what was in it. */
  take(): readonly Item[] {
    const items = this.all();
    for (const item of items) item.place = -1;
    this.#places = [];
    this.#end = 0;
    this.#size = 0;
    return items;
  }

  #closeUp(): void {
    const items = this.take();
    for (const item of items) this.add(item);
  }
}

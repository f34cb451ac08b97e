/** Items by the time at which they are to be looked at again: a binary heap, in two lists, since a pair each weighs more. */
export class ExpiryQueue<Item> {
  #times: number[] = [];
  #items: Item[] = [];

  get size(): number {
    return this.#items.length;
  }

  add(at: number, item: Item): void {
    const times = this.#times;
    const items = this.#items;
    let index = times.push(at) - 1;
    items.push(item);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if ((times[parent] as number) <= at) break;
      this.#move(parent, index);
      index = parent;
    }
    times[index] = at;
    items[index] = item;
  }

  /** Takes out the earliest item whose time has come. */
  next(now: number): Item | undefined {
    const at = this.#times[0];
    if (at === undefined || at > now) return undefined;
    const first = this.#items[0] as Item;
    const lastAt = this.#times.pop() as number;
    const last = this.#items.pop() as Item;
    if (this.#items.length > 0) this.#sink(lastAt, last, 0);
    return first;
  }

  /** Forgets the items that nobody needs to look at any more. */
  keep(wanted: (item: Item) => boolean): void {
    const items = this.#items;
    const times = this.#times;
    this.#items = [];
    this.#times = [];
    items.forEach((item, index) => {
      if (!wanted(item)) return;
      this.#items.push(item);
      this.#times.push(times[index] as number);
    });
    // From the last parent up, which is linear, where sorting a million items would take half a second.
    for (let index = (this.size >> 1) - 1; index >= 0; index--)
      this.#sink(this.#times[index] as number, this.#items[index] as Item, index);
  }

  clear(): void {
    this.#times = [];
    this.#items = [];
  }

  #move(from: number, to: number): void {
    this.#times[to] = this.#times[from] as number;
    this.#items[to] = this.#items[from] as Item;
  }

  /** Puts an item at an index whose place is free, or below it. */
  #sink(at: number, item: Item, from: number): void {
    const times = this.#times;
    let index = from;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= times.length) break;
      if (child + 1 < times.length && (times[child + 1] as number) < (times[child] as number)) child += 1;
      if ((times[child] as number) >= at) break;
      this.#move(child, index);
      index = child;
    }
    times[index] = at;
    this.#items[index] = item;
  }
}

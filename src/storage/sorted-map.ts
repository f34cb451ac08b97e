/** An entry knows where it stands: `order` is compared with `<`. */
interface Ordered {
  readonly order: string;
}

/** A full chunk holds this many entries: inserts move at most so many, and a million entries need few chunks. */
const CHUNK = 512;
/** Below this size a search of the one chunk is as fast as a hash and saves the hash's memory. */
const HASHED_FROM = 16;
/** Read so often, as a multiple of its size, a map is worth a hash: a log that is only appended to never gets one. */
const READS_PER_ENTRY = 2;
/** Entries that one read adds to a hash in the making, so that no read takes long. */
const HASHED_AT_ONCE = 256;
/**
 * So often it is found out where an entry stands that the hash has found, in case its neighbours are read next; half as
 * often each time that they were not.
 */
const READS_PER_PLACE = 16;
const MOST_READS_PER_PLACE = 1024;

/**
 * Entries in order, found by key: sorted chunks of bounded size under one sorted list of chunks, and a hash beside them
 * once they are read often. An insert or removal anywhere costs two binary searches and a short move; at the ends, less.
 */
export class SortedMap<Entry extends Ordered> {
  readonly #chunks: Entry[][] = [];
  /** The last chunk, and what its last entry is compared by: to append goes over no list of chunks. */
  #tail: Entry[] | undefined;
  #lastOrder: string | undefined;
  #byOrder: Map<string, Entry> | undefined;
  /** All entries up to this one are in the hash; `undefined`: all. */
  #hashedTo: string | undefined;
  #size = 0;
  #reads = 0;
  /** Where an entry was read last: whoever reads one after the other finds the next one here, without a search. */
  #nearChunk: Entry[] = [];
  #nearIndex = 0;
  #readsPerPlace = READS_PER_PLACE;
  #unplaced = READS_PER_PLACE;

  get size(): number {
    return this.#size;
  }

  get(order: string): Entry | undefined {
    const next = this.#nearChunk[this.#nearIndex + 1];
    if (next === undefined || next.order !== order) return this.#find(order);
    this.#nearIndex += 1;
    this.#readsPerPlace = READS_PER_PLACE;
    return next;
  }

  #find(order: string): Entry | undefined {
    if (this.#byOrder) {
      const found = this.#byOrder.get(order);
      if (!found && this.#hashedTo !== undefined) this.#hashOn(this.#byOrder, this.#hashedTo);
      else if (!found || --this.#unplaced > 0) return found;
      else {
        this.#readsPerPlace = Math.min(2 * this.#readsPerPlace, MOST_READS_PER_PLACE);
        this.#unplaced = this.#readsPerPlace;
      }
    } else if (++this.#reads > this.#size * READS_PER_ENTRY && this.#size >= HASHED_FROM) {
      this.#byOrder = new Map();
      this.#hashOn(this.#byOrder, '');
    }
    const chunks = this.#chunks;
    const chunk = chunks[chunks.length === 1 ? 0 : this.#chunkOf(order)];
    if (!chunk) return undefined;
    const index = lowerBound(chunk, order);
    const entry = chunk[index];
    if (entry?.order !== order) return undefined;
    this.#nearChunk = chunk;
    this.#nearIndex = index;
    return entry;
  }

  /** Whether all entries stand before this place. */
  endsBefore(order: string): boolean {
    return this.#lastOrder === undefined || this.#lastOrder < order;
  }

  /** Adds an entry whose place is free; `isLast`: behind all others, as is known without a look. */
  add(entry: Entry, isLast = false): void {
    this.#size += 1;
    this.#byOrder?.set(entry.order, entry);
    if (isLast || this.endsBefore(entry.order)) {
      this.#lastOrder = entry.order;
      // A new chunk rather than a split keeps an appended partition dense.
      if (this.#tail && this.#tail.length < CHUNK) this.#tail.push(entry);
      else {
        this.#tail = [entry];
        this.#chunks.push(this.#tail);
      }
      return;
    }
    const chunks = this.#chunks;
    const at = this.#chunkOf(entry.order);
    const chunk = chunks[at] as Entry[];
    chunk.splice(lowerBound(chunk, entry.order), 0, entry);
    if (chunk.length > CHUNK) chunks.splice(at + 1, 0, chunk.splice(CHUNK / 2));
    this.#tail = chunks[chunks.length - 1];
  }

  delete(order: string): boolean {
    const chunks = this.#chunks;
    // Queues and histories lose their heads.
    const at = chunks[0]?.[0]?.order === order ? 0 : this.#chunkOf(order);
    const chunk = chunks[at];
    if (!chunk) return false;
    const index = chunk[0]?.order === order ? 0 : lowerBound(chunk, order);
    if (chunk[index]?.order !== order) return false;
    if (index === 0) chunk.shift();
    else chunk.splice(index, 1);
    this.#size -= 1;
    this.#byOrder?.delete(order);
    // What is read for what it then loses is a queue, and the hash of a small one would cost more than it saves.
    if (chunks.length === 1) this.#reads = 0;
    if (chunk.length === 0) chunks.splice(at, 1);
    else if (chunk.length < CHUNK / 4) this.#merge(at);
    this.#tail = chunks[chunks.length - 1];
    if (order === this.#lastOrder) this.#lastOrder = this.#tail?.[this.#tail.length - 1]?.order;
    return true;
  }

  /** The first entries from `start` on and before `end`, up to so many. */
  first(start: string | undefined, end: string | undefined, most: number): Entry[] {
    const chunks = this.#chunks;
    let at = start === undefined ? 0 : this.#chunkOf(start);
    let index = start === undefined || at >= chunks.length ? 0 : lowerBound(chunks[at] as Entry[], start);
    let entries: Entry[] = [];
    for (; at < chunks.length && entries.length < most; at++, index = 0) {
      const chunk = chunks[at] as Entry[];
      const to = Math.min(chunk.length, index + most - entries.length);
      const isEnd = end !== undefined && to > index && (chunk[to - 1] as Entry).order >= end;
      const part = chunk.slice(index, isEnd ? lowerBound(chunk, end) : to);
      entries = entries.length === 0 ? part : entries.concat(part);
      if (isEnd) break;
    }
    return entries;
  }

  /** Calls back with the entries from `start` on and before `end`, in order or reverse, until one answers `false`. */
  walk(start: string | undefined, end: string | undefined, reverse: boolean, visit: (entry: Entry) => boolean): void {
    if (reverse) this.#walkBack(start, end, visit);
    else this.#walkOn(start, end, visit);
  }

  #walkOn(start: string | undefined, end: string | undefined, visit: (entry: Entry) => boolean): void {
    const chunks = this.#chunks;
    let at = start === undefined ? 0 : this.#chunkOf(start);
    let index = start === undefined || at >= chunks.length ? 0 : lowerBound(chunks[at] as Entry[], start);
    for (; at < chunks.length; at++, index = 0) {
      const chunk = chunks[at] as Entry[];
      for (; index < chunk.length; index++) {
        const entry = chunk[index] as Entry;
        if (end !== undefined && entry.order >= end) return;
        if (!visit(entry)) return;
      }
    }
  }

  #walkBack(start: string | undefined, end: string | undefined, visit: (entry: Entry) => boolean): void {
    const chunks = this.#chunks;
    let at = end === undefined ? chunks.length - 1 : Math.min(this.#chunkOf(end), chunks.length - 1);
    let index = Number.POSITIVE_INFINITY;
    if (end !== undefined && at >= 0) index = lowerBound(chunks[at] as Entry[], end) - 1;
    for (; at >= 0; at--, index = Number.POSITIVE_INFINITY) {
      const chunk = chunks[at] as Entry[];
      for (index = Math.min(index, chunk.length - 1); index >= 0; index--) {
        const entry = chunk[index] as Entry;
        if (start !== undefined && entry.order < start) return;
        if (!visit(entry)) return;
      }
    }
  }

  /** The first chunk whose last entry is not before `order`: where it is, or would be. */
  #chunkOf(order: string): number {
    const chunks = this.#chunks;
    let low = 0;
    let high = chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const chunk = chunks[middle] as Entry[];
      if ((chunk[chunk.length - 1] as Entry).order < order) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Joins a chunk that became small with the next one, so that removals leave no long list of little chunks. */
  #merge(at: number): void {
    const chunk = this.#chunks[at] as Entry[];
    const next = this.#chunks[at + 1];
    if (!next || chunk.length + next.length > CHUNK) return;
    for (const entry of next) chunk.push(entry);
    this.#chunks.splice(at + 1, 1);
    // Nothing is found in a chunk that is no more.
    this.#nearChunk = chunk;
  }

  /** The next part of the hash. What is added behind it meanwhile is in the hash twice, which is once. */
  #hashOn(hash: Map<string, Entry>, from: string): void {
    let left = HASHED_AT_ONCE;
    this.#hashedTo = undefined;
    this.#walkOn(from, undefined, (entry) => {
      hash.set(entry.order, entry);
      left -= 1;
      if (left === 0) this.#hashedTo = entry.order;
      return left > 0;
    });
  }
}

/** The first index whose entry is not before `order`. */
function lowerBound(chunk: readonly Ordered[], order: string): number {
  let low = 0;
  let high = chunk.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((chunk[middle] as Ordered).order < order) low = middle + 1;
    else high = middle;
  }
  return low;
}

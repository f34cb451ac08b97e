/** What stays known of an accepted value. */
export interface Mark {
  readonly bytesAtMost: number;
  /** It was measured, and takes just so many bytes. */
  readonly isExact: boolean;
  readonly parts: number;
  readonly height: number;
}

/**
 * Every stored value has a mark, so that of a small one is a small integer, which takes no memory of its own:
 * 14 bits of bytes, 9 of parts, 7 of height.
 */
type PackedMark = number;

const BYTES_BITS = 14;
const PARTS_BITS = 9;
const HEIGHT_BITS = 7;

function packed({ bytesAtMost, isExact, parts, height }: Mark): PackedMark | Mark {
  if (isExact || bytesAtMost >= 1 << BYTES_BITS || parts >= 1 << PARTS_BITS || height >= 1 << HEIGHT_BITS) {
    return { bytesAtMost, isExact, parts, height };
  }
  return (((height << PARTS_BITS) | parts) << BYTES_BITS) | bytesAtMost;
}

function unpacked(mark: PackedMark | Mark): Mark {
  if (typeof mark !== 'number') return mark;
  return {
    bytesAtMost: bytesIn(mark),
    isExact: false,
    parts: (mark >>> BYTES_BITS) & ((1 << PARTS_BITS) - 1),
    height: heightIn(mark),
  };
}

function bytesIn(mark: PackedMark | Mark): number {
  return typeof mark === 'number' ? mark & ((1 << BYTES_BITS) - 1) : mark.bytesAtMost;
}

function heightIn(mark: PackedMark | Mark): number {
  return typeof mark === 'number' ? mark >>> (BYTES_BITS + PARTS_BITS) : mark.height;
}

class Adopted {
  constructor(target: object) {
    // biome-ignore lint/correctness/noConstructorReturn: see Acceptance
    return target;
  }
}

/**
 * The mark of what `toJson` has accepted, out of everybody's sight. A base class may return any object, and the
 * subclass then adds its private field to that one. Such a field costs nothing to read and nothing to the garbage
 * collector, which a WeakMap of every stored value would.
 */
export class Acceptance extends Adopted {
  readonly #mark: PackedMark | Mark;

  constructor(target: object, mark: Mark) {
    super(target);
    this.#mark = packed(mark);
  }

  static has(value: object): boolean {
    return #mark in value;
  }

  static bytesOf(value: object): number | undefined {
    return #mark in value ? bytesIn(value.#mark) : undefined;
  }

  /** Whether it was accepted, and is of at most so many bytes and levels. */
  static fits(value: object, bytes: number, height: number): boolean {
    return #mark in value && bytesIn(value.#mark) <= bytes && heightIn(value.#mark) <= height;
  }

  static of(value: object): Mark | undefined {
    return #mark in value ? unpacked(value.#mark) : undefined;
  }
}

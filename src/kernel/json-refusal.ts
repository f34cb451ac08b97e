import { describe } from './describe.ts';
import { MeshError } from './errors.ts';

export const MAX_JSON_DEPTH = 64;
/** How many containers and names one value may hold, so that no copy stops the event loop for long. */
export const MAX_JSON_PARTS = 32_768;
/** Longer arrays are read without a look for accessors and named properties, which would cost more than the copy. */
export const MAX_ARRAY_SEARCHED = 64;

/** The most that a value may be. */
export interface JsonLimits {
  readonly bytes: number;
  readonly depth: number;
  /** Containers and names. */
  readonly parts: number;
}

/** The error for a value that `toJson` refused: a second walk that finds the offender and says where it stands. */
export function refusal(value: unknown, name: string, limits: JsonLimits): MeshError {
  const search = new Search(limits);
  const what = search.offence(value);
  if (search.excess) return new MeshError('limit_exceeded', `expected ${name} ${search.excess}, got more`);
  const path = spell(name, search.path);
  // A proxy may answer otherwise the second time.
  return new MeshError('invalid_input', `${what ?? 'expected plain data, got something that changes'}, at ${path}`, {
    details: { path },
  });
}

class Search {
  readonly path: (string | number)[] = [];
  /** Set when there is too much to search, and with it to store. */
  excess: string | undefined;
  readonly #ancestors: object[] = [];
  readonly #limits: JsonLimits;
  #parts = 0;
  #bytesAtLeast = 0;

  constructor(limits: JsonLimits) {
    this.#limits = limits;
  }

  offence(value: unknown): string | undefined {
    if (typeof value === 'string') {
      if (this.#exceeds(0, value.length + 2)) return this.excess;
      return value.isWellFormed() ? undefined : 'expected well-formed Unicode, got a lone surrogate';
    }
    if (typeof value === 'number') {
      if (this.#exceeds(0, 1)) return this.excess;
      return Number.isFinite(value) ? undefined : `expected a finite number, got ${value}`;
    }
    if (typeof value === 'boolean' || value === null) return this.#exceeds(0, 4) ? this.excess : undefined;
    if (value === undefined) return 'expected JSON, got undefined (remove it or use null)';
    if (typeof value !== 'object') return `expected JSON, got ${describe(value)}`;
    if (this.#ancestors.includes(value)) return 'expected a tree, got a cycle';
    if (this.#ancestors.length >= this.#limits.depth) return `expected at most ${this.#limits.depth} levels, got more`;
    if (this.#exceeds(1, 1)) return this.excess;
    this.#ancestors.push(value);
    const found = Array.isArray(value) ? this.#insideOfArray(value) : this.#insideOf(value);
    this.#ancestors.pop();
    return found;
  }

  #exceeds(parts: number, bytes: number): boolean {
    this.#parts += parts;
    this.#bytesAtLeast += bytes;
    if (this.#parts > this.#limits.parts) this.excess = `with at most ${this.#limits.parts} containers and names inside`;
    else if (this.#bytesAtLeast > this.#limits.bytes) this.excess = `of at most ${this.#limits.bytes} bytes of JSON`;
    return this.excess !== undefined;
  }

  #insideOfArray(value: readonly unknown[]): string | undefined {
    if (Object.getPrototypeOf(value) !== Array.prototype) return 'expected a plain array, got one of another class';
    if (this.#exceeds(0, value.length)) return this.excess;
    for (let index = 0; index < value.length; index++) {
      const found = this.#member(value, index);
      if (found !== undefined) return found;
    }
    if (value.length > MAX_ARRAY_SEARCHED) return undefined;
    if (Object.getOwnPropertySymbols(value).length > 0) return 'expected names that are strings, got a symbol';
    return Object.keys(value).length > value.length ? 'expected an array without named properties, got one' : undefined;
  }

  #insideOf(value: object): string | undefined {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) return `expected a plain object, got ${describe(value)}`;
    if (Object.getOwnPropertySymbols(value).length > 0) return 'expected names that are strings, got a symbol';
    const names = Object.keys(value);
    if (this.#exceeds(names.length, 0)) return this.excess;
    for (const name of names) {
      const found = this.#member(value, name);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #member(value: object, key: string | number): string | undefined {
    if (typeof key === 'string' && this.#exceeds(0, key.length + 3)) return this.excess;
    this.path.push(key);
    if (typeof key === 'string' && !key.isWellFormed()) return 'expected a well-formed name, got a lone surrogate';
    const descriptor = Object.getOwnPropertyDescriptor(value, key);
    if (!descriptor) return 'expected a value, got a hole (use null)';
    if (descriptor.get ?? descriptor.set) return 'expected a plain value, got an accessor';
    const found = this.offence(descriptor.value);
    if (found === undefined) this.path.pop();
    return found;
  }
}

function spell(name: string, path: readonly (string | number)[]): string {
  let place = name;
  for (const step of path) {
    if (typeof step === 'number') place += `[${step}]`;
    else place += /^[A-Za-z_$][\w$]*$/.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`;
    if (place.length > 200) return `${place.slice(0, 200).toWellFormed()}…`;
  }
  return place;
}

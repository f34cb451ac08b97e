import type { MemoryEntry, MemoryTombstone, MemoryType } from '../../../src/memory/entry.ts';

export interface Written {
  readonly value: unknown;
  readonly type?: MemoryType | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly session?: string | undefined;
  readonly ttlMs?: number | undefined;
}

export interface Wanted {
  readonly pattern?: string | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly match?: 'all' | 'any' | undefined;
  readonly session?: string | undefined;
  readonly type?: MemoryType | undefined;
}

type Version = MemoryEntry | MemoryTombstone;

/** Shared memory of one namespace as it is described: a plain list of versions per key, all of which are kept. */
export class MemoryModel {
  readonly #versions = new Map<string, Version[]>();

  set(key: string, { value, type = 'state', tags = [], session, ttlMs }: Written, now: number): Version {
    const versions = this.#settled(key, now);
    const entry = {
      key,
      value,
      version: versions.length + 1,
      type,
      tags,
      ...(session !== undefined && { session }),
      at: now,
      ...(ttlMs !== undefined && { expiresAt: now + ttlMs }),
      metadata: {},
    } as MemoryEntry;
    versions.push(entry);
    return entry;
  }

  update(key: string, change: (value: unknown) => unknown, session: string | undefined, now: number): void {
    const current = this.get(key, now);
    const next = change(current?.value);
    if (next === undefined) return;
    const written = this.set(key, { value: next, type: current?.type, tags: current?.tags, session }, now);
    if (current?.expiresAt !== undefined) Object.assign(written, { expiresAt: current.expiresAt });
  }

  delete(key: string, session: string | undefined, onlyOf: string | undefined, now: number): boolean {
    const current = this.get(key, now);
    if (!current || (onlyOf !== undefined && current.session !== onlyOf)) return false;
    const versions = this.#settled(key, now);
    versions.push({ key, version: versions.length + 1, deleted: true, ...(session !== undefined && { session }), at: now });
    return true;
  }

  get(key: string, now: number): MemoryEntry | undefined {
    const newest = this.#versions.get(key)?.at(-1);
    return newest && !('deleted' in newest) && !isOver(newest, now) ? newest : undefined;
  }

  keys(): string[] {
    return [...this.#versions.keys()];
  }

  /** As it is once everything that has expired was swept. The time of such a removal is the sweep's. */
  history(key: string, now: number, length: number): unknown[] {
    const versions = this.#settled(key, now).slice(-length).reverse();
    return versions.map((version) => {
      if ('deleted' in version || !isOver(version, now)) return version;
      const { session, at } = version;
      return { key, version: version.version, deleted: true, ...(session !== undefined && { session }), at };
    });
  }

  search({ pattern = '*', tags = [], match = 'all', session, type }: Wanted, now: number): MemoryEntry[] {
    const fits = new RegExp(`^${[...pattern].map(expressionOf).join('')}$`, 'su');
    return this.keys()
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      .flatMap((key) => this.get(key, now) ?? [])
      .filter((entry) => fits.test(entry.key))
      .filter((entry) =>
        match === 'all' ? tags.every((tag) => entry.tags.includes(tag)) : tags.some((tag) => entry.tags.includes(tag)),
      )
      .filter((entry) => session === undefined || entry.session === session)
      .filter((entry) => type === undefined || entry.type === type);
  }

  /** The versions of a key, with what has expired told by a version of its own. */
  #settled(key: string, now: number): Version[] {
    const versions = this.#versions.get(key) ?? [];
    this.#versions.set(key, versions);
    const newest = versions.at(-1);
    if (newest && !('deleted' in newest) && isOver(newest, now)) {
      versions.push({ key, version: versions.length + 1, deleted: true, at: Number.NaN });
    }
    return versions;
  }
}

function isOver({ expiresAt }: MemoryEntry, now: number): boolean {
  return expiresAt !== undefined && expiresAt <= now;
}

function expressionOf(character: string): string {
  if (character === '*') return '.*';
  if (character === '?') return '.';
  return character.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}

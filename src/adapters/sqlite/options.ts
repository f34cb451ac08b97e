import * as z from 'zod';
import { type Clock, MAX_TIMER_MS, systemClock } from '../../kernel/clock.ts';
import { clockPolicy, hasMethods, parse, policy, wholeNumber } from '../../kernel/inputs.ts';
import type { SqliteDatabase } from './driver.ts';

/** Options of `SqliteStorage.open` and `SqliteStorage.from`. */
export interface SqliteStorageOptions {
  /** What `now()` and expiry go by. Default: the system's clock. Processes that share a file need clocks that agree. */
  readonly clock?: Clock;
  /**
   * `normal`, the default: a commit survives the end of the process, however it ends. `full`: also a crash of the
   * machine, for an fsync per group of commits.
   */
  readonly synchronous?: 'normal' | 'full';
  /** How long to wait for another process's lock, in milliseconds, before `unavailable`. Default: 5,000. */
  readonly busyTimeoutMs?: number;
  /** How many bytes of JSON to remember the parsed values of. Default: 16 MiB. */
  readonly cacheBytes?: number;
}

/** The options with their defaults. */
export type OpenOptions = Required<SqliteStorageOptions>;

const DEFAULT_CACHE_BYTES = 16 * 1024 * 1024;

const OPTIONS = z.strictObject({
  clock: clockPolicy.optional(),
  synchronous: z.enum(['normal', 'full']).optional(),
  busyTimeoutMs: wholeNumber(0, MAX_TIMER_MS).optional(),
  cacheBytes: wholeNumber(0, Number.MAX_SAFE_INTEGER).optional(),
});

/** @throws MeshError `invalid_input` */
export function withDefaults(options: SqliteStorageOptions): OpenOptions {
  const {
    clock = systemClock,
    synchronous = 'normal',
    busyTimeoutMs = 5000,
    cacheBytes = DEFAULT_CACHE_BYTES,
  } = parse(OPTIONS, options, 'options');
  return { clock, synchronous, busyTimeoutMs, cacheBytes };
}

/** @throws MeshError `invalid_input` */
export function checkPath(file: unknown): string | URL {
  return parse(
    policy((value): value is string | URL => typeof value === 'string' || value instanceof URL, 'a path or a URL'),
    file,
    'file',
  );
}

/** @throws MeshError `invalid_input` */
export function checkDatabase(database: unknown): SqliteDatabase {
  return parse(policy(isDatabase, 'an open SQLite database with prepare, exec and close'), database, 'database');
}

function isDatabase(value: unknown): value is SqliteDatabase {
  return hasMethods(value, ['prepare', 'exec', 'close']);
}

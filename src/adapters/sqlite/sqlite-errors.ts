import { MeshError, type MeshErrorCode } from '../../kernel/errors.ts';

/** What was being done when SQLite failed, as far as the outcome depends on it. */
export type Step = 'open' | 'run' | 'commit';

/** Primary result codes by their numbers, as SQLite documents them. */
const RESULTS = [
  'OK',
  'ERROR',
  'INTERNAL',
  'PERM',
  'ABORT',
  'BUSY',
  'LOCKED',
  'NOMEM',
  'READONLY',
  'INTERRUPT',
  'IOERR',
  'CORRUPT',
  'NOTFOUND',
  'FULL',
  'CANTOPEN',
  'PROTOCOL',
  'EMPTY',
  'SCHEMA',
  'TOOBIG',
  'CONSTRAINT',
  'MISMATCH',
  'MISUSE',
  'NOLFS',
  'AUTH',
  'FORMAT',
  'RANGE',
  'NOTADB',
];

/** Extended result codes that mean something else than their primary code, or that say where to look. */
const EXTENDED: Readonly<Record<number, string>> = {
  261: 'BUSY_RECOVERY',
  266: 'IOERR_READ',
  517: 'BUSY_SNAPSHOT',
  522: 'IOERR_SHORT_READ',
  778: 'IOERR_WRITE',
  1034: 'IOERR_FSYNC',
  1290: 'IOERR_DIR_FSYNC',
  1546: 'IOERR_TRUNCATE',
  3850: 'IOERR_LOCK',
  4618: 'IOERR_SHMOPEN',
  4874: 'IOERR_SHMSIZE',
  5386: 'IOERR_SHMMAP',
  8458: 'IOERR_IN_PAGE',
  264: 'READONLY_RECOVERY',
  520: 'READONLY_CANTLOCK',
  776: 'READONLY_ROLLBACK',
  1032: 'READONLY_DBMOVED',
  1288: 'READONLY_CANTINIT',
  1544: 'READONLY_DIRECTORY',
};

const ERRNO = { EPERM: 1, EACCES: 13, ENOSPC: 28, EROFS: 30, EDQUOT: 122 } as const;

/**
 * The SQLite result of a driver's error without its prefix: `BUSY`, `IOERR_WRITE`. `undefined`: not an error of SQLite.
 * `node:sqlite` and its twin have the number in `errcode`, better-sqlite3 the name in `code`.
 */
export function resultOf(error: unknown): string | undefined {
  const { errcode, sqliteExtendedCode, code } = (error ?? {}) as Readonly<Record<string, unknown>>;
  const number = typeof sqliteExtendedCode === 'number' ? sqliteExtendedCode : errcode;
  if (typeof number === 'number') return EXTENDED[number] ?? RESULTS[number & 0xff] ?? 'ERROR';
  if (typeof code === 'string' && code.startsWith('SQLITE_')) return code.slice('SQLITE_'.length);
  return undefined;
}

/** Somebody else holds the lock: worth another attempt in a moment. */
export function isBusy(error: unknown): boolean {
  return BUSY.test(resultOf(error) ?? '');
}

const BUSY = /^(BUSY|LOCKED|PROTOCOL)/;

/**
 * The error that a caller sees for what a driver threw. Of the driver's own it has the name of the result and nothing
 * else: messages of SQLite quote SQL and paths.
 */
export function meshErrorOf(error: unknown, step: Step): MeshError {
  if (error instanceof MeshError) return error;
  const result = resultOf(error);
  if (result === undefined) return unknownFailure(error);
  const [code, expected] = meaningOf(result, step, (error as { systemErrno?: unknown }).systemErrno);
  const transient = code === 'unavailable' && !BUSY.test(result);
  const details = { result: `SQLITE_${result}`, ...(transient && { transient }) };
  return new MeshError(code, `expected ${expected}, got SQLITE_${result}`, { details });
}

function meaningOf(result: string, step: Step, errno: unknown): [code: MeshErrorCode, expected: string] {
  const primary = result.split('_')[0];
  if (primary === 'FULL' || result === 'IOERR_SHMSIZE' || errno === ERRNO.ENOSPC || errno === ERRNO.EDQUOT) {
    return ['storage_full', 'room for the commit'];
  }
  if (errno === ERRNO.EACCES || errno === ERRNO.EROFS || errno === ERRNO.EPERM) return ['read_only', 'a file to write to'];
  switch (primary) {
    case 'BUSY':
    case 'LOCKED':
    case 'PROTOCOL':
      return ['unavailable', 'the database to be free in time'];
    case 'READONLY':
    case 'PERM':
      return ['read_only', 'a file to write to'];
    case 'CORRUPT':
    case 'NOTADB':
    case 'FORMAT':
    case 'CONSTRAINT':
    case 'MISMATCH':
      return ['corrupt', 'an undamaged database'];
    case 'ERROR':
      // Every statement is correct for our schema, so when one is not understood the schema is not ours any more.
      return step === 'open' ? ['corrupt', 'the schema of a mesh'] : ['unavailable', 'SQLite to answer'];
    case 'IOERR':
      return step === 'commit' ? ['commit_unknown', 'the commit to reach the disk'] : ['unavailable', 'the disk to answer'];
    case 'TOOBIG':
      return ['limit_exceeded', 'a record that SQLite can hold'];
    default:
      return ['unavailable', 'SQLite to answer'];
  }
}

/** Drivers say in their own words that a database object was closed behind this adapter's back. */
function unknownFailure(error: unknown): MeshError {
  const { code, message } = (error ?? {}) as Readonly<Record<string, unknown>>;
  const closed = code === 'ERR_INVALID_STATE' || /not open|closed|finalized/.test(String(message));
  if (closed) return new MeshError('closed', 'expected an open database, got one that was closed');
  return new MeshError('unavailable', 'expected SQLite to answer, got a failure of its driver');
}

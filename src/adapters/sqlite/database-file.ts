import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  realpathSync,
  statSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { MeshError } from '../../kernel/errors.ts';
import { HEADER_BYTES, judgeHeader } from './file-header.ts';
import { pause } from './patience.ts';

/** What is known of a file before SQLite opens it. */
export interface FileLook {
  /** `new`: there is nothing yet. `ours`: by its header. `unread`: see `isHeldHere`. */
  readonly holds: 'new' | 'ours' | 'unread';
  /** A transaction was cut short and SQLite will finish or undo it, so the file alone says little. */
  readonly hotJournal: boolean;
  /** Commits wait in the write-ahead log. */
  readonly pendingLog: boolean;
}

/** A file that another process creates or checkpoints this very moment may look damaged; the damage of a damaged one stays. */
const LOOKS = 3;
const BETWEEN_LOOKS_MS = 10;

/**
 * The absolute path of a database, with every symbolic link resolved as SQLite does, in a directory that is there.
 * @throws MeshError `invalid_input`, `read_only`, `storage_full`
 */
export function locate(file: string | URL): string {
  const named = file instanceof URL ? fromUrl(file) : file;
  if (named === ':memory:') throw invalid('the path of a file, got :memory: (use InMemoryStorage)');
  if (named === '' || named.includes('\0') || /^file:/i.test(named)) throw invalid('the path of a file, or a file URL object');
  const absolute = path.resolve(named);
  try {
    makeFolder(path.dirname(absolute));
    return resolved(absolute) ?? path.join(realpathSync(path.dirname(absolute)), path.basename(absolute));
  } catch (error) {
    throw fileError(error);
  }
}

/**
 * Looks at a file without SQLite, which would touch it: refuses what is no database of this library, and what cannot
 * be written to.
 * @throws MeshError `corrupt`, `unsupported`, `read_only`, `invalid_input`
 */
export async function inspectFile(file: string): Promise<FileLook> {
  for (let look = 1; ; look++) {
    try {
      return lookAt(file);
    } catch (error) {
      if (!MeshError.is(error, 'corrupt') || look === LOOKS) throw error;
      await pause(BETWEEN_LOOKS_MS);
    }
  }
}

function lookAt(file: string): FileLook {
  try {
    const found = statSync(file, { throwIfNoEntry: false });
    if (found && !found.isFile()) throw invalid(`a file, got ${found.isDirectory() ? 'a directory' : 'something else'}`);
    assertWritable(file, found?.mode);
    const hotJournal = sizeOf(`${file}-journal`) > 0;
    const pendingLog = sizeOf(`${file}-wal`) > 0;
    if (!found) return { holds: 'new', hotJournal, pendingLog };
    if (isHeldHere(found)) return { holds: 'unread', hotJournal, pendingLog };
    return { holds: judgeHeader(readHeader(file), found.size, { hotJournal, pendingLog }), hotJournal, pendingLog };
  } catch (error) {
    throw fileError(error);
  }
}

/**
 * A file that nobody may write is refused also to a user whom permissions do not stop: whoever took them away meant
 * it. The directory matters as well, since the write-ahead log is created beside the file.
 */
function assertWritable(file: string, mode: number | undefined): void {
  if (mode !== undefined && (mode & 0o222) === 0) throw readOnly();
  accessSync(path.dirname(file), constants.W_OK | constants.X_OK);
  if (mode !== undefined) accessSync(file, constants.W_OK | constants.R_OK);
}

/**
 * Whether this process has the file open. Then it must not be opened and closed here again: to close any descriptor of
 * a file drops every lock that the process has on it, and with them those of an open database.
 */
function isHeldHere({ dev, ino }: { readonly dev: number; readonly ino: number }): boolean {
  if (process.platform === 'win32') return false;
  try {
    return readdirSync('/dev/fd').some((descriptor) => {
      const open = descriptorStats(Number(descriptor));
      return open?.dev === dev && open.ino === ino;
    });
  } catch {
    // Where the system does not tell, the careful answer.
    return true;
  }
}

function descriptorStats(descriptor: number): { readonly dev: number; readonly ino: number } | undefined {
  try {
    return fstatSync(descriptor);
  } catch {
    // The descriptor of the listing itself, closed by now.
    return undefined;
  }
}

function readHeader(file: string): Buffer {
  const descriptor = openSync(file, constants.O_RDONLY);
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    return header.subarray(0, readSync(descriptor, header, 0, HEADER_BYTES, 0));
  } finally {
    closeSync(descriptor);
  }
}

/** One by one: to make them all at once hides from some Nodes why it cannot be done. */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(path.dirname(folder));
  try {
    mkdirSync(folder);
  } catch (error) {
    // Another process was faster.
    if (codeOf(error) !== 'EEXIST') throw error;
  }
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

function resolved(file: string): string | undefined {
  try {
    return realpathSync(file);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function fromUrl(url: URL): string {
  if (url.protocol !== 'file:') throw invalid('a file URL, got one of another kind');
  try {
    return fileURLToPath(url);
  } catch {
    throw invalid('the URL of a file on this machine, got another');
  }
}

/** What the file system's refusals mean. Its own messages hold the path. */
function fileError(error: unknown): MeshError {
  if (error instanceof MeshError) return error;
  const code = codeOf(error);
  switch (code) {
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return readOnly();
    case 'ENOSPC':
    case 'EDQUOT':
      return new MeshError('storage_full', `expected room for the file, got ${code}`);
    case 'EEXIST':
    case 'ENOTDIR':
    case 'ELOOP':
    case 'ENAMETOOLONG':
    case 'EINVAL':
      return invalid(`the path of a file, got ${code}`);
    default:
      return new MeshError(
        'unavailable',
        `expected the file system to answer, got ${/^E[A-Z]+$/.test(code) ? code : 'a failure'}`,
      );
  }
}

function codeOf(error: unknown): string {
  return String((error as { readonly code?: unknown }).code);
}

function readOnly(): MeshError {
  return new MeshError('read_only', 'expected a file and a directory to write to, got one that is read-only');
}

function invalid(expected: string): MeshError {
  return new MeshError('invalid_input', `expected ${expected}`);
}

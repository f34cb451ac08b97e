import { MeshError } from '../../kernel/errors.ts';
import { APPLICATION_ID, foreignFile, knownVersion } from './schema.ts';

/** The header of a SQLite file and the head of the b-tree page behind it, which is its schema. */
export const HEADER_BYTES = 108;

const MAGIC = Buffer.from('SQLite format 3\0', 'latin1');
const SMALLEST_PAGE = 512;
const UTF_8 = 1;
const LEAF_OF_TABLE = 0x0d;

/** What stands beside the file and belongs to it. */
export interface Siblings {
  readonly hotJournal: boolean;
  readonly pendingLog: boolean;
}

/**
 * Whose file it is, by its first bytes.
 * @throws MeshError `corrupt` for what is no SQLite file or is shorter than it says; `unsupported` for another
 * program's or a newer release's
 */
export function judgeHeader(header: Buffer, size: number, { hotJournal, pendingLog }: Siblings): 'new' | 'ours' {
  if (size === 0) return 'new';
  // Its creator was stopped before the first page was written; the journal takes the file back to nothing.
  if (hotJournal && header.every((byte) => byte === 0)) return 'new';
  if (header.length < HEADER_BYTES || size < SMALLEST_PAGE || !MAGIC.equals(header.subarray(0, MAGIC.length))) {
    throw new MeshError('corrupt', 'expected a SQLite database, got a file that is none');
  }
  const id = header.readUInt32BE(68);
  const version = header.readUInt32BE(60);
  if (id === APPLICATION_ID) {
    knownVersion(version);
    if (!hotJournal && !pendingLog && sizeByHeader(header) > size) {
      throw new MeshError('corrupt', 'expected a whole database, got one that was cut short');
    }
    return 'ours';
  }
  if (id === 0 && version === 0 && !hotJournal && !pendingLog && isEmpty(header)) return 'new';
  throw foreignFile();
}

/** The size that the header claims, or 0 where its claim is out of date. */
function sizeByHeader(header: Buffer): number {
  const claimIsCurrent = header.readUInt32BE(24) === header.readUInt32BE(92);
  const pageSize = header.readUInt16BE(16);
  return claimIsCurrent ? header.readUInt32BE(28) * (pageSize === 1 ? 65_536 : pageSize) : 0;
}

/** A database that was created and never given a table. Keys would have another order in another encoding. */
function isEmpty(header: Buffer): boolean {
  const encoding = header.readUInt32BE(56);
  return (encoding === 0 || encoding === UTF_8) && header[100] === LEAF_OF_TABLE && header.readUInt16BE(103) === 0;
}

// Which files there are to survey, and for which capability each of them asks.
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';

/** More would make a long demo, not a better one. */
const FILES_AT_MOST = 2000;
const BYTES_AT_MOST = 512 * 1024;
/** A path is part of a key in shared memory, which has at most 512 bytes. */
const PATH_BYTES = 400;

const SKIPPED = new Set(['node_modules', 'dist', 'build', 'coverage', 'target', 'vendor', 'package-lock.json']);

const LANGUAGES = {
  typescript: ['.ts', '.tsx', '.mts', '.cts'],
  javascript: ['.js', '.jsx', '.mjs', '.cjs'],
  markdown: ['.md', '.mdx'],
  json: ['.json'],
  text: ['.txt', '.yml', '.yaml', '.toml', '.css', '.html', '.sh', '.sql', '.py', '.go', '.rs', '.java', '.c', '.h', '.rb'],
};
const LANGUAGE_OF = new Map(Object.entries(LANGUAGES).flatMap(([language, endings]) => endings.map((end) => [end, language])));

/** The files below `root`, in the folders `only` if there are some, as `{ file, directory, language }` in a fixed order. */
export async function filesBelow(root, only = []) {
  const found = [];
  const walk = async (folder) => {
    const entries = await readdir(path.join(root, folder), { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (found.length >= FILES_AT_MOST) return;
      if (entry.name.startsWith('.') || SKIPPED.has(entry.name)) continue;
      const file = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (!isNameable(file)) continue;
      if (entry.isDirectory() && (folder !== '' || only.length === 0 || only.includes(entry.name))) await walk(file);
      else if (entry.isFile() && (folder !== '' || only.length === 0)) await take(file);
    }
  };
  const take = async (file) => {
    const language = LANGUAGE_OF.get(path.extname(file).toLowerCase());
    if (!language || (await stat(path.join(root, file))).size > BYTES_AT_MOST) return;
    found.push({ file, directory: file.includes('/') ? file.slice(0, file.indexOf('/')) : '.', language });
  };
  await walk('');
  return found;
}

/** Some names that a disk allows can be no part of a key. */
function isNameable(file) {
  return Buffer.byteLength(file) <= PATH_BYTES && file.isWellFormed() && !/\p{Cc}/u.test(file);
}

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const folders = [];

/** The path of a file in a folder of its own, gone with this process. */
export function temporaryFile(name) {
  const folder = mkdtempSync(path.join(tmpdir(), 'session-mesh-bench-'));
  folders.push(folder);
  return path.join(folder, name);
}

process.on('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

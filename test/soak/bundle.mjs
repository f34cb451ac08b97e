import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';

export const ROOT = path.resolve(import.meta.dirname, '../..');

/** A folder that is gone when this process is, in which the project's packages are found. */
export function temporaryFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), 'session-mesh-soak-'));
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(folder, 'node_modules'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A file of the tests, bundled with the sources as they are now, for plain Node. */
export async function bundle(file, folder, root = ROOT) {
  const outfile = path.join(folder, `${path.basename(file, '.ts')}.mjs`);
  await build({
    entryPoints: [path.join(root, file)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    sourcemap: 'inline',
    logLevel: 'silent',
  });
  return outfile;
}

export const load = async (file, folder) => import(pathToFileURL(await bundle(file, folder)).href);

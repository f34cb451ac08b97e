import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

const FOLDER = path.resolve(import.meta.dirname, '..');

/** Installs what the library is measured against, unless it is there. Rows whose peer is missing then say so. */
export function installPeers() {
  const { dependencies = {} } = JSON.parse(readFileSync(path.join(FOLDER, 'package.json'), 'utf8'));
  const missing = Object.keys(dependencies).filter(
    (name) => !existsSync(path.join(FOLDER, 'node_modules', name, 'package.json')),
  );
  if (missing.length === 0) return;
  console.error(`installing ${missing.join(', ')} into bench/`);
  const { status } = spawnSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: FOLDER,
    stdio: ['ignore', 'inherit', 'inherit'],
    shell: process.platform === 'win32',
  });
  if (status !== 0) console.error('npm install in bench/ failed: rows beside packages are left out');
}

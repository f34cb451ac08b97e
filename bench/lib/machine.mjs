import { readFileSync } from 'node:fs';
import os from 'node:os';
import { bareDriver } from './sqlite.mjs';

/** What the figures depend on. */
export function machine() {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  const { name, version } = bareDriver();
  return {
    library: manifest.version,
    node: process.versions.node,
    v8: process.versions.v8,
    platform: `${process.platform} ${process.arch}`,
    cores: os.availableParallelism(),
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    sqlite: `${version} (${name})`,
    loadBefore: load(),
  };
}

/** How much else ran in the last minutes, as the system tells it. */
export function load() {
  return os
    .loadavg()
    .map((value) => value.toFixed(1))
    .join(' ');
}

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';

const require = createRequire(import.meta.url);

/** A package that the library is measured against; `undefined` where it could not be installed or does not run. */
export async function peer(load) {
  try {
    return await load();
  } catch {
    return undefined;
  }
}

/** The name of a package with the version that is measured. */
export function versioned(name) {
  for (const folder of require.resolve.paths(name) ?? []) {
    try {
      const { version } = JSON.parse(readFileSync(path.join(folder, name, 'package.json'), 'utf8'));
      return `${name} ${version}`;
    } catch {
      // Not in this folder.
    }
  }
  return name;
}

/** What a case answers that has nothing to be measured against here. */
export const skipped = (why) => ({ skipped: why });

export const notInstalled = (name) => skipped(`${name} is not installed`);

/** Whether something listens on a port of this machine. */
export function listens(port) {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1', timeout: 500 });
    const answer = (yes) => () => {
      socket.destroy();
      resolve(yes);
    };
    socket.once('connect', answer(true)).once('error', answer(false)).once('timeout', answer(false));
  });
}

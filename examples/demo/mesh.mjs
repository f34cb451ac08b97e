import { setTimeout as sleep } from 'node:timers/promises';
import { createMesh, MeshError } from 'session-mesh';
import { SqliteStorage } from 'session-mesh/sqlite';

/** The mesh of one file, as every process of the demo opens it: patient where many write, quick to miss somebody. */
export async function openMesh(file) {
  const storage = await SqliteStorage.open(file, { busyTimeoutMs: 20_000 });
  return createMesh({ storage, sweepIntervalMs: 250, onError: warn });
}

/** On a machine that is very busy a session may lapse; with its next heartbeat it is back. */
export async function patiently(work) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!MeshError.is(error, 'not_alive') || attempt >= 50) throw error;
      await sleep(100);
    }
  }
}

/** For errors that have no caller. */
export function warn(error) {
  process.stderr.write(`${process.pid}: ${error?.stack ?? error}\n`);
}

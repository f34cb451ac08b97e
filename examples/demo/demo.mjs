// The demo: seven processes survey a source tree together, on one SQLite file. One is killed in the middle of a task, one
// is steered elsewhere, one is killed with its sub-agent; every file is surveyed all the same.
//
//   npm run demo                      this project's own src and test
//   npm run demo -- ../some/project   another source tree
import { mkdtemp, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { toMermaid } from 'session-mesh';
import { audit } from './audit.mjs';
import { openMesh } from './mesh.mjs';
import { Progress } from './progress.mjs';
import { reportOf } from './report.mjs';
import { filesBelow } from './source-tree.mjs';
import { Survey } from './survey.mjs';

const AT_MOST_MS = 55_000;
const OWN = path.resolve(import.meta.dirname, '../..');

const given = process.argv[2];
const root = given === undefined ? OWN : path.resolve(given);
const only = given === undefined ? ['src', 'test'] : [];
const isFolder = await stat(root).then(
  (found) => found.isDirectory(),
  () => false,
);
if (!isFolder) fail(`expected the folder of a source tree, got ${given}`);
if ((await filesBelow(root, only)).length === 0) fail(`expected a source tree, got ${root} without a file of a known language`);

const folder = await mkdtemp(path.join(tmpdir(), 'session-mesh-demo-'));
const file = path.join(folder, 'mesh.db');
const mesh = await openMesh(file);
const progress = new Progress(mesh);
const survey = new Survey(mesh, { root, only, file });

// Whatever happens, nobody is left behind: no process, no database.
const clear = async () => {
  survey.killAll();
  await mesh.close().catch(() => {});
  for (const name of ['mesh.db', 'mesh.db-wal', 'mesh.db-shm']) await rm(path.join(folder, name), { force: true });
  // It stays when there is a report in it.
  await rmdir(folder).catch(() => {});
};
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => clear().finally(() => process.exit(130)));
}
const late = setTimeout(() => {
  progress.end();
  process.stderr.write(`The demo is not done after ${AT_MOST_MS / 1000} s: it was ${survey.doing}.\n`);
  process.exitCode = 1;
  clear().finally(() => process.exit(1));
}, AT_MOST_MS);

try {
  const outcome = await survey.run();
  progress.end();
  const checks = await audit(mesh, { ...outcome, events: progress.events, file });
  const picture = path.join(folder, 'topology.mmd');
  const events = path.join(folder, 'events.jsonl');
  await writeFile(picture, `${toMermaid(outcome.topology.full)}\n`);
  await writeFile(events, progress.events.map((event) => `${JSON.stringify(event)}\n`).join(''));
  process.stdout.write(reportOf({ ...outcome, root, checks, events: progress.events, files: { picture, events } }));
  process.exitCode = checks.every(({ ok }) => ok) ? 0 : 1;
} catch (error) {
  progress.end();
  process.stderr.write(`The demo failed while it was ${survey.doing}: ${error.stack ?? error}\n`);
  process.exitCode = 1;
} finally {
  clearTimeout(late);
  await clear();
}

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}

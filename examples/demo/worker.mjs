// Surveys one file per task. Asks the reviewer about what is noteworthy, and answers what the reviewer asks back.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { joinTeam, start } from './agent.mjs';
import { isNoteworthy, surveyOf } from './analysis.mjs';
import { patiently } from './mesh.mjs';

/** Short, so that a process that was killed is missed soon; long enough for a machine with other things to do. */
const TTL_MS = 2500;

const { mesh, me, root, assignment, answer, finished, leave } = await joinTeam(start, {
  agent: { name: `Worker ${start.id.slice(-1)}`, type: 'demo' },
  capabilities: start.capabilities,
  groups: ['workers'],
  parentId: 'orchestrator',
  capacity: 2,
  ttlMs: TTL_MS,
});
const { hub, memory } = mesh;
const figures = { files: 0, lines: 0, reviews: 0 };
let isToHold = assignment.hold === true;
let isToAsk = true;

const scout = assignment.scout ? await startScout() : undefined;
const consumer = answer(async (question) => {
  const { file, line } = question.data;
  const text = await readFile(path.join(root, file), 'utf8');
  await hub.reply(question, { from: me, subject: 'It begins so', body: text.split('\n')[line - 1]?.trim() ?? '' });
});

let worker = work(assignment.directory);
void steered();
await finished;
await worker.stop();
await consumer.stop();
await leave(figures);

/** Works on the files of one directory, or on all. */
function work(directory) {
  return hub.work(me, { concurrency: 2, ...(directory && { types: [directory] }) }, survey);
}

async function survey({ payload }, { signal, progress }) {
  const text = await readFile(path.join(root, payload.file), 'utf8').catch(() => '');
  if (isToHold) {
    // In the middle of it: from here on it only waits for what will happen to its process.
    await progress({ percent: 50, message: 'has read the file' });
    isToHold = false;
    await new Promise(() => {});
  }
  const finding = surveyOf(payload, text);
  if (scout) finding.longestLine = (await ask(scout, payload, signal)).data;
  if (isToAsk || isNoteworthy(finding)) {
    isToAsk = false;
    const verdict = await ask('reviewer', finding, signal);
    Object.assign(finding, { verdict: verdict.subject, message: verdict.id });
    figures.reviews += 1;
  }
  signal.throwIfAborted();
  await memory.set(`finding/${payload.file}`, finding, { by: me, type: 'fact', tags: [payload.language] });
  figures.files += 1;
  figures.lines += finding.lines;
  return { file: payload.file, lines: finding.lines };
}

function ask(to, data, signal) {
  return hub.request({ from: me, to, subject: `Please look at ${data.file}`.slice(0, 300), data, timeoutMs: 20_000, signal });
}

/** Turns to another directory when it is told to. */
async function steered() {
  let current = assignment.directory ?? 'everything';
  for await (const steer of me.steers()) {
    if (!steer.data?.directories?.includes(steer.direction)) {
      await patiently(() => steer.rejected(`no directory ${steer.direction}`));
      continue;
    }
    await worker.stop();
    worker = work(steer.direction);
    const note = `from ${current} to ${steer.direction}, after ${figures.files} files`;
    await patiently(() => steer.applied({ note }));
    current = steer.direction;
  }
}

/** A sub-agent: a process and a session of its own, below this one. */
async function startScout() {
  const id = `${me.id}.scout`;
  const child = fork(path.join(import.meta.dirname, 'scout.mjs'), [JSON.stringify({ ...start, id, parentId: me.id })]);
  await once(child, 'message');
  return id;
}

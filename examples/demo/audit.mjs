// Whether what happened is what should have: every question is put to the store and to the event log, not to the processes.
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** A list of `{ what, ok, got }`. */
export async function audit(mesh, { plan, crash, cascade, steered, events, file }) {
  const { hub, memory, registry, keys } = mesh;
  const tasks = await allOf((after) => hub.tasks({ collaborationId: 'survey', limit: 500, ...after }));
  const surveys = tasks.filter(({ step }) => step === 'survey');
  const findings = await allOf((after) => memory.search({ pattern: 'finding/*', limit: 500, ...after }));
  const mail = await mailOf(mesh);
  const told = (name) => events.filter((event) => event.name === name);
  const checks = [];
  const check = (what, ok, got) => checks.push({ what, ok, got: String(got) });

  const files = new Set(surveys.map(({ payload }) => payload.file));
  check(
    'every file has one task',
    files.size === plan.total && surveys.length === plan.total,
    `${surveys.length} of ${plan.total}`,
  );
  const open = tasks.filter(({ state }) => state !== 'completed');
  check('every task is completed', open.length === 0, open.map(({ title, state }) => `${title} is ${state}`).slice(0, 3));

  const times = countBy(told('task_completed'), ({ task }) => task);
  const wrong = tasks.filter(({ id }) => times.get(id) !== 1);
  check('each was completed exactly once', wrong.length === 0 && times.size === tasks.length, `${wrong.length} were not`);
  const given = told('task_claimed').length;
  const back = events.filter(isGivenBack).length;
  check(
    'each attempt was completed or redelivered',
    given === tasks.length + back,
    `${given} attempts, ${tasks.length + back} ends`,
  );

  const found = new Map(findings.map(({ value }) => [value.file, value.lines]));
  const other = surveys.filter(({ output }) => found.get(output?.file) !== output?.lines);
  check(
    'every finding is in shared memory',
    other.length === 0 && found.size === plan.total,
    `${other.length} are missing or differ`,
  );

  const unsettled = mail.filter(({ state }) => state === 'ready' || state === 'claimed');
  check('no message is left unsettled', unsettled.length === 0, `${unsettled.length} are`);
  const gone = new Set([...cascade.killed.map(({ session }) => session), crash.id]);
  const dead = (await allOf((after) => hub.deadLetters({ limit: 500, ...after }))).filter(({ session }) => !gone.has(session));
  check('no message died, but with its recipient', dead.length === 0, `${dead.length} did`);

  check('the steered worker has turned', steered.outcome === 'applied', steered.outcome);
  const lost = told('task_retried').filter(({ reason }) => reason === 'worker_lost');
  check(
    'the task of the killed process was redelivered',
    lost.some(({ session }) => session === crash.id),
    `${lost.length} were redelivered`,
  );
  const states = await Promise.all(cascade.killed.map(({ session }) => registry.get(session)));
  const below = cascade.killed.length === 2 && states.every(({ state }) => state === 'killed');
  check(
    'the kill took the sub-agent along',
    below,
    states.map(({ id, state }) => `${id} is ${state}`),
  );
  const pids = await stillRunning([crash.pid, ...cascade.pids]);
  check('the killed processes are gone', pids.length === 0, pids);
  const codes = await Promise.all([crash.token, cascade.token].map(async (token) => (await keys.verify(token)).code));
  check(
    'their keys are refused',
    codes.every((code) => code === 'session_ended'),
    codes,
  );
  const secrets = await secretsIn(file, [crash.token, cascade.token]);
  check('no key stands in the file', secrets === 0, `${secrets} do`);

  const replayed = await replay(mesh, events.at(-1)?.cursor);
  const same = replayed.length === events.length && replayed.every(({ cursor }, n) => cursor === events[n].cursor);
  check('every event was heard, in the order of the log', same, `${events.length} of ${replayed.length}`);
  return checks;
}

/** An attempt that ended without a result. What was only reserved when its worker went has used no attempt. */
export function isGivenBack({ name, change, session }) {
  return name === 'task_retried' || (change === 'returned' && session !== undefined);
}

async function allOf(page) {
  const items = [];
  for (let after = {}; ; ) {
    const { items: more, next } = await page(after);
    items.push(...more);
    if (next === undefined) return items;
    after = { after: next };
  }
}

/** What is in the mailboxes of all sessions that ever were, settled or not. */
async function mailOf({ hub, registry }) {
  const sessions = await allOf((after) => registry.list({ state: 'all', limit: 500, ...after }));
  const boxes = sessions.map(({ id }) => allOf((after) => hub.messages({ session: id, limit: 500, ...after })));
  return (await Promise.all(boxes)).flat();
}

/** What the log tells from its beginning to an event. */
async function replay(mesh, last) {
  const events = [];
  for await (const event of mesh.events({ after: '' })) {
    events.push(event);
    if (event.cursor === last) break;
  }
  return events;
}

async function secretsIn(file, tokens) {
  const parts = await Promise.all([file, `${file}-wal`].map((name) => readFile(name, 'latin1').catch(() => '')));
  return tokens.filter((token) => parts.some((part) => part.includes(token))).length;
}

/** A process takes a moment to go, longer than its session. */
async function stillRunning(pids) {
  for (let attempt = 0; attempt < 100 && pids.some(isRunning); attempt++) await sleep(50);
  return pids.filter(isRunning);
}

function isRunning(pid) {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function countBy(items, nameOf) {
  const counts = new Map();
  for (const item of items) counts.set(nameOf(item), (counts.get(nameOf(item)) ?? 0) + 1);
  return counts;
}

// Answers requests for review, asks back where a function is long, and takes the offer of the final review.
import { joinTeam, start, unlessGone } from './agent.mjs';
import { overviewOf } from './overview.mjs';

const VERY_LONG = 50;

const { mesh, me, answer, finished, leave } = await joinTeam(start, {
  agent: { name: 'Reviewer', type: 'demo' },
  capabilities: ['review'],
  parentId: 'orchestrator',
});
const { hub, memory } = mesh;
const figures = { reviews: 0, questions: 0 };

const consumer = answer(async (request, { signal }) => {
  const { longest, todos = [], problem } = request.data;
  const reason = longest?.lines >= VERY_LONG ? await askBack(request, signal) : undefined;
  const subject = problem || todos.length > 0 || reason !== undefined ? 'Worth a second look' : 'Fine';
  await hub.reply(request, { from: me, subject, ...(reason !== undefined && { body: reason }) });
  figures.reviews += 1;
});

/** In the same conversation. The worker may be gone by now, and then there is no answer. */
async function askBack({ from, threadId, data: { file, longest } }, signal) {
  const subject = `What does ${longest.name} begin with? It has ${longest.lines} lines`;
  const question = { from: me, to: from, threadId, subject, data: { file, line: longest.line }, timeoutMs: 5000, signal };
  const reply = await unlessGone(() => hub.request(question));
  figures.questions += 1;
  return reply?.body;
}

// Whoever is asked hears of the offer by its event, or finds it in the list if it was made before.
hub.on('task_offered', ({ task }) => accept(task));
for (const { id } of (await hub.tasks({ session: me.id, state: 'submitted' })).items) await accept(id);

async function accept(id) {
  const task = await hub.getTask(id);
  if (task?.offer?.asked.includes(me.id) && task.to === undefined) await hub.accept(id, { by: me });
}

const worker = hub.work(me, { types: ['final review'] }, async (_task, { signal }) => {
  await me.update({ status: 'working', task: 'Final review' });
  const findings = [];
  for (let after; ; ) {
    const page = await memory.search({ pattern: 'finding/*', limit: 500, ...(after && { after }) });
    findings.push(...page.items.map(({ value }) => value));
    after = page.next;
    if (!after) break;
  }
  const overview = overviewOf(findings);
  const thread = await lastQuestion(findings, overview, signal);
  await memory.set('overview', { ...overview, thread }, { by: me, type: 'decision', tags: ['review'] });
  const collaboration = await hub.getCollaboration('survey');
  await collaboration.completeStep('review', { by: me, output: { files: findings.length } });
  return { files: findings.length };
});

/** Asks a worker that is there about the longest function, in the conversation in which that file was reviewed. */
async function lastQuestion(findings, { longest: [top] }, signal) {
  const reviewed = findings.filter(({ message }) => message !== undefined);
  const about = reviewed.find(({ file }) => file === top?.file) ?? reviewed[0];
  if (!about) return undefined;
  const [first] = await hub.conversation(about.message);
  const workers = (await mesh.registry.list({ group: 'workers' })).items.map(({ id }) => id);
  const from = workers.includes(first.from) ? first.from : workers[0];
  if (from === undefined) return undefined;
  const longest = about.longest ?? { name: 'the file', line: 1, lines: about.lines };
  await askBack({ from, threadId: first.threadId, data: { file: about.file, longest } }, signal);
  return first.threadId;
}

await finished;
await worker.stop();
await consumer.stop();
await leave(figures);

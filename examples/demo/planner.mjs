// Walks the source tree and delegates one task per file, to whoever is good at its language.
import { joinTeam, start } from './agent.mjs';
import { filesBelow } from './source-tree.mjs';

const AT_ONCE = 50;

const { mesh, me, assignment, answer, finished, leave } = await joinTeam(start, {
  agent: { name: 'Planner', type: 'demo' },
  capabilities: ['planning'],
  parentId: 'orchestrator',
});
const { hub, memory } = mesh;
const consumer = answer((request) => hub.reply(request, { from: me, body: 'one file, one task' }));

await me.update({ status: 'working', task: 'Planning' });
const files = await filesBelow(start.root, assignment.only);
const directories = [...new Set(files.map(({ directory }) => directory))];
const sizes = directories.map((directory) => ({
  directory,
  files: files.filter((file) => file.directory === directory).length,
}));
await memory.set('plan', { total: files.length, directories: sizes }, { by: me, type: 'context', tags: ['plan'] });

const collaboration = await hub.getCollaboration('survey');
const tasks = [];
for (let from = 0; from < files.length; from += AT_ONCE) {
  const delegated = files.slice(from, from + AT_ONCE).map((payload) =>
    collaboration.delegate({
      from: me,
      to: { capability: payload.language },
      type: payload.directory,
      title: payload.file,
      payload,
      step: 'survey',
      idempotencyKey: `survey ${payload.file}`.slice(-250),
      timeoutMs: 120_000,
      retry: { maxRetries: 10, backoff: 'linear', delayMs: 100 },
    }),
  );
  tasks.push(...(await Promise.all(delegated)));
}
await collaboration.completeStep('plan', { by: me, output: { files: files.length } });

await me.update({ status: 'waiting', task: `Waiting for ${files.length} results` });
const results = await Promise.all(tasks.map((task) => task.result()));
await collaboration.completeStep('survey', { by: me, output: { files: results.length } });
await hub.send({ from: me, to: 'orchestrator', subject: 'All files are surveyed', idempotencyKey: 'surveyed' });

await finished;
await consumer.stop();
await leave({ delegated: tasks.length, lines: results.reduce((sum, { lines }) => sum + lines, 0) });

// A code review in steps: a developer implements, asks the author of the plan, hands over to a reviewer, and all of it is
// one collaboration with a summary at its end.
import assert from 'node:assert/strict';
import { createMesh } from 'session-mesh';

const mesh = createMesh();
const { registry, hub } = mesh;

const planner = await registry.register({ id: 'planner', capabilities: ['planning'] });
const developer = await registry.register({ id: 'developer', capabilities: ['typescript'] });
const reviewer = await registry.register({ id: 'reviewer', capabilities: ['review'] });

const collaboration = await hub.createCollaboration({
  id: 'pull-request-123',
  initiator: planner,
  participants: [
    { session: developer, role: 'implementer' },
    { session: reviewer, role: 'reviewer' },
  ],
  steps: [
    { name: 'design', requires: ['planner'] },
    { name: 'implementation', requires: ['developer', 'reviewer'], after: ['design'] },
  ],
  context: { branch: 'main', comments: [] },
});
await collaboration.completeStep('design', { by: planner, output: { files: ['parser.ts'] } });

// The developer asks before it begins, and hands over what it made. The result is the reviewer's then.
const development = hub.work(developer, {}, async (task, { ask, handoff }) => {
  const branch = await ask({ question: 'Which branch?' });
  await collaboration.updateContext((context) => ({ ...context, branch }), { by: developer });
  await handoff({ to: reviewer, context: { diff: `+ ${task.payload.feature}`, branch } });
});

const review = hub.work(reviewer, {}, async (task, { progress }) => {
  await progress({ percent: 50, message: 'has read the diff' });
  const add = ({ comments, ...context }) => ({ ...context, comments: [...comments, 'name it parse'] });
  await collaboration.updateContext(add, { by: reviewer });
  await collaboration.completeStep('implementation', { by: reviewer, output: task.context });
  return { approved: true, diff: task.context.diff };
});

// Whoever watches answers the question.
hub.on('task_updated', async ({ task, change }) => {
  if (change === 'question') await hub.provideInput(task, { by: planner, input: 'feature/parser' });
});

const task = await collaboration.delegate({
  from: planner,
  to: developer,
  type: 'implementation',
  payload: { feature: 'a parser' },
  step: 'implementation',
  priority: 'high',
});
const result = await task.result({ timeoutMs: 10_000 });
assert.deepEqual(result, { approved: true, diff: '+ a parser' });
assert.deepEqual(await collaboration.context(), { branch: 'feature/parser', comments: ['name it parse'] });
assert.equal((await collaboration.progress()).percent, 100);

await collaboration.complete({ by: planner, summary: 'merged', artifacts: { commit: 'abc123' } });
const { state, tasks, steps } = await collaboration.summary();
assert.equal(state, 'completed');
assert.deepEqual(tasks.byState, { completed: 1 });
assert.deepEqual(
  steps.map(({ name, completedBy }) => [name, completedBy]),
  [
    ['design', 'planner'],
    ['implementation', 'reviewer'],
  ],
);

await Promise.all([development.stop(), review.stop()]);
await mesh.close();
console.log('reviewed by', steps[1].completedBy);

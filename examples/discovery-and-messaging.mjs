// Who is there, who can do what, and the ways to reach them: one, a group, any specialist, all, with and without an answer.
import assert from 'node:assert/strict';
import { createMesh, formatSignal, MeshError } from 'session-mesh';

const mesh = createMesh();
const { registry, hub } = mesh;

const planner = await registry.register({ id: 'claude-code://planner', user: 'Alexa', capabilities: ['planning'] });
const coder = await registry.register({ id: 'opencode://coder', capabilities: ['typescript'], groups: ['core'] });
const tester = await registry.register({ id: 'codex://tester', capabilities: ['testing'], groups: ['core'] });

// Discovery: conditions combine, and go through indexes.
const core = await registry.list({ group: 'core' });
assert.deepEqual(
  core.items.map(({ id }) => id),
  ['codex://tester', 'opencode://coder'],
);
const [best] = await registry.specialists('typescript'); // alive, least loaded first
assert.equal(best.id, coder.id);

// Agents that work through their mailboxes: acked when the handler returns, delivered again when it throws.
const notes = [];
const take = (agent) =>
  hub.inbox(agent).handle(async (message) => {
    notes.push(formatSignal(message));
    if (message.type === 'request') await hub.reply(message, { from: agent, subject: 'Forty-two', body: `says ${agent.id}` });
  });
const consumers = [take(coder), take(tester)];

const answer = await hub.request({ from: planner, to: coder, subject: 'How many files?', timeoutMs: 5_000 });
assert.equal(answer.body, 'says opencode://coder');

await hub.send({ from: planner, to: { group: 'core' }, subject: 'Stand-up', priority: 'high' });
const one = await hub.send({ from: planner, to: { capability: 'testing' }, subject: 'Run the tests' });
assert.deepEqual(one.recipients, [{ session: tester.id, state: 'alive' }]);
const all = await hub.broadcast({ from: planner, subject: 'Release at noon' });
assert.equal(all.total, 2); // everybody but the sender

assert.equal((await hub.ping({ from: planner, to: coder })).reachable, true);

// What a session has not settled yet is unread.
const unread = async (session) => (await hub.messages({ session: session.id, unread: true })).items.length;
while ((await unread(coder)) + (await unread(tester)) > 0) await new Promise((resolve) => setTimeout(resolve, 10));
assert.equal(notes.length, 1 + 2 + 1 + 2);
assert.ok(notes.includes('📡 claude-code://planner → ALL : [COLLABORATION] Release at noon'));

// A conversation is the same from any of its messages.
const thread = await hub.conversation(answer);
assert.deepEqual(thread.map(formatSignal), [
  '❓ claude-code://planner → opencode://coder : [COLLABORATION] How many files?',
  '✅ opencode://coder → claude-code://planner : [COLLABORATION] Forty-two',
]);

// The sender is told when there is nobody: nothing is sent into the void.
await assert.rejects(hub.send({ from: planner, to: 'nobody' }), (error) => MeshError.is(error, 'not_found'));
await tester.end();
await assert.rejects(hub.send({ from: planner, to: tester }), (error) => MeshError.is(error, 'not_alive'));

await Promise.all(consumers.map((consumer) => consumer.stop()));
await mesh.close();
console.log(notes.join('\n'));

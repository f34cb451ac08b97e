// Shared memory under many hands: no update is lost, conditions decide who is first, and everybody can follow.
import assert from 'node:assert/strict';
import { createMesh, MeshError } from 'session-mesh';

const mesh = createMesh();
const { registry, memory } = mesh;
const agents = await Promise.all(Array.from({ length: 50 }, (_, n) => registry.register({ id: `agent-${n}` })));

// 50 agents count at once. `update` reads again and repeats when another was faster.
await Promise.all(agents.map((by) => memory.update('counter', (count = 0) => count + 1, { by })));
assert.equal(await memory.get('counter'), 50);

// The same for a larger thing: each adds its own part.
const add = (by) => memory.update('plan', (plan = {}) => ({ ...plan, [by.id]: 'done' }), { by, type: 'context', tags: ['plan'] });
await Promise.all(agents.map(add));
assert.equal(Object.keys(await memory.get('plan')).length, 50);

// A decision that is to be made once: version 0 means that there must be none.
const decide = (by) => memory.set('leader', by.id, { by, type: 'decision', ifVersion: 0 });
const outcomes = await Promise.allSettled(agents.map(decide));
assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
assert.ok(outcomes.every(({ reason }) => reason === undefined || MeshError.is(reason, 'conflict')));

// Every version is kept, up to a bound, newest first.
const history = await memory.history('counter', { limit: 3 });
assert.deepEqual(
  history.map(({ version, value }) => [version, value]),
  [
    [50, 50],
    [49, 49],
    [48, 48],
  ],
);

// Whoever waits is woken; whoever watches sees each change, in order.
const ready = memory.waitFor('deploy', (state) => state === 'done', { timeoutMs: 5_000 });
const stop = new AbortController();
const seen = [];
const watching = (async () => {
  for await (const { kind, version } of memory.watch('deploy*', { signal: stop.signal })) seen.push([kind, version]);
})();
await memory.set('deploy', 'started', { by: agents[0] });
await memory.set('deploy', 'done', { by: agents[1] });
assert.equal(await ready, 'done');
await memory.delete('deploy');
while (seen.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
stop.abort();
await assert.rejects(watching, (error) => MeshError.is(error, 'aborted'));
assert.deepEqual(seen, [
  ['set', 1],
  ['set', 2],
  ['deleted', 3],
]);

// Found by pattern and tag; what belongs to a session goes with it.
await memory.set('lock/build', true, { by: agents[7], untilSessionEnds: true });
assert.equal((await memory.search({ pattern: 'p*', tags: ['plan'] })).items.length, 1);
await agents[7].end();
assert.equal(await memory.get('lock/build'), undefined);

await mesh.close();
console.log('the leader is', outcomes.find(({ status }) => status === 'fulfilled').value.value);

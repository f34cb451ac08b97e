// A unit test of a workflow of 50 agents, in virtual time: minutes pass in milliseconds, and every run is the same.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestMesh, recordEvents } from 'session-mesh/testing';

const sleep = (clock, ms) => new Promise((resolve) => clock.setTimeout(resolve, ms));

test('200 tasks are done by 50 agents, although ten of them vanish', async (t) => {
  const { mesh, clock } = createTestMesh({ seed: 42 });
  t.after(() => mesh.close());
  const { registry, hub, memory } = mesh;
  const events = recordEvents(mesh);
  const planner = await registry.register({ id: 'planner' });

  // Most take 50 seconds for a task. Ten take an hour, and never renew their leases: they are lost after five minutes.
  for (let n = 0; n < 50; n++) {
    const heartbeat = n < 10 ? 'manual' : 'auto';
    const agent = await registry.register({ id: `agent-${n}`, capabilities: ['build'], ttlMs: 300_000, heartbeat });
    const takesMs = n < 10 ? 3_600_000 : 50_000;
    hub.work(agent, {}, async (task) => {
      await sleep(clock, takesMs);
      await memory.update('done', (done = 0) => done + 1, { by: agent });
      return task.payload * 2;
    });
  }

  const tasks = [];
  for (let n = 0; n < 200; n++) {
    tasks.push(
      await hub.delegate({ from: planner, to: { capability: 'build' }, type: 'build', payload: n, timeoutMs: 3_600_000 }),
    );
  }
  const results = Promise.all(tasks.map((task) => task.result()));

  await clock.advance(299_000);
  const before = await hub.stats();
  assert.equal(before.tasks.working, 10, 'the ten hold theirs as long as they are thought to be alive');
  assert.equal(before.tasks.completed, 190);

  // Their leases lapse, their tasks go to whoever is free, and 50 seconds later all is done.
  await clock.advance(65_000);
  assert.deepEqual(
    await results,
    tasks.map((_, n) => n * 2),
  );
  assert.equal(await memory.get('done'), 200);
  assert.equal((await registry.list({ state: 'offline' })).items.length, 10);

  await mesh.settled();
  const count = (name) => events.names.filter((other) => other === name).length;
  assert.equal(count('task_completed'), 200);
  assert.equal(count('task_claimed'), 210);
  assert.equal(count('task_retried'), 10);
  assert.equal(count('session_offline'), 10);
});

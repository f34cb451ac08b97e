import { expect, it } from 'vitest';
import { createTestMesh, scriptedAgent } from '../../src/testing/index.ts';
import { passUntil, refusal } from '../support/memory/worlds.ts';

it('answers by its script, and settles what it has no answer for', async () => {
  const { mesh, clock } = createTestMesh();
  const planner = await mesh.registry.register({ id: 'planner' });
  const agent = await scriptedAgent(mesh, {
    id: 'reviewer',
    capabilities: ['review'],
    on: { request: ({ body }) => ({ body: `${body}? ok` }) },
    work: async ({ payload }) => [payload, 'done'],
  });
  const answer = await passUntil(clock, mesh.hub.request({ from: planner, to: 'reviewer', body: 'well' }));
  expect(answer.body).toBe('well? ok');
  const task = await mesh.hub.delegate({ from: planner, to: { capability: 'review' }, type: 'any', payload: 1 });
  expect(await passUntil(clock, task.result())).toEqual([1, 'done']);
  await mesh.hub.send({ from: planner, to: 'reviewer', body: 'note' });
  await clock.advance(1000);
  expect(agent.received.map(({ body }) => body)).toEqual(['well', 'note']);
  expect((await mesh.hub.messages({ session: 'reviewer', unread: true })).items).toEqual([]);
  await passUntil(clock, agent.stop());
  await agent.stop();
  expect((await mesh.registry.get('reviewer'))?.state).toBe('ended');
  await mesh.close();
});

it('crashes without a word: its lease lapses, and what it had claimed is there for its successor', async () => {
  const { mesh, clock } = createTestMesh();
  const planner = await mesh.registry.register({ id: 'planner', ttlMs: 600_000 });
  let release = (): void => {};
  const agent = await scriptedAgent(mesh, {
    id: 'dev',
    on: {
      request: () =>
        new Promise((resolve) => {
          release = () => resolve({ body: 'too late' });
        }),
    },
  });
  const { message } = await mesh.hub.send({ from: planner, to: 'dev', type: 'request', body: 'do it' });
  await clock.advance(100);
  await passUntil(clock, agent.crash());
  release();
  await clock.advance(29_000);
  expect((await mesh.registry.get('dev'))?.state).toBe('alive');
  await clock.advance(2000);
  expect((await mesh.registry.get('dev'))?.state).toBe('offline');
  expect((await mesh.hub.conversation(message)).length).toBe(1);
  const next = await scriptedAgent(mesh, { id: 'dev', on: { request: () => ({ body: 'done' }) } });
  await clock.advance(60_000);
  expect(next.received.map(({ id }) => id)).toEqual([message.id]);
  expect((await mesh.hub.conversation(message)).map(({ body }) => body)).toEqual(['do it', 'done']);
  await passUntil(clock, next.stop());
  await mesh.close();
});

it('is refused as a registration is, and leaves nothing behind then', async () => {
  const { mesh } = createTestMesh();
  await mesh.registry.register({ id: 'taken' });
  await expect(scriptedAgent(mesh, { id: 'taken' })).rejects.toEqual(refusal('already_exists'));
  await expect(scriptedAgent(mesh, { on: { request: 5 as never } })).rejects.toEqual(refusal('invalid_input'));
  await expect(scriptedAgent(mesh, { unknown: 1 } as never)).rejects.toEqual(refusal('invalid_input'));
  await mesh.close();
});

it('is gone after its end, also when somebody else has killed it', async () => {
  const { mesh, clock } = createTestMesh();
  const agent = await scriptedAgent(mesh, { id: 'dev' });
  await mesh.registry.kill('dev', { force: true });
  await clock.settle();
  await passUntil(clock, agent.stop());
  await mesh.close();
  expect(clock.pending).toBe(0);
});

import { describe, expect, it } from 'vitest';
import type { Collaboration } from '../../../src/hub/collaborations/collaboration.ts';
import type { LoggedEvent } from '../../../src/storage/events/event-reader.ts';
import type { Storage } from '../../../src/storage/storage.ts';
import { STEPS } from '../../support/collaborations/team.ts';
import { recordsOf } from '../../support/memory/observed.ts';
import { outcomeOf, quiet, refusal, together, type World, worldOn } from '../../support/memory/worlds.ts';
import { type OpenStorage, storages } from '../../support/storages.ts';

interface Project extends World {
  readonly collaboration: Collaboration;
}

async function projectOn(open: OpenStorage, timeoutMs?: number): Promise<Project> {
  const world = await worldOn(open);
  for (const id of ['lead', 'dev', 'qa']) await quiet(world.registry, id);
  const collaboration = await world.mesh.hub.createCollaboration({
    id: 'c',
    initiator: 'lead',
    participants: [{ session: 'dev' }, { session: 'qa' }],
    steps: STEPS,
    timeoutMs,
  });
  return { ...world, collaboration };
}

async function eventsOf(storage: Storage): Promise<string[]> {
  const events = (await recordsOf(storage, 'events')).map(({ value }) => value as unknown as LoggedEvent);
  return events.filter(({ collaboration }) => collaboration === 'c').map(({ name }) => name);
}

describe.each(storages)('tasks of a collaboration on %s', (_name, open) => {
  it('are delegated with its id, and stand in its summary with their results', async () => {
    const { collaboration, mesh } = await projectOn(open);
    const { hub } = mesh;
    const first = await collaboration.delegate({ from: 'lead', to: 'dev', type: 'draw', step: 'design', payload: { n: 1 } });
    expect(first).toMatchObject({ collaborationId: 'c', step: 'design', payload: { n: 1 }, state: 'submitted' });
    const second = await collaboration.delegate({ from: 'lead', to: 'qa', type: 'check', retry: { maxRetries: 0 } });
    const third = await collaboration.delegate({ from: 'lead', to: { capability: 'ruby' }, type: 'code', step: 'docs' });
    await hub.delegate({ from: 'lead', to: 'dev', type: 'other' });
    await hub.complete(first.id, { by: 'dev', result: { file: 'design.md' } });
    await hub.fail(second.id, { by: 'qa', reason: 'no time' });
    const { tasks } = await collaboration.summary();
    expect(tasks).toMatchObject({
      total: 3,
      byState: { completed: 1, failed: 1, submitted: 1 },
      byStep: { design: { completed: 1 }, docs: { submitted: 1 } },
      byParticipant: { dev: { completed: 1 }, qa: { failed: 1 } },
    });
    const told = new Map(tasks.items.map((item) => [item.id, item]));
    expect(told.get(first.id)).toMatchObject({ type: 'draw', session: 'dev', result: { file: 'design.md' } });
    expect(told.get(second.id)).toMatchObject({ type: 'check', session: 'qa', reason: 'no time' });
    expect(told.get(third.id)).toMatchObject({ state: 'submitted', step: 'docs' });
    expect((await hub.tasks({ collaborationId: 'c' })).items).toHaveLength(3);
  });

  it('are not delegated for a step that is not there or completed', async () => {
    const { collaboration, mesh } = await projectOn(open);
    const task = { from: 'lead', to: 'dev', type: 'draw' };
    await expect(collaboration.delegate({ ...task, step: 'deploy' })).rejects.toEqual(refusal('not_found'));
    await collaboration.completeStep('design', { by: 'lead' });
    await expect(collaboration.delegate({ ...task, step: 'design' })).rejects.toEqual(refusal('conflict'));
    await collaboration.delegate({ ...task, step: 'review' });
    expect((await mesh.hub.tasks({ collaborationId: 'c' })).items).toHaveLength(1);
  });

  it('are refused with options that delegate refuses, and with a collaboration of their own', async () => {
    const { collaboration } = await projectOn(open);
    const task = { from: 'lead', to: 'dev', type: 'draw' };
    const delegate = collaboration.delegate.bind(collaboration) as (options: unknown) => Promise<unknown>;
    const throwing = {
      ...task,
      get step() {
        throw new Error('read');
      },
    };
    for (const options of [
      undefined,
      null,
      'text',
      [],
      {},
      { ...task, extra: 1 },
      { ...task, collaborationId: 'other' },
      { ...task, step: 5 },
      throwing,
    ]) {
      await expect(delegate(options)).rejects.toEqual(refusal('invalid_input'));
    }
    expect((await collaboration.summary()).tasks.total).toBe(0);
  });

  it('go on once it has ended, but no new one comes', async () => {
    const { collaboration, mesh } = await projectOn(open);
    const task = await collaboration.delegate({ from: 'lead', to: 'dev', type: 'draw' });
    await collaboration.complete();
    await expect(collaboration.delegate({ from: 'lead', to: 'dev', type: 'draw' })).rejects.toEqual(refusal('conflict'));
    await mesh.hub.complete(task.id, { by: 'dev', result: 1 });
    expect((await collaboration.summary()).tasks).toMatchObject({ total: 1, byState: { completed: 1 } });
  });

  it('never come behind its end, whoever races', async () => {
    for (let round = 0; round < 5; round++) {
      const { another, storage } = await projectOn(open);
      const seen = await together(3, async () => (await another().hub.getCollaboration('c')) as Collaboration);
      const of = (n: number): Collaboration => seen[n % 3] as Collaboration;
      const outcomes = await together<unknown>(20, (n) =>
        outcomeOf(
          n === 5
            ? of(n)
                .complete()
                .then(() => 'ended')
            : of(n)
                .delegate({ from: 'lead', to: 'dev', type: `${n}` })
                .then(() => 'delegated'),
        ),
      );
      const told = await eventsOf(storage);
      expect(told[told.length - 1]).toBe('collaboration_completed');
      const delegated = outcomes.filter((outcome) => outcome === 'delegated');
      expect(told.filter((name) => name === 'task_delegated')).toHaveLength(delegated.length);
      expect(outcomes.filter((outcome) => outcome === 'conflict')).toHaveLength(19 - delegated.length);
      expect((await of(0).summary()).tasks.total).toBe(delegated.length);
    }
  });

  it('keep it active when they are delegated and done, and no longer', async () => {
    const { clock, collaboration, mesh } = await projectOn(open, 60_000);
    await clock.advance(50_000);
    const task = await collaboration.delegate({ from: 'lead', to: 'dev', type: 'draw' });
    await clock.advance(50_000);
    expect((await collaboration.get()).state).toBe('active');
    await mesh.hub.complete(task.id, { by: 'dev' });
    const deadline = clock.now() + 60_000;
    await clock.advance(59_999);
    expect((await collaboration.get()).state).toBe('active');
    await clock.advance(1);
    expect(await collaboration.get()).toMatchObject({ state: 'terminated', reason: 'timeout', endedAt: deadline });
  });

  it('do not keep it active by timing out unnoticed', async () => {
    const { another, clock, collaboration, mesh } = await projectOn(open, 60_000);
    const task = await collaboration.delegate({ from: 'lead', to: 'dev', type: 'draw', timeoutMs: 20_000 });
    const deadline = task.deadline + 60_000;
    await mesh.close();
    await clock.advance(500_000);
    // Nobody was there to note that the task has failed. Whoever does so now does not wake what it belonged to.
    const { hub } = another();
    expect((await hub.getTask(task.id))?.state).toBe('failed');
    const found = await hub.getCollaboration('c');
    expect(await found?.get()).toMatchObject({ state: 'terminated', reason: 'timeout', endedAt: deadline });
    await clock.advance(2000);
    expect(await found?.get()).toMatchObject({ state: 'terminated', reason: 'timeout', endedAt: deadline });
  });
});

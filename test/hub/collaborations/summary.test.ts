import { describe, expect, it } from 'vitest';
import { task, teamOn } from '../../support/collaborations/team.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('the summary of a collaboration on %s', (_name, open) => {
  it('tells its steps with their outputs and its tasks by state, step and participant, with results', async () => {
    const { clock, start, tasks } = await teamOn(open);
    const collaboration = await start({ id: 'c' });
    const completedAt = clock.now();
    await collaboration.completeStep('design', { by: 'lead', output: { file: 'design.md' } });
    await collaboration.completeStep('docs', { by: 'dev' });
    const items = [
      task('t1', { state: 'completed', step: 'design', session: 'lead', result: { pages: 3 } }),
      task('t2', { state: 'completed', step: 'docs', session: 'dev', result: null }),
      task('t3', { state: 'failed', step: 'docs', session: 'dev', reason: 'worker_lost' }),
      task('t4', { state: 'submitted' }),
    ];
    tasks.set('c', items);
    tasks.set('other', [task('t5')]);
    await collaboration.complete({ summary: 'as planned', artifacts: ['design.md'] });
    expect(await collaboration.summary()).toEqual({
      collaboration: 'c',
      state: 'completed',
      progress: { current: null, completed: ['design', 'docs'], pending: ['implementation', 'review'], percent: 50 },
      summary: 'as planned',
      artifacts: ['design.md'],
      steps: [
        { name: 'design', completedBy: 'lead', completedAt, output: { file: 'design.md' } },
        { name: 'implementation' },
        { name: 'docs', completedBy: 'dev', completedAt },
        { name: 'review' },
      ],
      tasks: {
        total: 4,
        byState: { completed: 2, failed: 1, submitted: 1 },
        byStep: { design: { completed: 1 }, docs: { completed: 1, failed: 1 } },
        byParticipant: { lead: { completed: 1 }, dev: { completed: 1, failed: 1 } },
        items,
      },
    });
  });

  it('tells why it was terminated', async () => {
    const { start } = await teamOn(open);
    const collaboration = await start({ steps: [] });
    await collaboration.terminate({ reason: 'budget', details: { spent: 5 } });
    expect(await collaboration.summary()).toEqual({
      collaboration: collaboration.id,
      state: 'terminated',
      progress: { current: null, completed: [], pending: [], percent: 0 },
      reason: 'budget',
      details: { spent: 5 },
      steps: [],
      tasks: { total: 0, byState: {}, byStep: {}, byParticipant: {}, items: [] },
    });
  });

  it('counts all tasks, also those it does not tell', async () => {
    const { start, tasks } = await teamOn(open);
    const collaboration = await start({ id: 'c', steps: [] });
    tasks.set(
      'c',
      Array.from({ length: 1500 }, (_, n) => task(`t${n}`, { step: '__proto__', session: 'constructor' })),
    );
    const { tasks: told } = await collaboration.summary();
    expect(told.total).toBe(1500);
    expect(told.items).toHaveLength(1000);
    expect(Object.entries(told.byStep)).toEqual([['__proto__', { working: 1500 }]]);
    expect(Object.entries(told.byParticipant)).toEqual([['constructor', { working: 1500 }]]);
    expect((await collaboration.summary({ limit: 0 })).tasks).toMatchObject({ total: 1500, items: [] });
  });
});

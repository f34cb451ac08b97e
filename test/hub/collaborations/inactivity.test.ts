import { describe, expect, it } from 'vitest';
import type { Collaboration } from '../../../src/hub/collaborations/collaboration.ts';
import { leftOf, namesTold, task, teamOn, toldOf } from '../../support/collaborations/team.ts';
import { hooked, once } from '../../support/memory/observed.ts';
import { quiet, refusal } from '../../support/memory/worlds.ts';
import { storages } from '../../support/storages.ts';

const DAY = 86_400_000;
const [[, inMemory]] = storages as [(typeof storages)[0]];

async function stateOf(collaboration: Collaboration): Promise<string> {
  return (await collaboration.get()).state;
}

describe.each(storages)('a collaboration in which nothing happens, on %s', (_name, open) => {
  it('is terminated to the millisecond for every reader, before any sweep has seen it', async () => {
    const { all, clock, start, storage } = await teamOn(open, { sweepIntervalMs: 3_600_000 });
    const collaboration = await start({ timeoutMs: 60_000 });
    const deadline = clock.now() + 60_000;
    await clock.advance(59_999);
    expect(await stateOf(collaboration)).toBe('active');
    expect((await all.list({ state: 'active' })).items).toHaveLength(1);
    await clock.advance(1);
    expect(await collaboration.get()).toMatchObject({ state: 'terminated', reason: 'timeout', endedAt: deadline });
    expect((await collaboration.get()).endedBy).toBeUndefined();
    expect((await all.list({ state: 'active' })).items).toEqual([]);
    expect((await all.list({ state: 'terminated' })).items).toMatchObject([{ reason: 'timeout', endedAt: deadline }]);
    expect(await collaboration.progress()).toMatchObject({ current: null });
    expect(await namesTold(storage)).toEqual(['collaboration_created', 'collaboration_terminated']);
  });

  it('takes no change any more, before any sweep has seen it', async () => {
    const { clock, start, storage, dev } = await teamOn(open, { sweepIntervalMs: 3_600_000 });
    const collaboration = await start({ timeoutMs: 60_000 });
    await clock.advance(60_000);
    for (const write of [
      () => collaboration.join({ session: 'new' }),
      () => collaboration.leave({ session: dev }),
      () => collaboration.completeStep('design', { by: dev }),
      () => collaboration.updateContext(() => ({})),
      () => collaboration.complete({ by: dev }),
      () => collaboration.terminate(),
    ]) {
      await expect(write()).rejects.toSatisfy((error: { details: unknown }) => {
        expect(error).toEqual(refusal('conflict'));
        expect(error.details).toEqual({ collaboration: collaboration.id, state: 'terminated' });
        return true;
      });
    }
    expect(await namesTold(storage)).toEqual(['collaboration_created', 'collaboration_terminated']);
  });

  it('does not come back by what its tasks do after its end, once anybody was told of that', async () => {
    const { all, clock, start, storage, tasks } = await teamOn(open, { sweepIntervalMs: 3_600_000 });
    const looks: ((collaboration: Collaboration) => Promise<unknown>)[] = [
      (collaboration) => collaboration.get(),
      (collaboration) => collaboration.progress(),
      () => all.list({ state: 'active' }),
      (collaboration) => collaboration.updateContext(() => ({})).catch(() => {}),
      (collaboration) => collaboration.complete().catch(() => {}),
    ];
    for (const look of looks) {
      const collaboration = await start({ timeoutMs: 60_000 });
      const deadline = clock.now() + 60_000;
      tasks.set(collaboration.id, [task('t1', { updatedAt: clock.now() })]);
      await clock.advance(60_000);
      await look(collaboration);
      tasks.set(collaboration.id, [task('t1', { updatedAt: clock.now() })]);
      expect(await collaboration.get()).toMatchObject({ state: 'terminated', reason: 'timeout', endedAt: deadline });
      await expect(collaboration.complete()).rejects.toEqual(refusal('conflict'));
    }
    await clock.advance(7_200_000);
    expect((await namesTold(storage)).filter((name) => name === 'collaboration_terminated')).toHaveLength(looks.length);
  });

  it('is told once, by whichever of several processes sweeps first, and stays as it was read before', async () => {
    const { another, clock, start, storage } = await teamOn(open);
    another();
    another();
    const collaboration = await start({ id: 'c', timeoutMs: 60_500 });
    await clock.advance(60_500);
    const before = await collaboration.get();
    expect(before.state).toBe('terminated');
    await clock.advance(2000);
    expect((await toldOf(storage)).slice(1)).toEqual([{ name: 'collaboration_terminated', collaboration: 'c', timedOut: true }]);
    expect(await collaboration.get()).toEqual(before);
    await clock.advance(60_000);
    expect(await toldOf(storage)).toHaveLength(2);
  });

  it.each<[string, (collaboration: Collaboration) => Promise<unknown>]>([
    ['a join', (collaboration) => collaboration.join({ session: 'new' })],
    ['a leave', (collaboration) => collaboration.leave({ session: 'qa' })],
    ['a step', (collaboration) => collaboration.completeStep('design', { by: 'lead' })],
    ['a change of the context', (collaboration) => collaboration.updateContext((context) => context)],
  ])('is kept alive by %s', async (_what, act) => {
    const { clock, start } = await teamOn(open);
    const collaboration = await start({ timeoutMs: 60_000 });
    await clock.advance(59_999);
    await act(collaboration);
    await clock.advance(59_999);
    expect(await stateOf(collaboration)).toBe('active');
    await clock.advance(1);
    expect(await stateOf(collaboration)).toBe('terminated');
    expect((await collaboration.get()).endedAt).toBe(clock.now());
  });

  it('is kept alive by what its tasks do', async () => {
    const { clock, start, storage, tasks } = await teamOn(open);
    const collaboration = await start({ id: 'c', timeoutMs: 60_000 });
    await clock.advance(50_000);
    tasks.set('c', [task('t1', { updatedAt: clock.now() }), task('t2', { updatedAt: clock.now() - 10_000 })]);
    const deadline = clock.now() + 60_000;
    await clock.advance(59_999);
    expect(await stateOf(collaboration)).toBe('active');
    // What a sweep has seen of a task stays, also when the task is removed.
    tasks.clear();
    expect(await stateOf(collaboration)).toBe('active');
    await clock.advance(1);
    expect(await collaboration.get()).toMatchObject({ state: 'terminated', endedAt: deadline });
    await clock.advance(2000);
    expect(await namesTold(storage)).toEqual(['collaboration_created', 'collaboration_terminated']);
    expect(await collaboration.get()).toMatchObject({ state: 'terminated', endedAt: deadline });
  });

  it('is not kept alive by reads, nor by what changes nothing', async () => {
    const { clock, registry, start, dev } = await teamOn(open);
    const collaboration = await start({ timeoutMs: 60_000 });
    await collaboration.join({ session: 'dev' });
    await clock.advance(59_999);
    await collaboration.summary();
    await collaboration.updateContext(() => undefined, { by: dev });
    await collaboration.join({ session: 'dev' });
    await collaboration.leave({ session: 'stranger' });
    await expect(collaboration.completeStep('review', { by: 'lead' })).rejects.toThrow();
    await quiet(registry, 'qa');
    await clock.advance(1);
    expect(await stateOf(collaboration)).toBe('terminated');
  });

  it('goes on for ever when it has no timeout', async () => {
    const { another, clock, mesh, start } = await teamOn(open);
    const { id } = await start();
    await mesh.close();
    await clock.advance(365 * DAY);
    const found = await another().hub.getCollaboration(id);
    expect(await found?.get()).toMatchObject({ state: 'active' });
    await found?.complete();
  });

  it('is not terminated by a sweep when the context changes while that looks', async () => {
    const { another, clock, start, storage, mesh } = await teamOn(open, { sweepIntervalMs: 3_600_000 });
    const collaboration = await start({ timeoutMs: 60_000 });
    await clock.advance(59_999);
    // A writer whose commit comes late: after the sweep has read, before it commits.
    const late = once(async () => {
      const found = await storage.get([{ partition: 'collaborations.context', key: collaboration.id }]);
      const value = { value: { late: true }, version: 2, at: clock.now() - 1 };
      await storage.commit({
        checks: [{ partition: 'collaborations.context', key: collaboration.id, revision: found[0]?.revision ?? null }],
        puts: [{ partition: 'collaborations.context', key: collaboration.id, value }],
      });
    });
    let terminations = 0;
    const view = hooked(storage, {
      commit: async ({ puts }) => {
        if (!puts?.some(({ value }) => (value as { name?: string } | null)?.name === 'collaboration_terminated')) return;
        terminations += 1;
        await late.run();
      },
    });
    const other = another(view, { sweepIntervalMs: 500 });
    late.arm();
    await clock.advance(1000);
    expect(terminations).toBe(1);
    expect(await stateOf(collaboration)).toBe('active');
    await clock.advance(60_000);
    expect(terminations).toBe(2);
    expect(await namesTold(storage)).toEqual(['collaboration_created', 'collaboration_terminated']);
    await other.close();
    await mesh.settled();
  });

  it('refuses a change of the context that took longer than it may rest', async () => {
    const { clock, start, storage } = await teamOn(open, { sweepIntervalMs: 3_600_000 });
    const collaboration = await start({ timeoutMs: 60_000 });
    let go = (): void => {};
    const changing = collaboration.updateContext(() => new Promise((resolve) => (go = () => resolve({ late: true }))));
    changing.catch(() => {});
    await clock.advance(60_000);
    go();
    await expect(changing).rejects.toEqual(refusal('conflict'));
    expect(await collaboration.context()).toEqual({});
    expect(await namesTold(storage)).toEqual(['collaboration_created', 'collaboration_terminated']);
  });
});

// In memory only: days of polling a file take long even in virtual time.
describe('a collaboration that may rest for days', () => {
  it('is kept alive by what its tasks did days ago, where it may rest that long', async () => {
    const { clock, start, tasks } = await teamOn(inMemory, { sweepIntervalMs: 3_600_000 });
    const collaboration = await start({ id: 'c', timeoutMs: 10 * DAY });
    await clock.advance(5 * DAY);
    const deadline = clock.now() + 10 * DAY;
    tasks.set('c', [task('t', { updatedAt: clock.now() })]);
    await clock.advance(2 * DAY);
    tasks.clear();
    await clock.advance(8 * DAY - 1);
    expect(await stateOf(collaboration)).toBe('active');
    await clock.advance(1);
    expect(await collaboration.get()).toMatchObject({ state: 'terminated', endedAt: deadline });
  });
});

describe.each(storages)('a collaboration that has ended, on %s', (_name, open) => {
  it.each<[string, number | undefined, (collaboration: Collaboration) => Promise<void>]>([
    ['completed', undefined, (collaboration) => collaboration.complete({ summary: 'done', artifacts: [1] })],
    ['completed long before its timeout', 20 * DAY, (collaboration) => collaboration.complete({ summary: 'done' })],
    ['completed shortly before its timeout', 12_000, (collaboration) => collaboration.complete({ summary: 'done' })],
    ['terminated', 60_000, (collaboration) => collaboration.terminate({ details: { a: 1 } })],
    ['timed out', 10_000, async () => {}],
  ])('%s, is read for seven days and then gone without a trace', async (_what, timeoutMs, end) => {
    const { another, clock, mesh, start, ...team } = await teamOn(open);
    const before = await start({ ...(timeoutMs !== undefined && { timeoutMs }) });
    await before.completeStep('design', { by: 'lead', output: 'x' });
    await end(before);
    await clock.advance(10_000);
    const { endedAt = 0 } = await before.get();
    await clock.advance(5000);
    await mesh.close();
    await clock.advance(endedAt + 7 * DAY - clock.now() - 1);
    const { hub, registry } = another();
    const collaboration = (await hub.getCollaboration(before.id)) as Collaboration;
    expect(await collaboration.output('design')).toBe('x');
    expect((await hub.collaborations()).items).toHaveLength(1);
    await clock.advance(3000);
    expect(await leftOf({ ...team, another, clock, mesh })).toEqual({});
    for (const read of [
      () => collaboration.get(),
      () => collaboration.progress(),
      () => collaboration.context(),
      () => collaboration.output('design'),
      () => collaboration.summary(),
      () => collaboration.updateContext(() => ({})),
      () => collaboration.join({ session: 'dev' }),
      () => collaboration.complete(),
    ]) {
      await expect(read()).rejects.toEqual(refusal('not_found'));
    }
    expect(await hub.getCollaboration(before.id)).toBeUndefined();
    expect((await hub.collaborations()).items).toEqual([]);
    const initiator = await quiet(registry, 'lead');
    const again = await hub.createCollaboration({ id: before.id, initiator, timeoutMs: 1000 });
    expect(await again.get()).toMatchObject({ state: 'active', metadata: {} });
    expect(await again.context()).toEqual({});
  });
});

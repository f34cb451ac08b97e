import { describe, expect, it } from 'vitest';
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import type { Collaboration } from '../../../src/hub/collaborations/collaboration.ts';
import { createMesh } from '../../../src/mesh.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { namesTold, STEPS, teamOn } from '../../support/collaborations/team.ts';
import { outcomeOf, quiet, together } from '../../support/memory/worlds.ts';
import { storages, temporaryFile } from '../../support/storages.ts';

/** The same collaboration as several meshes see it. */
async function seenBy(count: number, id: string, another: () => { hub: { getCollaboration(id: string): unknown } }) {
  const seen = await together(count, async () => (await another().hub.getCollaboration(id)) as Collaboration);
  return (n: number): Collaboration => seen[n % count] as Collaboration;
}

describe.each(storages)('many at once on %s', (_name, open) => {
  it('change the context without losing one change, from several meshes', async () => {
    const { another, start, storage, dev } = await teamOn(open);
    const { id } = await start({ context: { n: 0 } });
    const of = await seenBy(4, id, another);
    await together(50, (n) =>
      of(n).updateContext<{ n: number }>(
        async (context) => {
          if (n % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
          return { n: context.n + 1 };
        },
        n % 5 === 0 ? { by: `agent${n}` } : {},
      ),
    );
    expect(await of(0).context()).toEqual({ n: 50 });
    await together(10, () => of(0).updateContext<{ n: number }>(({ n }) => ({ n: n + 1 })));
    expect(await of(1).context()).toEqual({ n: 60 });
    expect((await namesTold(storage)).slice(1)).toEqual(Array.from({ length: 60 }, (_, n) => `context_updated ${n + 2}`));
    expect(dev.signal.aborted).toBe(false);
  });

  it('complete a step once', async () => {
    const { another, start, storage } = await teamOn(open);
    const { id } = await start();
    const of = await seenBy(4, id, another);
    const outcomes = await together(20, (n) =>
      outcomeOf(
        of(n)
          .completeStep('design', { by: n % 2 === 0 ? 'lead' : 'dev', output: n })
          .then(() => n),
      ),
    );
    const winners = outcomes.filter((outcome) => typeof outcome === 'number');
    expect(winners).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === 'conflict')).toHaveLength(19);
    expect(await of(0).output('design')).toBe(winners[0]);
    expect(await namesTold(storage)).toEqual(['collaboration_created', 'step_completed design']);
  });

  it('join up to as many as there may be', async () => {
    const { another, all, start, storage } = await teamOn(open);
    const { id } = await start({ maxParticipants: 10 });
    const of = await seenBy(4, id, another);
    const outcomes = await together(30, (n) => outcomeOf(of(n).join({ session: `s${n}` })));
    expect(outcomes.filter((outcome) => outcome === true)).toHaveLength(7);
    expect(outcomes.filter((outcome) => outcome === 'limit_exceeded')).toHaveLength(23);
    const { participants } = await of(0).get();
    expect(participants).toHaveLength(10);
    for (const { session } of participants) expect((await all.list({ session })).items).toHaveLength(1);
    expect(await namesTold(storage)).toHaveLength(8);
  });

  it('end it once', async () => {
    for (let round = 0; round < 5; round++) {
      const { another, start, storage } = await teamOn(open);
      const { id } = await start();
      const of = await seenBy(3, id, another);
      const outcomes = await together(12, (n) =>
        outcomeOf(
          n % 2 === 0
            ? of(n)
                .complete({ summary: `${n}` })
                .then(() => `completed ${n}`)
            : of(n)
                .terminate({ reason: `${n}` })
                .then(() => `terminated ${n}`),
        ),
      );
      const [winner, ...others] = outcomes.filter((outcome) => outcome !== 'conflict');
      expect(others).toEqual([]);
      const { state, summary, reason } = await of(0).get();
      expect(`${state} ${summary ?? reason}`).toBe(winner);
      expect(await namesTold(storage)).toEqual(['collaboration_created', `collaboration_${state}`]);
    }
  });

  it('end it once when its time is over at the same moment', async () => {
    const { another, clock, start, storage } = await teamOn(open, { sweepIntervalMs: 10 });
    another();
    const told: string[] = [];
    for (let round = 0; round < 8; round++) {
      const collaboration = await start({ id: `c${round}`, timeoutMs: 1000 });
      await clock.advance(995);
      const completing = outcomeOf(collaboration.complete().then(() => 'completed'));
      const advancing = clock.advance(20);
      const outcome = await completing;
      await advancing;
      await clock.advance(20);
      const { state } = await collaboration.get();
      expect(outcome).toBe(state === 'completed' ? 'completed' : 'conflict');
      told.push('collaboration_created', `collaboration_${state}`);
    }
    expect(await namesTold(storage)).toEqual(told);
  });

  it('change nothing once it has ended, whatever was under way', async () => {
    const { another, start, storage } = await teamOn(open);
    const { id } = await start({ context: { n: 0 } });
    const of = await seenBy(3, id, another);
    const act = (n: number): Promise<unknown> => {
      if (n === 7) return of(n).terminate();
      if (n % 4 === 0) return of(n).join({ session: `s${n}` });
      if (n % 4 === 1) return of(n).updateContext<{ n: number }>((context) => ({ n: context.n + 1 }));
      if (n % 4 === 2) return of(n).completeStep('design', { by: 'lead' });
      return of(n).leave({ session: 'qa' });
    };
    await together(40, (n) => outcomeOf(act(n)));
    const told = await namesTold(storage);
    expect(told.filter((name) => name === 'collaboration_terminated')).toHaveLength(1);
    expect(told[told.length - 1]).toBe('collaboration_terminated');
    const { n } = await of(0).context<{ n: number }>();
    expect(told.filter((name) => name.startsWith('context_updated'))).toHaveLength(n);
  });
});

describe('a collaboration on a file', () => {
  it('survives a restart, with everything in it', async () => {
    const file = temporaryFile();
    const clock = new VirtualClock();
    const openMesh = async () => createMesh({ storage: await SqliteStorage.open(file, { clock }) });
    const first = await openMesh();
    await quiet(first.registry, 'lead');
    await quiet(first.registry, 'dev');
    const before = await first.hub.createCollaboration({
      id: 'c',
      initiator: 'lead',
      participants: [{ session: 'dev', role: 'implementer' }],
      steps: STEPS.slice(0, 3),
      timeoutMs: 60_000,
      context: { n: 1 },
    });
    await before.join({ session: 'dev' });
    await before.completeStep('design', { by: 'dev', output: [1] });
    await before.updateContext(() => ({ n: 2 }));
    const details = await before.get();
    const progress = await before.progress();
    await first.close();

    const second = await openMesh();
    const after = (await second.hub.getCollaboration('c')) as Collaboration;
    expect(await after.get()).toEqual(details);
    expect(await after.progress()).toEqual(progress);
    expect(await after.context()).toEqual({ n: 2 });
    expect(await after.output('design')).toEqual([1]);
    await after.completeStep('implementation', { by: 'dev' });
    await second.close();

    // Nobody was there when its time was over.
    await clock.advance(61_000);
    const third = await openMesh();
    const last = (await third.hub.getCollaboration('c')) as Collaboration;
    expect(await last.get()).toMatchObject({ state: 'terminated', reason: 'timeout' });
    await clock.advance(2000);
    expect(await last.get()).toMatchObject({ state: 'terminated', reason: 'timeout' });
    await third.close();
  });

  it('loses no change of several storages that have it open at once', async () => {
    const file = temporaryFile();
    const clock = new VirtualClock();
    const meshes = await together(3, async () => createMesh({ storage: await SqliteStorage.open(file, { clock }) }));
    const [mesh] = meshes as [(typeof meshes)[0]];
    await quiet(mesh.registry, 'lead');
    await mesh.hub.createCollaboration({ id: 'c', initiator: 'lead', context: { n: 0 }, maxParticipants: 6 });
    const seen = await Promise.all(meshes.map(async ({ hub }) => (await hub.getCollaboration('c')) as Collaboration));
    const of = (n: number): Collaboration => seen[n % 3] as Collaboration;
    const work = together<unknown>(60, (n) =>
      n % 6 === 0
        ? outcomeOf(of(n).join({ session: `s${n}` }))
        : of(n).updateContext<{ n: number }>((context) => ({ n: context.n + 1 })),
    );
    let isDone = false;
    const done = work.finally(() => {
      isDone = true;
    });
    // Whoever waits for the lock of the file waits by the clock.
    while (!isDone) {
      await clock.advance(5);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const outcomes = await done;
    expect(await of(0).context()).toEqual({ n: 50 });
    expect(outcomes.filter((outcome) => outcome === true)).toHaveLength(5);
    expect((await of(1).get()).participants).toHaveLength(6);
    for (const one of meshes) await one.close();
  });
});

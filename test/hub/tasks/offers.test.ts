import { describe, expect, it } from 'vitest';
import { outcomesOf, passUntil, quiet, refusal, toldOf, worldOn } from '../../support/hub/worlds.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('offers on %s', (_name, open) => {
  it('belong to the first that accepts', async () => {
    const { hub, registry, storage } = await worldOn(open);
    await quiet(registry, 'planner', { capabilities: ['review'] });
    for (const id of ['a', 'b', 'c']) await quiet(registry, id, { capabilities: ['review'] });
    const offer = await hub.offer({ from: 'planner', to: { capability: 'review' }, type: 'review', payload: 1 });
    expect(offer).toMatchObject({ state: 'submitted', offer: { to: { capability: 'review' }, declined: [] } });
    expect(offer.to).toBe(undefined);
    expect([...(offer.offer?.asked ?? [])].sort()).toEqual(['a', 'b', 'c']);
    for (const id of ['a', 'b', 'c']) expect(await hub.claim(id)).toEqual([]);
    await expect(hub.accept(offer.id, { by: 'planner' })).rejects.toEqual(refusal('forbidden'));
    const outcomes = await outcomesOf(['a', 'b', 'c'].map((by) => hub.accept(offer.id, { by })));
    expect(outcomes.filter((code) => code === 'done')).toHaveLength(1);
    expect(outcomes.filter((code) => code === 'conflict')).toHaveLength(2);
    const winner = ['a', 'b', 'c'][outcomes.indexOf('done')] ?? '';
    expect(await hub.accept(offer.id, { by: winner })).toMatchObject({ to: { session: winner } });
    await expect(hub.decline(offer.id, { by: 'a' })).rejects.toEqual(refusal('conflict'));
    const [assignment] = await hub.claim(winner);
    await assignment?.complete('ok');
    expect(await offer.result()).toBe('ok');
    expect(await toldOf(storage)).toEqual(['offered', 'updated:accepted', 'claimed', 'completed']);
  });

  it('are rejected when all who were asked have declined', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    for (const id of ['a', 'b']) await quiet(registry, id, { groups: ['core'] });
    const offer = await hub.offer({ from: 'planner', to: { group: 'core' }, type: 'run' });
    expect(await hub.decline(offer.id, { by: 'a', reason: 'busy' })).toMatchObject({ state: 'submitted' });
    await hub.decline(offer.id, { by: 'a' });
    await expect(hub.accept(offer.id, { by: 'a' })).rejects.toEqual(refusal('conflict'));
    expect(await hub.decline(offer.id, { by: 'b', reason: 'no time' })).toMatchObject({ state: 'rejected' });
    await expect(offer.result()).rejects.toEqual(refusal('task_rejected', 'no time'));
    await expect(hub.accept(offer.id, { by: 'b' })).rejects.toEqual(refusal('conflict'));
    const alone = await hub.offer({ from: 'planner', to: 'a', type: 'run' });
    await hub.decline(alone.id, { by: 'a', reason: 'no' });
    await expect(passUntil(clock, alone.result())).rejects.toMatchObject({ details: { reason: 'declined', message: 'no' } });
  });

  it('count who has ended as one that declines, and nobody waits for it', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner');
    for (const id of ['a', 'b']) await quiet(registry, id, { groups: ['core'] });
    const offer = await hub.offer({ from: 'planner', to: { group: 'core' }, type: 'run' });
    await registry.end('a');
    await clock.advance(1500);
    expect(await hub.getTask(offer.id)).toMatchObject({ state: 'submitted', offer: { declined: ['a'] } });
    await registry.end('b');
    await expect(passUntil(clock, offer.result())).rejects.toMatchObject({
      code: 'task_rejected',
      details: { reason: 'not_alive' },
    });
  });

  it('need somebody to ask, and are over with their deadline or when they are canceled', async () => {
    const { hub, registry, clock } = await worldOn(open);
    await quiet(registry, 'planner', { capabilities: ['x'] });
    await quiet(registry, 'a');
    const offer = (to: Parameters<typeof hub.offer>[0]['to']) => hub.offer({ from: 'planner', to, type: 'run', timeoutMs: 5000 });
    await expect(offer({ capability: 'x' })).rejects.toEqual(refusal('not_found'));
    await expect(offer({ group: 'x' })).rejects.toEqual(refusal('not_found'));
    await expect(offer('nobody')).rejects.toEqual(refusal('not_found'));
    const late = await offer('a');
    const canceled = await offer({ session: 'a' });
    await expect(hub.handoff(canceled.id, { by: 'planner', to: 'a' })).rejects.toEqual(refusal('conflict'));
    await hub.cancel(canceled.id, { by: 'planner' });
    await expect(hub.accept(canceled.id, { by: 'a' })).rejects.toEqual(refusal('conflict'));
    await clock.advance(5000);
    await expect(hub.accept(late.id, { by: 'a' })).rejects.toEqual(refusal('conflict'));
    await expect(late.result()).rejects.toEqual(refusal('timed_out'));
  });

  it('are found among the tasks of everybody who was asked, also when they are over', async () => {
    const { hub, registry, clock } = await worldOn(open);
    for (const id of ['planner', 'one', 'two']) await quiet(registry, id, { groups: ['all'] });
    const found = async (session: string): Promise<string[]> => (await hub.tasks({ session })).items.map(({ id }) => id);
    const [canceled, declined, accepted, late] = await Promise.all(
      ['a', 'b', 'c', 'd'].map((type) => hub.offer({ from: 'planner', to: { group: 'all' }, type, timeoutMs: 60_000 })),
    );
    await hub.cancel(canceled?.id ?? '');
    for (const id of ['one', 'two']) await hub.decline(declined?.id ?? '', { by: id });
    await hub.accept(accepted?.id ?? '', { by: 'one' });
    await clock.advance(61_000);
    const all = [canceled?.id, declined?.id, accepted?.id, late?.id].sort();
    for (const session of ['planner', 'one', 'two']) expect((await found(session)).sort()).toEqual(all);
  });
});

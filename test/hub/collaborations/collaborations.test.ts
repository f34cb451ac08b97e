import { describe, expect, it } from 'vitest';
import { STEPS, teamOn, toldOf } from '../../support/collaborations/team.ts';
import { quiet, refusal, together, worldOn } from '../../support/memory/worlds.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('collaborations on %s', (_name, open) => {
  it('are created with participants in roles, steps, a context and metadata', async () => {
    const { mesh, registry, clock, storage } = await worldOn(open);
    const orchestrator = await quiet(registry, 'claude-code://orchestrator');
    const collaboration = await mesh.hub.createCollaboration({
      id: 'sess_notifications_1',
      initiator: orchestrator,
      maxParticipants: 10,
      timeoutMs: 60_000,
      participants: [
        { session: 'opencode://backend', role: 'implementer' },
        { session: 'claude-code://qa', role: 'reviewer' },
      ],
      steps: [
        { name: 'design', requires: ['claude-code://orchestrator'] },
        { name: 'implementation', requires: ['opencode://backend'], after: ['design'], description: 'all of it' },
      ],
      context: { project: 'feature/notifications' },
      metadata: { ticket: 7 },
    });
    expect(collaboration.id).toBe('sess_notifications_1');
    expect(await collaboration.get()).toEqual({
      id: 'sess_notifications_1',
      state: 'active',
      initiator: 'claude-code://orchestrator',
      participants: [
        { session: 'claude-code://orchestrator', role: 'initiator', state: 'active' },
        { session: 'opencode://backend', role: 'implementer', state: 'invited' },
        { session: 'claude-code://qa', role: 'reviewer', state: 'invited' },
      ],
      maxParticipants: 10,
      timeoutMs: 60_000,
      steps: [
        { name: 'design', requires: ['claude-code://orchestrator'], after: [] },
        { name: 'implementation', requires: ['opencode://backend'], after: ['design'], description: 'all of it' },
      ],
      metadata: { ticket: 7 },
      createdAt: clock.now(),
    });
    expect(await collaboration.context()).toEqual({ project: 'feature/notifications' });
    expect(await collaboration.progress()).toEqual({
      current: 'design',
      completed: [],
      pending: ['implementation'],
      percent: 0,
    });
    expect(await toldOf(storage)).toEqual([
      { name: 'collaboration_created', collaboration: 'sess_notifications_1', initiator: 'claude-code://orchestrator' },
    ]);
  });

  it('need nothing but an initiator', async () => {
    const { all, clock } = await teamOn(open);
    const collaboration = await all.create({ initiator: 'lead' });
    expect(collaboration.id).toMatch(/^collab_[A-Za-z0-9]{21}$/);
    expect(await collaboration.get()).toEqual({
      id: collaboration.id,
      state: 'active',
      initiator: 'lead',
      participants: [{ session: 'lead', role: 'initiator', state: 'active' }],
      maxParticipants: 100,
      steps: [],
      metadata: {},
      createdAt: clock.now(),
    });
    expect(await collaboration.context()).toEqual({});
  });

  it('give the initiator the role that it is listed with', async () => {
    const { all } = await teamOn(open);
    const collaboration = await all.create({
      initiator: 'lead',
      participants: [{ session: 'dev' }, { session: 'lead', role: 'architect' }],
      maxParticipants: 2,
    });
    const { participants } = await collaboration.get();
    expect(participants.map(({ session, role }) => `${session} ${role}`)).toEqual(['lead architect', 'dev participant']);
  });

  it('are not created by a session that is not there', async () => {
    const { all, registry, storage, lead, dev } = await teamOn(open);
    await expect(all.create({ initiator: 'nobody' })).rejects.toEqual(refusal('not_found'));
    await registry.end('dev');
    await expect(all.create({ initiator: 'dev' })).rejects.toEqual(refusal('not_alive'));
    await expect(all.create({ initiator: dev })).rejects.toEqual(refusal('lease_lost'));
    await quiet(registry, 'lead');
    await expect(all.create({ initiator: lead })).rejects.toEqual(refusal('lease_lost'));
    expect(await toldOf(storage)).toEqual([]);
  });

  it('are created by a session that is offline, on the word of the host only', async () => {
    const { all, clock, lead } = await teamOn(open);
    await clock.advance(300_001);
    await expect(all.create({ initiator: lead })).rejects.toEqual(refusal('not_alive'));
    expect(await (await all.create({ initiator: 'lead' })).get()).toMatchObject({ state: 'active' });
  });

  it('are one for each id, also when many create it at once, and once it has ended', async () => {
    const { all, storage } = await teamOn(open);
    const outcomes = await together(20, (n) =>
      all.create({ id: 'one', initiator: 'lead', metadata: { n } }).then(() => n, String),
    );
    expect(outcomes.filter((outcome) => typeof outcome === 'number')).toHaveLength(1);
    expect(await toldOf(storage)).toHaveLength(1);
    await (await all.get('one'))?.complete();
    await expect(all.create({ id: 'one', initiator: 'lead' })).rejects.toEqual(refusal('already_exists'));
  });

  it('are refused with more participants than there may be, the initiator included', async () => {
    const { all } = await teamOn(open);
    const participants = [{ session: 'a' }, { session: 'b' }];
    await expect(all.create({ initiator: 'lead', participants, maxParticipants: 2 })).rejects.toEqual(refusal('limit_exceeded'));
    await all.create({ initiator: 'lead', participants, maxParticipants: 3 });
  });

  it('can be as large as they may be', async () => {
    const { all } = await teamOn(open);
    const participants = Array.from({ length: 499 }, (_, n) => ({ session: `s${n}`.padEnd(128, 'x'), role: '"'.repeat(128) }));
    const names = Array.from({ length: 100 }, (_, n) => String(n).padEnd(128, '\\'));
    const steps = names.map((name, n) => ({ name, after: names.slice(Math.max(0, n - 8), n) }));
    const collaboration = await all.create({
      initiator: 'lead',
      participants,
      maxParticipants: 500,
      steps,
      context: { text: 'x'.repeat(1024 * 1024 - 20) },
      metadata: { text: 'x'.repeat(64 * 1024 - 20) },
    });
    for (const name of names) await collaboration.completeStep(name, { by: 'lead', output: 'x'.repeat(10) });
    await collaboration.complete({ summary: '\u0001'.repeat(1000), artifacts: 'x'.repeat(1024 * 1024 - 10) });
    expect((await collaboration.get()).artifacts).toHaveLength(1024 * 1024 - 10);
    expect((await collaboration.progress()).percent).toBe(100);
  });

  it('are found by their id from every mesh', async () => {
    const { another, start } = await teamOn(open);
    const { id } = await start();
    const { hub } = another();
    const found = await hub.getCollaboration(id);
    expect(found?.id).toBe(id);
    expect(await found?.get()).toMatchObject({ id, initiator: 'lead' });
    expect(await hub.getCollaboration('nothing')).toBeUndefined();
    await expect(hub.getCollaboration('no id')).rejects.toEqual(refusal('invalid_input'));
  });

  it('are listed by state and session, in pages', async () => {
    const { all, mesh, start } = await teamOn(open);
    for (let n = 0; n < 7; n++) await start({ id: `c${n}`, ...(n % 2 === 0 && { participants: [], steps: [] }) });
    await (await all.get('c1'))?.complete();
    await (await all.get('c2'))?.terminate();
    const { hub } = mesh;
    const ids = async (options: Parameters<typeof hub.collaborations>[0]): Promise<string[]> =>
      (await hub.collaborations(options)).items.map(({ id }) => id);
    expect(await ids({})).toEqual(['c0', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6']);
    expect(await ids({ state: 'active' })).toEqual(['c0', 'c3', 'c4', 'c5', 'c6']);
    expect(await ids({ state: 'completed' })).toEqual(['c1']);
    expect(await ids({ state: 'terminated' })).toEqual(['c2']);
    expect(await ids({ session: 'qa' })).toEqual(['c1', 'c3', 'c5']);
    expect(await ids({ session: 'qa', state: 'active' })).toEqual(['c3', 'c5']);
    expect(await ids({ session: 'lead' })).toHaveLength(7);
    expect(await ids({ session: 'nobody' })).toEqual([]);
    const first = await hub.collaborations({ state: 'active', limit: 3 });
    expect(first.items.map(({ id }) => id)).toEqual(['c0', 'c3', 'c4']);
    const rest = await hub.collaborations({ state: 'active', limit: 3, after: first.next });
    expect(rest).toMatchObject({ items: [{ id: 'c5' }, { id: 'c6' }] });
    expect(rest.next).toBeUndefined();
    expect(first.items[1]?.participants).toEqual([
      { session: 'lead', role: 'initiator' },
      { session: 'dev', role: 'implementer' },
      { session: 'qa', role: 'reviewer' },
    ]);
  });

  it('are listed by who takes part now', async () => {
    const { all, start } = await teamOn(open);
    const { id } = await start();
    const collaboration = await all.get(id);
    await collaboration?.join({ session: 'new' });
    await collaboration?.leave({ session: 'qa' });
    expect((await all.list({ session: 'new' })).items).toHaveLength(1);
    expect((await all.list({ session: 'qa' })).items).toEqual([]);
  });

  it('copies what it is given, and freezes what it hands out', async () => {
    const { all } = await teamOn(open);
    const context = { list: [1] };
    const steps = [{ name: 'a', requires: ['lead'] }];
    const creating = all.create({ initiator: 'lead', steps, context });
    context.list.push(2);
    steps[0]?.requires.push('dev');
    const collaboration = await creating;
    expect(await collaboration.context()).toEqual({ list: [1] });
    expect((await collaboration.get()).steps).toEqual([{ name: 'a', requires: ['lead'], after: [] }]);
    expect(Object.isFrozen((await collaboration.get()).steps[0]?.requires)).toBe(true);
  });

  it('tell each event to listeners and replay, of its own mesh or another', async () => {
    const { mesh, another, start } = await teamOn(open);
    const heard: string[] = [];
    const other = another();
    other.hub.on('*', ({ name }) => heard.push(name));
    mesh.hub.on('step_completed', ({ collaboration, step, by }) => heard.push(`here: ${collaboration} ${step} ${by}`));
    const collaboration = await start({ id: 'c', steps: STEPS });
    await collaboration.completeStep('design', { by: 'lead' });
    await mesh.settled();
    await other.settled();
    expect(heard.sort()).toEqual(['collaboration_created', 'here: c design lead', 'step_completed']);
  });
});

import { describe, expect, it } from 'vitest';
import { MeshError } from '../../../src/kernel/errors.ts';
import { namesTold, teamOn, toldOf } from '../../support/collaborations/team.ts';
import { quiet, refusal } from '../../support/memory/worlds.ts';
import { storages } from '../../support/storages.ts';

async function detailsOf(promise: Promise<unknown>): Promise<unknown> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return MeshError.is(error) ? { code: error.code, ...error.details } : error;
}

describe.each(storages)('participants on %s', (_name, open) => {
  it('become active by themselves, when a session of their id is registered, and are gone when it is over', async () => {
    const { registry, start, storage } = await teamOn(open);
    const collaboration = await start();
    const states = async (): Promise<string[]> => (await collaboration.get()).participants.map(({ state }) => state);
    expect(await states()).toEqual(['active', 'active', 'invited']);
    await quiet(registry, 'qa');
    expect(await states()).toEqual(['active', 'active', 'active']);
    await registry.end('dev');
    await registry.kill('qa', { force: true });
    expect(await states()).toEqual(['active', 'gone', 'gone']);
    await quiet(registry, 'dev');
    expect(await states()).toEqual(['active', 'active', 'gone']);
    expect(await namesTold(storage)).toEqual(['collaboration_created']);
  });

  it('stay active while they are offline, until they have been for too long', async () => {
    const { clock, registry, start } = await teamOn(open);
    await registry.register({ id: 'qa', heartbeat: 'manual', ttlMs: 5000, retentionMs: 10_000 });
    const collaboration = await start();
    const state = async (): Promise<string | undefined> => (await collaboration.get()).participants[2]?.state;
    await clock.advance(5001);
    expect(await state()).toBe('active');
    await clock.advance(10_000);
    expect(await state()).not.toBe('active');
  });

  it('join and leave', async () => {
    const { clock, registry, start, storage, dev } = await teamOn(open);
    const collaboration = await start({ id: 'c' });
    const joinedAt = clock.now();
    expect(await collaboration.join({ session: dev })).toBe(true);
    await quiet(registry, 'new');
    expect(await collaboration.join({ session: 'new', role: 'writer' })).toBe(true);
    expect((await collaboration.get()).participants).toEqual([
      { session: 'lead', role: 'initiator', state: 'active' },
      { session: 'dev', role: 'implementer', joinedAt, state: 'active' },
      { session: 'qa', role: 'reviewer', state: 'invited' },
      { session: 'new', role: 'writer', joinedAt, state: 'active' },
    ]);
    expect(await collaboration.leave({ session: 'new' })).toBe(true);
    expect(await collaboration.leave({ session: 'new' })).toBe(false);
    expect((await collaboration.get()).participants).toHaveLength(3);
    expect((await toldOf(storage)).slice(1)).toEqual([
      { name: 'participant_joined', collaboration: 'c', session: 'dev' },
      { name: 'participant_joined', collaboration: 'c', session: 'new' },
      { name: 'participant_left', collaboration: 'c', session: 'new' },
    ]);
  });

  it('join once, and may join again in another role', async () => {
    const { clock, start, storage } = await teamOn(open);
    const collaboration = await start({ participants: [], steps: [] });
    const joinedAt = clock.now();
    expect(await collaboration.join({ session: 'dev' })).toBe(true);
    await clock.advance(10);
    expect(await collaboration.join({ session: 'dev' })).toBe(false);
    expect(await collaboration.join({ session: 'dev', role: 'participant' })).toBe(false);
    expect(await collaboration.join({ session: 'dev', role: 'tester' })).toBe(true);
    expect((await collaboration.get()).participants[1]).toEqual({ session: 'dev', role: 'tester', joinedAt, state: 'active' });
    expect(await namesTold(storage)).toEqual(['collaboration_created', 'participant_joined dev', 'participant_joined dev']);
  });

  it('are never more than there may be', async () => {
    const { start, storage } = await teamOn(open);
    const collaboration = await start({ maxParticipants: 3 });
    expect(await detailsOf(collaboration.join({ session: 'new' }))).toEqual({ code: 'limit_exceeded', maxParticipants: 3 });
    expect(await collaboration.join({ session: 'qa' })).toBe(true);
    await collaboration.leave({ session: 'dev' });
    expect(await collaboration.join({ session: 'new' })).toBe(true);
    expect(await namesTold(storage)).toHaveLength(4);
  });

  it('may all leave but the initiator', async () => {
    const { start } = await teamOn(open);
    const collaboration = await start();
    await expect(collaboration.leave({ session: 'lead' })).rejects.toEqual(refusal('forbidden'));
    await collaboration.leave({ session: 'dev' });
    await collaboration.leave({ session: 'qa' });
    expect((await collaboration.get()).participants).toHaveLength(1);
  });

  it('cannot act through a handle that no longer holds', async () => {
    const { clock, registry, start, storage, dev, lead } = await teamOn(open);
    const collaboration = await start();
    await collaboration.completeStep('design', { by: 'lead' });
    const before = await namesTold(storage);
    await quiet(registry, 'dev');
    await expect(collaboration.join({ session: dev })).rejects.toEqual(refusal('lease_lost'));
    await expect(collaboration.leave({ session: dev })).rejects.toEqual(refusal('lease_lost'));
    await expect(collaboration.completeStep('implementation', { by: dev })).rejects.toEqual(refusal('lease_lost'));
    await clock.advance(300_001);
    await expect(collaboration.updateContext(() => ({}), { by: lead })).rejects.toEqual(refusal('not_alive'));
    await expect(collaboration.complete({ by: lead })).rejects.toEqual(refusal('not_alive'));
    await expect(collaboration.terminate({ by: lead })).rejects.toEqual(refusal('not_alive'));
    expect(await namesTold(storage)).toEqual(before);
    await lead.heartbeat();
    await collaboration.complete({ by: lead });
  });

  it('hear that their handle has lost its lease, also when they ask first after their session was ended elsewhere', async () => {
    const { another, start, dev } = await teamOn(open);
    const collaboration = await start();
    await another().registry.end('dev');
    await expect(collaboration.completeStep('design', { by: dev })).rejects.toEqual(refusal('lease_lost'));
  });

  it('cannot change the context through the handle of a predecessor, not even by leaving it', async () => {
    const { registry, start, dev } = await teamOn(open);
    const collaboration = await start();
    await quiet(registry, 'dev');
    await expect(collaboration.updateContext(() => undefined, { by: dev })).rejects.toEqual(refusal('lease_lost'));
  });
});

describe.each(storages)('steps on %s', (_name, open) => {
  it('are completed one after another, as they depend on each other', async () => {
    const { clock, registry, start, storage, lead, dev } = await teamOn(open);
    const collaboration = await start({ id: 'c' });
    await collaboration.completeStep('design', { by: lead, output: { file: 'design.md' } });
    expect(await collaboration.progress()).toEqual({
      current: 'implementation',
      completed: ['design'],
      pending: ['docs', 'review'],
      percent: 25,
    });
    const completedAt = clock.now();
    await collaboration.completeStep('docs', { by: 'lead' });
    await collaboration.completeStep('implementation', { by: dev });
    await quiet(registry, 'qa');
    await collaboration.completeStep('review', { by: 'qa', output: null });
    expect(await collaboration.progress()).toEqual({
      current: null,
      completed: ['design', 'implementation', 'docs', 'review'],
      pending: [],
      percent: 100,
    });
    expect((await collaboration.get()).steps[1]).toEqual({
      name: 'implementation',
      requires: ['dev'],
      after: ['design'],
      completedBy: 'dev',
      completedAt,
    });
    expect((await collaboration.get()).state).toBe('active');
    expect(await collaboration.output('design')).toEqual({ file: 'design.md' });
    expect(await collaboration.output('docs')).toBeUndefined();
    expect(await collaboration.output('review')).toBeNull();
    await expect(collaboration.output('nothing')).rejects.toEqual(refusal('not_found'));
    expect((await toldOf(storage)).slice(1)).toEqual([
      { name: 'step_completed', collaboration: 'c', step: 'design', by: 'lead' },
      { name: 'step_completed', collaboration: 'c', step: 'docs', by: 'lead' },
      { name: 'step_completed', collaboration: 'c', step: 'implementation', by: 'dev' },
      { name: 'step_completed', collaboration: 'c', step: 'review', by: 'qa' },
    ]);
  });

  it('are not completed by the wrong one, too early or twice', async () => {
    const { registry, start, storage } = await teamOn(open);
    const collaboration = await start();
    await quiet(registry, 'stranger');
    expect(await detailsOf(collaboration.completeStep('design', { by: 'stranger' }))).toEqual({
      code: 'forbidden',
      session: 'stranger',
    });
    expect(await detailsOf(collaboration.completeStep('implementation', { by: 'lead' }))).toEqual({
      code: 'forbidden',
      step: 'implementation',
      requires: ['dev'],
    });
    expect(await detailsOf(collaboration.completeStep('review', { by: 'qa' }))).toEqual({
      code: 'not_alive',
      session: 'qa',
      state: 'invited',
    });
    expect(await detailsOf(collaboration.completeStep('implementation', { by: 'dev' }))).toEqual({
      code: 'conflict',
      step: 'implementation',
      missing: ['design'],
    });
    expect(await detailsOf(collaboration.completeStep('deploy', { by: 'dev' }))).toEqual({ code: 'not_found', step: 'deploy' });
    await collaboration.completeStep('design', { by: 'dev', output: 1 });
    for (const by of ['dev', 'lead']) {
      expect(await detailsOf(collaboration.completeStep('design', { by, output: 2 }))).toEqual({
        code: 'conflict',
        step: 'design',
        completedBy: 'dev',
      });
    }
    expect(await collaboration.output('design')).toBe(1);
    await registry.end('dev');
    expect(await detailsOf(collaboration.completeStep('implementation', { by: 'dev' }))).toEqual({
      code: 'not_alive',
      session: 'dev',
      state: 'gone',
    });
    expect(await namesTold(storage)).toEqual(['collaboration_created', 'step_completed design']);
  });

  it('wait for whoever has left and must complete them', async () => {
    const { start } = await teamOn(open);
    const collaboration = await start({ steps: [{ name: 'a', requires: ['dev'] }] });
    await collaboration.leave({ session: 'dev' });
    await expect(collaboration.completeStep('a', { by: 'dev' })).rejects.toEqual(refusal('forbidden'));
    await collaboration.join({ session: 'dev' });
    await collaboration.completeStep('a', { by: 'dev' });
  });

  it('are completed by whoever joined later, where none is required', async () => {
    const { registry, start } = await teamOn(open);
    const collaboration = await start();
    await quiet(registry, 'new');
    await collaboration.join({ session: 'new' });
    await collaboration.completeStep('design', { by: 'new' });
    expect((await collaboration.get()).steps[0]?.completedBy).toBe('new');
  });

  it('may be called anything', async () => {
    const { start } = await teamOn(open);
    const names = ['__proto__', 'constructor', 'Code review: über/alles', '👾', '*'];
    const collaboration = await start({ steps: names.map((name) => ({ name })) });
    for (const name of names) await collaboration.completeStep(name, { by: 'lead', output: name });
    for (const name of names) expect(await collaboration.output(name)).toBe(name);
    expect((await collaboration.progress()).completed).toEqual(names);
  });
});

describe.each(storages)('the shared context on %s', (_name, open) => {
  it('is changed by everybody, and every change is told without what it says', async () => {
    const { start, storage, dev } = await teamOn(open);
    const collaboration = await start({ id: 'c', context: { project: 'x' } });
    const changed = await collaboration.updateContext((context) => ({ ...context, branch: 'canary' }), { by: dev });
    expect(changed).toEqual({ project: 'x', branch: 'canary' });
    expect(await collaboration.updateContext<{ project: string }>(async ({ project }) => ({ project }))).toEqual({
      project: 'x',
    });
    expect(await collaboration.context()).toEqual({ project: 'x' });
    expect((await toldOf(storage)).slice(1)).toEqual([
      { name: 'context_updated', collaboration: 'c', version: 2, by: 'dev' },
      { name: 'context_updated', collaboration: 'c', version: 3 },
    ]);
  });

  it('stays when there is no change, or one that fails', async () => {
    const { start, storage } = await teamOn(open);
    const collaboration = await start({ context: { n: 1 } });
    expect(await collaboration.updateContext(() => undefined)).toEqual({ n: 1 });
    const failure = new Error('mine');
    await expect(collaboration.updateContext(() => Promise.reject(failure))).rejects.toBe(failure);
    for (const wrong of [null, 1, [], 'text', { a: undefined }, new Date(0)]) {
      await expect(collaboration.updateContext(() => wrong)).rejects.toEqual(refusal('invalid_input'));
    }
    const large = { text: 'x'.repeat(1024 * 1024) };
    await expect(collaboration.updateContext(() => large)).rejects.toEqual(refusal('limit_exceeded'));
    expect(await collaboration.context()).toEqual({ n: 1 });
    expect(await namesTold(storage)).toEqual(['collaboration_created']);
  });

  it('is frozen', async () => {
    const { start } = await teamOn(open);
    const collaboration = await start({ context: { list: [1] } });
    const push = (context: { list: number[] }): unknown => {
      context.list.push(2);
      return context;
    };
    await expect(collaboration.updateContext(push)).rejects.toThrow(TypeError);
    expect(await collaboration.context()).toEqual({ list: [1] });
  });

  it('keeps names that mean something in JavaScript', async () => {
    const { start } = await teamOn(open);
    const context = JSON.parse('{"__proto__":{"x":1},"constructor":2}') as object;
    const collaboration = await start({ context });
    await collaboration.updateContext((now) => JSON.parse(JSON.stringify(now).replace('"x":1', '"x":3')));
    expect(JSON.stringify(await collaboration.context())).toBe('{"__proto__":{"x":3},"constructor":2}');
  });
});

describe.each(storages)('the end of a collaboration on %s', (_name, open) => {
  it('is its completion, with a summary and artifacts', async () => {
    const { clock, start, storage, lead } = await teamOn(open);
    const collaboration = await start({ id: 'c' });
    const endedAt = clock.now();
    await collaboration.complete({ by: lead, summary: 'done', artifacts: [{ file: 'a.ts' }] });
    expect(await collaboration.get()).toMatchObject({
      state: 'completed',
      endedAt,
      endedBy: 'lead',
      summary: 'done',
      artifacts: [{ file: 'a.ts' }],
    });
    expect((await toldOf(storage)).slice(1)).toEqual([{ name: 'collaboration_completed', collaboration: 'c', by: 'lead' }]);
    expect(await collaboration.progress()).toMatchObject({ current: null, percent: 0 });
  });

  it('is its termination, with a reason and details', async () => {
    const { clock, start, storage } = await teamOn(open);
    const collaboration = await start({ id: 'c' });
    await collaboration.terminate({ reason: 'timeout', details: { after: 5 } });
    const { state, endedAt, endedBy, reason, details, summary } = await collaboration.get();
    expect([state, endedAt, endedBy, reason, details, summary]).toEqual([
      'terminated',
      clock.now(),
      undefined,
      'timeout',
      { after: 5 },
      undefined,
    ]);
    expect((await toldOf(storage)).slice(1)).toEqual([{ name: 'collaboration_terminated', collaboration: 'c' }]);
    const other = await start();
    await other.terminate();
    expect(await other.get()).toMatchObject({ state: 'terminated', reason: 'terminated' });
  });

  it.each(['completed', 'terminated'] as const)('is the last of it: once %s nothing changes it any more', async (state) => {
    const { start, storage, tasks } = await teamOn(open);
    const collaboration = await start({ context: { n: 1 } });
    await (state === 'completed' ? collaboration.complete() : collaboration.terminate());
    tasks.clear();
    const told = await namesTold(storage);
    const before = await collaboration.get();
    let changes = 0;
    const count = (): object => ({ n: (changes += 1) });
    for (const write of [
      () => collaboration.join({ session: 'new' }),
      () => collaboration.leave({ session: 'dev' }),
      () => collaboration.completeStep('design', { by: 'lead' }),
      () => collaboration.updateContext(count),
      () => collaboration.complete({ summary: 'again' }),
      () => collaboration.terminate({ reason: 'again' }),
    ]) {
      expect(await detailsOf(write())).toEqual({ code: 'conflict', collaboration: collaboration.id, state });
    }
    expect(changes).toBe(0);
    expect(await collaboration.get()).toEqual(before);
    expect(await collaboration.context()).toEqual({ n: 1 });
    expect(await namesTold(storage)).toEqual(told);
  });
});

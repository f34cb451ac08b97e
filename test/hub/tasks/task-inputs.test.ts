import { describe, expect, it } from 'vitest';
import type { CollaborationHub } from '../../../src/hub/collaboration-hub.ts';
import { createTestMesh } from '../../../src/testing/test-mesh.ts';
import { quiet, refusal, worldOn } from '../../support/hub/worlds.ts';
import { NO_IDS, named } from '../../support/registry-kill/hostile.ts';
import { storages } from '../../support/storages.ts';

const OPTIONS = { from: 'planner', to: 'dev', type: 'run' };

/** What is no value of an option, whatever the method. */
const WRONG: readonly (readonly [what: string, call: (hub: CollaborationHub) => unknown])[] = [
  ['no options', (hub) => hub.delegate(undefined as never)],
  ['an unknown option', (hub) => hub.delegate({ ...OPTIONS, priorty: 'high' } as never)],
  ['no type', (hub) => hub.delegate({ from: 'planner', to: 'dev' } as never)],
  ['an empty type', (hub) => hub.delegate({ ...OPTIONS, type: '' })],
  ['a priority', (hub) => hub.delegate({ ...OPTIONS, priority: 'urgent' as never })],
  ['a negative timeout', (hub) => hub.delegate({ ...OPTIONS, timeoutMs: -1 })],
  ['a timeout of 2^31', (hub) => hub.delegate({ ...OPTIONS, timeoutMs: 2 ** 31 })],
  ['a fraction of a retry', (hub) => hub.delegate({ ...OPTIONS, retry: { maxRetries: 0.5 } })],
  ['too many retries', (hub) => hub.delegate({ ...OPTIONS, retry: { maxRetries: 1001 } })],
  ['a back-off', (hub) => hub.delegate({ ...OPTIONS, retry: { backoff: 'none' as never } })],
  ['an unknown option of retry', (hub) => hub.delegate({ ...OPTIONS, retry: { attempts: 1 } as never })],
  ['a retention', (hub) => hub.delegate({ ...OPTIONS, retainMs: 999 })],
  ['a payload that is no JSON', (hub) => hub.delegate({ ...OPTIONS, payload: { at: new Date(0) } })],
  ['headers that are no object', (hub) => hub.delegate({ ...OPTIONS, headers: 'x' })],
  ['a target of two kinds', (hub) => hub.delegate({ ...OPTIONS, to: { session: 'dev', capability: 'x' } as never })],
  ['a group as a target', (hub) => hub.delegate({ ...OPTIONS, to: { group: 'core' } as never })],
  ['a capability that is none', (hub) => hub.delegate({ ...OPTIONS, to: { capability: 'a b' } })],
  ['no target of an offer', (hub) => hub.offer({ from: 'planner', type: 'run' } as never)],
  ['a limit of 0', (hub) => hub.claim('dev', { limit: 0 })],
  ['a limit above 50', (hub) => hub.claim('dev', { limit: 51 })],
  ['no types', (hub) => hub.claim('dev', { types: [] })],
  ['nobody who accepts', (hub) => hub.accept('task_1', {} as never)],
  ['nobody who declines', (hub) => hub.decline('task_1', {} as never)],
  ['nobody who completes', (hub) => hub.complete('task_1', {} as never)],
  ['a result that is no JSON', (hub) => hub.complete('task_1', { by: 'dev', result: () => {} })],
  ['a reason that is no text', (hub) => hub.fail('task_1', { by: 'dev', reason: 7 as never })],
  ['a reason above 1 KiB', (hub) => hub.cancel('task_1', { reason: 'x'.repeat(1025) })],
  ['no input', (hub) => hub.provideInput('task_1', { by: 'dev' } as never)],
  ['no target of a handoff', (hub) => hub.handoff('task_1', { by: 'dev' } as never)],
  ['a context that is no JSON', (hub) => hub.handoff('task_1', { by: 'dev', to: 'qa', context: Number.NaN })],
  ['a state', (hub) => hub.tasks({ state: 'done' as never })],
  ['a page of 0', (hub) => hub.tasks({ limit: 0 })],
  ['a page above 1,000', (hub) => hub.tasks({ limit: 1001 })],
];

describe.each(storages)('tasks on %s', (_name, open) => {
  it('refuse what is no input, before the storage is asked anything', async () => {
    const { hub, registry, seen } = await worldOn(open);
    await quiet(registry, 'planner');
    await quiet(registry, 'dev');
    seen.take();
    for (const [what, call] of WRONG) {
      await expect(Promise.resolve(call(hub)), what).rejects.toEqual(refusal('invalid_input'));
      expect(seen.take(), what).toMatchObject({ get: 0, list: 0, commit: 0 });
    }
    for (const no of NO_IDS.filter((value) => (value as { id?: unknown } | null | undefined)?.id === undefined)) {
      const what = named(no);
      await expect(hub.delegate({ ...OPTIONS, from: no as never }), what).rejects.toEqual(refusal('invalid_input'));
      await expect(hub.delegate({ ...OPTIONS, to: no as never }), what).rejects.toEqual(refusal('invalid_input'));
      await expect(hub.getTask(no as never), what).rejects.toEqual(refusal('invalid_input'));
      await expect(hub.claim(no as never), what).rejects.toEqual(refusal('invalid_input'));
      await expect(hub.cancel(no as never), what).rejects.toEqual(refusal('invalid_input'));
      await expect(hub.accept('task_1', { by: no as never }), what).rejects.toEqual(refusal('invalid_input'));
      expect(() => hub.work(no as never, {}, () => {}), what).toThrow(refusal('invalid_input') as never);
      expect(seen.take(), what).toMatchObject({ get: 0, list: 0, commit: 0 });
    }
    expect(() => hub.work('dev', { concurrency: 0 }, () => {})).toThrow();
    expect(() => hub.work('dev', { concurency: 2 } as never, () => {})).toThrow();
    expect(() => hub.work('dev', {}, 'handler' as never)).toThrow();
  });

  it('refuse what is too large, and leave nothing behind', async () => {
    const { hub, registry, storage } = await worldOn(open);
    await quiet(registry, 'planner');
    await quiet(registry, 'dev');
    const large = 'x'.repeat(1024 * 1024);
    await expect(hub.delegate({ ...OPTIONS, payload: large })).rejects.toEqual(refusal('limit_exceeded'));
    await expect(hub.delegate({ ...OPTIONS, headers: { large: 'x'.repeat(17_000) } })).rejects.toEqual(refusal('limit_exceeded'));
    const task = await hub.delegate(OPTIONS);
    const [assignment] = await hub.claim('dev');
    await expect(assignment?.complete(large)).rejects.toEqual(refusal('limit_exceeded'));
    await expect(assignment?.progress({ percent: 101 })).rejects.toEqual(refusal('invalid_input'));
    await expect(assignment?.progress({ done: 1 } as never)).rejects.toEqual(refusal('invalid_input'));
    await expect(task.result({ timeoutMs: -1 })).rejects.toEqual(refusal('invalid_input'));
    await expect(task.result({ within: 1 } as never)).rejects.toEqual(refusal('invalid_input'));
    expect(await storage.list('tasks.parts')).toEqual([]);
    expect(await hub.getTask(task.id)).toMatchObject({ state: 'working' });
  });

  it('are frozen as they are given out, and share nothing that a caller could change', async () => {
    const { hub, registry } = await worldOn(open);
    await quiet(registry, 'planner');
    await quiet(registry, 'dev');
    const payload = { list: [1] };
    const retry = { maxRetries: 1 };
    const task = await hub.delegate({ ...OPTIONS, payload, retry, headers: { a: 'b' } });
    payload.list.push(2);
    retry.maxRetries = 5;
    const offer = await hub.offer(OPTIONS);
    for (const part of [task, task.payload, task.retry, task.to, task.headers, offer.offer, offer.offer?.asked])
      expect(Object.isFrozen(part)).toBe(true);
    expect(await hub.getTask(task.id)).toMatchObject({ payload: { list: [1] }, retry: { maxRetries: 1 } });
    expect(JSON.parse(JSON.stringify(task))).toMatchObject({ id: task.id, payload: { list: [1] } });
  });
});

describe('what is judged', () => {
  it('of a target is what is stored, whatever it answers later', async () => {
    const { mesh } = createTestMesh();
    await mesh.registry.register({ id: 'ann' });
    let reads = 0;
    const to = {
      get capability() {
        reads += 1;
        return reads === 1 ? 'build' : 'not a <name> at all!';
      },
    };
    const task = await mesh.hub.delegate({ from: 'ann', to, type: 'build' });
    expect(task.to).toEqual({ capability: 'build' });
    await mesh.close();
  });

  it('of the types of a worker is what it takes, whatever becomes of the list', async () => {
    const { mesh, clock } = createTestMesh();
    const ann = await mesh.registry.register({ id: 'ann' });
    const types = ['build'];
    const done: string[] = [];
    const worker = mesh.hub.work(ann, { types }, async ({ type }) => void done.push(type));
    types[0] = 'test';
    for (const type of ['test', 'build']) await mesh.hub.delegate({ from: ann, to: ann, type });
    await clock.advance(1000);
    expect(done).toEqual(['build']);
    await worker.stop();
    await mesh.close();
  });
});

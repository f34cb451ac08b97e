import { describe, expect, it } from 'vitest';
import type { Topology } from '../../src/index.ts';
import { expectRefused, NO_IDS, named } from '../support/registry-kill/hostile.ts';
import { countedWorld, join, openWorld, plant, quiet } from '../support/registry-kill/world.ts';
import { storages } from '../support/storages.ts';

const ids = ({ nodes }: Topology): string[] => nodes.map(({ id }) => id).sort();
const lines = ({ edges }: Topology): string[] => edges.map(({ kind, from, to }) => `${from} ${kind} ${to}`).sort();

describe.each(storages)('topology on %s', (_name, open) => {
  it('is empty where there is nobody', async () => {
    const { registry } = await openWorld(open);
    expect(await registry.topology()).toEqual({ nodes: [], edges: [] });
  });

  it('is data: who there is, and who is whose child', async () => {
    const { registry, storage } = await openWorld(open);
    await registry.register({ id: 'lead', agent: { name: 'Lead', type: 'Claude' }, status: 'working', task: 'plan', user: 'u' });
    await registry.register({ id: 'dev', agent: { name: 'Dev', type: 'Codex' }, parentId: 'lead' });
    await join(storage).registry.register({ id: 'alone', agent: { name: 'Alone', type: 'Gemini' }, status: 'idle' });
    const topology = await registry.topology();
    expect(topology).toEqual({
      nodes: [
        { id: 'alone', name: 'Alone', type: 'Gemini', state: 'alive', status: 'idle' },
        { id: 'dev', name: 'Dev', type: 'Codex', state: 'alive', status: 'active' },
        { id: 'lead', name: 'Lead', type: 'Claude', state: 'alive', status: 'working', task: 'plan' },
      ],
      edges: [{ kind: 'child', from: 'lead', to: 'dev' }],
    });
    expect(JSON.parse(JSON.stringify(topology))).toEqual(topology);
  });

  it('below a root has the root and its descendants only', async () => {
    const { registry } = await openWorld(open);
    await plant(registry, 'a', 3, 2);
    await quiet(registry, 'b');
    expect(ids(await registry.topology({ root: 'a' }))).toEqual(['a', 'a.0', 'a.0.0', 'a.0.1', 'a.1', 'a.1.0', 'a.1.1']);
    const part = await registry.topology({ root: 'a.1' });
    expect(ids(part)).toEqual(['a.1', 'a.1.0', 'a.1.1']);
    // The parent of the root is not in the picture, and so is no line to it.
    expect(lines(part)).toEqual(['a.1 child a.1.0', 'a.1 child a.1.1']);
    expect(ids(await registry.topology({ root: 'b' }))).toEqual(['b']);
    expect(ids(await registry.topology({ root: undefined }))).toHaveLength(8);
  });

  it('refuses a root that nobody knows', async () => {
    const { registry } = await openWorld(open);
    await expect(registry.topology({ root: 'nobody' })).rejects.toMatchObject({
      code: 'not_found',
      details: { session: 'nobody' },
    });
  });

  it('refuses what is no id or no option, and asks nothing of the storage', async () => {
    const { registry, counter } = await countedWorld(open);
    await quiet(registry, 'agent');
    for (const root of NO_IDS) {
      if (root !== undefined)
        await expectRefused(counter, () => registry.topology({ root: root as string }), `root ${named(root)}`);
    }
    for (const options of [null, 'agent', 7, { rot: 'agent' }]) {
      await expectRefused(counter, () => registry.topology(options as object), `topology of ${named(options)}`);
    }
  });

  it('passes on what the provider of talks fails with', async () => {
    const { registry } = await openWorld(open);
    await quiet(registry, 'agent');
    registry.provide({ talkEdges: async () => Promise.reject(new Error('mine')) });
    await expect(registry.topology()).rejects.toThrow('mine');
  });

  it('shows those who are offline or stopping, and leaves out who is over', async () => {
    const { clock, registry } = await openWorld(open);
    await quiet(registry, 'offline', undefined, 1000);
    await quiet(registry, 'stopping');
    await quiet(registry, 'killed');
    await (await quiet(registry, 'ended')).end();
    await registry.kill('killed', { force: true });
    await registry.register({ id: 'gone', heartbeat: 'manual', ttlMs: 1000, retentionMs: 1000 });
    clock.set(clock.now() + 2500);
    await registry.kill('stopping', { timeoutMs: 0 });
    const { nodes } = await registry.topology();
    expect(nodes.map(({ id, state }) => [id, state])).toEqual([
      ['offline', 'offline'],
      ['stopping', 'stopping'],
    ]);
    expect(await registry.topology({ root: 'killed' })).toEqual({ nodes: [], edges: [] });
  });

  it('keeps who is over where it connects others', async () => {
    const { registry } = await openWorld(open);
    await plant(registry, 'a', 4, 2);
    await registry.kill('a.0', { cascade: false, force: true });
    await registry.end('a.0.0');
    await registry.kill('a.1', { force: true });
    const expected = ['a', 'a.0', 'a.0.0', 'a.0.0.0', 'a.0.0.1', 'a.0.1', 'a.0.1.0', 'a.0.1.1'];
    const all = await registry.topology();
    expect(ids(all)).toEqual(expected);
    expect(all.nodes.filter(({ state }) => state !== 'alive').map(({ id, state }) => [id, state])).toEqual([
      ['a.0', 'killed'],
      ['a.0.0', 'ended'],
    ]);
    expect(ids(await registry.topology({ root: 'a' }))).toEqual(expected);
    expect(lines(await registry.topology({ root: 'a' }))).toEqual(lines(all));
    expect(lines(all)).toHaveLength(7);
  });

  it('follows a session that was registered anew below another parent', async () => {
    const { registry } = await openWorld(open);
    await plant(registry, 'a', 2, 2);
    await quiet(registry, 'b');
    await registry.register({ id: 'a.0', parentId: 'b', takeover: true });
    expect(lines(await registry.topology())).toEqual(['a child a.1', 'b child a.0']);
    expect(ids(await registry.topology({ root: 'a' }))).toEqual(['a', 'a.1']);
    await registry.register({ id: 'a.0', takeover: true });
    expect(lines(await registry.topology())).toEqual(['a child a.1']);
  });

  it('shows who talks to whom, between those that are shown', async () => {
    const { registry } = await openWorld(open);
    await plant(registry, 'a', 2, 2);
    await quiet(registry, 'b');
    await (await quiet(registry, 'ended')).end();
    const talks = [
      { from: 'a.0', to: 'a.1', count: 3 },
      { from: 'a.1', to: 'a.0' },
      { from: 'b', to: 'a' },
      { from: 'a', to: 'ended' },
      { from: 'ended', to: 'b' },
      { from: 'stranger', to: 'a' },
    ];
    registry.provide({ talkEdges: async () => talks });
    const tree = ['a child a.0', 'a child a.1'];
    const all = await registry.topology();
    expect(lines(all)).toEqual([...tree, 'a.0 talk a.1', 'a.1 talk a.0', 'b talk a']);
    expect(all.edges).toContainEqual({ kind: 'talk', from: 'a.0', to: 'a.1' });
    expect(lines(await registry.topology({ root: 'a' }))).toEqual([...tree, 'a.0 talk a.1', 'a.1 talk a.0']);
    expect(lines(await registry.topology({ root: 'a.0' }))).toEqual([]);
  });

  it('hands out data that is the caller’s own', async () => {
    const { registry } = await openWorld(open);
    await plant(registry, 'a', 2, 1);
    const first = await registry.topology();
    const before = structuredClone(first);
    Object.assign(first.nodes[0] as object, { id: 'changed' });
    (first.edges as unknown[]).length = 0;
    expect(await registry.topology()).toEqual(before);
  });

  it('goes down 64 levels, and there are no more', async () => {
    const { registry } = await openWorld(open);
    await quiet(registry, 'n0');
    for (let depth = 1; depth <= 64; depth++) await quiet(registry, `n${depth}`, `n${depth - 1}`);
    await expect(quiet(registry, 'n65', 'n64')).rejects.toMatchObject({ code: 'limit_exceeded' });
    for (const topology of [await registry.topology(), await registry.topology({ root: 'n0' })]) {
      expect(topology.nodes).toHaveLength(65);
      expect(lines(topology)).toEqual(Array.from({ length: 64 }, (_, n) => `n${n} child n${n + 1}`).sort());
    }
    expect((await registry.topology({ root: 'n63' })).nodes).toHaveLength(2);
  });

  it('shows 2,000 sessions, in few reads, and lets timers run meanwhile', async () => {
    const { registry, counter } = await countedWorld(open);
    // 1 + 44 + 44² sessions.
    await plant(registry, 'r', 3, 44);
    counter.take();
    const all = await registry.topology();
    expect(all.nodes).toHaveLength(1981);
    expect(all.edges).toHaveLength(1980);
    const forAll = counter.take();
    expect(forAll.get).toBeLessThanOrEqual(5);
    expect(forAll.list).toBeLessThanOrEqual(12);
    let turns = 0;
    let isDone = false;
    const count = (): void => {
      turns += 1;
      if (!isDone) setImmediate(count);
    };
    setImmediate(count);
    const below = await registry.topology({ root: 'r' });
    isDone = true;
    expect(ids(below)).toEqual(ids(all));
    expect(lines(below)).toEqual(lines(all));
    const forBelow = counter.take();
    // Each session may have children: a list of each, and one of who has talked.
    expect(forBelow.list).toBe(1982);
    expect(forBelow.get).toBeLessThanOrEqual(40);
    expect(turns).toBeGreaterThanOrEqual(10);
  });
});

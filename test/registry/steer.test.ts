import { describe, expect, it } from 'vitest';
import { MeshError, type SessionHandle, type Steer, type SteerReceipt } from '../../src/index.ts';
import { wrapped } from '../support/registry-kill/storages.ts';
import {
  countedWorld,
  eventsOf,
  hear,
  isSettled,
  join,
  keysOf,
  openWorld,
  passUntil,
  quiet,
} from '../support/registry-kill/world.ts';
import { storages } from '../support/storages.ts';

/** The next directive of a loop, which must be there. */
async function next(loop: AsyncGenerator<Steer, void, undefined>): Promise<Steer> {
  const { value, done } = await loop.next();
  if (done || !value) throw new Error('expected a directive, got the end of the loop');
  return value;
}

/** Takes so many directives in a new loop and leaves it. */
async function take(agent: SessionHandle, count: number): Promise<Steer[]> {
  const steers: Steer[] = [];
  if (count === 0) return steers;
  for await (const steer of agent.steers()) {
    steers.push(steer);
    if (steers.length === count) break;
  }
  return steers;
}

describe.each(storages)('steer on %s', (_name, open) => {
  it('brings a directive to the session as it was given, and its outcome back', async () => {
    const { clock, registry } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    const boss = await quiet(registry, 'boss');
    const data = { lane: [1, { deep: null }] };
    const receipt = await registry.steer('agent', { direction: 'north', message: 'focus on tests', data, by: boss });
    expect(receipt).toMatchObject({ session: 'agent', id: expect.stringMatching(/^steer_/) });
    expect(await receipt.state()).toBe('queued');
    const settled = receipt.settled();
    const loop = agent.steers();
    const steer = await next(loop);
    expect(steer).toMatchObject({
      id: receipt.id,
      at: clock.now(),
      direction: 'north',
      message: 'focus on tests',
      data: { lane: [1, { deep: null }] },
      by: 'boss',
    });
    expect(await receipt.state()).toBe('delivered');
    expect(await isSettled(clock, settled)).toBe(false);
    await steer.applied({ note: 'turning' });
    expect(await receipt.state()).toBe('applied');
    expect(await passUntil(clock, settled, 1, 150)).toEqual({ outcome: 'applied', note: 'turning' });
    await loop.return();
  });

  it('knows why a directive was rejected', async () => {
    const { registry } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    const receipts = [await registry.steer('agent', { direction: 'up' }), await registry.steer('agent', { direction: 'down' })];
    const [first, second] = await take(agent, 2);
    await first?.rejected('no stairs');
    await second?.rejected();
    expect(await receipts[0]?.settled()).toEqual({ outcome: 'rejected', note: 'no stairs' });
    expect(await receipts[1]?.settled()).toEqual({ outcome: 'rejected' });
    expect(await receipts[0]?.state()).toBe('rejected');
  });

  it('keeps the order in which directives were sent, whoever sent them', async () => {
    const { registry, storage } = await openWorld(open);
    const other = join(storage).registry;
    const agent = await quiet(registry, 'agent');
    const sent: string[] = [];
    for (let n = 0; n < 20; n++) sent.push((await (n % 2 ? registry : other).steer('agent', { direction: `${n}` })).id);
    const got: string[] = [];
    for await (const steer of agent.steers()) {
      got.push(steer.id);
      await steer.applied();
      if (got.length === 20) break;
    }
    expect(got).toEqual(sent);
  });

  it('wakes a loop that waits, also for a directive from another process', async () => {
    const { clock, registry, storage } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    const loop = agent.steers();
    const waiting = next(loop);
    expect(await isSettled(clock, waiting)).toBe(false);
    await join(storage).registry.steer('agent', { message: 'hello' });
    expect((await passUntil(clock, waiting, 1, 150)).message).toBe('hello');
    await loop.return();
  });

  it('gives again in a later loop what was delivered and not settled, and nothing that was', async () => {
    const { registry } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    const receipts = [];
    for (const direction of ['a', 'b', 'c']) receipts.push(await registry.steer('agent', { direction }));
    const [first, second] = await take(agent, 2);
    expect([first?.direction, second?.direction]).toEqual(['a', 'b']);
    await first?.applied();
    expect(await Promise.all(receipts.map((receipt) => receipt.state()))).toEqual(['applied', 'delivered', 'queued']);
    const later = await take(agent, 2);
    expect(later.map(({ direction }) => direction)).toEqual(['b', 'c']);
    // The first receipt of it is as good as the second, and only one of them counts.
    await second?.applied({ note: 'by the first' });
    await expect(later[0]?.rejected('by the second')).rejects.toMatchObject({ code: 'stale_receipt' });
    expect(await receipts[1]?.settled()).toEqual({ outcome: 'applied', note: 'by the first' });
  });

  it('is not undone by a second loop of the same owner that had read it before', async () => {
    const { registry } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    const receipts = [await registry.steer('agent', { direction: 'a' }), await registry.steer('agent', { direction: 'b' })];
    const [one, two] = [agent.steers(), agent.steers()];
    await next(one);
    // The second loop has both in its page by now.
    await next(two);
    const second = await next(one);
    await second.applied({ note: 'done' });
    const third = await registry.steer('agent', { direction: 'c' });
    expect((await next(two)).id).toBe(third.id);
    expect(await receipts[1]?.state()).toBe('applied');
    expect(await receipts[1]?.settled()).toEqual({ outcome: 'applied', note: 'done' });
    await Promise.all([one.return(), two.return()]);
  });

  it('settles once', async () => {
    const { registry, mesh } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    const receipt = await registry.steer('agent', { direction: 'a' });
    const [steer] = await take(agent, 1);
    const outcomes = await Promise.allSettled([steer?.applied(), steer?.rejected('no'), steer?.applied(), steer?.rejected()]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'rejected']);
    for (const outcome of outcomes.slice(1)) expect(outcome).toMatchObject({ reason: { code: 'stale_receipt' } });
    expect(await receipt.settled()).toEqual({ outcome: 'applied' });
    const told = (await eventsOf(mesh)).filter(({ name }) => name === 'steer_settled');
    expect(told).toMatchObject([{ session: 'agent', epoch: 1, steer: receipt.id, outcome: 'applied' }]);
  });

  it('fails at once when the session is unknown or not alive', async () => {
    const { clock, registry, mesh } = await openWorld(open);
    const offline = await quiet(registry, 'offline', undefined, 1000);
    await (await quiet(registry, 'ended')).end();
    await quiet(registry, 'killed');
    await registry.kill('killed', { force: true });
    await quiet(registry, 'stopping');
    await registry.kill('stopping', { timeoutMs: 0 });
    await clock.advance(1001);
    await expect(registry.steer('nobody', {})).rejects.toMatchObject({ code: 'not_found', details: { session: 'nobody' } });
    for (const session of ['offline', 'ended', 'killed', 'stopping']) {
      await expect(registry.steer(session, {})).rejects.toMatchObject({ code: 'not_alive', details: { session } });
    }
    expect((await eventsOf(mesh)).filter(({ name }) => name === 'agent_steered')).toEqual([]);
    await offline.heartbeat();
    await registry.steer('offline', {});
  });

  it.each(['end', 'force', 'deadline', 'takeover', 'retention'])(
    'tells the sender when the addressed incarnation is over: %s',
    async (how) => {
      const { clock, registry, storage } = await openWorld(open);
      const agent = await registry.register({ id: 'agent', heartbeat: 'manual', ttlMs: 1000, retentionMs: 2000 });
      const receipt = await registry.steer('agent', { message: 'too late' });
      const delivered = await registry.steer('agent', { message: 'delivered' });
      const all = [receipt, delivered];
      const waits = Promise.allSettled(all.map((one) => one.settled()));
      const other = join(storage).registry;
      if (how === 'end') await agent.end();
      else if (how === 'force') await other.kill('agent', { force: true });
      else if (how === 'deadline') await other.kill('agent', { graceMs: 500, timeoutMs: 0 });
      else if (how === 'takeover') await other.register({ id: 'agent', takeover: true });
      for (const wait of await passUntil(clock, waits, 50, 6000)) {
        expect(wait).toMatchObject({ status: 'rejected', reason: { code: 'not_alive', details: { session: 'agent' } } });
      }
      for (const one of all) await expect(one.state()).rejects.toMatchObject({ code: 'not_alive' });
    },
  );

  it.each(['takeover', 'after the end', 'after the removal', 'while offline'])(
    'never reaches a later incarnation: %s',
    async (how) => {
      const { clock, registry, storage } = await openWorld(open);
      const old = await registry.register({ id: 'agent', heartbeat: 'manual', ttlMs: 1000, retentionMs: 1000 });
      await registry.steer('agent', { message: 'for the old one' });
      await registry.steer('agent', { message: 'delivered to the old one' });
      const loop = old.steers();
      await next(loop);
      if (how === 'after the end') await old.end();
      else if (how === 'after the removal') await clock.advance(10_000);
      else if (how === 'while offline') clock.set(clock.now() + 1001);
      const fresh = await join(storage).registry.register({ id: 'agent', takeover: how === 'takeover', heartbeat: 'manual' });
      const receipt = await registry.steer('agent', { message: 'for the new one' });
      const [steer] = await take(fresh, 1);
      expect(steer?.message).toBe('for the new one');
      await steer?.applied();
      expect(await receipt.state()).toBe('applied');
      // The old owner finds out at its next step, and gets nothing of it.
      expect(await loop.next()).toEqual({ done: true, value: undefined });
      expect(await old.steers().next()).toEqual({ done: true, value: undefined });
    },
  );

  it('refuses what an owner settles that has lost its session', async () => {
    const { clock, registry, storage } = await openWorld(open);
    const old = await quiet(registry, 'agent', undefined, 1000);
    const receipt = await registry.steer('agent', { message: 'one' });
    await registry.steer('agent', { message: 'two' });
    const [one, two] = await take(old, 2);
    clock.set(clock.now() + 1001);
    await expect(one?.applied()).rejects.toMatchObject({ code: 'not_alive' });
    await old.heartbeat();
    await one?.applied();
    expect(await receipt.state()).toBe('applied');
    await join(storage).registry.register({ id: 'agent', takeover: true });
    await expect(two?.applied()).rejects.toMatchObject({ code: 'lease_lost' });
  });

  it('waits in the loop through a lapse, and goes on when a heartbeat revives the session', async () => {
    const { clock, registry, storage } = await openWorld(open);
    const agent = await quiet(registry, 'agent', undefined, 1000);
    const receipt = await registry.steer('agent', { message: 'while away' });
    clock.set(clock.now() + 1001);
    const loop = agent.steers();
    const waiting = next(loop);
    expect(await isSettled(clock, waiting)).toBe(false);
    expect(await receipt.state()).toBe('queued');
    await clock.advance(1000);
    expect(await isSettled(clock, waiting)).toBe(false);
    await join(storage).registry.heartbeat('agent');
    expect((await passUntil(clock, waiting, 1, 150)).message).toBe('while away');
    await loop.return();
  });

  it('ends the loop with the session: end, order to stop, loss, mesh closed', async () => {
    const { clock, registry, storage, mesh, errors } = await openWorld(open);
    const other = join(storage).registry;
    const loops = new Map<string, Promise<IteratorResult<Steer, void>>>();
    for (const id of ['ended', 'stopped', 'forced', 'taken', 'closed']) {
      loops.set(id, (await quiet(registry, id)).steers().next());
    }
    await clock.settle();
    const ends = async (id: string) => {
      await clock.advance(150);
      expect(await isSettled(clock, loops.get(id) as Promise<unknown>), id).toBe(true);
      expect(await loops.get(id)).toEqual({ done: true, value: undefined });
    };
    await other.end('ended');
    await ends('ended');
    await other.kill('stopped', { timeoutMs: 0 });
    await ends('stopped');
    await other.kill('forced', { force: true });
    await ends('forced');
    await other.register({ id: 'taken', takeover: true });
    await ends('taken');
    await mesh.close();
    expect(await loops.get('closed')).toEqual({ done: true, value: undefined });
    expect(errors).toEqual([]);
  });

  it('ends the loop quietly when the mesh is closed while a directive is worked on', async () => {
    const { registry, mesh } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    for (const message of ['one', 'two', 'three']) await registry.steer('agent', { message });
    const loop = agent.steers();
    const steer = await next(loop);
    await mesh.close();
    await expect(steer.applied()).rejects.toBeInstanceOf(MeshError);
    expect(await loop.next()).toEqual({ done: true, value: undefined });
    expect(await agent.steers().next()).toEqual({ done: true, value: undefined });
  });

  it('ends the loop at once when its signal aborts or the session is to stop, though more is there', async () => {
    const { clock, registry } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    for (const message of ['one', 'two', 'three']) await registry.steer('agent', { message });
    const controller = new AbortController();
    const aborted = agent.steers({ signal: controller.signal });
    const stopped = agent.steers();
    await next(aborted);
    await next(stopped);
    controller.abort();
    await expect(aborted.next()).rejects.toMatchObject({ code: 'aborted' });
    expect(await aborted.next()).toEqual({ done: true, value: undefined });
    await expect(agent.steers({ signal: controller.signal }).next()).rejects.toMatchObject({ code: 'aborted' });
    await registry.kill('agent', { timeoutMs: 0 });
    await clock.advance(150);
    expect(await stopped.next()).toEqual({ done: true, value: undefined });
  });

  it('ends a wait in the loop by its signal', async () => {
    const { clock, registry } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    const controller = new AbortController();
    const waiting = agent.steers({ signal: controller.signal }).next();
    await clock.settle();
    controller.abort(new Error('mine'));
    await expect(waiting).rejects.toMatchObject({ code: 'aborted', cause: new Error('mine') });
  });

  it('waits for the outcome no longer than timeoutMs or the signal says', async () => {
    const { clock, registry } = await openWorld(open);
    await quiet(registry, 'agent');
    const receipt = await registry.steer('agent', { message: 'hello' });
    const start = clock.now();
    const controller = new AbortController();
    const timedOut = receipt.settled({ timeoutMs: 2500 });
    const called = receipt.settled({ signal: controller.signal });
    timedOut.catch(() => {});
    await expect(receipt.settled({ timeoutMs: 0 })).rejects.toMatchObject({ code: 'timed_out' });
    await clock.advance(2499);
    expect(await isSettled(clock, timedOut)).toBe(false);
    await expect(passUntil(clock, timedOut, 1)).rejects.toMatchObject({ code: 'timed_out' });
    expect(clock.now() - start).toBe(2500);
    controller.abort('enough');
    await expect(called).rejects.toMatchObject({ code: 'aborted', cause: 'enough' });
    await expect(receipt.settled({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    expect(await receipt.state()).toBe('queued');
  });

  it('fails with closed in whoever waits for an outcome, soon after the mesh is closed', async () => {
    const { clock, registry, mesh } = await openWorld(open);
    await quiet(registry, 'agent');
    const settled = (await registry.steer('agent', { message: 'hello' })).settled();
    settled.catch(() => {});
    await clock.settle();
    await mesh.close();
    await expect(passUntil(clock, settled, 100, 1000)).rejects.toMatchObject({ code: 'closed' });
    expect(clock.pending).toBe(0);
  });

  it('leaves no timer and no listener behind: break, abort, outcome', async () => {
    const { clock, registry } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    await clock.advance(1000);
    const before = clock.pending;
    const receipt = await registry.steer('agent', { message: 'one' });
    for await (const steer of agent.steers()) {
      await steer.applied();
      break;
    }
    await receipt.settled();
    const controller = new AbortController();
    const waiting = agent.steers({ signal: controller.signal }).next();
    const settled = (await registry.steer('agent', { message: 'two' })).settled({ signal: controller.signal, timeoutMs: 5000 });
    await waiting;
    const second = agent.steers({ signal: controller.signal });
    await second.next();
    const idle = second.next();
    await clock.settle();
    controller.abort();
    await Promise.allSettled([settled, idle]);
    await clock.advance(0);
    expect(clock.pending).toBe(before);
  });

  it('brings 1,200 directives, in order, each once', async () => {
    const { registry, mesh } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    const receipts = await Promise.all(Array.from({ length: 1200 }, (_, n) => registry.steer('agent', { direction: `${n}` })));
    const got: string[] = [];
    const settles: Promise<void>[] = [];
    for await (const steer of agent.steers()) {
      got.push(steer.id);
      settles.push(steer.applied());
      if (got.length === 1200) break;
    }
    await Promise.all(settles);
    // Those that were sent at the same time go in the order of their commits.
    expect(got).toEqual((await eventsOf(mesh)).filter(({ name }) => name === 'agent_steered').map(({ steer }) => steer));
    expect(new Set(got)).toEqual(new Set(receipts.map(({ id }) => id)));
    expect(await receipts[1199]?.settled()).toEqual({ outcome: 'applied' });
    const late = await registry.steer('agent', { direction: 'late' });
    const [steer] = await take(agent, 1);
    expect(steer?.id).toBe(late.id);
  });

  it('lets timers run while it brings a backlog', async () => {
    const { registry } = await openWorld(open);
    const agent = await quiet(registry, 'agent');
    for (let n = 0; n < 500; n++) await registry.steer('agent', { direction: `${n}` });
    let turns = 0;
    let isDone = false;
    const count = (): void => {
      turns += 1;
      if (!isDone) setImmediate(count);
    };
    setImmediate(count);
    await take(agent, 500);
    isDone = true;
    expect(turns).toBeGreaterThanOrEqual(4);
  });

  it('tells each directive and each outcome once, in two meshes alike', async () => {
    const { registry, storage, mesh } = await openWorld(open);
    const other = join(storage);
    const heard = [hear(mesh), hear(other)];
    const agent = await quiet(registry, 'agent');
    const boss = await quiet(other.registry, 'boss');
    const receipt = await other.registry.steer('agent', { message: 'one', by: boss });
    const again = await registry.steer('agent', { data: { secret: 'x' } });
    await take(agent, 2);
    const [one, two] = await take(agent, 2);
    await one?.applied({ note: 'secret note' });
    await two?.rejected('secret reason');
    expect(await receipt.settled()).toEqual({ outcome: 'applied', note: 'secret note' });
    await Promise.all([mesh.settled(), other.settled()]);
    expect(heard[0]).toEqual(heard[1]);
    const told = heard[0]
      ?.filter(({ name }) => name !== 'session_created')
      .map(({ at: _at, cursor: _cursor, ...event }) => event);
    expect(told).toEqual([
      { name: 'agent_steered', session: 'agent', epoch: 1, steer: receipt.id, by: 'boss' },
      { name: 'agent_steered', session: 'agent', epoch: 1, steer: again.id },
      { name: 'steer_settled', session: 'agent', epoch: 1, steer: receipt.id, outcome: 'applied' },
      { name: 'steer_settled', session: 'agent', epoch: 1, steer: again.id, outcome: 'rejected' },
    ]);
    expect(JSON.stringify(heard)).not.toContain('secret');
  });

  it.each(['end', 'kill', 'mark', 'takeover', 'lapse'])(
    'stores nothing when the session is over between the look and the commit: %s',
    async (how) => {
      const { clock, registry, storage, mesh } = await openWorld(open);
      await quiet(registry, 'agent', undefined, 1000);
      let isTried = false;
      const view = wrapped(storage, async (call, run) => {
        if (call.commit?.puts?.some(({ partition }) => partition === 'steers/agent') && !isTried) {
          isTried = true;
          if (how === 'end') await registry.end('agent');
          else if (how === 'kill') await registry.kill('agent', { force: true });
          else if (how === 'mark') await registry.kill('agent', { timeoutMs: 0 });
          else if (how === 'takeover') await registry.register({ id: 'agent', takeover: true, heartbeat: 'manual' });
          else clock.set(clock.now() + 1001);
        }
        return run();
      });
      const sending = join(view).registry.steer('agent', { message: 'for the old one' });
      if (how === 'takeover') {
        // It is for whoever is there when it is stored.
        await sending;
        const told = (await eventsOf(mesh)).filter(({ name }) => name === 'agent_steered');
        expect(told.map(({ epoch }) => epoch)).toEqual([2]);
      } else {
        await expect(sending).rejects.toMatchObject({ code: 'not_alive' });
        expect(await keysOf(storage, 'steers/agent')).toEqual([]);
        expect((await eventsOf(mesh)).some(({ name }) => name === 'agent_steered')).toBe(false);
      }
      expect(isTried).toBe(true);
    },
  );

  it('is refused to a handle that has lost its session', async () => {
    const { clock, registry, storage } = await openWorld(open);
    await quiet(registry, 'agent');
    const lapsed = await quiet(registry, 'lapsed', undefined, 1000);
    const ended = await quiet(registry, 'ended');
    const taken = await quiet(registry, 'taken');
    await ended.end();
    await join(storage).registry.register({ id: 'taken', takeover: true });
    clock.set(clock.now() + 1001);
    await expect(registry.steer('agent', { by: lapsed })).rejects.toMatchObject({ code: 'not_alive' });
    await expect(registry.steer('agent', { by: ended })).rejects.toMatchObject({ code: 'lease_lost' });
    await expect(registry.steer('agent', { by: taken })).rejects.toMatchObject({ code: 'lease_lost' });
    expect(await keysOf(storage, 'steers/agent')).toEqual([]);
    await lapsed.heartbeat();
    await registry.steer('agent', { by: lapsed });
    await registry.steer('agent', { by: 'taken' });
    expect(await keysOf(storage, 'steers/agent')).toHaveLength(2);
  });

  it('is not kept once the id has another owner, unless it was settled', async () => {
    const { registry, storage } = await openWorld(open);
    const receipts: SteerReceipt[] = [];
    for (const how of ['ended', 'killed', 'taken over', 'taken over']) {
      const agent = await registry.register({ id: 'agent', heartbeat: 'manual', takeover: true });
      const settled = await registry.steer('agent', { message: 'settled' });
      await (await take(agent, 1))[0]?.applied();
      receipts.push(settled, await registry.steer('agent', { message: how }), await registry.steer('agent', { message: 'more' }));
      await take(agent, 1);
      if (how === 'ended') await agent.end();
      if (how === 'killed') await registry.kill('agent', { force: true });
    }
    const last = await registry.register({ id: 'agent', heartbeat: 'manual', takeover: true });
    expect(await keysOf(storage, 'steers/agent')).toHaveLength(4);
    const outcomes = await Promise.all(receipts.map((receipt) => receipt.state().catch(({ code }) => code)));
    expect(outcomes).toEqual(Array(4).fill(['applied', 'not_alive', 'not_alive']).flat());
    await registry.steer('agent', { message: 'to the last' });
    expect((await take(last, 1)).map(({ message }) => message)).toEqual(['to the last']);
  });

  it('keeps a settled directive for a day', async () => {
    const { clock, registry, storage } = await openWorld(open);
    const agent = await registry.register({ id: 'agent', heartbeat: 'manual', ttlMs: 30 * 86_400_000 });
    const receipt = await registry.steer('agent', { message: 'hello' });
    const [steer] = await take(agent, 1);
    await steer?.applied();
    clock.set(clock.now() + 86_399_999);
    expect(await receipt.settled()).toEqual({ outcome: 'applied' });
    clock.set(clock.now() + 1);
    await expect(receipt.settled()).rejects.toMatchObject({ code: 'not_found' });
    expect(await keysOf(storage, 'steers/agent')).toEqual([]);
    await expect(steer?.applied()).rejects.toMatchObject({ code: 'stale_receipt' });
  });

  it('costs what the table of costs says', async () => {
    const { registry, counter } = await countedWorld(open);
    const agent = await quiet(registry, 'agent');
    for (let n = 0; n < 300; n++) await registry.steer('agent', { direction: `${n}` });
    counter.take();
    const receipt = await registry.steer('agent', { message: 'last' });
    expect(counter.take()).toEqual({ get: 1, list: 0, commit: 1 });
    const loop = agent.steers();
    const steer = await next(loop);
    expect(counter.take()).toEqual({ get: 0, list: 1, commit: 1 });
    await steer.applied();
    expect(counter.take()).toEqual({ get: 0, list: 0, commit: 1 });
    expect(await receipt.state()).toBe('queued');
    expect(counter.take()).toEqual({ get: 2, list: 0, commit: 0 });
    for (let n = 0; n < 300; n++) await (await next(loop)).applied();
    counter.take();
    expect(await receipt.settled()).toEqual({ outcome: 'applied' });
    expect(counter.take()).toEqual({ get: 1, list: 0, commit: 0 });
    await loop.return();
  });
});

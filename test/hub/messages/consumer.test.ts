import { describe, expect, it } from 'vitest';
import type { HandlerContext } from '../../../src/hub/messages/consumer.ts';
import { createMesh, InMemoryStorage, MeshError } from '../../../src/index.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { bodiesOf, only, postOn, statesOf, toldOf } from '../../support/hub/post.ts';
import { hooked } from '../../support/memory/observed.ts';
import { isSettled, passUntil, quiet, refusal, together } from '../../support/memory/worlds.ts';
import { oddErrors } from '../../support/odd-errors.ts';
import { storages } from '../../support/storages.ts';
import { deferred } from '../../support/timing.ts';

/** A handler that can be looked at, and is let go by hand. */
function gated() {
  const started: string[] = [];
  const gates = new Map<string, () => void>();
  let most = 0;
  let running = 0;
  const signals = new Map<string, AbortSignal>();
  return {
    started,
    signals,
    most: () => most,
    async handler({ body = '' }: { body?: string }, { signal }: { signal: AbortSignal }): Promise<void> {
      started.push(body);
      signals.set(body, signal);
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => gates.set(body, resolve));
      running -= 1;
    },
    finish: (body: string) => gates.get(body)?.(),
  };
}

describe('a handler', () => {
  it('outlives a storage that can not be reached for a while', async () => {
    const clock = new VirtualClock();
    const errors: unknown[] = [];
    let isDown = false;
    const fail = (): void => {
      if (isDown) throw new MeshError('unavailable', 'expected to be reached', { details: { transient: true } });
    };
    const inner = new InMemoryStorage({ clock });
    const storage = hooked(inner, { get: fail });
    const elsewhere = createMesh({ storage: inner });
    const send = (body: string) => elsewhere.hub.send({ from: 'bob', to: 'bob', body });
    const mesh = createMesh({ storage, onError: (error) => errors.push(error) });
    const bob = await quiet(mesh.registry, 'bob');
    const seen: unknown[] = [];
    const consumer = mesh.hub.inbox(bob).handle(({ body }) => {
      seen.push(body);
    });
    await send('before');
    await clock.advance(100);
    isDown = true;
    await send('meanwhile');
    await clock.advance(2500);
    expect(seen).toEqual(['before']);
    expect(errors.every((error) => MeshError.is(error, 'unavailable'))).toBe(true);
    expect(errors).not.toEqual([]);
    isDown = false;
    await send('after');
    await clock.advance(60_000);
    expect(seen.sort()).toEqual(['after', 'before', 'meanwhile']);
    const stopping = consumer.stop();
    await clock.advance(1000);
    await stopping;
    await mesh.close();
  });
});

describe.each(storages)('a handler on %s', (_name, open) => {
  it('gets each message once, in order, and acks when it returns', async () => {
    const { hub, bob, clock, storage, send } = await postOn(open);
    const seen: [string | undefined, number][] = [];
    await send('waiting');
    const consumer = hub.inbox(bob).handle((message, { attempt }) => {
      seen.push([message.body, attempt]);
    });
    await clock.settle();
    await send('later');
    await clock.advance(100);
    expect(seen).toEqual([
      ['waiting', 1],
      ['later', 1],
    ]);
    expect(await statesOf({ hub })).toEqual({ waiting: 'acked', later: 'acked' });
    await consumer.stop();
    expect(await toldOf(storage)).toEqual(['sent bob', 'acked bob', 'sent bob', 'acked bob']);
  });

  it('runs as many at a time as it may, and no more', async () => {
    const { hub, bob, clock, send } = await postOn(open);
    const work = gated();
    await together(10, (n) => send(`m${n}`));
    const consumer = hub.inbox(bob).handle(work.handler, { concurrency: 4 });
    await clock.settle();
    expect(work.started).toEqual(['m0', 'm1', 'm2', 'm3']);
    // What it does not handle yet is free for others.
    expect(Object.values(await statesOf({ hub })).filter((state) => state === 'ready')).toHaveLength(6);
    work.finish('m1');
    await clock.settle();
    expect(work.started).toEqual(['m0', 'm1', 'm2', 'm3', 'm4']);
    for (let n = 0; n < 10; n++) {
      for (const body of [...work.started]) work.finish(body);
      await clock.settle();
    }
    expect(work.most()).toBe(4);
    expect(new Set(Object.values(await statesOf({ hub })))).toEqual(new Set(['acked']));
    await consumer.stop();
  });

  it('gets messages of its types only; others stay for others', async () => {
    const { hub, bob, clock, send } = await postOn(open);
    const got: Record<string, string[]> = { request: [], rest: [] };
    await send('n1');
    await send('r1', { type: 'request' });
    await send('s1', { type: 'sync' });
    const inbox = hub.inbox(bob);
    const requests = inbox.handle(({ body }) => got['request']?.push(body ?? ''), { types: ['request'] });
    await clock.settle();
    await send('r2', { type: 'request' });
    await send('n2');
    await clock.advance(100);
    expect(got['request']).toEqual(['r1', 'r2']);
    expect(await statesOf({ hub })).toEqual({ n1: 'ready', r1: 'acked', s1: 'ready', r2: 'acked', n2: 'ready' });
    const rest = inbox.handle(({ body }) => got['rest']?.push(body ?? ''), { types: ['notification', 'sync'] });
    await clock.advance(100);
    expect(got['rest']).toEqual(['n1', 's1', 'n2']);
    // One that is removed gets nothing any more.
    await requests.stop();
    await send('r3', { type: 'request' });
    await send('n3');
    await clock.advance(100);
    expect(got).toEqual({ request: ['r1', 'r2'], rest: ['n1', 's1', 'n2', 'n3'] });
    expect((await statesOf({ hub }))['r3']).toBe('ready');
    await rest.stop();
  });

  it('that throws gives its message back, and harms nobody else', async () => {
    const { hub, bob, clock, send, errors } = await postOn(open);
    const attempts: string[] = [];
    const consumer = hub.inbox(bob).handle(
      ({ body }, { attempt }) => {
        attempts.push(`${body} ${attempt}`);
        if (body === 'bad' && attempt < 3) throw new Error('not yet');
        if (body === 'odd' && attempt < 2) throw { toString: null };
        return 'ignored';
      },
      { concurrency: 2 },
    );
    await together(3, (n) => send(['bad', 'odd', 'good'][n] as string));
    await clock.advance(1000);
    expect([...attempts].sort()).toEqual(['bad 1', 'bad 2', 'bad 3', 'good 1', 'odd 1', 'odd 2']);
    expect(await statesOf({ hub })).toEqual({ bad: 'acked', odd: 'acked', good: 'acked' });
    await consumer.stop();
    expect(errors).toEqual([]);
  });

  it.each(oddErrors())('that throws %s gives its message back all the same', async (_what, thrown) => {
    const { hub, bob, clock, send, errors } = await postOn(open);
    const attempts: number[] = [];
    const consumer = hub.inbox(bob).handle((_message, { attempt }) => {
      attempts.push(attempt);
      if (attempt < 3) throw thrown;
    });
    await send('one');
    await clock.advance(1000);
    expect(attempts).toEqual([1, 2, 3]);
    expect(await statesOf({ hub })).toEqual({ one: 'acked' });
    await consumer.stop();
    expect(errors).toEqual([]);
  });

  it('is told of its message by an object like any other', async () => {
    const { hub, bob, clock, send } = await postOn(open);
    const told: HandlerContext[] = [];
    const consumer = hub.inbox(bob).handle((_message, context) => void told.push({ ...context }));
    await send('one');
    await clock.settle();
    expect(told).toEqual([{ signal: expect.any(AbortSignal), attempt: 1 }]);
    await consumer.stop();
  });

  it('that takes long keeps its claim', async () => {
    const { hub, bob, clock, send, receive } = await postOn(open);
    const work = gated();
    const consumer = hub.inbox(bob, { visibilityMs: 2000 }).handle(work.handler, { concurrency: 3 });
    await send('early');
    await clock.advance(700);
    await send('mid');
    await clock.advance(700);
    await send('late');
    for (let passed = 0; passed < 60; passed++) {
      await clock.advance(500);
      expect(await receive()).toEqual([]);
    }
    expect(work.started).toEqual(['early', 'mid', 'late']);
    for (const body of work.started) work.finish(body);
    await clock.settle();
    expect(await statesOf({ hub })).toEqual({ early: 'acked', mid: 'acked', late: 'acked' });
    await consumer.stop();
    expect(clock.pending).toBeLessThan(12);
  });

  it('whose claim was lost is told by its signal, and its ack does no harm', async () => {
    const { hub, bob, clock, send, storage } = await postOn(open);
    const work = gated();
    const consumer = hub.inbox(bob, { visibilityMs: 2000 }).handle(work.handler);
    await send('one', { ttlMs: 5000 });
    await clock.advance(4000);
    expect(work.signals.get('one')?.aborted).toBe(false);
    await clock.advance(4000);
    expect(work.signals.get('one')?.aborted).toBe(true);
    work.finish('one');
    await clock.settle();
    expect(await statesOf({ hub })).toEqual({ one: 'expired' });
    expect((await toldOf(storage)).filter((name) => name !== 'sent bob')).toEqual(['expired bob']);
    await consumer.stop();
  });

  it('is waited for when it is stopped, and gets nothing more', async () => {
    const { hub, bob, clock, send } = await postOn(open);
    const work = gated();
    const consumer = hub.inbox(bob).handle(work.handler, { concurrency: 2 });
    await together(4, (n) => send(`m${n}`));
    await clock.settle();
    const stopping = consumer.stop();
    expect(await isSettled(clock, stopping)).toBe(false);
    work.finish('m0');
    expect(await isSettled(clock, stopping)).toBe(false);
    work.finish('m1');
    await stopping;
    await consumer.done;
    expect(work.started).toEqual(['m0', 'm1']);
    expect(await statesOf({ hub })).toEqual({ m0: 'acked', m1: 'acked', m2: 'ready', m3: 'ready' });
    await consumer.stop();
  });

  it('stops with its signal, before or after', async () => {
    const { hub, bob, clock, send } = await postOn(open);
    const stop = new AbortController();
    const seen: string[] = [];
    const consumer = hub.inbox(bob).handle(({ body }) => seen.push(body ?? ''), { signal: stop.signal });
    await send('one');
    await clock.advance(100);
    stop.abort();
    await consumer.done;
    await send('two');
    await clock.advance(100);
    const never = hub.inbox(bob).handle(({ body }) => seen.push(body ?? ''), { signal: stop.signal });
    await never.done;
    expect(seen).toEqual(['one']);
  });

  it('shares a mailbox with others, and no message, here and in another mesh', async () => {
    const { hub, clock, send, another } = await postOn(open);
    const there = another();
    const seen: string[] = [];
    const handler = async ({ body = '' }: { body?: string }): Promise<void> => {
      seen.push(body);
      await new Promise((resolve) => setImmediate(resolve));
    };
    const consumers = [hub, hub, there.hub, there.hub].map((one, n) => one.inbox('bob').handle(handler, { concurrency: n + 1 }));
    await together(100, (n) => send(`m${n}`));
    await clock.advance(2000);
    expect(seen).toHaveLength(100);
    expect(new Set(seen).size).toBe(100);
    expect(new Set(Object.values(await statesOf({ hub })))).toEqual(new Set(['acked']));
    await Promise.all(consumers.map((consumer) => consumer.stop()));
  });

  it('ends with its session, with its signal aborted', async () => {
    const { hub, bob, clock, send, another, errors } = await postOn(open);
    const work = gated();
    const consumer = hub.inbox(bob).handle(work.handler);
    await send('one');
    await clock.settle();
    await quiet(another().registry, 'bob');
    await clock.advance(200);
    expect(work.signals.get('one')?.aborted).toBe(true);
    expect(work.signals.get('one')?.reason).toMatchObject({ code: 'lease_lost' });
    work.finish('one');
    await consumer.done;
    expect((await statesOf({ hub }))['one']).not.toBe('acked');
    expect(errors).toEqual([]);
  });

  it('finds its signal aborted, also when it asks for it only then', async () => {
    const { hub, bob, clock, send, registry } = await postOn(open);
    const asked: HandlerContext[] = [];
    hub.inbox(bob).handle((_message, context) => {
      asked.push(context);
      return new Promise(() => {});
    });
    await send('one');
    await clock.settle();
    const killing = registry.kill('bob', { graceMs: 1000, reason: 'enough' });
    await clock.advance(100);
    const [context] = asked;
    expect(context?.signal.aborted).toBe(true);
    expect(context?.signal.reason).toMatchObject({ details: { reason: 'enough' } });
    expect(context?.signal).toBe(context?.signal);
    expect(context?.attempt).toBe(1);
    await clock.advance(2000);
    await killing;
  });

  it('is told to stop when its session is killed, and may finish within the grace', async () => {
    const { hub, bob, clock, send, registry } = await postOn(open);
    const work = gated();
    hub.inbox(bob).handle(work.handler);
    await send('one');
    await send('two');
    await clock.settle();
    const killing = registry.kill('bob', { graceMs: 5000 });
    await clock.advance(100);
    expect(work.signals.get('one')?.aborted).toBe(true);
    work.finish('one');
    await clock.settle();
    expect(await statesOf({ hub })).toEqual({ one: 'acked', two: 'ready' });
    await bob.end();
    await killing;
    await clock.advance(1000);
    expect(await statesOf({ hub })).toEqual({ one: 'acked', two: 'dead' });
    expect(work.started).toEqual(['one']);
  });

  it('goes on after its session was offline for a while', async () => {
    const { hub, bob, clock, send, registry, errors } = await postOn(open);
    const seen: string[] = [];
    const consumer = hub.inbox(bob).handle(({ body }) => seen.push(body ?? ''));
    const looping = (async () => {
      for await (const delivery of hub.inbox('bob')) {
        seen.push(`loop ${delivery.message.body}`);
        await delivery.ack();
      }
    })();
    await clock.advance(299_000);
    await registry.heartbeat('ann');
    await clock.advance(5000);
    expect((await registry.get('bob'))?.state).toBe('offline');
    await send('while away');
    await clock.advance(5000);
    expect(seen).toEqual([]);
    await bob.heartbeat();
    await clock.advance(200);
    await send('back');
    await clock.advance(200);
    expect(seen.map((name) => name.replace('loop ', '')).sort()).toEqual(['back', 'while away']);
    await bob.end();
    await clock.advance(1000);
    await consumer.done;
    await looping;
    expect(errors).toEqual([]);
  });

  it('has its messages given back when its mesh is closed', async () => {
    const { hub, bob, clock, send, mesh, another } = await postOn(open);
    const there = another();
    const work = gated();
    const consumer = hub.inbox(bob).handle(work.handler, { concurrency: 2 });
    await together(3, (n) => send(`m${n}`));
    await clock.settle();
    await mesh.close();
    expect(work.signals.get('m0')?.reason).toMatchObject({ code: 'closed' });
    expect(await statesOf(there)).toEqual({ m0: 'ready', m1: 'ready', m2: 'ready' });
    work.finish('m0');
    work.finish('m1');
    await consumer.done;
    expect(await statesOf(there)).toEqual({ m0: 'ready', m1: 'ready', m2: 'ready' });
    await quiet(there.registry, 'bob');
    const deliveries = await there.hub.inbox('bob').receive({ limit: 5 });
    expect(deliveries.map(({ attempt }) => attempt)).toEqual([1, 1, 1]);
  });
});

describe.each(storages)('whoever held a session on %s', (_name, open) => {
  it.each(['taken over', 'ended', 'killed'])('can do nothing with its mail once it was %s', async (how) => {
    const { hub, bob, clock, send, another, registry, storage, mesh } = await postOn(open);
    await send('one');
    await send('two');
    const inbox = hub.inbox(bob);
    const old = only(await inbox.receive());
    const there = another();
    let next = bob;
    if (how === 'taken over') next = await quiet(there.registry, 'bob');
    if (how === 'ended') await there.registry.end('bob');
    if (how === 'killed') await there.registry.kill('bob', { force: true });
    const before = (await toldOf(storage)).filter((name) => !name.startsWith('dead'));
    for (const act of [
      () => old.ack(),
      () => old.nak(),
      () => old.nak({ delayMs: 5000 }),
      () => old.term(),
      () => old.extend(60_000),
      () => inbox.receive(),
      () => hub.send({ from: bob, to: 'ann' }),
      () => hub.send({ from: bob, to: { group: 'core' } }),
      () => hub.broadcast({ from: bob }),
      () => hub.reply(old.message, { from: bob }),
      () => hub.request({ from: bob, to: 'ann' }),
      () => hub.ping({ from: bob, to: 'ann' }),
      async () => hub.inbox(bob),
    ]) {
      await expect(act()).rejects.toEqual(refusal('lease_lost'));
    }
    expect((await toldOf(storage)).filter((name) => !name.startsWith('dead'))).toEqual(before);
    expect(await statesOf(mesh, 'ann')).toEqual({});
    if (how === 'taken over') {
      // At once, and not only when the claim lapses.
      const mail = await there.hub.inbox(next).receive({ limit: 5 });
      expect(mail.map(({ message, attempt }) => `${message.body} ${attempt}`)).toEqual(['one 2', 'two 1']);
      for (const delivery of mail) await delivery.ack();
      expect(await statesOf(mesh)).toEqual({ one: 'acked', two: 'acked' });
    } else {
      await clock.advance(1000);
      expect(await statesOf(mesh)).toEqual({ one: 'dead', two: 'dead' });
    }
    expect(registry).toBeDefined();
  });

  it('leaves its claims to its successor, also when its inbox is older than the first mail', async () => {
    const { hub, bob, send, another, clock } = await postOn(open);
    const inbox = hub.inbox(bob);
    expect(await inbox.receive()).toEqual([]);
    await send('one');
    await send('delayed');
    const [, delayed] = await inbox.receive({ limit: 2 });
    await delayed?.nak({ delayMs: 5000 });
    const there = another();
    const next = there.hub.inbox(await quiet(there.registry, 'bob'));
    expect((await next.receive({ limit: 5 })).map(({ message, attempt }) => [message.body, attempt])).toEqual([['one', 2]]);
    // What was to wait goes on waiting.
    await clock.advance(4999);
    expect(await next.receive()).toEqual([]);
    await clock.advance(1);
    expect(bodiesOf(await next.receive())).toEqual(['delayed']);
  });

  it('loses nothing to a second inbox of its own', async () => {
    const { hub, bob, send } = await postOn(open);
    const inbox = hub.inbox(bob);
    await inbox.receive();
    await send('one');
    const delivery = only(await inbox.receive());
    expect(await hub.inbox(bob).receive()).toEqual([]);
    expect(await hub.inbox('bob').receive()).toEqual([]);
    await delivery.ack();
  });

  it('can do nothing while it is offline, and everything again once it is back', async () => {
    const { hub, bob, clock, send, registry } = await postOn(open);
    await clock.advance(299_000);
    await registry.heartbeat('ann');
    await send('one');
    const inbox = hub.inbox(bob);
    const delivery = only(await inbox.receive());
    await clock.advance(1001);
    for (const act of [
      () => delivery.ack(),
      () => delivery.extend(90_000),
      () => inbox.receive(),
      () => hub.send({ from: bob, to: 'ann' }),
      () => hub.broadcast({ from: bob }),
      () => hub.reply(delivery.message, { from: bob }),
    ]) {
      await expect(act()).rejects.toEqual(refusal('not_alive'));
    }
    expect(await statesOf({ hub })).toEqual({ one: 'claimed' });
    await bob.heartbeat();
    await hub.send({ from: bob, to: 'ann' });
    await delivery.ack();
    expect(await statesOf({ hub })).toEqual({ one: 'acked' });
  });
});

describe.each(storages)('a handler whose mailbox can not be read any more, on %s', (_name, open) => {
  it('is waited for by stop()', async () => {
    const { hub, clock, another, seen, send, errors } = await postOn(open);
    let isFull = false;
    const failing = hooked(seen.storage, {
      async commit({ takes = [] }) {
        if (isFull && takes.length > 0) throw new MeshError('storage_full', 'expected room, got none');
      },
    });
    const handling = deferred();
    let isFinished = false;
    const consumer = another(failing)
      .hub.inbox('bob')
      .handle(
        async () => {
          await handling.promise;
          isFinished = true;
        },
        { concurrency: 2 },
      );
    await send('first');
    await clock.advance(1000);
    isFull = true;
    await hub.send({ from: 'ann', to: 'bob', body: 'second' });
    await clock.advance(1000);
    const stopping = consumer.stop();
    expect(await isSettled(clock, stopping)).toBe(false);
    isFull = false;
    handling.resolve();
    await passUntil(clock, stopping);
    expect(isFinished).toBe(true);
    expect(errors.splice(0)).toEqual([expect.objectContaining({ code: 'storage_full' })]);
  });
});

describe.each(storages)('the signal of a handler on %s', (_name, open) => {
  it('aborts when its message expires, at that millisecond, and not when another does', async () => {
    const { clock, send, hub, bob } = await postOn(open, { hub: { visibilityMs: 300_000 } });
    const { handler, signals, started, finish } = gated();
    const consumer = hub.inbox(bob).handle(handler, { concurrency: 8 });
    await send('for ever');
    await send('long', { ttlMs: 5000 });
    await clock.advance(1000);
    await send('short', { ttlMs: 2000 });
    await clock.advance(1999);
    const aborted = (): string[] => started.filter((body) => signals.get(body)?.aborted);
    expect([started, aborted()]).toEqual([['for ever', 'long', 'short'], []]);
    await clock.advance(1);
    expect(aborted()).toEqual(['short']);
    expect(signals.get('short')?.reason).toEqual(refusal('stale_receipt', 'expired'));
    await clock.advance(1999);
    expect(aborted()).toEqual(['short']);
    await clock.advance(1);
    expect(aborted()).toEqual(['long', 'short']);
    for (const body of started) finish(body);
    await passUntil(clock, consumer.stop());
    expect(await statesOf({ hub })).toEqual({ 'for ever': 'acked', long: 'expired', short: 'expired' });
  });
});

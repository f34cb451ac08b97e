import { describe, expect, it } from 'vitest';
import { createMesh } from '../../../src/mesh.ts';
import { InMemoryStorage } from '../../../src/storage/in-memory-storage.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { bodiesOf, mailOf, member, postOn, statesOf, toldOf } from '../../support/hub/post.ts';
import { isSettled, outcomeOf, quiet, refusal, together } from '../../support/memory/worlds.ts';
import { counted } from '../../support/registry-kill/storages.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('a message on %s', (_name, open) => {
  it('reaches its recipient as it was sent, with defaults where nothing was said', async () => {
    const { hub, clock, ann, receive } = await postOn(open);
    const plain = await hub.send({ from: 'ann', to: 'bob' });
    expect(plain).toEqual({
      message: {
        id: expect.stringMatching(/^bob!\d{20}$/),
        from: 'ann',
        to: 'bob',
        type: 'notification',
        priority: 'medium',
        threadId: plain.message.id,
        at: clock.now(),
      },
      recipients: [{ session: 'bob', state: 'alive' }],
      total: 1,
    });
    const full = await hub.send({
      from: ann,
      to: 'bob',
      type: 'handoff',
      subject: 'Ship it',
      body: 'line\nline',
      data: { pr: 123, list: [null, -0] },
      priority: 'low',
      headers: { traceparent: '00-1' },
      ttlMs: 5000,
      threadId: 'release-7',
    });
    expect(full.message).toMatchObject({
      type: 'handoff',
      subject: 'Ship it',
      body: 'line\nline',
      data: { pr: 123, list: [null, 0] },
      priority: 'low',
      headers: { traceparent: '00-1' },
      expiresAt: clock.now() + 5000,
      threadId: 'release-7',
    });
    const deliveries = await receive();
    expect(deliveries.map(({ message }) => message)).toEqual([plain.message, full.message]);
    expect(deliveries.map(({ attempt }) => attempt)).toEqual([1, 1]);
    expect(Object.isFrozen(deliveries[1]?.message)).toBe(true);
    expect(Object.isFrozen(full.message)).toBe(true);
    expect(await hub.getMessage(full.message.id)).toEqual(full.message);
  });

  it('arrives in the order in which the sends were begun, also the very first ones', async () => {
    const { hub, ann, receive, seen } = await postOn(open);
    seen.take();
    const bodies = Array.from({ length: 50 }, (_, n) => String(n));
    await Promise.all(bodies.map((body) => hub.send({ from: ann, to: 'bob', body })));
    // None has lost against another.
    expect(seen.take().commit).toBe(bodies.length);
    expect(bodiesOf(await receive())).toEqual(bodies);
  });

  it('is not changed by what its sender does with its own objects', async () => {
    const { hub, receive } = await postOn(open);
    const data = { list: [1] };
    await hub.send({ from: 'ann', to: 'bob', data });
    data.list.push(2);
    expect((await receive())[0]?.message.data).toEqual({ list: [1] });
    expect(Object.isFrozen(data.list)).toBe(false);
  });

  it('to an unknown session is refused, and so is one from an unknown session', async () => {
    const { hub, storage } = await postOn(open);
    await expect(hub.send({ from: 'ann', to: 'nobody' })).rejects.toEqual(refusal('not_found', 'nobody'));
    await expect(hub.send({ from: 'nobody', to: 'bob' })).rejects.toEqual(refusal('not_found', 'nobody'));
    await expect(hub.broadcast({ from: 'nobody' })).rejects.toEqual(refusal('not_found', 'nobody'));
    expect(await toldOf(storage)).toEqual([]);
  });

  it('to a session that has ended or was killed is refused', async () => {
    const { hub, registry, storage, another, send } = await postOn(open);
    const killed = await quiet(registry, 'killed');
    // Both are known to this mesh, and end in another one.
    await send('before');
    await hub.send({ from: 'ann', to: killed.id });
    const told = (await toldOf(storage)).length;
    const other = another();
    await other.registry.end('bob');
    await other.registry.kill('killed', { force: true });
    await expect(send('after')).rejects.toEqual(refusal('not_alive', 'ended'));
    await expect(hub.send({ from: 'ann', to: 'killed' })).rejects.toEqual(refusal('not_alive', 'killed'));
    // Nor can it send.
    await expect(hub.send({ from: 'killed', to: 'ann' })).rejects.toEqual(refusal('not_alive', 'killed'));
    expect((await toldOf(storage)).slice(told).filter((name) => name.startsWith('sent'))).toEqual([]);
  });

  it('to a session that is told to stop is refused, which may itself still send', async () => {
    const { hub, registry, clock, bob, send } = await postOn(open);
    await send('before');
    const killing = registry.kill('bob', { graceMs: 1000 });
    await clock.settle();
    expect((await registry.get('bob'))?.state).toBe('stopping');
    await expect(send('after')).rejects.toEqual(refusal('not_alive', 'stopping'));
    await hub.send({ from: bob, to: 'ann', body: 'last words' });
    await hub.send({ from: 'bob', to: 'ann', body: 'of the host' });
    expect(Object.keys(await statesOf({ hub }, 'ann'))).toEqual(['last words', 'of the host']);
    await bob.end();
    await killing;
    await expect(hub.send({ from: bob, to: 'ann' })).rejects.toEqual(refusal('lease_lost'));
  });

  it('to a session that is offline waits until it is back, unless it must be alive', async () => {
    const { hub, clock, registry, bob, send } = await postOn(open);
    await send('before');
    await clock.advance(299_000);
    await registry.heartbeat('ann');
    await clock.advance(1000);
    // Exactly at its ttl it is still alive.
    expect((await hub.send({ from: 'ann', to: 'bob', body: 'in time', requireAlive: true })).recipients).toEqual([
      { session: 'bob', state: 'alive' },
    ]);
    await clock.advance(1);
    expect((await hub.send({ from: 'ann', to: 'bob', body: 'kept' })).recipients).toEqual([{ session: 'bob', state: 'offline' }]);
    await expect(send('refused', { requireAlive: true })).rejects.toEqual(refusal('not_alive', 'offline'));
    const inbox = hub.inbox(bob);
    await expect(inbox.receive()).rejects.toEqual(refusal('not_alive'));
    await bob.heartbeat();
    expect((await hub.send({ from: 'ann', to: 'bob', body: 'again' })).recipients).toEqual([{ session: 'bob', state: 'alive' }]);
    expect(bodiesOf(await inbox.receive({ limit: 10 }))).toEqual(['before', 'in time', 'kept', 'again']);
  });

  it('is for the next owner of an id that was offline', async () => {
    const { hub, clock, registry, send } = await postOn(open);
    await clock.advance(299_000);
    await registry.heartbeat('ann');
    await clock.advance(2000);
    await send('kept');
    const next = await registry.register({ id: 'bob', heartbeat: 'manual' });
    expect(bodiesOf(await hub.inbox(next).receive())).toEqual(['kept']);
  });

  it('is refused at the millisecond in which the retention of an offline session is over', async () => {
    const { hub, clock, registry } = await postOn(open, { sweepIntervalMs: 3_600_000 });
    await member(registry, 'host', { ttlMs: 86_400_000 });
    await registry.register({ id: 'gone', ttlMs: 1000, retentionMs: 5000, heartbeat: 'manual' });
    await clock.advance(5999);
    await hub.send({ from: 'host', to: 'gone' });
    expect((await hub.send({ from: 'host', to: 'gone' })).recipients).toEqual([{ session: 'gone', state: 'offline' }]);
    await clock.advance(1);
    expect((await registry.get('gone'))?.state).toBe('ended');
    await expect(hub.send({ from: 'host', to: 'gone' })).rejects.toEqual(refusal('not_alive', 'ended'));
  });

  it('can be written to oneself', async () => {
    const { hub, bob, receive } = await postOn(open);
    await hub.send({ from: bob, to: bob, body: 'note' });
    await hub.send({ from: 'bob', to: 'bob', body: 'by the host' });
    expect(bodiesOf(await receive())).toEqual(['note', 'by the host']);
  });

  it('comes in the order of sending within a priority, the more urgent first', async () => {
    const { send, receive } = await postOn(open);
    for (const priority of ['low', 'high', 'medium', 'critical', 'low', 'critical', 'medium', 'high'] as const) {
      await send(priority, { priority });
      await send(`${priority} too`, { priority });
    }
    const order = ['critical', 'high', 'medium', 'low'];
    expect(bodiesOf(await receive(6))).toEqual([
      ...['critical', 'critical too', 'critical', 'critical too'],
      ...['high', 'high too'],
    ]);
    expect(bodiesOf(await receive())).toEqual([
      ...['high', 'high too'],
      ...order.slice(2).flatMap((priority) => [priority, `${priority} too`, priority, `${priority} too`]),
    ]);
  });

  it('is first delivered in the order in which its sender sent, with others sending from other meshes', async () => {
    const { another, registry, receive } = await postOn(open);
    const senders = await Promise.all(
      [0, 1, 2].map(async (n) => {
        await quiet(registry, `s${n}`);
        return { id: `s${n}`, hub: another().hub };
      }),
    );
    await Promise.all(
      senders.map(async ({ id, hub }) => {
        for (let n = 0; n < 20; n++) await hub.send({ from: id, to: 'bob', data: n });
      }),
    );
    const deliveries = await receive();
    expect(deliveries).toHaveLength(60);
    for (const { id } of senders) {
      const of = deliveries.filter(({ message }) => message.from === id);
      expect(of.map(({ message }) => message.data)).toEqual(Array.from({ length: 20 }, (_, n) => n));
    }
  });
});

describe.each(storages)('a mailbox on %s', (_name, open) => {
  it('takes exactly as many as it may hold, from several meshes at once', async () => {
    const { another, hub, storage, receive } = await postOn(open, { hub: { mailboxLimit: 25 } });
    const hubs = [hub, another().hub, another().hub];
    const send = (n: number) => outcomeOf(hubs[n % 3]!.send({ from: 'ann', to: 'bob', data: n }).then(() => 'sent'));
    const outcomes = await together(80, send);
    expect(outcomes.filter((outcome) => outcome === 'sent')).toHaveLength(25);
    expect(outcomes.filter((outcome) => outcome === 'mailbox_full')).toHaveLength(55);
    expect(await mailOf({ hub }, 'bob')).toHaveLength(25);
    expect(await toldOf(storage)).toHaveLength(25);
    // What is claimed waits no longer.
    const [first] = await receive(10);
    const more = await together(30, send);
    expect(more.filter((outcome) => outcome === 'sent')).toHaveLength(10);
    await first?.nak();
    expect(await outcomeOf(hub.send({ from: 'ann', to: 'bob' }))).toBe('mailbox_full');
  });

  it('says whose it is and how much it holds when it is full', async () => {
    const { send } = await postOn(open, { hub: { mailboxLimit: 1 } });
    await send('first');
    await expect(send('second')).rejects.toMatchObject({
      code: 'mailbox_full',
      message: 'expected fewer than 1 messages waiting for bob, got as many',
      details: { session: 'bob', limit: 1 },
    });
  });

  it.each(['an id', 'a handle'])('has room for 1,000 unless it was said otherwise, for whoever sends by %s', async (by) => {
    const { hub, ann } = await postOn(open);
    const from = by === 'an id' ? 'ann' : ann;
    const send = (n: number) => outcomeOf(hub.send({ from, to: 'bob', subject: 's', body: 'b', data: n }).then(() => 'sent'));
    const outcomes = await together(1005, send);
    expect(outcomes.filter((outcome) => outcome === 'sent')).toHaveLength(1000);
    expect(outcomes.filter((outcome) => outcome === 'mailbox_full')).toHaveLength(5);
  });

  it('tells whoever waits for mail at once, in another mesh too', async () => {
    const { another, clock, send, bob, hub } = await postOn(open);
    const here = hub.inbox(bob).receive({ timeoutMs: 60_000 });
    expect(await isSettled(clock, here)).toBe(false);
    await send('here');
    expect(bodiesOf(await here)).toEqual(['here']);
    const there = another().hub.inbox('bob').receive({ timeoutMs: 60_000 });
    expect(await isSettled(clock, there)).toBe(false);
    await send('there');
    await clock.advance(100);
    expect(bodiesOf(await there)).toEqual(['there']);
  });
});

describe('sending from very many to one', () => {
  it('reads nothing once each pair has written before', async () => {
    const clock = new VirtualClock();
    const seen = counted(new InMemoryStorage({ clock }));
    const { registry, hub } = createMesh({ storage: seen.storage, hub: { mailboxLimit: 10_000 } });
    const senders = Array.from({ length: 1500 }, (_, n) => `sender-${n}`);
    for (const id of ['hub', ...senders]) await quiet(registry, id);
    const round = async (): Promise<number> => {
      seen.take();
      await Promise.all(senders.map((from) => hub.send({ from, to: 'hub' })));
      return seen.take().get;
    };
    expect(await round()).toBeGreaterThan(0);
    expect(await round()).toBeLessThanOrEqual(senders.length + 1);
    expect(await round()).toBe(0);
  });
});

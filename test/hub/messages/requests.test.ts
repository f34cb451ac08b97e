import { describe, expect, it } from 'vitest';
import { createMesh, type Mesh, type MeshError } from '../../../src/index.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { bodiesOf, eventsOf, mailOf, member, only, postOn, statesOf, toldOf } from '../../support/hub/post.ts';
import { isSettled, outcomeOf, passUntil, quiet, refusal } from '../../support/memory/worlds.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('a request on %s', (_name, open) => {
  it('is answered, in its conversation, and both are settled', async () => {
    const { hub, clock, bob, storage } = await postOn(open);
    const asking = hub.request({ from: 'ann', to: 'bob', subject: 'Review?', body: 'pr 1', data: { pr: 1 }, headers: { a: 1 } });
    const delivery = only(await hub.inbox(bob).receive({ timeoutMs: 1000 }));
    expect(delivery.message).toMatchObject({
      type: 'request',
      subject: 'Review?',
      body: 'pr 1',
      data: { pr: 1 },
      headers: { a: 1 },
      expiresAt: clock.now() + 30_000,
    });
    expect(delivery.message).not.toHaveProperty('waiter');
    const { message } = await hub.reply(delivery.message, { from: bob, body: 'fine', data: [1] });
    const answer = await asking;
    expect(answer).toEqual(message);
    expect(answer).toMatchObject({
      from: 'bob',
      to: 'ann',
      type: 'response',
      body: 'fine',
      data: [1],
      replyTo: delivery.message.id,
      threadId: delivery.message.id,
    });
    expect(answer).not.toHaveProperty('waiter');
    expect(answer).not.toHaveProperty('settled');
    expect(await statesOf({ hub })).toEqual({ 'pr 1': 'acked' });
    expect(await statesOf({ hub }, 'ann')).toEqual({ fine: 'acked' });
    expect(await hub.inbox('ann').receive()).toEqual([]);
    const told = await eventsOf(storage);
    expect(told.map(({ name }) => name)).toEqual(['message_sent', 'message_sent', 'message_acked']);
    // Whoever has acked it by hand as well is told that all is well.
    await delivery.ack();
    expect(await toldOf(storage)).toHaveLength(3);
    expect(clock.pending).toBeLessThan(12);
  });

  it('gets the first answer, also where the second is given in its own process', async () => {
    const { hub, clock, storage } = await postOn(open);
    const other = createMesh({ storage });
    const asking = hub.request({ from: 'ann', to: 'bob', body: 'q' });
    await clock.settle();
    const id = (await mailOf({ hub }, 'bob'))[0]?.id as string;
    await other.hub.reply(id, { from: 'bob', body: 'first' });
    await hub.reply(id, { from: 'bob', body: 'second' });
    expect((await asking).body).toBe('first');
  });

  it('gets the answer of who was asked before that of anybody else', async () => {
    const { hub, clock, registry, bob } = await postOn(open);
    const cara = await member(registry, 'cara');
    for (const from of [bob, cara]) await hub.send({ from, to: 'ann' });
    const asking = hub.request({ from: 'ann', to: 'bob', body: 'q' });
    await clock.settle();
    const id = only(await hub.inbox(bob).receive()).message.id;
    const replies = [cara, bob].map((from) => hub.reply(id, { from, body: from.id }));
    await Promise.all(replies);
    expect((await asking).body).toBe('bob');
  });

  it('ends in its own time, whoever else waits', async () => {
    const { hub, clock, ann } = await postOn(open);
    const ended: string[] = [];
    const ask = (timeoutMs: number): Promise<unknown> =>
      hub.request({ from: ann, to: 'bob', timeoutMs }).catch(({ code }: MeshError) => ended.push(`${timeoutMs} ${code}`));
    const asking = [ask(3000), ask(1000), ask(2000)];
    await clock.advance(500);
    asking.push(ask(100));
    await clock.advance(499);
    expect(ended).toEqual(['100 timed_out']);
    await clock.advance(1);
    expect(ended).toEqual(['100 timed_out', '1000 timed_out']);
    await clock.advance(1999);
    expect(ended).toEqual(['100 timed_out', '1000 timed_out', '2000 timed_out']);
    await clock.advance(1);
    expect(ended.at(-1)).toBe('3000 timed_out');
    await Promise.all(asking);
  });

  it('ends in its own time, also when the clock is set while others wait', async () => {
    const { hub, clock, ann } = await postOn(open);
    const ended: string[] = [];
    const ask = (timeoutMs: number): Promise<unknown> =>
      hub.request({ from: ann, to: 'bob', timeoutMs }).catch(({ code }: MeshError) => ended.push(`${timeoutMs} ${code}`));
    const asking = [ask(30_000)];
    await clock.settle();
    clock.set(clock.now() + 20_000);
    asking.push(ask(1000));
    await clock.advance(999);
    expect(ended).toEqual([]);
    await clock.advance(1);
    expect(ended).toEqual(['1000 timed_out']);
    clock.set(clock.now() + 20_000);
    asking.push(ask(500));
    await clock.advance(0);
    expect(ended).toEqual(['1000 timed_out', '30000 timed_out']);
    await clock.advance(500);
    expect(ended.at(-1)).toBe('500 timed_out');
    await Promise.all(asking);
  });

  it('is not answered by what comes late for another', async () => {
    const { hub, clock, ann, bob } = await postOn(open);
    const inbox = hub.inbox(bob);
    const early = hub.request({ from: ann, to: 'bob', timeoutMs: 100 });
    const expectLate = expect(early).rejects.toMatchObject({ code: 'timed_out' });
    await clock.settle();
    const { message } = only(await inbox.receive());
    await clock.advance(100);
    await expectLate;
    const asking = hub.request({ from: ann, to: 'bob', body: 'again' });
    await clock.settle();
    await hub.reply(message, { from: bob, body: 'late' });
    await clock.settle();
    await hub.reply(only(await inbox.receive()).message, { from: bob, body: 'in time' });
    expect((await asking).body).toBe('in time');
  });

  it('hears of the end of each of very many who were asked', async () => {
    const { hub, clock, registry, ann } = await postOn(open);
    const ids = Array.from({ length: 130 }, (_, n) => `member-${n}`);
    const handles = await Promise.all(ids.map((id) => member(registry, id)));
    const asking = ids.map((to) => hub.request({ from: ann, to }));
    await clock.settle();
    for (const handle of handles.slice(5)) {
      const { message } = only(await hub.inbox(handle).receive());
      await hub.reply(message, { from: handle });
    }
    await Promise.all(asking.slice(5));
    const again = hub.request({ from: ann, to: 'member-50' });
    const all = Promise.allSettled([...asking.slice(0, 5), again]);
    await clock.settle();
    for (const handle of [...handles.slice(0, 5), handles[50]]) await handle?.end();
    await clock.settle();
    const codes = (await all).map((one) => one.status === 'rejected' && (one.reason as MeshError).code);
    expect(codes).toEqual(Array(6).fill('not_alive'));
  });

  it('is told apart from that of a mesh that makes the same ids', async () => {
    const clock = new VirtualClock();
    const storage = await open(clock);
    let made = 0;
    const generateId = (prefix: string): string => (prefix === 'waiter' ? 'waiter_same' : `${prefix}_${++made}`);
    const meshes = [1, 2].map(() => createMesh({ storage, closeStorage: false, generateId }));
    const [one, two] = meshes as [Mesh, Mesh];
    const quiet = { heartbeat: 'manual', ttlMs: 300_000 } as const;
    const [ann, eve] = [
      await one.registry.register({ id: 'ann', ...quiet }),
      await two.registry.register({ id: 'eve', ...quiet }),
    ];
    const bob = await one.registry.register({ id: 'bob', ...quiet });
    const asking = [one.hub.request({ from: ann, to: bob, body: 'ann' }), two.hub.request({ from: eve, to: bob, body: 'eve' })];
    const consumer = one.hub.inbox(bob).handle((message) => one.hub.reply(message, { from: bob, body: `to ${message.body}` }));
    const answers = await passUntil(clock, Promise.all(asking));
    expect(answers.map(({ body }) => body)).toEqual(['to ann', 'to eve']);
    await passUntil(clock, consumer.stop());
    for (const mesh of meshes) await passUntil(clock, mesh.close());
  });

  it('gets the answer of anybody', async () => {
    const { hub, clock, registry, bob } = await postOn(open);
    const cara = await member(registry, 'cara');
    const asking = hub.request({ from: 'ann', to: 'bob', body: 'q' });
    await clock.settle();
    const { message } = only(await hub.inbox(bob).receive());
    await hub.reply(message, { from: cara, body: 'by cara' });
    await clock.settle();
    expect((await asking).body).toBe('by cara');
  });

  it.each(['ack, reply', 'reply, ack'])('is settled once by what comes at once: %s', async (order) => {
    const { hub, bob, ann } = await postOn(open);
    const inbox = hub.inbox(bob);
    for (let n = 0; n < 3; n++) {
      await hub.send({ from: ann, to: 'bob' });
      const { message, ack } = only(await inbox.receive());
      const calls = [ack, () => hub.reply(message, { from: bob })];
      if (order === 'reply, ack') calls.reverse();
      await Promise.all(calls.map((call) => call()));
    }
    expect(await inbox.receive()).toEqual([]);
  });

  it.each(['nak', 'term'] as const)('that was answered can not be given back by %s', async (how) => {
    const { hub, bob, ann } = await postOn(open);
    const inbox = hub.inbox(bob);
    await hub.send({ from: ann, to: 'bob' });
    const delivery = only(await inbox.receive());
    await hub.reply(delivery.message, { from: bob });
    await expect(delivery[how]()).rejects.toMatchObject({ code: 'stale_receipt' });
    expect(await inbox.receive()).toEqual([]);
  });

  it('is found by its newest claim, whichever inbox had claims first', async () => {
    const { hub, clock, bob, ann } = await postOn(open);
    const [patient, hasty] = [hub.inbox(bob, { visibilityMs: 60_000 }), hub.inbox(bob, { visibilityMs: 1000 })];
    await hub.send({ from: ann, to: 'bob' });
    await patient.receive();
    const { message } = await hub.send({ from: ann, to: 'bob' });
    const lapsed = only(await hasty.receive());
    await clock.advance(1500);
    const again = only(await patient.receive());
    expect(again.message.id).toBe(message.id);
    await hub.reply(message.id, { from: bob });
    await again.ack();
    await expect(lapsed.ack()).rejects.toMatchObject({ code: 'stale_receipt' });
  });

  it.each(['claimed', 'ready'])('that is %s is settled by the very commit of its answer', async (state) => {
    const { hub, clock, bob, storage } = await postOn(open);
    const asking = hub.request({ from: 'ann', to: 'bob', body: 'q' });
    await clock.settle();
    const id = (await mailOf({ hub }, 'bob'))[0]?.id as string;
    if (state === 'claimed') await hub.inbox(bob).receive();
    await hub.reply(id, { from: bob, body: 'a' });
    await asking;
    const events = await storage.list('events');
    const [sent, acked] = events.slice(-2);
    expect([acked?.value, sent?.value].map((event) => (event as { name: string }).name)).toEqual([
      'message_acked',
      'message_sent',
    ]);
    expect(acked?.revision).toBe(sent?.revision);
    expect(await storage.list('ready/bob')).toEqual([]);
    expect(await storage.list('claimed/bob')).toEqual([]);
    expect((await storage.list('due')).filter(({ key }) => key.includes('/mail/'))).toEqual([]);
  });

  it('is answered from another mesh', async () => {
    const { hub, clock, another } = await postOn(open);
    const there = another();
    const consumer = there.hub.inbox('bob').handle(async (message) => {
      await there.hub.reply(message, { from: 'bob', body: `${message.body} too` });
    });
    const answers = await passUntil(
      clock,
      Promise.all(['a', 'b', 'c'].map((body) => hub.request({ from: 'ann', to: 'bob', body }))),
    );
    expect(answers.map(({ body }) => body)).toEqual(['a too', 'b too', 'c too']);
    await consumer.stop();
  });

  it('that is answered has room even in a mailbox that is full', async () => {
    const { hub, clock, bob } = await postOn(open, { hub: { mailboxLimit: 1 } });
    await hub.send({ from: 'bob', to: 'ann', body: 'first' });
    const asking = hub.request({ from: 'ann', to: 'bob', body: 'q' });
    await clock.settle();
    const { message } = only(await hub.inbox(bob).receive());
    await hub.reply(message, { from: bob, body: 'a' });
    expect((await asking).body).toBe('a');
    await expect(hub.send({ from: 'bob', to: 'ann' })).rejects.toEqual(refusal('mailbox_full'));
  });

  it('settles once when it is answered twice; the second answer is kept in the conversation', async () => {
    const { hub, clock, bob } = await postOn(open);
    const asking = hub.request({ from: 'ann', to: 'bob', body: 'q' });
    await clock.settle();
    const { message } = only(await hub.inbox(bob).receive());
    const answers = await Promise.all([
      hub.reply(message, { from: bob, body: 'first' }),
      hub.reply(message, { from: bob, body: 'second' }),
    ]);
    const ids = answers.map(({ message: { id } }) => id);
    expect(ids[0]).not.toBe(ids[1]);
    expect(ids).toContain((await asking).id);
    expect(bodiesOf(await hub.inbox('ann').receive({ limit: 5 }))).toEqual([]);
    expect((await hub.conversation(message)).map(({ body }) => body)).toEqual(['q', 'first', 'second']);
    expect(await statesOf({ hub }, 'ann')).toEqual({ first: 'acked', second: 'acked' });
  });

  it('times out to the millisecond, and is given to nobody afterwards', async () => {
    const { hub, clock, storage, receive } = await postOn(open, { sweepIntervalMs: 60_000 });
    const asking = hub.request({ from: 'ann', to: 'bob', body: 'q', timeoutMs: 2500 });
    const refused = expect(asking).rejects.toEqual(refusal('timed_out', '2500 ms'));
    await clock.advance(2499);
    expect(await isSettled(clock, asking)).toBe(false);
    await clock.advance(1);
    await refused;
    expect(await statesOf({ hub })).toEqual({ q: 'expired' });
    expect(await receive()).toEqual([]);
    expect((await toldOf(storage)).slice(-1)).toEqual(['expired bob']);
  });

  it('that was answered too late has expired, and the answer is kept', async () => {
    const { hub, clock, bob, receive } = await postOn(open, { sweepIntervalMs: 60_000 });
    const asking = outcomeOf(hub.request({ from: 'ann', to: 'bob', body: 'q', timeoutMs: 2000 }));
    await clock.settle();
    const { message } = only(await receive());
    await clock.advance(2000);
    expect(await asking).toBe('timed_out');
    await hub.reply(message, { from: bob, body: 'late' });
    expect(await statesOf({ hub })).toEqual({ q: 'expired' });
    expect(await statesOf({ hub }, 'ann')).toEqual({ late: 'acked' });
    expect((await hub.conversation(message)).map(({ body }) => body)).toEqual(['q', 'late']);
  });

  it('ends when its caller gives up', async () => {
    const { hub, clock } = await postOn(open);
    const calling = new AbortController();
    const asking = hub.request({ from: 'ann', to: 'bob', body: 'q', signal: calling.signal });
    await clock.settle();
    calling.abort(new Error('enough'));
    await expect(asking).rejects.toMatchObject({ code: 'aborted', cause: new Error('enough') });
    await expect(hub.request({ from: 'ann', to: 'bob', body: 'never', signal: calling.signal })).rejects.toEqual(
      refusal('aborted'),
    );
    expect(Object.keys(await statesOf({ hub }))).toEqual(['q']);
  });

  it.each(['ended', 'killed', 'killed by the deadline', 'taken over', 'lapsed', 'removed'])(
    'fails as soon as its target is %s',
    async (how) => {
      const { hub, clock, registry, another } = await postOn(open);
      const there = another();
      await there.registry.register({ id: 'cara', ttlMs: 20_000, retentionMs: 1000, heartbeat: 'manual' });
      const asking = hub.request({ from: 'ann', to: 'cara', body: 'q', timeoutMs: 200_000 });
      const refused = expect(asking).rejects.toEqual(refusal('not_alive', 'cara'));
      await clock.advance(1000);
      expect(await isSettled(clock, asking)).toBe(false);
      let withinMs = 200;
      if (how === 'ended') await there.registry.end('cara');
      if (how === 'killed') await there.registry.kill('cara', { force: true });
      if (how === 'killed by the deadline') {
        void there.registry.kill('cara', { graceMs: 3000 }).catch(() => {});
        await clock.advance(3000);
        expect(await isSettled(clock, asking)).toBe(false);
        withinMs = 1200;
      }
      if (how === 'taken over') await quiet(there.registry, 'cara');
      if (how === 'lapsed' || how === 'removed') {
        await clock.advance(19_000);
        expect(await isSettled(clock, asking)).toBe(false);
        withinMs = how === 'lapsed' ? 1200 : 5000;
      }
      await clock.advance(withinMs);
      expect(await isSettled(clock, asking)).toBe(true);
      await refused;
      if (how === 'removed') expect(await registry.get('cara')).toBeUndefined();
    },
  );

  it('is answered by a session that is told to stop', async () => {
    const { hub, clock, registry, bob } = await postOn(open);
    const asking = hub.request({ from: 'ann', to: 'bob', body: 'q' });
    await clock.settle();
    const { message } = only(await hub.inbox(bob).receive());
    const killing = registry.kill('bob', { graceMs: 5000 });
    await clock.advance(1000);
    await hub.reply(message, { from: bob, body: 'last' });
    expect((await asking).body).toBe('last');
    await bob.end();
    await killing;
  });

  it('gets the answer that came right before the end of its target', async () => {
    const { hub, clock, another } = await postOn(open);
    const there = another();
    const bob = await quiet(there.registry, 'bob');
    const asking = hub.request({ from: 'ann', to: 'bob', body: 'q' });
    await clock.settle();
    const { message } = only(await there.hub.inbox(bob).receive());
    await there.hub.reply(message, { from: bob, body: 'last' });
    await bob.end();
    await clock.advance(1000);
    expect((await asking).body).toBe('last');
  });

  it('needs a target that is alive, and room', async () => {
    const { hub, clock, registry } = await postOn(open, { hub: { mailboxLimit: 1 } });
    await registry.register({ id: 'off', ttlMs: 1000, heartbeat: 'manual' });
    await clock.advance(1001);
    await quiet(registry, 'over');
    await registry.end('over');
    await expect(hub.request({ from: 'ann', to: 'off' })).rejects.toEqual(refusal('not_alive', 'offline'));
    await expect(hub.request({ from: 'ann', to: 'over' })).rejects.toEqual(refusal('not_alive', 'ended'));
    await expect(hub.request({ from: 'ann', to: 'nobody' })).rejects.toEqual(refusal('not_found'));
    await expect(hub.request({ from: 'nobody', to: 'bob' })).rejects.toEqual(refusal('not_found'));
    await hub.send({ from: 'ann', to: 'bob' });
    await expect(hub.request({ from: 'ann', to: 'bob' })).rejects.toEqual(refusal('mailbox_full'));
  });

  it('ends with its mesh', async () => {
    const { hub, clock, mesh } = await postOn(open);
    const asking = hub.request({ from: 'ann', to: 'bob', body: 'q' });
    const refused = expect(asking).rejects.toEqual(refusal('closed'));
    await clock.settle();
    await mesh.close();
    await refused;
  });
});

describe.each(storages)('a reply on %s', (_name, open) => {
  it('to a message that nobody waits for is queued, and settles what it answers', async () => {
    const { hub, send, receive } = await postOn(open);
    const id = await send('hello');
    const delivery = only(await receive());
    const { message, recipients } = await hub.reply(delivery.message, {
      from: 'bob',
      body: 'hi',
      type: 'sync',
      priority: 'high',
    });
    expect(recipients).toEqual([{ session: 'ann', state: 'alive' }]);
    expect(message).toMatchObject({ to: 'ann', type: 'sync', priority: 'high', replyTo: id, threadId: id });
    expect(await statesOf({ hub })).toEqual({ hello: 'acked' });
    expect(bodiesOf(await hub.inbox('ann').receive())).toEqual(['hi']);
    await delivery.ack();
  });

  it('to a broadcast settles the copy of who replies', async () => {
    const { hub, registry } = await postOn(open);
    await quiet(registry, 'cara');
    const { message } = await hub.broadcast({ from: 'ann', body: 'all' });
    const delivery = only(await hub.inbox('bob').receive());
    await hub.reply(delivery.message, { from: 'bob', body: 'from bob' });
    await hub.reply(message.id, { from: 'cara', body: 'from cara' });
    expect(await statesOf({ hub }, 'bob')).toEqual({ all: 'acked' });
    expect(await statesOf({ hub }, 'cara')).toEqual({ all: 'acked' });
    expect(bodiesOf(await hub.inbox('ann').receive({ limit: 5 }))).toEqual(['from bob', 'from cara']);
    await delivery.ack();
  });

  it("by somebody else settles nothing of the recipient's", async () => {
    const { hub, registry, send } = await postOn(open);
    await quiet(registry, 'cara');
    const id = await send('hello');
    await hub.reply(id, { from: 'cara', body: 'I may?' });
    expect(await statesOf({ hub })).toEqual({ hello: 'ready' });
  });

  it('is refused when its message or the sender of that is gone, and settles nothing then', async () => {
    const { hub, registry, send } = await postOn(open, { hub: { mailboxLimit: 1 } });
    const id = await send('hello');
    await expect(hub.reply('bob!00000000000000000000', { from: 'bob' })).rejects.toEqual(refusal('not_found'));
    await hub.send({ from: 'bob', to: 'ann', body: 'first' });
    await expect(hub.reply(id, { from: 'bob' })).rejects.toEqual(refusal('mailbox_full'));
    await registry.end('ann');
    await expect(hub.reply(id, { from: 'bob' })).rejects.toEqual(refusal('not_alive', 'ended'));
    expect(await statesOf({ hub })).toEqual({ hello: 'ready' });
  });

  it('counts once with an idempotency key', async () => {
    const { hub, send, mesh } = await postOn(open);
    const id = await send('hello');
    const sent = await Promise.all([1, 2, 3].map(() => hub.reply(id, { from: 'bob', body: 'hi', idempotencyKey: 'k' })));
    expect(new Set(sent.map(({ message }) => message.id)).size).toBe(1);
    expect(await mailOf(mesh, 'ann')).toHaveLength(1);
    await expect(hub.reply(id, { from: 'bob', body: 'ho', idempotencyKey: 'k' })).rejects.toEqual(refusal('already_exists'));
  });

  it('meets the same reply in the mailbox of whoever took the message up meanwhile', async () => {
    const { hub, clock, send, receive, another } = await postOn(open);
    await send('hello');
    const lapsed = only(await receive());
    await clock.advance(30_000);
    const current = only(await another().hub.inbox('bob').receive());
    await hub.reply(lapsed.message, { from: 'bob', body: 'hi' });
    expect(await statesOf({ hub })).toEqual({ hello: 'acked' });
    await expect(current.ack()).rejects.toEqual(refusal('stale_receipt'));
  });
});

describe.each(storages)('a ping on %s', (_name, open) => {
  it('is answered by whoever holds the session, without code of its user', async () => {
    const { hub, clock, registry, mesh, storage } = await postOn(open);
    expect(await hub.ping({ from: 'ann', to: 'bob' })).toEqual({ reachable: true, roundTripMs: 0 });
    expect(await mailOf(mesh, 'bob')).toEqual([]);
    const before = await registry.get('bob');
    await clock.advance(5000);
    await hub.ping({ from: 'ann', to: 'bob' });
    // It keeps nobody alive.
    expect(await registry.get('bob')).toEqual(before);
    expect(await storage.list('pings/bob')).toEqual([]);
    expect((await eventsOf(storage)).slice(0, 2)).toEqual([
      { name: 'ping_sent', ping: expect.any(String), from: 'ann', session: 'bob' },
      { name: 'ping_answered', ping: expect.any(String), session: 'bob' },
    ]);
  });

  it('is answered from another mesh, and by one of two that think they hold it', async () => {
    const { hub, clock, another, bob, storage } = await postOn(open);
    const there = another();
    await quiet(there.registry, 'cara');
    expect(await passUntil(clock, hub.ping({ from: 'ann', to: 'cara' }), 10)).toMatchObject({ reachable: true });
    // Taken over: the old owner does not answer any more.
    await quiet(there.registry, 'bob');
    expect(await passUntil(clock, hub.ping({ from: 'ann', to: 'bob' }), 10)).toMatchObject({ reachable: true });
    expect(bob.signal.aborted).toBe(true);
    expect((await eventsOf(storage)).filter(({ name }) => name === 'ping_answered')).toHaveLength(2);
  });

  it('says why nobody answers', async () => {
    const { hub, clock, registry, another, storage } = await postOn(open);
    await registry.register({ id: 'off', ttlMs: 1000, heartbeat: 'manual' });
    await clock.advance(1001);
    await quiet(registry, 'over');
    await registry.end('over');
    await quiet(registry, 'dead');
    await registry.kill('dead', { force: true });
    expect(await hub.ping({ from: 'ann', to: 'off' })).toEqual({ reachable: false, reason: 'offline' });
    expect(await hub.ping({ from: 'ann', to: 'over' })).toEqual({ reachable: false, reason: 'ended' });
    expect(await hub.ping({ from: 'ann', to: 'dead' })).toEqual({ reachable: false, reason: 'killed' });
    expect(await hub.ping({ from: 'ann', to: 'nobody' })).toEqual({ reachable: false, reason: 'not_found' });
    await expect(hub.ping({ from: 'nobody', to: 'ann' })).rejects.toEqual(refusal('not_found'));
    await expect(hub.ping({ from: 'over', to: 'ann' })).rejects.toEqual(refusal('not_alive'));
    expect((await toldOf(storage)).filter((name) => name.startsWith('ping'))).toEqual([]);
    // Its process is gone, and its lease is not.
    const there = another();
    await quiet(there.registry, 'hung');
    const hub2 = another().hub;
    await there.hub.close();
    const pinging = hub2.ping({ from: 'ann', to: 'hung', timeoutMs: 3000 });
    await clock.advance(2999);
    expect(await isSettled(clock, pinging)).toBe(false);
    await clock.advance(1);
    expect(await pinging).toEqual({ reachable: false, reason: 'timed_out' });
    expect(await storage.list('pings/hung')).toEqual([]);
  });

  it('is answered while a session stops, and given up with its signal', async () => {
    const { hub, clock, registry, another } = await postOn(open);
    void registry.kill('bob', { graceMs: 10_000 }).catch(() => {});
    await clock.settle();
    expect(await hub.ping({ from: 'ann', to: 'bob' })).toMatchObject({ reachable: true });
    const there = another();
    await quiet(there.registry, 'hung');
    await there.hub.close();
    const calling = new AbortController();
    const pinging = hub.ping({ from: 'ann', to: 'hung', signal: calling.signal });
    await clock.settle();
    calling.abort();
    await expect(pinging).rejects.toEqual(refusal('aborted'));
    await clock.advance(10_000);
  });

  it('to a session that lives on heartbeats of its host is not answered', async () => {
    const { hub, clock, registry, mesh, another } = await postOn(open);
    const other = another();
    await member(registry, 'cli');
    await mesh.close();
    await quiet(other.registry, 'ann');
    await other.registry.heartbeat('cli').catch(() => {});
    const pinging = other.hub.ping({ from: 'ann', to: 'cli', timeoutMs: 100 });
    await clock.advance(200);
    expect(await pinging).toMatchObject({ reachable: false });
    expect(hub).toBeDefined();
  });
});

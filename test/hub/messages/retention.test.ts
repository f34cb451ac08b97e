import { describe, expect, it } from 'vitest';
import { createMesh, InMemoryStorage } from '../../../src/index.ts';
import { sleep } from '../../../src/kernel/clock.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { bodiesOf, eventsOf, leftOf, mailOf, member, only, type Post, postOn, statesOf, toldOf } from '../../support/hub/post.ts';
import { quiet, refusal, together } from '../../support/memory/worlds.ts';
import { wrapped } from '../../support/registry-kill/storages.ts';
import { storages } from '../../support/storages.ts';
import { passUntil } from '../../support/timing.ts';

const RULES = { hub: { retainMs: 60_000 } };

/** Sessions outlive what their mail is kept for. */
async function lasting(post: Post, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 100_000) {
    await post.registry.heartbeat('ann');
    await post.registry.heartbeat('bob');
    await post.clock.advance(Math.min(100_000, ms - passed));
  }
}

describe.each(storages)('a message with a ttl on %s', (_name, open) => {
  it('is given until its expiry, and not at that millisecond', async () => {
    const { clock, send, receive, hub } = await postOn(open, { sweepIntervalMs: 3_600_000 });
    await send('a', { ttlMs: 1000 });
    await send('b', { ttlMs: 1000 });
    await clock.advance(999);
    expect(bodiesOf(await receive(1))).toEqual(['a']);
    await clock.advance(1);
    expect(await receive()).toEqual([]);
    expect(await statesOf({ hub })).toEqual({ a: 'expired', b: 'expired' });
  });

  it('is told once to have expired, soon after, by one of several meshes', async () => {
    const { clock, send, storage, another } = await postOn(open);
    another();
    another();
    const id = await send('a', { ttlMs: 1500 });
    await clock.advance(2500);
    expect((await eventsOf(storage)).slice(1)).toEqual([{ name: 'message_expired', session: 'bob', messages: [id] }]);
    expect(await storage.list('ready/bob')).toEqual([]);
    await clock.advance(10_000);
    expect(await toldOf(storage)).toHaveLength(2);
  });

  it('cannot be settled any more by whoever had claimed it, and has expired', async () => {
    const { clock, send, receive, storage, hub } = await postOn(open, { sweepIntervalMs: 3_600_000 });
    for (const body of ['ack', 'nak', 'delay', 'term', 'late']) await send(body, { ttlMs: 2000 });
    const [ack, nak, delay, term, late] = await receive();
    await clock.advance(1999);
    await late?.ack();
    await clock.advance(1);
    for (const act of [() => ack?.ack(), () => nak?.nak(), () => delay?.nak({ delayMs: 10 }), () => term?.term()]) {
      await expect(act()).rejects.toEqual(refusal('stale_receipt', 'expired'));
    }
    expect(await statesOf({ hub })).toEqual({ ack: 'expired', nak: 'expired', delay: 'expired', term: 'expired', late: 'acked' });
    const expired = (await eventsOf(storage)).filter(({ name }) => name === 'message_expired');
    expect(expired.flatMap(({ messages }) => messages)).toHaveLength(4);
    expect(await storage.list('claimed/bob')).toEqual([]);
  });

  it('expires while it is claimed, or waits for its delay', async () => {
    const { clock, send, receive, storage, hub } = await postOn(open);
    for (const body of ['claimed', 'delayed']) await send(body, { ttlMs: 2000 });
    const [claimed, delayed] = await receive();
    await delayed?.nak({ delayMs: 60_000 });
    await clock.advance(3100);
    expect((await toldOf(storage)).filter((name) => name.startsWith('expired'))).toHaveLength(2);
    expect(await storage.list('claimed/bob')).toEqual([]);
    await expect(claimed?.ack()).rejects.toEqual(refusal('stale_receipt'));
    expect(await statesOf({ hub })).toEqual({ claimed: 'expired', delayed: 'expired' });
  });

  it('that is to be given up has expired, if it is late', async () => {
    const { clock, send, receive, hub } = await postOn(open, { hub: { maxDeliveries: 1 }, sweepIntervalMs: 3_600_000 });
    await send('a', { ttlMs: 30_000 });
    await receive();
    await clock.advance(30_000);
    expect(await receive()).toEqual([]);
    expect(await statesOf({ hub })).toEqual({ a: 'expired' });
    expect(await hub.deadLetters()).toEqual({ items: [] });
  });

  it('to many expires for each who has not settled it', async () => {
    const { hub, clock, registry, storage } = await postOn(open);
    await quiet(registry, 'cara');
    const { message } = await hub.broadcast({ from: 'ann', body: 'all', ttlMs: 2000 });
    await only(await hub.inbox('cara').receive()).ack();
    await clock.advance(3000);
    expect(await statesOf({ hub }, 'bob')).toEqual({ all: 'expired' });
    expect(await statesOf({ hub }, 'cara')).toEqual({ all: 'acked' });
    expect((await eventsOf(storage)).slice(-1)).toEqual([{ name: 'message_expired', session: 'bob', messages: [message.id] }]);
    expect((await storage.list('due')).filter(({ key }) => key.includes('/mail/'))).toEqual([]);
  });
});

describe.each(storages)('mail on %s', (_name, open) => {
  it('is kept for as long as it is to be, and then removed; what nobody settled is purged', async () => {
    const post = await postOn(open, RULES);
    const { hub, clock, send, receive, storage } = post;
    const acked = await send('acked');
    const dead = await send('dead');
    const claimed = await send('claimed');
    const [one, two, three] = await receive();
    await one?.ack();
    await two?.term();
    await three?.extend(3_600_000);
    const ready = await send('ready');
    await clock.advance(59_999);
    expect(Object.keys(await statesOf({ hub }))).toHaveLength(4);
    expect(await hub.getMessage(acked)).toBeDefined();
    await clock.advance(1001);
    for (const id of [acked, dead, claimed, ready]) expect(await hub.getMessage(id)).toBeUndefined();
    expect(await statesOf({ hub })).toEqual({});
    expect(await hub.deadLetters()).toEqual({ items: [] });
    const purged = (await eventsOf(storage)).filter(({ name }) => name === 'message_purged');
    expect(purged.flatMap(({ messages }) => messages as string[]).sort()).toEqual([claimed, ready].sort());
    await expect(three?.ack()).rejects.toEqual(refusal('stale_receipt'));
    await expect(hub.conversation(acked)).rejects.toEqual(refusal('not_found'));
    await expect(hub.redrive(dead)).rejects.toEqual(refusal('not_found'));
  });

  it('that is removed late has expired, where its expiry came first', async () => {
    const post = await postOn(open, { hub: { retainMs: 5000 }, sweepIntervalMs: 3_600_000 });
    const { clock, send, storage, registry } = post;
    await send('late', { ttlMs: 1000 });
    await send('one');
    await member(registry, 'host', { ttlMs: 30 * 86_400_000 });
    await clock.advance(3_600_000 + 1000);
    const told = (await toldOf(storage)).filter((name) => /expired|purged/.test(name));
    expect(told.sort()).toEqual(['expired bob', 'purged bob']);
  });

  it('to many that nobody settled is purged under its own id', async () => {
    const post = await postOn(open, RULES);
    const { hub, clock, storage, registry } = post;
    await quiet(registry, 'cara');
    const { message } = await hub.broadcast({ from: 'ann', body: 'all' });
    await hub.inbox('cara').receive();
    await clock.advance(62_000);
    const purged = (await eventsOf(storage)).filter(({ name }) => name === 'message_purged');
    expect(purged).toEqual([
      { name: 'message_purged', session: expect.any(String), messages: [message.id] },
      { name: 'message_purged', session: expect.any(String), messages: [message.id] },
    ]);
    expect(await hub.getMessage(message.id)).toBeUndefined();
  });

  it('of each age is removed in its time', async () => {
    const post = await postOn(open, RULES);
    const { hub, clock, send, receive } = post;
    for (let n = 0; n < 6; n++) {
      await send(`m${n}`);
      await clock.advance(10_000);
    }
    await Promise.all((await receive()).map((delivery) => delivery.ack()));
    for (let n = 1; n < 6; n++) {
      await clock.advance(1001);
      expect(Object.keys(await statesOf({ hub }))).toEqual(Array.from({ length: 6 - n }, (_, k) => `m${k + n}`));
      await clock.advance(8999);
    }
  });

  it('leaves nothing in the store once all of it is removed and its sessions are gone', async () => {
    const post = await postOn(open, { hub: { retainMs: 60_000, maxDeliveries: 1 } });
    const { hub, clock, send, receive, registry, ann, bob } = post;
    await registry.end('ann');
    await registry.end('bob');
    const retention = { retentionMs: 1000, ttlMs: 200_000 };
    await member(registry, 'ann', retention);
    await member(registry, 'bob', retention);
    expect([ann.id, bob.id]).toEqual(['ann', 'bob']);
    const inbox = hub.inbox('bob');
    for (const body of ['acked', 'dead', 'purged', 'ready']) await send(body, { threadId: 'talk', idempotencyKey: body });
    await send('expired', { ttlMs: 1000 });
    const [first, second, third] = await inbox.receive({ limit: 3 });
    await first?.ack();
    await second?.nak();
    await hub.reply(third!.message, { from: 'bob', body: 'reply' });
    await hub.broadcast({ from: 'bob', body: 'all', threadId: 'talk', ttlMs: 5000 });
    await send('purged');
    await hub.purge('bob', { types: ['notification'] });
    const asking = hub.request({ from: 'ann', to: 'bob', body: 'q', threadId: 'talk' });
    await clock.settle();
    await hub.reply(only(await inbox.receive()).message, { from: 'bob', body: 'a' });
    await asking;
    await hub.ping({ from: 'ann', to: 'bob' });
    await together(250, (n) => send(`m${n}`, { ...(n % 2 === 0 && { ttlMs: 3_600_000, threadId: 'talk' }) }));
    await inbox.receive({ limit: 100 });
    await receive().catch(() => {});
    await clock.advance(62_000);
    expect(await mailOf(post.mesh, 'bob')).toEqual([]);
    expect(await mailOf(post.mesh, 'ann')).toEqual([]);
    // The markers of those who are there, who has talked to whom, and for a day the idempotency keys.
    expect(Object.keys(await leftOf(post)).sort()).toEqual(['due', 'mailboxes', 'sent-once/ann', 'talks']);
    expect((await registry.topology()).edges).toHaveLength(2);
    await registry.end('ann');
    await registry.end('bob');
    await clock.advance(130_000);
    clock.set(clock.now() + 86_400_000);
    await clock.advance(1000);
    // What follows the log of broadcasts stays.
    expect(await leftOf(post)).toEqual({ due: [expect.stringMatching(/\/mailbox\/\*$/)], mailboxes: ['*'] });
  });

  it('of thousands is removed in parts, while more come', async () => {
    const post = await postOn(open, RULES);
    const { hub, clock, send, receive, storage } = post;
    for (let round = 0; round < 3; round++) {
      await together(900, () => send('old'));
      await Promise.all((await receive()).map((delivery) => delivery.ack()));
    }
    await clock.advance(60_000);
    await send('new');
    await clock.advance(5000);
    expect((await mailOf({ hub }, 'bob')).map(({ body }) => body)).toEqual(['new']);
    expect((await toldOf(storage)).filter((name) => name.startsWith('purged'))).toEqual([]);
  });

  it('goes on working after it was once empty for long, claims and successors too', async () => {
    const post = await postOn(open, RULES);
    const { hub, send, another } = post;
    const inbox = hub.inbox('bob');
    const mine = hub.inbox(post.bob);
    await send('first');
    await only(await mine.receive()).ack();
    await lasting(post, 300_000);
    expect(await mailOf({ hub }, 'bob')).toEqual([]);
    await send('second');
    only(await mine.receive());
    const there = another();
    const next = await quiet(there.registry, 'bob');
    expect(bodiesOf(await there.hub.inbox(next).receive())).toEqual(['second']);
    expect(await inbox.receive()).toEqual([]);
    await lasting({ ...post, registry: there.registry }, 100_000);
    expect(await mailOf({ hub }, 'bob')).toEqual([]);
  });
});

describe.each(storages)('events of messages on %s', (_name, open) => {
  it('are the same in two meshes, in one order, and replayed', async () => {
    const { hub, clock, mesh, another, send, receive, registry } = await postOn(open, { hub: { maxDeliveries: 2 } });
    const there = another();
    const heard: string[][] = [[], []];
    [mesh, there].forEach((one, n) => one.on('*', (event) => heard[n]?.push(JSON.stringify(event))));
    const hubHeard: string[] = [];
    there.hub.on('*', ({ name }) => hubHeard.push(name));
    await quiet(registry, 'cara');
    const id = await send('a');
    await send('b', { ttlMs: 1000 });
    await hub.broadcast({ from: 'ann', body: 'all' });
    const [a] = await receive(1);
    await a?.nak();
    const [again] = await receive(1);
    await again?.nak();
    await hub.redrive(id);
    await there.hub.purge('cara');
    await clock.advance(2500);
    await Promise.all((await receive()).map((delivery) => delivery.ack()));
    await hub.ping({ from: 'ann', to: 'bob' });
    await clock.advance(200);
    await Promise.all([mesh.settled(), there.settled()]);
    expect(heard[0]).toEqual(heard[1]);
    const names = [
      'message_sent',
      'message_sent',
      'message_sent',
      'message_released',
      'message_dead',
      'message_redriven',
      'message_purged',
      'message_expired',
      'message_acked',
      'ping_sent',
      'ping_answered',
    ];
    expect(hubHeard).toEqual(names);
    const replayed: string[] = [];
    const first = JSON.parse(heard[0]?.[0] ?? '') as { cursor: string };
    for await (const event of there.events({ after: first.cursor })) {
      replayed.push(JSON.stringify(event));
      if (event.name === 'ping_answered') break;
    }
    expect(replayed).toEqual(heard[0]?.slice(1));
    // Ids only.
    expect(heard[0]?.some((event) => event.includes('"all"'))).toBe(false);
  });

  it('that settle many at once are one', async () => {
    const { send, receive, storage } = await postOn(open);
    await together(250, (n) => send(`m${n}`));
    await Promise.all((await receive()).map((delivery) => delivery.ack()));
    const acked = (await eventsOf(storage)).filter(({ name }) => name === 'message_acked');
    expect(acked.map(({ messages }) => (messages as string[]).length)).toEqual([200, 50]);
  });
});

it('a copy that outlives its message for a moment is told to be purged by the name of the message', async () => {
  const clock = new VirtualClock();
  const inner = new InMemoryStorage({ clock });
  // The removal of the copies takes long.
  const storage = wrapped(inner, async ({ commit }, run) => {
    if (commit?.deletes?.some(({ partition }) => partition === 'mail/bob')) await sleep(clock, 500);
    return run();
  });
  const mesh = createMesh({ storage, ...RULES });
  for (const id of ['ann', 'bob']) await mesh.registry.register({ id, ttlMs: 3_600_000, heartbeat: 'manual' });
  const { message } = await passUntil(clock, mesh.hub.broadcast({ from: 'ann', body: 'x' }));
  await clock.advance(60_000);
  for (let n = 0; n < 30; n++) {
    await passUntil(clock, mesh.hub.inbox('bob').receive());
    await clock.advance(100);
  }
  const events = (await inner.list('events')).map(({ value }) => value as unknown as { name: string; messages?: string[] });
  const purged = events.filter(({ name }) => name === 'message_purged').flatMap(({ messages }) => messages);
  expect(purged).toEqual([message.id]);
  await passUntil(clock, mesh.close());
});

import { describe, expect, it } from 'vitest';
import { bodiesOf, eventsOf, mailOf, only, postOn, statesOf, toldOf } from '../../support/hub/post.ts';
import { hooked, once } from '../../support/memory/observed.ts';
import { outcomeOf, quiet, refusal, together } from '../../support/memory/worlds.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('a message that nobody can handle on %s', (_name, open) => {
  it('is dead after as many deliveries as there may be, with their number and the last error', async () => {
    const { hub, clock, storage, send, receive } = await postOn(open, { hub: { maxDeliveries: 3 } });
    const id = await send('poison');
    await only(await receive()).nak({ reason: 'first' });
    await clock.advance(1);
    // Lost, not given back: it counts all the same, and the last error stays.
    expect(only(await receive()).attempt).toBe(2);
    await clock.advance(30_000);
    const last = only(await receive());
    expect(last.attempt).toBe(3);
    await last.nak({ delayMs: 60_000, reason: 'third' });
    expect(await statesOf({ hub })).toEqual({ poison: 'dead' });
    const { items } = await hub.deadLetters({ session: 'bob' });
    expect(items).toEqual([
      {
        message: await hub.getMessage(id),
        session: 'bob',
        reason: 'max_deliveries',
        deliveries: 3,
        error: 'third',
        at: clock.now(),
      },
    ]);
    expect((await eventsOf(storage)).slice(-1)).toEqual([
      { name: 'message_dead', session: 'bob', messages: [id], reason: 'max_deliveries' },
    ]);
    await clock.advance(120_000);
    expect(await receive()).toEqual([]);
  });

  it('is dead at the lapse of its last claim, keeping the error of the one before', async () => {
    const { hub, clock, send, receive } = await postOn(open, { hub: { maxDeliveries: 2 } });
    await send('poison');
    await only(await receive()).nak({ reason: 'boom' });
    await receive();
    await clock.advance(29_999);
    expect(await receive()).toEqual([]);
    expect(await statesOf({ hub })).toEqual({ poison: 'claimed' });
    await clock.advance(1);
    expect(await receive()).toEqual([]);
    expect(await statesOf({ hub })).toEqual({ poison: 'dead' });
    expect((await hub.deadLetters()).items[0]).toMatchObject({ deliveries: 2, error: 'boom' });
  });

  it('leaves its mailbox and enters the dead letters in one commit', async () => {
    const { storage, another, send, clock } = await postOn(open, { hub: { maxDeliveries: 1 } });
    const commits: string[][] = [];
    const view = hooked(storage, {
      commit: ({ deletes = [], puts = [] }) => {
        commits.push([...deletes, ...puts].map(({ partition }) => partition).sort());
      },
    });
    const there = another(view);
    await send('naked');
    await only(await there.hub.inbox('bob').receive()).nak();
    await send('lapsed');
    const inbox = there.hub.inbox('bob');
    await inbox.receive();
    await clock.advance(30_000);
    await inbox.receive();
    const dying = commits.filter((partitions) => partitions.includes('dead'));
    expect(dying).toEqual([
      ['claimed/bob', 'dead', 'events'],
      ['claimed/bob', 'dead', 'events'],
    ]);
  });

  it('does no harm to its neighbours', async () => {
    const { hub, bob, clock, send } = await postOn(open);
    await together(10, (n) => send(n === 4 ? 'poison' : `m${n}`));
    const attempts = new Map<string, number>();
    const consumer = hub.inbox(bob).handle((message, { attempt }) => {
      attempts.set(message.body as string, attempt);
      if (message.body === 'poison') throw new Error('cannot be digested');
    });
    await clock.advance(1000);
    const states = await statesOf({ hub });
    expect(states).toEqual(
      Object.fromEntries(Array.from({ length: 10 }, (_, n) => (n === 4 ? ['poison', 'dead'] : [`m${n}`, 'acked']))),
    );
    expect(attempts.get('poison')).toBe(10);
    expect([...attempts.values()].filter((attempt) => attempt === 1)).toHaveLength(9);
    expect((await hub.deadLetters()).items).toMatchObject([{ deliveries: 10, error: 'cannot be digested' }]);
    await consumer.stop();
  });
});

describe.each(storages)('dead letters on %s', (_name, open) => {
  it('are listed in pages, of one session or of all', async () => {
    const { hub, registry, receive, send } = await postOn(open);
    await quiet(registry, 'bob2');
    await together(5, (n) => send(`b${n}`));
    await together(3, (n) => hub.send({ from: 'ann', to: 'bob2', body: `c${n}` }));
    await Promise.all((await receive()).map((delivery) => delivery.term()));
    await Promise.all((await hub.inbox('bob2').receive({ limit: 9 })).map((delivery) => delivery.term()));
    const listed: (string | undefined)[] = [];
    let after: string | undefined;
    for (let pages = 0; pages < 4; pages++) {
      const page = await hub.deadLetters({ limit: 2, ...(after && { after }) });
      expect(page.items).toHaveLength(2);
      listed.push(...page.items.map(({ message }) => message.body));
      after = page.next;
    }
    expect(after).toBeUndefined();
    expect(listed).toEqual(['b0', 'b1', 'b2', 'b3', 'b4', 'c0', 'c1', 'c2']);
    expect((await hub.deadLetters({ session: 'bob' })).items).toHaveLength(5);
    expect((await hub.deadLetters({ session: 'bob2' })).items.map(({ session }) => session)).toEqual(['bob2', 'bob2', 'bob2']);
    expect(await hub.deadLetters({ session: 'ann' })).toEqual({ items: [] });
    expect((await hub.stats()).messages).toMatchObject({ ready: 0, claimed: 0, dead: 8 });
  });

  it('come back on request, as if they had never been delivered', async () => {
    const { hub, storage, receive, send } = await postOn(open);
    const id = await send('one', { priority: 'high' });
    await send('two');
    await only(await receive(1)).term('no');
    await hub.redrive(id);
    expect(await statesOf({ hub })).toEqual({ one: 'ready', two: 'ready' });
    expect((await hub.deadLetters()).items).toEqual([]);
    const [again] = await receive();
    expect(again?.message.body).toBe('one');
    expect(again?.attempt).toBe(1);
    await again?.ack();
    expect(await toldOf(storage)).toEqual(['sent bob', 'sent bob', 'dead bob terminated', 'redriven bob', 'acked bob']);
    await expect(hub.redrive(id)).rejects.toEqual(refusal('not_found'));
    await expect(hub.redrive('bob!00000000000000000000')).rejects.toEqual(refusal('not_found'));
  });

  it('come back once, whoever asks at the same time', async () => {
    const { hub, another, receive, send, storage } = await postOn(open);
    const id = await send('one');
    await only(await receive()).term();
    const hubs = [hub, another().hub];
    const outcomes = await together(8, (n) => outcomeOf(hubs[n % 2]!.redrive(id).then(() => 'done')));
    expect(outcomes.filter((outcome) => outcome === 'done')).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === 'not_found')).toHaveLength(7);
    expect((await toldOf(storage)).filter((name) => name === 'redriven bob')).toHaveLength(1);
    expect(await receive()).toHaveLength(1);
  });

  it('wake whoever waits when they come back', async () => {
    const { hub, clock, another, receive, send } = await postOn(open);
    const id = await send('one');
    await only(await receive()).term();
    const waiting = another().hub.inbox('bob').receive({ timeoutMs: 60_000 });
    await clock.advance(1000);
    await hub.redrive(id);
    await clock.advance(200);
    expect(bodiesOf(await waiting)).toEqual(['one']);
  });

  it('do not come back to a session that is over, nor into a mailbox that is full', async () => {
    const { hub, registry, clock, receive, send } = await postOn(open, { hub: { mailboxLimit: 2 } });
    const id = await send('one');
    await only(await receive()).term();
    await send('two');
    await send('three');
    await expect(hub.redrive(id)).rejects.toEqual(refusal('mailbox_full'));
    expect(await statesOf({ hub })).toEqual({ one: 'dead', two: 'ready', three: 'ready' });
    await registry.end('bob');
    await expect(hub.redrive(id)).rejects.toEqual(refusal('not_alive', 'ended'));
    await clock.advance(1000);
    expect(await statesOf({ hub })).toEqual({ one: 'dead', two: 'dead', three: 'dead' });
  });

  it('of a message to many come back one by one', async () => {
    const { hub, registry } = await postOn(open);
    await quiet(registry, 'cara');
    const { message } = await hub.broadcast({ from: 'ann', body: 'all' });
    for (const session of ['bob', 'cara']) await only(await hub.inbox(session).receive()).term();
    expect((await hub.deadLetters()).items.map(({ session, message: { id } }) => [session, id])).toEqual([
      ['bob', message.id],
      ['cara', message.id],
    ]);
    await expect(hub.redrive(message)).rejects.toEqual(refusal('invalid_input', 'session'));
    await hub.redrive(message, { session: 'cara' });
    expect(await hub.inbox('bob').receive()).toEqual([]);
    expect(only(await hub.inbox('cara').receive()).message).toEqual(message);
    await expect(hub.redrive(message, { session: 'ann' })).rejects.toEqual(refusal('not_found'));
  });

  it('that have expired meanwhile do not come back; those that come back in time still expire', async () => {
    const { hub, clock, receive, send, storage } = await postOn(open);
    const early = await send('early', { ttlMs: 10_000 });
    const late = await send('late', { ttlMs: 5000 });
    await Promise.all((await receive()).map((delivery) => delivery.term()));
    await clock.advance(5000);
    await expect(hub.redrive(late)).rejects.toEqual(refusal('conflict', 'expired'));
    await hub.redrive(early);
    expect(await statesOf({ hub })).toEqual({ early: 'ready', late: 'dead' });
    await clock.advance(6000);
    expect(await statesOf({ hub })).toEqual({ early: 'expired', late: 'dead' });
    expect((await toldOf(storage)).slice(-1)).toEqual(['expired bob']);
    expect(await storage.list('ready/bob')).toEqual([]);
  });
});

describe.each(storages)('mail that waits on %s', (_name, open) => {
  it.each(['ended', 'killed', 'killed by the deadline', 'removed'])(
    'goes to the dead letters when its session is %s',
    async (how) => {
      const { hub, registry, clock, another, storage } = await postOn(open);
      another();
      const cara = await registry.register({ id: 'cara', ttlMs: 60_000, retentionMs: 120_000, heartbeat: 'manual' });
      await together(3, (n) => hub.send({ from: 'ann', to: 'cara', body: `m${n}` }));
      const { message } = await hub.broadcast({ from: 'ann', body: 'all' });
      const [claimed, acked] = await hub.inbox(cara).receive({ limit: 2 });
      await acked?.ack();
      await registry.heartbeat('ann');
      if (how === 'ended') await registry.end('cara');
      if (how === 'killed') await registry.kill('cara', { force: true });
      if (how === 'killed by the deadline') {
        const killing = registry.kill('cara', { graceMs: 2000 });
        await clock.advance(2001);
        await killing;
      }
      if (how === 'removed') {
        await clock.advance(170_000);
        await registry.heartbeat('ann');
        await registry.heartbeat('bob');
        await clock.advance(12_000);
        expect(await registry.get('cara')).toBeUndefined();
      }
      await clock.advance(1000);
      expect(await statesOf({ hub }, 'cara')).toEqual({ m0: 'dead', m1: 'acked', m2: 'dead', all: 'dead' });
      const { items } = await hub.deadLetters({ session: 'cara' });
      expect(items.map(({ reason, message: { body } }) => [body, reason])).toEqual([
        ['m0', 'session_over'],
        ['m2', 'session_over'],
        ['all', 'session_over'],
      ]);
      const dead = (await eventsOf(storage)).filter(({ name }) => name === 'message_dead');
      expect(dead.flatMap(({ messages }) => messages as string[]).sort()).toEqual(items.map(({ message: { id } }) => id).sort());
      expect(items[2]?.message.id).toBe(message.id);
      await expect(claimed?.ack()).rejects.toThrow();
      expect(await mailOf({ hub }, 'cara')).toHaveLength(4);
    },
  );

  it.each(['ended', 'killed', 'removed'])('is not for the next owner of an id that was %s', async (how) => {
    const { hub, registry, clock } = await postOn(open);
    await registry.register({ id: 'cara', ttlMs: 1000, retentionMs: 10_000, heartbeat: 'manual' });
    await hub.send({ from: 'ann', to: 'cara', body: 'old' });
    if (how === 'ended') await registry.end('cara');
    if (how === 'killed') await registry.kill('cara', { force: true });
    // Removed, and a sweep later.
    if (how === 'removed') await clock.advance(13_000);
    expect((await registry.get('cara'))?.state).toBe(how === 'removed' ? undefined : how);
    const next = await registry.register({ id: 'cara', takeover: true, heartbeat: 'manual' });
    const inbox = hub.inbox(next);
    expect(bodiesOf(await inbox.receive())).toEqual([]);
    await hub.send({ from: 'ann', to: 'cara', body: 'new' });
    expect(bodiesOf(await inbox.receive({ limit: 5 }))).toEqual(['new']);
    await clock.advance(2000);
    expect(await statesOf({ hub }, 'cara')).toEqual({ old: 'dead', new: 'claimed' });
  });

  it('is not for whoever takes the id as soon as the old mail is dead', async () => {
    const { hub, registry, clock, seen, another } = await postOn(open, { sweepIntervalMs: 3_600_000 });
    await registry.register({ id: 'cara', heartbeat: 'manual' });
    await hub.send({ from: 'ann', to: 'cara', body: 'old' });
    const successor = once(async () => {
      await registry.register({ id: 'cara', heartbeat: 'manual', takeover: true });
      await hub.send({ from: 'ann', to: 'cara', body: 'new' });
    });
    const slow = hooked(seen.storage, {
      async list(partition) {
        if (partition === 'ready/cara') await successor.run();
      },
    });
    await registry.end('cara');
    successor.arm();
    another(slow, { sweepIntervalMs: 1000 });
    await clock.advance(2000);
    expect(bodiesOf(await hub.inbox('cara').receive({ limit: 5 }))).toContain('new');
    expect((await hub.deadLetters({ session: 'cara' })).items.map(({ message }) => message.body)).not.toContain('new');
  });

  it('of hundreds goes in parts, all of it', async () => {
    const { hub, registry, clock, storage, receive, send } = await postOn(open);
    await together(450, (n) => send(`m${n}`, n % 2 === 0 ? { ttlMs: 3_600_000 } : {}));
    await receive(150);
    await registry.end('bob');
    await clock.advance(1000);
    expect((await hub.stats()).messages).toMatchObject({ ready: 0, claimed: 0, dead: 450 });
    const dead = (await eventsOf(storage)).filter(({ name }) => name === 'message_dead');
    expect(new Set(dead.flatMap(({ messages }) => messages as string[])).size).toBe(450);
    // Nobody looks after the expiry of what is dead.
    expect((await storage.list('due')).filter(({ key }) => key.includes('/mail/'))).toEqual([]);
  });

  it('counts as expired when it has expired, whatever becomes of its session', async () => {
    const { hub, registry, clock, send } = await postOn(open, { sweepIntervalMs: 3_600_000 });
    await send('late', { ttlMs: 1000 });
    await send('one');
    await clock.advance(1000);
    await registry.end('bob');
    await clock.advance(3_600_000);
    expect(await statesOf({ hub })).toEqual({ late: 'expired', one: 'dead' });
  });

  it('can be removed, all of it or some types; what is claimed stays', async () => {
    const { hub, clock, storage, send, receive } = await postOn(open);
    await send('claimed');
    const [delivery] = await receive();
    await together(250, (n) =>
      send(`m${n}`, { type: n % 5 === 0 ? 'sync' : 'notification', ...(n % 2 === 0 && { ttlMs: 90_000 }) }),
    );
    expect(await hub.purge('bob', { types: ['sync'] })).toBe(50);
    expect(await hub.purge('bob', { types: ['sync'] })).toBe(0);
    expect(await hub.purge('bob')).toBe(200);
    const states = await statesOf({ hub });
    expect(states['claimed']).toBe('claimed');
    expect(Object.values(states).filter((state) => state === 'purged')).toHaveLength(250);
    const purged = (await eventsOf(storage)).filter(({ name }) => name === 'message_purged');
    expect(new Set(purged.flatMap(({ messages }) => messages as string[])).size).toBe(250);
    await delivery?.ack();
    await clock.advance(100_000);
    expect((await toldOf(storage)).filter((name) => name.startsWith('expired'))).toEqual([]);
    expect(await hub.purge('nobody')).toBe(0);
  });

  it('counts as expired when it had expired before it was removed', async () => {
    const { hub, clock, send, storage } = await postOn(open, { sweepIntervalMs: 3_600_000 });
    await send('late', { ttlMs: 1000 });
    await send('one');
    await clock.advance(1000);
    expect(await hub.purge('bob')).toBe(1);
    expect(await statesOf({ hub })).toEqual({ late: 'expired', one: 'purged' });
    expect((await toldOf(storage)).slice(-2).sort()).toEqual(['expired bob', 'purged bob']);
  });
});

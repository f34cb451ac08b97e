import { describe, expect, it } from 'vitest';
import { MeshError } from '../../../src/index.ts';
import { bodiesOf, eventsOf, mailOf, member, only, type Post, postOn, statesOf, toldOf } from '../../support/hub/post.ts';
import { hooked, recordsOf } from '../../support/memory/observed.ts';
import { outcomeOf, passUntil, quiet, refusal, together } from '../../support/memory/worlds.ts';
import { storages } from '../../support/storages.ts';

/** Sessions named in order, with nobody to renew them. */
async function crowd({ registry }: Pick<Post, 'registry'>, count: number, groups: readonly string[] = []): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, n) => `m${String(n).padStart(4, '0')}`);
  for (let start = 0; start < count; start += 100) {
    await Promise.all(ids.slice(start, start + 100).map((id) => member(registry, id, { groups })));
  }
  return ids;
}

/** How many messages each of these has. */
async function copiesOf({ hub }: Pick<Post, 'hub'>, ids: readonly string[]): Promise<number[]> {
  const counts: number[] = [];
  for (const id of ids) counts.push((await mailOf({ hub }, id)).length);
  return counts;
}

describe.each(storages)('a broadcast on %s', (_name, open) => {
  it('reaches everyone who is alive once, and not its sender', async () => {
    const { hub, registry, clock, ann, storage } = await postOn(open);
    await quiet(registry, 'cara');
    await registry.register({ id: 'offline', ttlMs: 1000, heartbeat: 'manual' });
    await quiet(registry, 'ended');
    await registry.end('ended');
    await clock.advance(1500);
    await quiet(registry, 'stopping');
    void registry.kill('stopping', { graceMs: 60_000 }).catch(() => {});
    await clock.settle();
    const sent = await hub.broadcast({ from: ann, subject: 'All hands', body: 'all', data: [1] });
    expect(sent).toEqual({
      message: {
        id: expect.stringMatching(/^\*!\d{20}$/),
        from: 'ann',
        to: '*',
        type: 'broadcast',
        subject: 'All hands',
        body: 'all',
        data: [1],
        priority: 'medium',
        threadId: sent.message.id,
        at: clock.now(),
      },
      recipients: [
        { session: 'bob', state: 'alive' },
        { session: 'cara', state: 'alive' },
      ],
      total: 2,
    });
    for (const session of ['bob', 'cara']) {
      const delivery = only(await hub.inbox(session).receive({ limit: 5 }));
      expect(delivery.message).toEqual(sent.message);
      await delivery.ack();
    }
    expect(await copiesOf({ hub }, ['ann', 'offline', 'ended', 'stopping'])).toEqual([0, 0, 0, 0]);
    expect(await eventsOf(storage)).toEqual([
      { name: 'message_sent', message: sent.message.id, from: 'ann', to: '*', type: 'broadcast', recipients: 2 },
      { name: 'message_acked', session: 'bob', messages: [sent.message.id] },
      { name: 'message_acked', session: 'cara', messages: [sent.message.id] },
    ]);
  });

  it('is stored once, however many get it', async () => {
    const post = await postOn(open);
    const ids = await crowd(post, 30);
    const body = 'x'.repeat(100_000);
    const { message } = await post.hub.broadcast({ from: 'ann', body });
    let bytes = 0;
    for (const partition of post.seen.partitions) {
      for (const { value } of await recordsOf(post.storage, partition)) bytes += JSON.stringify(value).length;
    }
    expect(bytes).toBeLessThan(200_000);
    for (const id of [ids[0], ids[29]] as string[]) {
      expect(only(await post.hub.inbox(id).receive()).message).toEqual(message);
    }
  });

  it('to nobody is sent all the same', async () => {
    const { hub, registry } = await postOn(open);
    await registry.end('bob');
    const { message, recipients, total } = await hub.broadcast({ from: 'ann', body: 'hello?' });
    expect([recipients, total]).toEqual([[], 0]);
    expect(await hub.getMessage(message.id)).toEqual(message);
  });

  it('leaves out mailboxes that are full', async () => {
    const { hub, registry, send } = await postOn(open, { hub: { mailboxLimit: 1 } });
    await quiet(registry, 'cara');
    await send('first');
    const { recipients, total } = await hub.broadcast({ from: 'ann', body: 'all' });
    expect(recipients).toEqual([{ session: 'cara', state: 'alive' }]);
    expect(total).toBe(1);
    expect(await statesOf({ hub })).toEqual({ first: 'ready' });
    expect((await hub.broadcast({ from: 'ann' })).total).toBe(0);
  });

  it('to very many goes in parts, to each once, with the first hundred named', async () => {
    const post = await postOn(open);
    const { hub, storage } = post;
    const ids = await crowd(post, 420);
    const { message, recipients, total } = await hub.broadcast({ from: 'm0100', body: 'all', priority: 'high' });
    expect(total).toBe(421);
    expect(recipients).toHaveLength(100);
    const others = ['ann', 'bob', ...ids.filter((id) => id !== 'm0100')];
    expect(new Set(await copiesOf(post, others))).toEqual(new Set([1]));
    expect(await mailOf(post.mesh, 'm0100')).toEqual([]);
    expect(only(await hub.inbox('m0419').receive()).message).toEqual(message);
    const told = await eventsOf(storage);
    expect(told[0]).toMatchObject({ name: 'message_sent', message: message.id, to: '*', recipients: 421 });
    const parts = told.slice(1);
    expect(parts.every(({ name, message: id }) => name === 'message_delivered' && id === message.id)).toBe(true);
    expect(parts.reduce((sum, { recipients: part }) => sum + Number(part), 0)).toBe(421);
    expect(await recordsOf(storage, 'fan-outs')).toEqual([]);
    await post.clock.advance(10_000);
    expect((await storage.list('due')).filter(({ key }) => key.includes('/fan-out/'))).toEqual([]);
  });

  it('to very many leaves out the full ones', async () => {
    const post = await postOn(open, { hub: { mailboxLimit: 1 } });
    const { hub } = post;
    const ids = await crowd(post, 200);
    await hub.send({ from: 'ann', to: 'm0003', body: 'first' });
    await hub.send({ from: 'ann', to: 'm0199', body: 'first' });
    await hub.broadcast({ from: 'ann', body: 'all' });
    expect(await copiesOf(post, ids)).toEqual(ids.map(() => 1));
    expect(await statesOf({ hub }, 'm0199')).toEqual({ first: 'ready' });
  });

  it('is finished by another process when its sender dies half way, to nobody twice', async () => {
    for (const dyingAt of [1, 2, 3]) {
      const post = await postOn(open);
      const { storage, clock, another } = post;
      const ids = await crowd(post, 400);
      let commits = 0;
      let dead = false;
      const dying = another(
        hooked(storage, {
          commit: ({ puts = [] }) => {
            if (
              dead ||
              (puts.some(({ partition }) => partition === 'fan-outs' || partition === 'mail/m0399') && ++commits > dyingAt)
            ) {
              dead = true;
              return new Promise<void>(() => {});
            }
            return undefined;
          },
        }),
      );
      void dying.hub.broadcast({ from: 'ann', body: 'all' });
      await clock.advance(1000);
      expect(dead).toBe(true);
      expect((await copiesOf(post, ids)).filter((count) => count === 1)).toHaveLength([0, 148, 298][dyingAt - 1]!);
      // Somebody who waits is told of it.
      const waiting = post.hub.inbox('m0399').receive({ timeoutMs: 60_000 });
      await clock.advance(10_000);
      expect(await copiesOf(post, ids)).toEqual(ids.map(() => 1));
      expect(bodiesOf(await waiting)).toEqual(['all']);
      expect(await recordsOf(storage, 'fan-outs')).toEqual([]);
    }
  });

  it('reaches whoever was alive all the time once, while others come, go, and others send', async () => {
    const post = await postOn(open);
    const { registry, another } = post;
    const ids = await crowd(post, 160);
    const meshes = [post.mesh, another(), another()];
    await Promise.all([
      ...meshes.map(({ hub }, n) => hub.broadcast({ from: ids[n] as string, body: `b${n}` })),
      ...ids.slice(100, 120).map((id) => registry.end(id)),
      ...Array.from({ length: 20 }, (_, n) => member(registry, `late${n}`)),
      ...ids.slice(0, 10).map((id) => registry.update(id, { status: 'working' })),
    ]);
    for (const id of [...ids.slice(3, 100), ...ids.slice(120)]) {
      expect(Object.keys(await statesOf(post.mesh, id)).sort()).toEqual(['b0', 'b1', 'b2']);
    }
    for (let n = 0; n < 20; n++) {
      const bodies = (await mailOf(post.mesh, `late${n}`)).map(({ body }) => body);
      expect(new Set(bodies).size).toBe(bodies.length);
    }
  });

  it('wakes all who wait, in all meshes', async () => {
    const { hub, registry, clock, another } = await postOn(open);
    await quiet(registry, 'cara');
    const there = another();
    const waiting = [hub.inbox('bob').receive({ timeoutMs: 60_000 }), there.hub.inbox('cara').receive({ timeoutMs: 60_000 })];
    await clock.advance(1000);
    await hub.broadcast({ from: 'ann', body: 'all' });
    await clock.advance(200);
    expect((await Promise.all(waiting)).map(bodiesOf)).toEqual([['all'], ['all']]);
  });
});

describe.each(storages)('a message to a group on %s', (_name, open) => {
  it('reaches its members that are alive, without the sender', async () => {
    const { hub, registry, storage } = await postOn(open);
    await member(registry, 'cara', { groups: ['core', 'web'] });
    await member(registry, 'dan', { groups: ['core'] });
    await member(registry, 'eve', { groups: ['web'] });
    const { message, recipients, total } = await hub.send({ from: 'cara', to: { group: 'core' }, body: 'core' });
    expect(message).toMatchObject({ to: { group: 'core' }, type: 'notification' });
    expect([recipients, total]).toEqual([[{ session: 'dan', state: 'alive' }], 1]);
    expect(only(await hub.inbox('dan').receive()).message).toEqual(message);
    expect(await copiesOf({ hub }, ['ann', 'bob', 'cara', 'eve'])).toEqual([0, 0, 0, 0]);
    expect((await eventsOf(storage))[0]).toEqual({
      name: 'message_sent',
      message: message.id,
      from: 'cara',
      to: { group: 'core' },
      type: 'notification',
      recipients: 1,
    });
    expect((await hub.send({ from: 'ann', to: { group: 'nobody' } })).total).toBe(0);
  });

  it('goes in parts when there are very many', async () => {
    const post = await postOn(open);
    const ids = await crowd(post, 170, ['core']);
    const { total } = await post.hub.send({ from: 'ann', to: { group: 'core' }, body: 'core' });
    expect(total).toBe(170);
    expect(await copiesOf(post, [...ids, 'bob'])).toEqual([...ids.map(() => 1), 0]);
  });
});

describe.each(storages)('a message to a capability on %s', (_name, open) => {
  it('reaches exactly one specialist, the least loaded', async () => {
    const { hub, registry } = await postOn(open);
    for (const id of ['p1', 'p2', 'p3']) await member(registry, id, { capabilities: ['python'] });
    for (const id of ['p1', 'p1', 'p3']) await hub.send({ from: 'ann', to: id });
    const sent = await hub.send({ from: 'ann', to: { capability: 'python' }, body: 'one of you' });
    expect(sent.recipients).toEqual([{ session: 'p2', state: 'alive' }]);
    expect(sent.message).toMatchObject({ to: { capability: 'python' }, id: expect.stringMatching(/^p2!/) });
    expect(bodiesOf(await hub.inbox('p2').receive())).toEqual(['one of you']);
    expect(await copiesOf({ hub }, ['p1', 'p2', 'p3'])).toEqual([2, 1, 1]);
  });

  it('spreads over specialists that are loaded alike', async () => {
    const { hub, registry } = await postOn(open);
    const ids = Array.from({ length: 6 }, (_, n) => `p${n}`);
    for (const id of ids) await member(registry, id, { capabilities: ['python'] });
    for (let n = 0; n < 24; n++) await hub.send({ from: 'ann', to: { capability: 'python' } });
    expect(await copiesOf({ hub }, ids)).toEqual(ids.map(() => 4));
    // Also when nobody has anything to do.
    for (const id of ids) for (const delivery of await hub.inbox(id).receive({ limit: 10 })) await delivery.ack();
    const chosen = new Set<string>();
    for (let n = 0; n < 60; n++) {
      const { recipients } = await hub.send({ from: 'ann', to: { capability: 'python' } });
      const session = recipients[0]?.session as string;
      chosen.add(session);
      for (const delivery of await hub.inbox(session).receive({ limit: 10 })) await delivery.ack();
    }
    expect(chosen.size).toBeGreaterThan(3);
  });

  it('passes over who is full, gone, or the sender itself', async () => {
    const { hub, registry } = await postOn(open, { hub: { mailboxLimit: 1 } });
    for (const id of ['p1', 'p2', 'p3', 'p4']) await member(registry, id, { capabilities: ['python'] });
    // p4 has no more to do than the others, and only its mailbox has room.
    for (const id of ['p1', 'p2', 'p3', 'p4']) await hub.send({ from: 'ann', to: id, body: 'first' });
    await hub.inbox('p4').receive();
    expect((await hub.send({ from: 'ann', to: { capability: 'python' } })).recipients).toEqual([
      { session: 'p4', state: 'alive' },
    ]);
    await expect(hub.send({ from: 'ann', to: { capability: 'python' } })).rejects.toEqual(refusal('mailbox_full'));
    await member(registry, 'solo', { capabilities: ['review'] });
    await expect(hub.send({ from: 'solo', to: { capability: 'review' } })).rejects.toEqual(refusal('not_found', 'review'));
    await expect(hub.send({ from: 'ann', to: { capability: 'rust' } })).rejects.toEqual(refusal('not_found', 'rust'));
    await registry.end('solo');
    await expect(hub.send({ from: 'ann', to: { capability: 'review' } })).rejects.toEqual(refusal('not_found', 'review'));
    // Whoever may not send is told so, not that nobody is there.
    await expect(hub.send({ from: 'solo', to: { capability: 'python' } })).rejects.toEqual(refusal('not_alive', 'solo'));
    await expect(hub.send({ from: 'nobody', to: { capability: 'python' } })).rejects.toEqual(refusal('not_found', 'nobody'));
  });

  it('reaches somebody while specialists end', async () => {
    const { hub, registry, another } = await postOn(open);
    const ids = Array.from({ length: 12 }, (_, n) => `p${n}`);
    for (const id of ids) await member(registry, id, { capabilities: ['python'] });
    const there = another();
    const [sent] = await Promise.all([
      together(30, () => hub.send({ from: 'ann', to: { capability: 'python' } })),
      together(11, (n) => there.registry.end(`p${n}`)),
    ]);
    expect(sent.every(({ total }) => total === 1)).toBe(true);
    expect((await copiesOf({ hub }, ids)).reduce((sum, count) => sum + count, 0)).toBe(30);
  });
});

describe.each(storages)('an idempotency key on %s', (_name, open) => {
  it('makes one message of many sends, one after another', async () => {
    const { hub, storage, clock, receive } = await postOn(open);
    const options = { from: 'ann', to: 'bob', body: 'once', data: { n: 1 }, idempotencyKey: 'k 1' };
    const first = await hub.send(options);
    await clock.advance(1000);
    expect(await hub.send(options)).toEqual(first);
    await only(await receive()).ack();
    expect(await hub.send(options)).toEqual(first);
    expect(await receive()).toEqual([]);
    expect(await toldOf(storage)).toEqual(['sent bob', 'acked bob']);
  });

  it('makes one message of many sends at once, from several meshes', async () => {
    const { hub, another, storage, mesh } = await postOn(open);
    const hubs = [hub, another().hub, another().hub];
    const sent = await together(30, (n) => hubs[n % 3]!.send({ from: 'ann', to: 'bob', body: 'once', idempotencyKey: 'k' }));
    expect(new Set(sent.map(({ message }) => message.id)).size).toBe(1);
    expect(sent.every(({ recipients, total }) => total === 1 && recipients[0]?.session === 'bob')).toBe(true);
    expect(await mailOf(mesh, 'bob')).toHaveLength(1);
    expect(await toldOf(storage)).toEqual(['sent bob']);
  });

  it('is refused for another body, type or recipient', async () => {
    const { hub, registry, mesh } = await postOn(open);
    await quiet(registry, 'cara');
    const options = { from: 'ann', to: 'bob', body: 'once', idempotencyKey: 'k' } as const;
    const { message } = await hub.send(options);
    for (const other of [
      { body: 'other' },
      { subject: 'other' },
      { data: 1 },
      { type: 'sync' },
      { to: 'cara' },
      { to: { group: 'core' } },
      { to: { capability: 'core' } },
    ] as const) {
      await expect(hub.send({ ...options, ...other })).rejects.toMatchObject({
        code: 'already_exists',
        details: { message: message.id },
      });
    }
    const { to: _to, ...broadcast } = options;
    await expect(hub.broadcast(broadcast)).rejects.toEqual(refusal('already_exists'));
    expect(await mailOf(mesh, 'bob')).toHaveLength(1);
    expect(await mailOf(mesh, 'cara')).toHaveLength(0);
    // At the same time, one of two wins.
    const outcomes = await together(10, (n) =>
      outcomeOf(hub.send({ from: 'ann', to: n % 2 ? 'bob' : 'cara', idempotencyKey: 'race' }).then(() => 'sent')),
    );
    expect(outcomes.filter((outcome) => outcome === 'sent')).toHaveLength(5);
    expect(outcomes.filter((outcome) => outcome === 'already_exists')).toHaveLength(5);
  });

  it("is its sender's own, and holds for 24 hours", async () => {
    const { hub, clock, registry, mesh } = await postOn(open);
    await member(registry, 'host', { ttlMs: 30 * 86_400_000 });
    await member(registry, 'too', { ttlMs: 30 * 86_400_000 });
    const send = (from: string) => hub.send({ from, to: 'too', body: 'once', idempotencyKey: 'k' });
    const first = await send('host');
    expect((await send('too')).message.id).not.toBe(first.message.id);
    // Set, since nothing else is to happen in all these hours.
    clock.set(clock.now() + 86_400_000 - 1);
    expect((await send('host')).message.id).toBe(first.message.id);
    clock.set(clock.now() + 1);
    expect((await send('host')).message.id).not.toBe(first.message.id);
    expect(await mailOf(mesh, 'too')).toHaveLength(3);
  });

  it('answers the first message also when its recipient is over by then', async () => {
    const { hub, registry, mesh } = await postOn(open);
    const options = { from: 'ann', to: 'bob', body: 'once', idempotencyKey: 'k' };
    const first = await hub.send(options);
    const reply = { from: 'bob', body: 'yes', idempotencyKey: 'r' };
    const answer = await hub.reply(first.message, reply);
    await registry.end('ann');
    expect(await hub.reply(first.message, reply)).toEqual({ ...answer, recipients: [{ session: 'ann', state: 'ended' }] });
    expect(await mailOf(mesh, 'ann')).toHaveLength(1);
    await quiet(registry, 'ann');
    await registry.end('bob');
    expect(await hub.send(options)).toEqual({ ...first, recipients: [{ session: 'bob', state: 'ended' }] });
  });

  it('holds for broadcasts, groups and capabilities, also at once', async () => {
    const post = await postOn(open);
    const { hub, registry, another } = post;
    const ids = await crowd(post, 5, ['core']);
    await Promise.all(ids.map((id) => registry.specialize(id, ['python'])));
    const hubs = [hub, another().hub];
    for (const [key, send] of [
      ['all', (n: number) => hubs[n % 2]!.broadcast({ from: 'ann', body: 'all', idempotencyKey: 'all' })],
      ['group', (n: number) => hubs[n % 2]!.send({ from: 'ann', to: { group: 'core' }, body: 'group', idempotencyKey: 'group' })],
      [
        'cap',
        (n: number) => hubs[n % 2]!.send({ from: 'ann', to: { capability: 'python' }, body: 'cap', idempotencyKey: 'cap' }),
      ],
    ] as const) {
      const sent = await together(12, send);
      expect(new Set(sent.map(({ message }) => message.id)).size).toBe(1);
      const again = await send(1);
      for (const one of sent) expect(one).toEqual(again);
      const got: string[] = [];
      for (const id of [...ids, 'bob']) if (key in (await statesOf(post.mesh, id))) got.push(id);
      expect(got.length).toBe({ all: 6, group: 5, cap: 1 }[key]);
      expect(again.total).toBe(got.length);
      if (key === 'cap') expect(again.recipients[0]?.session).toBe(got[0]);
    }
  });

  it('holds for a broadcast to very many', async () => {
    const post = await postOn(open);
    const ids = await crowd(post, 180);
    const sent = await together(4, () => post.hub.broadcast({ from: 'ann', body: 'all', idempotencyKey: 'k' }));
    expect(new Set(sent.map(({ message }) => message.id)).size).toBe(1);
    await passUntil(post.clock, post.clock.advance(6000));
    expect(await copiesOf(post, ids)).toEqual(ids.map(() => 1));
  });
});

describe.each(storages)('a broadcast of which a part is late, on %s', (_name, open) => {
  it('is sent, and reaches everybody', async () => {
    const post = await postOn(open);
    const { seen, another, clock, errors } = post;
    const ids = await crowd(post, 200);
    let parts = 0;
    const failing = hooked(seen.storage, {
      async commit({ puts = [] }) {
        if (!puts.some(({ partition }) => partition.startsWith('ready/'))) return;
        parts += 1;
        if (parts === 2) throw new MeshError('storage_full', 'expected room, got none');
      },
    });
    const { total } = await another(failing).hub.broadcast({ from: 'ann', body: 'all' });
    expect(total).toBe(201);
    expect(errors.splice(0)).toEqual([expect.objectContaining({ code: 'storage_full' })]);
    await clock.advance(10_000);
    expect(new Set(await copiesOf(post, ids))).toEqual(new Set([1]));
  });
});

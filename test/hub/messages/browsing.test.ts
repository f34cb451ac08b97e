import { describe, expect, it } from 'vitest';
import { MESSAGE_TYPES } from '../../../src/hub/messages/message.ts';
import { formatSignal } from '../../../src/hub/messages/signal.ts';
import type { Priority } from '../../../src/hub/priority.ts';
import { mailOf, member, only, postOn, statesOf } from '../../support/hub/post.ts';
import { hooked } from '../../support/memory/observed.ts';
import { quiet, refusal, together } from '../../support/memory/worlds.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('looking at a mailbox on %s', (_name, open) => {
  it('shows every message with what has become of it, and claims nothing', async () => {
    const { hub, clock, send, receive } = await postOn(open, { hub: { maxDeliveries: 2 } });
    const inbox = (limit: number) => receive(limit);
    for (const body of ['acked', 'dead', 'delayed', 'claimed']) await send(body);
    await send('expired', { ttlMs: 1000, priority: 'low' });
    await send('purged', { type: 'sync' });
    await hub.purge('bob', { types: ['sync'] });
    await send('ready');
    const [acked, dead, delayed] = await inbox(4);
    await acked?.ack();
    await dead?.term();
    await delayed?.nak({ delayMs: 60_000 });
    await clock.advance(999);
    const before = await statesOf({ hub });
    expect(before).toEqual({
      acked: 'acked',
      dead: 'dead',
      delayed: 'claimed',
      claimed: 'claimed',
      expired: 'ready',
      purged: 'purged',
      ready: 'ready',
    });
    await clock.advance(1);
    expect(await statesOf({ hub })).toEqual({ ...before, expired: 'expired' });
    const mail = await mailOf({ hub }, 'bob');
    for (const { state, unread } of mail) expect(unread).toBe(state === 'ready' || state === 'claimed');
    expect(mail.every((message) => Object.isFrozen(message))).toBe(true);
    expect(await statesOf({ hub })).toEqual({ ...before, expired: 'expired' });
    expect((await hub.messages({ session: 'bob', unread: true })).items.map(({ body }) => body)).toEqual([
      'delayed',
      'claimed',
      'ready',
    ]);
    expect((await hub.messages({ session: 'bob', unread: false })).items.map(({ body }) => body)).toEqual([
      'acked',
      'dead',
      'expired',
      'purged',
    ]);
    await clock.advance(2000);
    expect(await statesOf({ hub })).toEqual({ ...before, expired: 'expired' });
  });

  it('can be narrowed by type, sender, unread and broadcasts, together', async () => {
    const { hub, registry, send, receive } = await postOn(open);
    await member(registry, 'cara', { groups: ['core'] });
    await registry.update('bob', { groups: ['core'] }).catch(() => {});
    await send('a1', { type: 'request' });
    await hub.send({ from: 'cara', to: 'bob', type: 'request', body: 'c1' });
    await hub.broadcast({ from: 'cara', body: 'all' });
    await hub.broadcast({ from: 'cara', type: 'request', body: 'all ask' });
    await send('a2');
    await only(await receive(1)).ack();
    const bodies = async (filter: object) => (await hub.messages({ session: 'bob', ...filter })).items.map(({ body }) => body);
    expect(await bodies({})).toEqual(['a1', 'c1', 'all', 'all ask', 'a2']);
    expect(await bodies({ type: 'request' })).toEqual(['a1', 'c1', 'all ask']);
    expect(await bodies({ from: 'cara' })).toEqual(['c1', 'all', 'all ask']);
    expect(await bodies({ includeBroadcasts: false })).toEqual(['a1', 'c1', 'a2']);
    expect(await bodies({ unread: true })).toEqual(['c1', 'all', 'all ask', 'a2']);
    expect(await bodies({ unread: false })).toEqual(['a1']);
    expect(await bodies({ unread: true, type: 'request', from: 'cara', includeBroadcasts: false })).toEqual(['c1']);
    expect(await bodies({ type: 'handoff' })).toEqual([]);
    expect(await hub.messages({ session: 'nobody' })).toEqual({ items: [] });
  });

  it.each([true, undefined])('goes in pages (unread: %s), each message once, also while more come', async (unread) => {
    const { hub, send } = await postOn(open);
    await together(30, (n) => send(`m${n}`, { type: n % 3 === 0 ? 'sync' : 'request' }));
    const seen: (string | undefined)[] = [];
    let after: string | undefined;
    let pages = 0;
    do {
      const page = await hub.messages({
        session: 'bob',
        type: 'sync',
        limit: 4,
        ...(unread !== undefined && { unread }),
        ...(after !== undefined && { after }),
      });
      seen.push(...page.items.map(({ body }) => body));
      after = page.next;
      if (++pages === 1) await send('late', { type: 'sync' });
    } while (after !== undefined);
    expect(seen).toEqual(['m0', 'm3', 'm6', 'm9', 'm12', 'm15', 'm18', 'm21', 'm24', 'm27', 'late']);
    expect(pages).toBe(3);
    // Exactly as many as fit leave no next.
    expect(await hub.messages({ session: 'bob', type: 'sync', limit: 11 })).not.toHaveProperty('next');
  });

  it('goes in pages through all that is unread, whatever its priority, and whether it was claimed', async () => {
    const { hub, send, receive } = await postOn(open);
    const priorities = ['low', 'medium', 'high', 'critical'] as const;
    // In runs, so that what is read of each priority ends elsewhere.
    const priorityOf = (n: number): Priority => priorities[n % 9 === 0 ? 0 : Math.floor(n / 45) % 4] ?? 'low';
    await together(400, (n) => send(`m${n}`, { priority: priorityOf(n), type: n % 10 === 0 ? 'sync' : 'request' }));
    const claimed = await receive(50);
    await claimed[0]?.ack();
    await claimed[1]?.nak();
    const acked = claimed[0]?.message.body;
    for (const type of [undefined, 'sync'] as const) {
      const seen: (string | undefined)[] = [];
      let after: string | undefined;
      do {
        const paging = { limit: 6, ...(type !== undefined && { type }), ...(after !== undefined && { after }) };
        const page = await hub.messages({ session: 'bob', unread: true, ...paging });
        expect(page.items.length === 6 || page.next === undefined).toBe(true);
        seen.push(...page.items.map(({ body }) => body));
        after = page.next;
      } while (after !== undefined);
      const sent = Array.from({ length: 400 }, (_, n) => n).filter((n) => type === undefined || n % 10 === 0);
      expect(seen).toEqual(sent.map((n) => `m${n}`).filter((body) => body !== acked));
    }
  });

  it.each([1, 3, 10])('leaves nothing out that is sent while what is unread is read, %s to a page', async (limit) => {
    const { hub, storage, another } = await postOn(open);
    const sent: string[] = [];
    const send = async (priority: Priority, type: 'sync' | 'request'): Promise<void> => {
      const body = `${sent.length}`;
      sent.push(body);
      await hub.send({ from: 'ann', to: 'bob', body, priority, type });
    };
    await send('low', 'request');
    let lists = 0;
    const list = async (partition: string): Promise<void> => {
      // Between two of the priorities of several rounds.
      if (partition !== 'ready/bob' || ++lists > 24 || lists % 4 !== 2) return;
      for (let n = 0; n < 5; n++) {
        await send('critical', 'request');
        await send('low', n === 4 ? 'request' : 'sync');
      }
    };
    const { hub: reading } = another(hooked(storage, { list }));
    const seen: (string | undefined)[] = [];
    let after: string | undefined;
    do {
      const page = await reading.messages({
        session: 'bob',
        unread: true,
        type: 'request',
        limit,
        ...(after !== undefined && { after }),
      });
      seen.push(...page.items.map(({ body }) => body));
      after = page.next;
    } while (after !== undefined);
    // What came later may or may not be there, but not with something left out before it.
    const requests = (await hub.messages({ session: 'bob', type: 'request', limit: 1000 })).items.map(({ body }) => body);
    expect(seen).toEqual(requests.slice(0, seen.length));
    expect(lists).toBeGreaterThan(3);
  });

  it.each([true, undefined])('reads for a page what the page needs (unread: %s), not the whole mailbox', async (unread) => {
    const { hub, send, seen } = await postOn(open);
    await together(500, (n) => send(`m${n}`));
    seen.take();
    const { items } = await hub.messages({ session: 'bob', limit: 5, ...(unread !== undefined && { unread }) });
    expect(items).toHaveLength(5);
    expect(seen.take().records).toBeLessThan(20);
  });

  it('finds what is unread behind more than a thousand that were read', async () => {
    const { hub, send, receive } = await postOn(open);
    for (let round = 0; round < 3; round++) {
      await together(500, (n) => send(`r${round} ${n}`));
      await Promise.all((await receive()).map((delivery) => delivery.ack()));
    }
    await send('here');
    expect((await hub.messages({ session: 'bob', unread: true })).items.map(({ body }) => body)).toEqual(['here']);
    const states = Object.values(await statesOf({ hub }));
    expect(states).toHaveLength(1501);
    expect(states.filter((state) => state === 'acked')).toHaveLength(1500);
  });

  it('of one message answers it by its id, or nothing', async () => {
    const { hub, send } = await postOn(open);
    const id = await send('one');
    expect(await hub.getMessage(id)).toMatchObject({ id, body: 'one' });
    expect(await hub.getMessage('bob!00000000000000000000')).toBeUndefined();
    expect(await hub.getMessage('any-other-id')).toBeUndefined();
    await expect(hub.getMessage('no id')).rejects.toEqual(refusal('invalid_input'));
  });
});

describe.each(storages)('a conversation on %s', (_name, open) => {
  it('is the whole tree, whichever member it is read from', async () => {
    const { hub, registry } = await postOn(open);
    for (const id of ['cara', 'dan']) await quiet(registry, id);
    const bodies: string[] = [];
    const say = async (body: string, sending: Promise<{ message: { id: string } }>) => {
      bodies.push(body);
      return (await sending).message.id;
    };
    const root = await say('root', hub.send({ from: 'ann', to: 'bob', body: 'root' }));
    const left = await say('left', hub.reply(root, { from: 'bob', body: 'left' }));
    const right = await say('right', hub.reply(root, { from: 'cara', body: 'right' }));
    const leaf = await say('leaf', hub.reply(left, { from: 'ann', body: 'leaf' }));
    const deep = await say('deep', hub.reply(leaf, { from: 'bob', body: 'deep' }));
    const joined = await say('joined', hub.send({ from: 'dan', to: 'ann', body: 'joined', threadId: root }));
    // Whoever names any member joins the same conversation.
    const beside = await say('beside', hub.send({ from: 'dan', to: 'ann', body: 'beside', threadId: deep }));
    const all = await say('all', hub.broadcast({ from: 'dan', body: 'all', threadId: leaf }));
    await hub.send({ from: 'ann', to: 'bob', body: 'unrelated' });
    for (const member of [root, left, right, leaf, deep, joined, beside, all]) {
      const conversation = await hub.conversation(member);
      expect(conversation.map(({ body }) => body)).toEqual(bodies);
      expect(conversation.every(({ threadId }) => threadId === root)).toBe(true);
    }
    expect((await hub.conversation({ id: left })).length).toBe(8);
  });

  it("has a name of its sender's choice, if one was given", async () => {
    const { hub, registry, ann } = await postOn(open);
    await quiet(registry, 'cara');
    const first = await hub.send({ from: ann, to: 'bob', body: '1', threadId: 'release 7 / ü' });
    await hub.send({ from: 'bob', to: 'cara', body: '2', threadId: 'release 7 / ü' });
    const third = await hub.reply(first.message, { from: 'bob', body: '3' });
    await hub.send({ from: 'ann', to: 'bob', body: 'other', threadId: 'release 8' });
    expect(third.message.threadId).toBe('release 7 / ü');
    expect((await hub.conversation(third.message)).map(({ body }) => body)).toEqual(['1', '2', '3']);
    // The id of a message that is not known is a name like any other.
    const strange = await hub.send({ from: 'ann', to: 'bob', body: 'strange', threadId: 'bob!00000000000000000000' });
    expect(await hub.conversation(strange.message)).toEqual([strange.message]);
  });

  it('of a broadcast has the replies of all, and of a request its answer', async () => {
    const { hub, registry, clock } = await postOn(open);
    await quiet(registry, 'cara');
    const { message } = await hub.broadcast({ from: 'ann', body: 'all' });
    for (const id of ['bob', 'cara']) {
      const delivery = only(await hub.inbox(id).receive());
      await hub.reply(delivery.message, { from: id, body: id });
    }
    const asking = hub.request({ from: 'ann', to: 'bob', body: 'more?', threadId: message.id });
    await clock.settle();
    const question = only(await hub.inbox('bob').receive());
    await hub.reply(question.message, { from: 'bob', body: 'no' });
    const answer = await asking;
    for (const one of [message, answer, question.message]) {
      expect((await hub.conversation(one)).map(({ body }) => body)).toEqual(['all', 'bob', 'cara', 'more?', 'no']);
    }
  });

  it('of more than a thousand is whole, in order', async () => {
    const { hub, receive } = await postOn(open);
    const { message } = await hub.send({ from: 'ann', to: 'bob', body: 'root' });
    for (let round = 0; round < 3; round++) {
      await together(400, (n) => hub.send({ from: 'ann', to: 'bob', data: round * 400 + n, threadId: message.id }));
      await Promise.all((await receive()).map((delivery) => delivery.ack()));
    }
    const conversation = await hub.conversation(message);
    expect(conversation[0]).toEqual(message);
    const said = conversation.slice(1).map(({ data }) => data as number);
    expect(said.map((n) => Math.floor(n / 400))).toEqual(Array.from({ length: 1200 }, (_, n) => Math.floor(n / 400)));
    expect(new Set(said).size).toBe(1200);
  });

  it('of an unknown message is not found', async () => {
    const { hub } = await postOn(open);
    await expect(hub.conversation('bob!00000000000000000000')).rejects.toEqual(refusal('not_found'));
  });
});

describe('a signal line', () => {
  const signs = ['🔔', '❓', '✅', '📡', '📢', '🤝', '👍', '🔄', '🎯'];

  it.each(MESSAGE_TYPES.map((type, n) => [type, signs[n]] as const))('of a %s begins with %s', (type, sign) => {
    expect(formatSignal({ type, from: 'cece-001', to: 'agent-002', subject: 'Ping' })).toBe(
      `${sign} cece-001 → agent-002 : [COLLABORATION] Ping`,
    );
  });

  it('names a recipient that is many, and the type where there is no subject', () => {
    expect(formatSignal({ type: 'broadcast', from: 'a', to: '*', subject: 'Hi' })).toBe('📡 a → ALL : [COLLABORATION] Hi');
    expect(formatSignal({ type: 'sync', from: 'a', to: { group: 'core' } })).toBe('🔄 a → #core : [COLLABORATION] Sync');
    expect(formatSignal({ type: 'request', from: 'a', to: { capability: 'x' } })).toBe('❓ a → @x : [COLLABORATION] Request');
  });
});

import { describe, expect, it } from 'vitest';
import type { Delivery } from '../../../src/hub/messages/delivery.ts';
import { createMesh, InMemoryStorage } from '../../../src/index.ts';
import { withFaults } from '../../../src/testing/faults.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { bodiesOf, eventsOf, only, postOn, statesOf, toldOf } from '../../support/hub/post.ts';
import { isSettled, outcomeOf, passUntil, quiet, refusal, together } from '../../support/memory/worlds.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('a delivery on %s', (_name, open) => {
  it('is claimed by one consumer, until it is acked', async () => {
    const { hub, storage, send, receive, another } = await postOn(open);
    const id = await send('one');
    const delivery = only(await receive());
    expect(delivery.message.id).toBe(id);
    expect(delivery.attempt).toBe(1);
    expect(await statesOf({ hub })).toEqual({ one: 'claimed' });
    expect(await receive()).toEqual([]);
    expect(await another().hub.inbox('bob').receive()).toEqual([]);
    await delivery.ack();
    expect(await statesOf({ hub })).toEqual({ one: 'acked' });
    expect(await eventsOf(storage)).toEqual([
      { name: 'message_sent', message: id, from: 'ann', session: 'bob', type: 'notification' },
      { name: 'message_acked', session: 'bob', messages: [id] },
    ]);
  });

  it('comes again exactly when its claim lapses, and counts', async () => {
    const { hub, clock, send, receive } = await postOn(open);
    await send('one');
    const first = only(await receive());
    await clock.advance(29_999);
    expect(await receive()).toEqual([]);
    await clock.advance(1);
    const second = only(await receive());
    expect(second.message).toEqual(first.message);
    expect(second.attempt).toBe(2);
    await expect(first.ack()).rejects.toEqual(refusal('stale_receipt'));
    expect(await statesOf({ hub })).toEqual({ one: 'claimed' });
    await second.ack();
    expect(await statesOf({ hub })).toEqual({ one: 'acked' });
  });

  it('comes again to whoever waits, without a message that wakes them', async () => {
    const { hub, clock, send, receive, another } = await postOn(open);
    await send('one');
    await receive();
    const here = hub.inbox('bob').receive({ timeoutMs: 60_000 });
    const there = another().hub.inbox('bob').receive({ timeoutMs: 60_000 });
    await clock.advance(29_999);
    expect(await isSettled(clock, Promise.race([here, there]))).toBe(false);
    await clock.advance(1);
    expect(await isSettled(clock, Promise.race([here, there]))).toBe(true);
    await clock.advance(40_000);
    expect([...(await here), ...(await there)].map(({ attempt }) => attempt).sort()).toEqual([2, 3]);
  });

  it('lasts as long as its inbox says', async () => {
    const { hub, bob, clock, send, receive } = await postOn(open);
    await send('one');
    await hub.inbox(bob, { visibilityMs: 1000 }).receive();
    await clock.advance(999);
    expect(await receive()).toEqual([]);
    await clock.advance(1);
    expect(await receive()).toHaveLength(1);
  });

  it('can be acked once', async () => {
    const { storage, send, receive } = await postOn(open);
    await send('one');
    const delivery = only(await receive());
    await delivery.ack();
    for (const again of [() => delivery.ack(), () => delivery.nak(), () => delivery.term(), () => delivery.extend(1000)]) {
      await expect(again()).rejects.toEqual(refusal('stale_receipt'));
    }
    expect(await toldOf(storage)).toEqual(['sent bob', 'acked bob']);
  });

  it('changes nothing with a stale receipt, whatever is asked for', async () => {
    const { hub, clock, storage, send, receive } = await postOn(open);
    await send('one');
    const old = only(await receive());
    await clock.advance(30_000);
    const current = only(await receive());
    const before = await storage.list('claimed/bob');
    const asked = await Promise.allSettled([old.ack(), old.nak({ delayMs: 5 }), old.term('x'), old.extend(90_000)]);
    expect(asked.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected', 'rejected']);
    expect(await storage.list('claimed/bob')).toEqual(before);
    expect(await toldOf(storage)).toEqual(['sent bob']);
    await current.ack();
    expect(await statesOf({ hub })).toEqual({ one: 'acked' });
  });

  it('can be settled by one of two who ask at once', async () => {
    const { storage, send, receive } = await postOn(open);
    await send('one');
    const delivery = only(await receive());
    const asked = await Promise.allSettled([delivery.ack(), delivery.nak(), delivery.ack()]);
    expect(asked.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
    expect(await toldOf(storage)).toEqual(['sent bob', 'acked bob']);
  });

  it('comes again at once after a nak, before what was sent later', async () => {
    const { storage, send, receive } = await postOn(open);
    const id = await send('first');
    await send('second');
    const first = only(await receive(1));
    await first.nak({ reason: 'not now' });
    const again = await receive();
    expect(bodiesOf(again)).toEqual(['first', 'second']);
    expect(again.map(({ attempt }) => attempt)).toEqual([2, 1]);
    expect((await eventsOf(storage)).slice(2)).toEqual([{ name: 'message_released', session: 'bob', messages: [id] }]);
  });

  it('comes again after the delay of a nak, to the millisecond, and counts once', async () => {
    const { hub, clock, send, receive } = await postOn(open);
    await send('one');
    await only(await receive()).nak({ delayMs: 7000 });
    expect(await statesOf({ hub })).toEqual({ one: 'claimed' });
    const waiting = hub.inbox('bob').receive({ timeoutMs: 60_000 });
    await clock.advance(6999);
    expect(await isSettled(clock, waiting)).toBe(false);
    await clock.advance(1);
    expect(only(await waiting).attempt).toBe(2);
    // A delay that is longer, and one that is as long as the claim would have lasted.
    await only(await waiting).nak({ delayMs: 30_000 });
    await clock.advance(29_999);
    expect(await receive()).toEqual([]);
    await clock.advance(1);
    expect(only(await receive()).attempt).toBe(3);
  });

  it('wakes whoever waits, when it is given back in another mesh', async () => {
    const { hub, clock, send, another } = await postOn(open);
    await send('one');
    const delivery = only(await another().hub.inbox('bob').receive());
    const waiting = hub.inbox('bob').receive({ timeoutMs: 60_000 });
    await clock.advance(200);
    expect(await isSettled(clock, waiting)).toBe(false);
    await delivery.nak({ delayMs: 1000 });
    await clock.advance(1000);
    expect(await isSettled(clock, waiting)).toBe(true);
    expect(bodiesOf(await waiting)).toEqual(['one']);
  });

  it('lasts longer when it is extended, from then on', async () => {
    const { clock, send, receive } = await postOn(open);
    await send('one');
    const delivery = only(await receive());
    await clock.advance(20_000);
    await delivery.extend(30_000);
    await clock.advance(29_999);
    expect(await receive()).toEqual([]);
    await delivery.extend(5);
    await clock.advance(4);
    expect(await receive()).toEqual([]);
    await clock.advance(1);
    expect(only(await receive()).attempt).toBe(2);
    await expect(delivery.extend(1000)).rejects.toEqual(refusal('stale_receipt'));
  });

  it('can be extended and then acked, many times and together with others', async () => {
    const { hub, clock, storage, send, receive } = await postOn(open);
    await together(20, (n) => send(`m${n}`));
    const deliveries = await receive();
    for (let round = 0; round < 5; round++) {
      await clock.advance(20_000);
      await Promise.all(deliveries.map((delivery) => delivery.extend(30_000)));
    }
    await Promise.all(deliveries.map((delivery) => delivery.ack()));
    expect(new Set(Object.values(await statesOf({ hub })))).toEqual(new Set(['acked']));
    expect((await toldOf(storage)).slice(20)).toEqual(['acked bob 20']);
  });

  it('is settled whatever the storage forgets to answer, also after it was extended', async () => {
    const { storage, clock, another, registry, send } = await postOn(open);
    await registry.end('bob');
    const faulty = withFaults(storage, { seed: 5, unknownRate: 0.4, latencyMs: 40, conflictRate: 0.1 });
    const there = another(faulty);
    const work = (async () => {
      const bob = await quiet(there.registry, 'bob');
      const inbox = there.hub.inbox(bob);
      for (let n = 0; n < 15; n++) {
        await send(`m${n}`);
        const delivery = only(await inbox.receive());
        await delivery.extend(20_000);
        await delivery.extend(30_000);
        await delivery.ack();
      }
      return 'done';
    })();
    const outcome = await passUntil(clock, outcomeOf(work), 50);
    faulty.faults.pause();
    expect(outcome).toBe('done');
    const states = await statesOf(there);
    expect(Object.keys(states)).toHaveLength(15);
    expect(new Set(Object.values(states))).toEqual(new Set(['acked']));
    expect(faulty.faults.counts.unknownApplied).toBeGreaterThan(5);
  });

  it('goes to the dead letters at once when it is terminated', async () => {
    const { hub, clock, storage, send, receive } = await postOn(open);
    const id = await send('one');
    await only(await receive()).term('cannot be parsed');
    expect(await statesOf({ hub })).toEqual({ one: 'dead' });
    expect((await hub.deadLetters()).items).toEqual([
      {
        message: await hub.getMessage(id),
        session: 'bob',
        reason: 'terminated',
        deliveries: 1,
        error: 'cannot be parsed',
        at: clock.now(),
      },
    ]);
    expect((await eventsOf(storage)).slice(1)).toEqual([
      { name: 'message_dead', session: 'bob', messages: [id], reason: 'terminated' },
    ]);
  });

  it('is not given to the consumers of other mailboxes', async () => {
    const { hub, send } = await postOn(open);
    await send('one');
    expect(await hub.inbox('ann').receive()).toEqual([]);
  });
});

describe.each(storages)('an inbox on %s', (_name, open) => {
  it('gives as many as were asked for, and waits as long as it is told', async () => {
    const { hub, clock, send, receive } = await postOn(open);
    await together(5, (n) => send(`m${n}`));
    expect(await hub.inbox('bob').receive()).toHaveLength(1);
    expect(await receive(3)).toHaveLength(3);
    expect(await receive(3)).toHaveLength(1);
    const begun = clock.now();
    const waiting = hub.inbox('bob').receive({ timeoutMs: 2500 });
    await clock.advance(2499);
    expect(await isSettled(clock, waiting)).toBe(false);
    await clock.advance(1);
    expect(await waiting).toEqual([]);
    expect(clock.now() - begun).toBe(2500);
  });

  it('gives only messages of the types that were asked for, by priority and order', async () => {
    const { hub, send, receive } = await postOn(open);
    await send('n1');
    await send('r1', { type: 'request', priority: 'low' });
    await send('s1', { type: 'sync' });
    await send('r2', { type: 'request' });
    await send('n2');
    const inbox = hub.inbox('bob');
    expect(bodiesOf(await inbox.receive({ types: ['request', 'sync'], limit: 2 }))).toEqual(['s1', 'r2']);
    expect(bodiesOf(await inbox.receive({ types: ['request', 'sync'], limit: 5 }))).toEqual(['r1']);
    expect(await inbox.receive({ types: ['ping'] })).toEqual([]);
    expect(bodiesOf(await receive())).toEqual(['n1', 'n2']);
  });

  it('finds a message of a type behind hundreds of others', async () => {
    const { hub, send } = await postOn(open);
    await together(250, (n) => send(`m${n}`));
    await send('here', { type: 'sync' });
    const waiting = hub.inbox('bob').receive({ types: ['sync'], limit: 10 });
    expect(bodiesOf(await waiting)).toEqual(['here']);
  });

  it('never gives a message to two of many consumers, of all types or some, in several meshes', async () => {
    const { hub, send, another } = await postOn(open);
    const meshes = [{ hub }, another(), another()];
    await together(120, (n) => send(`m${n}`, { type: n % 3 === 0 ? 'sync' : 'request' }));
    const got = await together(12, async (n) => {
      const inbox = meshes[n % 3]!.hub.inbox('bob');
      const mine: string[] = [];
      for (;;) {
        const deliveries = await inbox.receive({ limit: 7, ...(n % 4 === 0 && { types: ['sync'] }) });
        if (deliveries.length === 0) return mine;
        mine.push(...bodiesOf(deliveries).map(String));
        await Promise.all(deliveries.map((delivery) => delivery.ack()));
      }
    });
    const all = got.flat();
    expect(all).toHaveLength(120);
    expect(new Set(all).size).toBe(120);
  });

  it('is a loop over messages that ends with its session, in this mesh or another', async () => {
    const { hub, bob, clock, send, another } = await postOn(open);
    await send('one');
    await send('two');
    const seen: string[] = [];
    const loop = (async () => {
      for await (const { message, ack } of hub.inbox(bob)) {
        seen.push(message.body ?? '');
        await ack();
      }
      return 'over';
    })();
    await clock.settle();
    expect(seen).toEqual(['one', 'two']);
    await send('three');
    await clock.advance(100);
    expect(seen).toEqual(['one', 'two', 'three']);
    expect(await isSettled(clock, loop)).toBe(false);
    await another().registry.end('bob');
    await clock.advance(100);
    expect(await loop).toBe('over');
  });

  it('leaves the last message claimed when its loop is left', async () => {
    const { hub, bob, clock, send, receive } = await postOn(open);
    await send('one');
    await send('two');
    for await (const { message } of hub.inbox(bob)) {
      expect(message.body).toBe('one');
      break;
    }
    expect(await statesOf({ hub })).toEqual({ one: 'claimed', two: 'ready' });
    await clock.advance(30_000);
    expect(bodiesOf(await receive())).toEqual(['one', 'two']);
  });

  it('waits until its signal or that of the call aborts', async () => {
    const { hub, clock, bob } = await postOn(open);
    const call = new AbortController();
    const whole = new AbortController();
    const inbox = hub.inbox(bob, { signal: whole.signal });
    const first = inbox.receive({ timeoutMs: 60_000, signal: call.signal });
    await clock.settle();
    call.abort();
    await expect(first).rejects.toEqual(refusal('aborted'));
    const second = inbox.receive({ timeoutMs: 60_000 });
    await clock.settle();
    whole.abort();
    await expect(second).rejects.toEqual(refusal('aborted'));
    await expect(inbox.receive()).rejects.toEqual(refusal('aborted'));
    expect(clock.pending).toBeLessThan(10);
  });

  it('of an unknown session is refused until there is one', async () => {
    const { hub, registry } = await postOn(open);
    const inbox = hub.inbox('later');
    await expect(inbox.receive()).rejects.toEqual(refusal('not_found', 'later'));
    await quiet(registry, 'later');
    await hub.send({ from: 'ann', to: 'later', body: 'welcome' });
    expect(bodiesOf(await inbox.receive())).toEqual(['welcome']);
  });

  it('gives back what it claimed when the mesh is closed, without counting it', async () => {
    const { registry, mesh, another, send, hub, bob } = await postOn(open);
    await send('one');
    await send('two');
    const there = another();
    await hub.inbox(bob).receive({ limit: 2 });
    await registry.heartbeat('ann');
    await mesh.close();
    expect(await statesOf(there)).toEqual({ one: 'ready', two: 'ready' });
    await quiet(there.registry, 'bob');
    const again = await there.hub.inbox('bob').receive({ limit: 9 });
    expect(again.map(({ message, attempt }) => [message.body, attempt])).toEqual([
      ['one', 1],
      ['two', 1],
    ]);
  });

  it('gives back also what it was about to claim when the mesh is closed', async () => {
    const { storage, clock, another, send } = await postOn(open);
    for (let delay = 1; delay <= 40; delay += 3) {
      const slow = another(withFaults(storage, { seed: delay, latencyMs: 5 }));
      await send('one');
      const claiming = slow.hub
        .inbox('bob')
        .receive()
        .catch((): Delivery[] => []);
      await clock.advance(delay);
      const closing = slow.close();
      await clock.advance(1000);
      await closing;
      await claiming;
      const there = another();
      expect(await statesOf(there)).toEqual({ one: 'ready' });
      const [delivery] = await there.hub.inbox('bob').receive();
      expect(delivery?.attempt).toBe(1);
      await delivery?.ack();
      await there.hub.purge('bob');
    }
  });

  it('of a mesh that is closed gives nothing', async () => {
    const { hub, mesh, clock } = await postOn(open);
    const inbox = hub.inbox('bob');
    const waiting = inbox.receive({ timeoutMs: 60_000 });
    const refused = expect(waiting).rejects.toEqual(refusal('closed'));
    await clock.settle();
    await mesh.close();
    await refused;
    await expect(inbox.receive()).rejects.toEqual(refusal('closed'));
    expect(() => hub.inbox('bob')).toThrow(expect.objectContaining({ code: 'closed' }));
  });
});

describe('a thousand messages of some types', () => {
  it('are claimed also on a storage that can lose an answer', async () => {
    const clock = new VirtualClock();
    const storage = Object.assign(new InMemoryStorage({ clock }), { uncertain: true });
    const mesh = createMesh({ storage, hub: { mailboxLimit: 2000 } });
    await mesh.registry.register({ id: 'ann', heartbeat: 'manual' });
    await together(1000, () => mesh.hub.send({ from: 'ann', to: 'ann', type: 'sync' }));
    const inbox = mesh.hub.inbox('ann');
    const first = await inbox.receive({ limit: 1000, types: ['sync'] });
    const rest = await inbox.receive({ limit: 1000, types: ['sync'] });
    expect([first.length, rest.length]).toEqual([999, 1]);
    await mesh.close();
  });
});

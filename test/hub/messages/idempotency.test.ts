import { describe, expect, it } from 'vitest';
import { postOn } from '../../support/hub/post.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('an idempotency key on %s', (_name, open) => {
  it('is used up for a day, also when the message is kept for less', async () => {
    const { hub, clock } = await postOn(open, { hub: { retainMs: 60_000 } });
    const send = { from: 'ann', to: 'bob', body: 'pay', idempotencyKey: 'key' };
    const first = await hub.send(send);
    await clock.advance(62_000);
    expect(await hub.getMessage(first.message.id)).toBeUndefined();
    await expect(hub.send(send)).rejects.toMatchObject({
      code: 'already_exists',
      message: 'expected the same message under the same idempotency key, got it again after the first was removed',
      details: { message: first.message.id },
    });
    clock.set(clock.now() + 86_400_000);
    await hub.send({ ...send, from: 'bob', to: 'bob' });
  });

  it('takes the same data for the same, whatever the order of its names', async () => {
    const { hub } = await postOn(open);
    const send = { from: 'ann', to: 'bob', idempotencyKey: 'key' };
    const first = await hub.send({ ...send, data: { x: 1, y: { a: [1], b: 2 } } });
    const again = await hub.send({ ...send, data: { y: { b: 2, a: [1] }, x: 1 } });
    expect(again.message.id).toBe(first.message.id);
  });

  it('makes one message, from however many sends at once in however many processes', async () => {
    const { hub, another, receive } = await postOn(open);
    const hubs = [hub, another().hub, another().hub];
    const send = { from: 'ann', to: 'bob', body: 'once', idempotencyKey: 'key' };
    const sent = await Promise.all(Array.from({ length: 12 }, (_, n) => hubs[n % 3]?.send(send)));
    expect(new Set(sent.map((result) => result?.message.id)).size).toBe(1);
    expect((await receive()).map(({ message }) => message.id)).toEqual([sent[0]?.message.id]);
  });
});

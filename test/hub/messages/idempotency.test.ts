import { describe, expect, it } from 'vitest';
import { postOn } from '../../support/hub/post.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('an idempotency key on %s', (_name, open) => {
  it('makes one message, from however many sends at once in however many processes', async () => {
    const { hub, another, receive } = await postOn(open);
    const hubs = [hub, another().hub, another().hub];
    const send = { from: 'ann', to: 'bob', body: 'once', idempotencyKey: 'key' };
    const sent = await Promise.all(Array.from({ length: 12 }, (_, n) => hubs[n % 3]?.send(send)));
    expect(new Set(sent.map((result) => result?.message.id)).size).toBe(1);
    expect((await receive()).map(({ message }) => message.id)).toEqual([sent[0]?.message.id]);
  });
});

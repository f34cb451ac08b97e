import { describe, expect, it } from 'vitest';
import type { Delivery } from '../../../src/hub/messages/delivery.ts';
import type { Commit } from '../../../src/storage/storage.ts';
import { only, postOn, statesOf } from '../../support/hub/post.ts';
import { hooked } from '../../support/memory/observed.ts';
import { quiet, refusal } from '../../support/memory/worlds.ts';
import { storages } from '../../support/storages.ts';

const putsInto =
  (partition: string) =>
  ({ puts = [] }: Commit): boolean =>
    puts.some((put) => put.partition === partition);

describe.each(storages)('between the look and the commit of another mesh on %s', (_name, open) => {
  /** A mesh that lets something happen right before its first commit of a kind. */
  async function interrupted(isIt: (commit: Commit) => boolean, meanwhile: () => Promise<unknown>) {
    const post = await postOn(open);
    let isDone = false;
    const storage = hooked(post.storage, {
      commit: async (commit) => {
        if (isDone || !isIt(commit)) return;
        isDone = true;
        await meanwhile();
      },
    });
    return { ...post, there: post.another(storage), isDone: () => isDone };
  }

  it('a lapsed claim that was put back and claimed anew stays claimed', async () => {
    let meanwhile: () => Promise<unknown> = async () => {};
    const post = await interrupted(putsInto('ready/bob'), () => meanwhile());
    const { hub, clock, send, receive, there } = post;
    await send('one');
    await receive();
    await clock.advance(30_000);
    let current: Delivery | undefined;
    meanwhile = async () => {
      current = only(await receive());
    };
    expect(await there.hub.inbox('bob').receive()).toEqual([]);
    expect(post.isDone()).toBe(true);
    expect(current?.attempt).toBe(2);
    expect(await statesOf({ hub })).toEqual({ one: 'claimed' });
    await current?.ack();
    expect(await statesOf({ hub })).toEqual({ one: 'acked' });
  });

  it('a lapsed claim that is acked after all stays acked', async () => {
    let meanwhile: () => Promise<unknown> = async () => {};
    const post = await interrupted(putsInto('ready/bob'), () => meanwhile());
    const { hub, clock, send, receive, there } = post;
    await send('one');
    const delivery = only(await receive());
    await clock.advance(30_000);
    meanwhile = () => delivery.ack();
    expect(await there.hub.inbox('bob').receive()).toEqual([]);
    expect(post.isDone()).toBe(true);
    expect(await statesOf({ hub })).toEqual({ one: 'acked' });
  });

  it('what another inbox of the same owner has taken up and claimed stays claimed', async () => {
    let meanwhile: () => Promise<unknown> = async () => {};
    const post = await interrupted(putsInto('ready/bob'), () => meanwhile());
    const { hub, registry, send, receive, there } = post;
    await send('one');
    await receive();
    const next = await quiet(registry, 'bob');
    let current: Delivery | undefined;
    meanwhile = async () => {
      current = only(await hub.inbox(next).receive());
    };
    expect(await there.hub.inbox('bob').receive()).toEqual([]);
    expect(post.isDone()).toBe(true);
    await current?.ack();
    expect(await statesOf({ hub })).toEqual({ one: 'acked' });
  });

  it('a session that ends gets no mail any more, nor one that is told to stop', async () => {
    for (const how of ['end', 'kill', 'stop'] as const) {
      let meanwhile: () => Promise<unknown> = async () => {};
      const post = await interrupted(putsInto('mail/bob'), () => meanwhile());
      const { registry, clock, there } = post;
      meanwhile = async () => {
        if (how === 'end') await registry.end('bob');
        if (how === 'kill') await registry.kill('bob', { force: true });
        if (how === 'stop') {
          void registry.kill('bob', { graceMs: 60_000 }).catch(() => {});
          await clock.settle();
        }
      };
      await expect(there.hub.send({ from: 'ann', to: 'bob' })).rejects.toEqual(refusal('not_alive'));
      expect(await post.storage.list('mail/bob')).toEqual([]);
    }
  });

  it('a session that comes back from offline gets its mail, and one that goes offline too', async () => {
    let meanwhile: () => Promise<unknown> = async () => {};
    const post = await interrupted(putsInto('mail/bob'), () => meanwhile());
    const { registry, clock, there } = post;
    await clock.advance(299_000);
    await registry.heartbeat('ann');
    await clock.advance(2000);
    meanwhile = () => registry.heartbeat('bob');
    expect((await there.hub.send({ from: 'ann', to: 'bob', requireAlive: false })).recipients).toEqual([
      { session: 'bob', state: 'alive' },
    ]);
  });

  it('a sender that is taken over has sent nothing', async () => {
    let meanwhile: () => Promise<unknown> = async () => {};
    const post = await interrupted(putsInto('mail/bob'), () => meanwhile());
    const { registry, there } = post;
    const ann = await quiet(there.registry, 'ann');
    meanwhile = () => quiet(registry, 'ann');
    await expect(there.hub.send({ from: ann, to: 'bob' })).rejects.toEqual(refusal('lease_lost'));
    expect(await post.storage.list('mail/bob')).toEqual([]);
  });
});

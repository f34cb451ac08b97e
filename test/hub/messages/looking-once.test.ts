import { describe, expect, it } from 'vitest';
import { postOn } from '../../support/hub/post.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('an inbox that is asked without waiting on %s', (_name, open) => {
  it('gets what was put off as soon as its time has come', async () => {
    const { hub, clock, send } = await postOn(open);
    await send('later');
    const inbox = hub.inbox('bob');
    const [first] = await inbox.receive();
    await first?.nak({ delayMs: 500 });
    await clock.advance(499);
    expect(await inbox.receive()).toEqual([]);
    await clock.advance(1);
    const [second] = await inbox.receive();
    expect(second?.message.body).toBe('later');
    // And an extension that is shorter than what was left.
    await second?.extend(1000);
    await clock.advance(1000);
    expect((await inbox.receive()).map(({ message }) => message.body)).toEqual(['later']);
  });

  it('gets what another has claimed and never settled', async () => {
    const { hub, clock, send, another } = await postOn(open, { hub: { visibilityMs: 10_000 } });
    const inbox = hub.inbox('bob');
    expect(await inbox.receive()).toEqual([]);
    await send('lost');
    expect(await another().hub.inbox('bob').receive()).toHaveLength(1);
    await clock.advance(9_999);
    expect(await inbox.receive()).toEqual([]);
    await clock.advance(1);
    expect((await inbox.receive()).map(({ message }) => message.body)).toEqual(['lost']);
  });

  it('gets it also while its mailbox is never empty', async () => {
    const { hub, clock, send, another } = await postOn(open, { hub: { visibilityMs: 10_000 } });
    const inbox = hub.inbox('bob');
    expect(await inbox.receive()).toEqual([]);
    await send('lost', { priority: 'critical' });
    expect(await another().hub.inbox('bob').receive()).toHaveLength(1);
    const got: (string | undefined)[] = [];
    for (let n = 0; n < 15; n++) {
      await send(`m${n}`);
      for (const delivery of await inbox.receive()) {
        got.push(delivery.message.body);
        await delivery.ack();
      }
      await clock.advance(1000);
    }
    expect(got).toContain('lost');
  });
});

import { describe, expect, it } from 'vitest';
import { bodiesOf, member, postOn } from '../../support/hub/post.ts';
import { storages } from '../../support/storages.ts';

// What a process remembers of an offline session no commit disproves once it leaves the session out.
describe.each(storages)('a session that was offline and is back, by another process, on %s', (_name, open) => {
  it('gets broadcasts, what only somebody alive is to get, and what is for a specialist', async () => {
    const { hub, registry, clock, another, send } = await postOn(open);
    await registry.register({ id: 'cara', ttlMs: 1000, heartbeat: 'manual' });
    await clock.advance(1500);
    await send('while it is away', { to: 'cara' });
    await send('and again', { to: 'cara' });
    const there = another();
    const cara = await member(there.registry, 'cara', { capabilities: ['x'] });
    await hub.broadcast({ from: 'ann', body: 'to all' });
    await send('alive only', { to: 'cara', requireAlive: true });
    await send('specialist', { to: { capability: 'x' } });
    const got = await there.hub.inbox(cara).receive({ limit: 10 });
    expect(bodiesOf(got)).toEqual(['while it is away', 'and again', 'to all', 'alive only', 'specialist']);
  });
});

import { describe, expect, it } from 'vitest';
import { isSettled, passUntil } from '../support/memory/worlds.ts';
import { processOn, worldOn } from '../support/registry/meshes.ts';
import { gate, viewOf } from '../support/registry/views.ts';
import { storages } from '../support/storages.ts';

describe.each(storages)('waiting for a session on %s', (_name, open) => {
  it('sees at once what happens while the store is still asked for the end of the log', async () => {
    const { clock, storage, registry } = await worldOn(open);
    const agent = await registry.register({ id: 'agent', heartbeat: 'manual', ttlMs: 300_000 });
    const asking = gate();
    const late = viewOf(storage, {
      list: async (partition, range) => {
        if (partition === 'events' && range?.reverse) await asking.wait();
      },
    });
    const receipt = await processOn(late).registry.steer('agent', { direction: 'north' });
    const settled = receipt.settled();
    await asking.reached;
    await clock.settle();
    for await (const steer of agent.steers()) {
      await steer.applied();
      break;
    }
    asking.open();
    expect(await passUntil(clock, settled, 10, 150)).toEqual({ outcome: 'applied' });
  });

  it('sees at once that whom it kills has ended meanwhile', async () => {
    const { clock, storage, registry } = await worldOn(open);
    await registry.register({ id: 'agent', heartbeat: 'manual', ttlMs: 300_000 });
    const asking = gate();
    const late = viewOf(storage, {
      list: async (partition, range) => {
        if (partition === 'events' && range?.reverse) await asking.wait();
      },
    });
    const { registry: killer } = processOn(late);
    const killed = killer.kill('agent', { graceMs: 60_000 });
    await asking.reached;
    await clock.settle();
    await registry.end('agent');
    asking.open();
    expect(await passUntil(clock, killed, 10, 150)).toMatchObject({ killed: [{ session: 'agent', graceful: true }] });
    expect(await isSettled(clock, killed)).toBe(true);
  });
});

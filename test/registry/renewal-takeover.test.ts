import { describe, expect, it } from 'vitest';
import { withFaults } from '../../src/testing/faults.ts';
import { worldOn } from '../support/memory/worlds.ts';
import { storages } from '../support/storages.ts';

describe.each(storages)('heartbeats of one process on %s', (_name, open) => {
  it('go on for everybody when it has taken over a session of its own, and has not heard of that yet', async () => {
    const world = await worldOn(async (clock) => withFaults(await open(clock), { dropHints: true }), { pollIntervalMs: 60_000 });
    const { registry, clock, errors } = world;
    const old = await registry.register({ id: 'a', ttlMs: 3000 });
    await registry.register({ id: 'b', ttlMs: 3000 });
    const current = await registry.register({ id: 'a', ttlMs: 3000, takeover: true });
    for (let n = 0; n < 30; n++) await clock.advance(300);
    expect(errors).toEqual([]);
    expect((await registry.list()).items.map(({ id }) => id)).toEqual(['a', 'b']);
    expect(current.signal.aborted).toBe(false);
    expect(old.signal.aborted).toBe(true);
  });
});

import { describe, expect, it } from 'vitest';
import { quiet, refusal, worldOn } from '../../support/hub/worlds.ts';
import { storages } from '../../support/storages.ts';

describe.each(storages)('a claim on %s', (_name, open) => {
  it('tells a handle that it is over, also when there is nothing to claim', async () => {
    const { hub, registry } = await worldOn(open);
    const dev = await quiet(registry, 'dev');
    expect(await hub.claim(dev)).toEqual([]);
    await registry.end('dev');
    await expect(hub.claim(dev)).rejects.toEqual(refusal('lease_lost'));
    await expect(hub.claim(dev, { types: ['any'], capabilities: [] })).rejects.toEqual(refusal('lease_lost'));
  });

  it('tells a handle that it is offline, also when there is nothing to claim', async () => {
    const { hub, registry, clock } = await worldOn(open);
    const dev = await quiet(registry, 'dev', { ttlMs: 1000 });
    await clock.advance(1001);
    await expect(hub.claim(dev)).rejects.toEqual(refusal('not_alive'));
  });
});

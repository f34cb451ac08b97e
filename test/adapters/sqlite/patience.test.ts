import { describe, expect, it } from 'vitest';
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import { createMesh, type MeshError } from '../../../src/index.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { type Child, startChild } from '../../support/children.ts';
import { openStorage, temporaryFile } from '../../support/sqlite/files.ts';

// How long the event loop stands still, and how long a lock is waited for, are matters of real time: these tests go by
// the wall clock.

const PUT = { puts: [{ partition: 'p', key: 'k', value: 1 }] };
/** No call of the driver may take longer, nor the event loop stand still for it. */
const LONG_GAP_MS = 50;

async function lock(file: string, how = 'BEGIN IMMEDIATE'): Promise<Child> {
  const child = startChild('sqlite/lock', [file, how]);
  await child.line();
  return child;
}

/**
 * Measures, by a timer of a millisecond, in what share of the time the event loop stood still for long. A busy machine
 * makes gaps too, yet few; a driver that waits makes them all the time.
 */
function watchLoop(): () => number {
  const began = performance.now();
  let last = began;
  let stood = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    if (now - last > LONG_GAP_MS) stood += now - last;
    last = now;
  }, 1);
  return () => {
    clearInterval(timer);
    return stood / (performance.now() - began);
  };
}

// These wait by the wall clock: the lock is held by another process, and how long it is waited for is what they are about.
describe('a lock that another process holds', () => {
  it('for three seconds is waited for without stopping the event loop', async () => {
    const file = temporaryFile();
    const storage = await openStorage(file);
    await storage.commit(PUT);
    const holder = await lock(file);
    const shareStood = watchLoop();
    const began = performance.now();
    const commits = Promise.all(Array.from({ length: 10 }, () => storage.commit(PUT)));
    systemClock.setTimeout(() => holder.say('release'), 3000);
    const results = await commits;
    expect(performance.now() - began).toBeGreaterThan(2900);
    expect(results.map(({ committed }) => committed)).toEqual(Array(10).fill(true));
    expect(shareStood()).toBeLessThan(0.5);
  });

  it('keeps no mesh open', async () => {
    const file = temporaryFile();
    const storage = await openStorage(file);
    const mesh = createMesh({ storage, onError: () => {} });
    const a = await mesh.registry.register({ id: 'a' });
    await lock(file);
    const sending = mesh.hub.send({ from: a, to: 'a' }).then(
      () => 'sent',
      ({ code }: MeshError) => code,
    );
    const began = performance.now();
    await mesh.close();
    expect(performance.now() - began).toBeLessThan(2000);
    expect(['closed', 'unavailable']).toContain(await sending);
    expect(performance.now() - began).toBeLessThan(2500);
  });

  it('is waited for in real time, whatever clock the storage goes by', async () => {
    const file = temporaryFile();
    const clock = new VirtualClock();
    const storage = await openStorage(file, { clock });
    const holder = await lock(file);
    const commit = storage.commit(PUT);
    systemClock.setTimeout(() => holder.say('release'), 100);
    expect(await commit).toMatchObject({ committed: true, at: clock.now() });
  });

  it('for too long makes a commit fail with `unavailable`, and the next one goes on', async () => {
    const file = temporaryFile();
    const storage = await openStorage(file, { busyTimeoutMs: 200 });
    const holder = await lock(file);
    const shareStood = watchLoop();
    const began = performance.now();
    await expect(storage.commit(PUT)).rejects.toMatchObject({ code: 'unavailable' });
    expect(performance.now() - began).toBeGreaterThanOrEqual(195);
    expect(performance.now() - began).toBeLessThan(4000);
    expect(shareStood()).toBeLessThan(0.5);
    expect(await storage.list('p')).toEqual([]);
    holder.say('release');
    await holder.line();
    expect(await storage.commit(PUT)).toMatchObject({ committed: true, revision: 1 });
  });

  it('does not keep readers waiting', async () => {
    const file = temporaryFile();
    const storage = await openStorage(file);
    await storage.commit(PUT);
    await lock(file);
    expect(await storage.get([{ partition: 'p', key: 'k' }])).toMatchObject([{ value: 1 }]);
    expect(await storage.list('p')).toHaveLength(1);
  });

  it('does not keep those waiting who find nothing to take', async () => {
    const file = temporaryFile();
    const storage = await openStorage(file, { busyTimeoutMs: 0 });
    const { revision } = (await storage.commit(PUT)) as { revision: number };
    await lock(file);
    const take = { from: 'queue', to: 'claimed', limit: 10, leaseMs: 1000 };
    expect(await storage.commit({ takes: [take] })).toMatchObject({ committed: true, revision, taken: [] });
    expect(await storage.commit({ takes: [take], checks: [{ partition: 'p', key: 'k', revision: 99 }] })).toEqual({
      committed: false,
      conflicts: [{ partition: 'p', key: 'k' }],
    });
    await expect(storage.commit({ takes: [{ ...take, from: 'p' }] })).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('on the whole file is waited for when it is opened', async () => {
    const file = temporaryFile();
    await (await SqliteStorage.open(file)).close();
    const holder = await lock(file, 'PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; CREATE TABLE t (x)');
    await expect(SqliteStorage.open(file, { busyTimeoutMs: 100 })).rejects.toMatchObject({ code: 'unavailable' });
    const shareStood = watchLoop();
    const opening = openStorage(file);
    systemClock.setTimeout(() => holder.say('release'), 300);
    expect(await (await opening).commit(PUT)).toMatchObject({ committed: true });
    expect(shareStood()).toBeLessThan(0.5);
  });

  it('is waited for by reads too', async () => {
    const file = temporaryFile();
    const storage = await openStorage(file, { busyTimeoutMs: 200 });
    await storage.commit(PUT);
    await storage.close();
    const holder = await lock(file, 'PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; CREATE TABLE t (x)');
    holder.say('release');
    await holder.line();
    expect(await (await openStorage(file)).list('p')).toHaveLength(1);
  });
});

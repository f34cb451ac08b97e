import { describe, expect, it } from 'vitest';
import { SqliteStorage } from '../../src/adapters/sqlite/index.ts';
import { type Child, startChild } from '../support/children.ts';
import { outcomeOf, processOn } from '../support/registry/meshes.ts';
import { temporaryFile } from '../support/storages.ts';

const ROUNDS = 100;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Amid a commit it would hold the lock of the file, and nobody else could write. */
async function stopBetweenCommits(child: Child, storage: SqliteStorage): Promise<void> {
  for (;;) {
    child.process.kill('SIGSTOP');
    const commit = storage.commit({ puts: [{ partition: 'probe', key: 'probe', value: null }] });
    if ((await outcomeOf(commit)) === 'done') return;
    child.process.kill('SIGCONT');
    await pause(10);
  }
}

// Real processes on a real file, so by the wall clock: only so can one be stopped while another goes on.

it(`lets one of 64 registrations of an id at once succeed, from eight processes, ${ROUNDS} times`, async () => {
  const file = temporaryFile();
  const children = Array.from({ length: 8 }, (_, n) => startChild('registry/register', [file, `p${n}`]));
  for (const child of children) expect(await child.line()).toBe('ready');
  const winners = new Set<string>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const child of children) child.say(`r${round}`);
    const outcomes = (await Promise.all(children.map(async (child) => JSON.parse(await child.line()) as string[]))).flat();
    expect(outcomes.filter((outcome) => outcome === 'done 1')).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === 'already_exists')).toHaveLength(63);
    winners.add(`p${Math.floor(outcomes.indexOf('done 1') / 8)} r${round}`);
  }
  const storage = await SqliteStorage.open(file);
  const { registry, mesh } = processOn(storage);
  for (const winner of winners) {
    const [user, id] = winner.split(' ') as [string, string];
    expect(await registry.get(id)).toMatchObject({ state: 'alive', epoch: 1, user });
  }
  expect((await registry.stats()).total).toBe(ROUNDS);
  await mesh.close();
  await storage.close();
});

describe.each([
  ['writes all the time', 'writes'],
  ['does nothing', 'waits'],
])('a process that %s, stopped past its ttl while another takes its id', (_what, writes) => {
  it('lands no write when it goes on, and its signal says lease_lost', async () => {
    const file = temporaryFile();
    const child = startChild('registry/zombie', [file, 'a', writes]);
    expect(await child.line()).toBe('ready');
    const storage = await SqliteStorage.open(file, { busyTimeoutMs: 300 });
    const { registry, mesh } = processOn(storage);
    expect((await registry.get('a'))?.state).toBe('alive');
    await stopBetweenCommits(child, storage);
    while ((await registry.get('a'))?.state === 'alive') await pause(20);
    const next = await registry.register({ id: 'a', metadata: { owner: 'next' } });
    expect(next.epoch).toBe(2);
    const before = await registry.get('a');
    const cursor = (await storage.list('events', { reverse: true, limit: 1 }))[0]?.key ?? '';
    child.process.kill('SIGCONT');
    const report = JSON.parse(await child.line());
    expect(report).toEqual({
      first: writes === 'writes' ? 'lease_lost' : 'none',
      attempts: ['lease_lost', 'lease_lost', 'lease_lost', 'lease_lost', { alive: false, reason: 'lease_lost' }],
      aborted: true,
      reason: 'lease_lost',
    });
    expect(await child.ended).toBe(0);
    const { lastSeenAt: _beforeSeen, ...then } = before ?? {};
    const { lastSeenAt: _nowSeen, ...now } = (await registry.get('a')) ?? {};
    expect(now).toEqual(then);
    expect(await registry.get('a-child')).toBeUndefined();
    expect(await storage.list('events', { start: `${cursor}\u0001` })).toEqual([]);
    await next.update({ task: 'mine' });
    await mesh.close();
    await storage.close();
  });
});

describe.each(['memory', 'SQLite'])('a process with sessions on %s', (name) => {
  const file = (): string => (name === 'memory' ? 'memory' : temporaryFile());

  it('ends by itself when it has nothing else to do, heartbeats or not', async () => {
    const child = startChild('registry/leave', [file(), 'leave']);
    await child.line();
    expect(await child.ended).toBe(0);
  });

  it('is left with nothing open two seconds after it closes the mesh', async () => {
    const child = startChild('registry/leave', [file(), 'close']);
    const { closedInMs, resources } = JSON.parse(await child.line());
    expect(resources).toEqual([]);
    expect(closedInMs).toBeLessThan(2000);
    expect(await child.ended).toBe(0);
  });
});

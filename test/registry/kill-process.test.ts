import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { SqliteStorage } from '../../src/adapters/sqlite/index.ts';
import { createMesh, type Mesh } from '../../src/index.ts';
import { startBundled, startScript } from '../support/children.ts';
import { endings, join, plant } from '../support/registry-kill/world.ts';
import { temporaryFile } from '../support/storages.ts';

// Processes live by the wall clock, so everything here does.

async function meshOn(file: string, busyTimeoutMs = 5000): Promise<Mesh> {
  return join(await SqliteStorage.open(file, { busyTimeoutMs }), { closeStorage: true, onError: () => {} });
}

/** Until something holds that no event tells: a few seconds at most. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error('expected it to come true within 5 s, got nothing');
}

describe('onKill', () => {
  it('ends a real process: politely first, and by force what does not listen', async () => {
    const mesh = createMesh();
    const { registry } = mesh;
    const script = (onTerm: string): string =>
      `process.on('SIGTERM', () => { ${onTerm} }); setInterval(() => {}, 1000); console.log('up');`;
    const polite = startScript(script('process.exit(7)'));
    const stubborn = startScript(script('console.log("no")'));
    expect(await polite.line()).toBe('up');
    expect(await stubborn.line()).toBe('up');
    await registry.register({ id: 'polite', onKill: ({ force }) => polite.process.kill(force ? 'SIGKILL' : 'SIGTERM') });
    await registry.register({
      id: 'stubborn',
      parentId: 'polite',
      onKill: ({ force }) => stubborn.process.kill(force ? 'SIGKILL' : 'SIGTERM'),
    });
    void polite.ended.then(() => registry.end('polite'));
    const start = Date.now();
    const report = await registry.kill('polite', { graceMs: 600, reason: 'enough' });
    expect(Date.now() - start).toBeGreaterThanOrEqual(600);
    expect(report.killed).toEqual([
      { session: 'polite', graceful: true },
      { session: 'stubborn', graceful: false },
    ]);
    expect(await polite.ended).toBe(7);
    expect(await stubborn.line()).toBe('no');
    expect(await stubborn.ended).toBe('SIGKILL');
    await mesh.close();
  });

  it('ends a real process at once when forced', async () => {
    const mesh = createMesh();
    const child = startScript(`process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('up');`);
    await child.line();
    await mesh.registry.register({ id: 'agent', onKill: ({ force }) => child.process.kill(force ? 'SIGKILL' : 'SIGTERM') });
    await mesh.registry.kill('agent', { force: true });
    expect(await child.ended).toBe('SIGKILL');
    await mesh.close();
  });
});

describe('a process', () => {
  it.each([
    ['kill', 'killed 1'],
    ['settled', 'timed_out'],
    ['steers', 'aborted'],
  ])('is held by a wait in %s, and by nothing after it', async (what, printed) => {
    const child = await startBundled('registry-kill/wait', [what]);
    expect(await child.line()).toBe(printed);
    expect(await child.ended).toBe(0);
  });

  it('is not held by a loop while a directive is worked on', async () => {
    const child = await startBundled('registry-kill/wait', ['worked']);
    expect(await child.line()).toBe('working on steer');
    // Node's code for an open promise at the top level.
    expect(await child.ended).toBe(13);
  });

  it('is not held by a loop that was left, nor by an order that stands', async () => {
    const child = await startBundled('registry-kill/wait', ['left']);
    expect(await child.line()).toBe('left');
    expect(await child.ended).toBe(0);
  });
});

describe('processes on one file', () => {
  it('hear of orders and directives, and end gracefully', async () => {
    const file = temporaryFile();
    const mesh = await meshOn(file);
    const child = await startBundled('registry-kill/owner', [file, 'agent', 'graceful']);
    expect(await child.line()).toBe('registered');
    const receipt = await mesh.registry.steer('agent', { message: 'hello' });
    expect(await child.line()).toBe('steered hello');
    expect(await receipt.settled({ timeoutMs: 5000 })).toEqual({ outcome: 'applied', note: `by ${child.process.pid}` });
    const start = Date.now();
    const report = await mesh.registry.kill('agent', { reason: 'budget', graceMs: 15_000 });
    expect(Date.now() - start).toBeLessThan(5000);
    expect(report.killed).toEqual([{ session: 'agent', graceful: true }]);
    expect(await child.line()).toBe('onKill budget false');
    expect(await child.line()).toBe('aborted aborted budget');
    expect(await child.line()).toBe('ended');
    expect(await child.ended).toBe(0);
    expect(await mesh.registry.get('agent')).toMatchObject({ state: 'killed', reason: 'budget' });
  });

  it('cannot write once they were killed while they slept', async () => {
    const file = temporaryFile();
    const mesh = await meshOn(file, 100);
    const child = await startBundled('registry-kill/owner', [file, 'agent', 'writes']);
    expect(await child.line()).toBe('registered');
    await until(async () => (await mesh.registry.get('agent'))?.task !== undefined);
    for (let isKilled = false; !isKilled; ) {
      child.process.kill('SIGSTOP');
      isKilled = await mesh.registry.kill('agent', { graceMs: 200, reason: 'slept' }).then(
        () => true,
        (error: { code: string }) => {
          // It was stopped in the middle of a write, and nobody can get past it.
          if (error.code !== 'unavailable') throw error;
          return false;
        },
      );
      if (!isKilled) child.process.kill('SIGCONT');
    }
    const before = await mesh.registry.get('agent');
    expect(before).toMatchObject({ state: 'killed', reason: 'slept' });
    child.process.kill('SIGCONT');
    const lines = [await child.line(), await child.line(), await child.line()];
    expect(lines).toContain('refused lease_lost');
    expect(lines.filter((line) => line.startsWith('onKill'))).toEqual(['onKill slept true']);
    expect(lines).toContain('aborted aborted slept');
    expect(await child.ended).toBe(0);
    expect(await mesh.registry.get('agent')).toEqual(before);
    expect(await endings(mesh)).toEqual({ agent: ['killed'] });
  });

  it.each([
    ['forced', '0'],
    ['with a grace', '700'],
  ])('complete a cascade whose killer was killed in the middle: %s', async (_how, graceMs) => {
    const file = temporaryFile();
    const mesh = await meshOn(file);
    const ids = await plant(mesh.registry, 'a', 4, 4);
    const killer = await startBundled('registry-kill/killer', [file, 'a', graceMs]);
    expect(await killer.line()).toBe('killing');
    const [, signal] = await once(killer.process, 'exit');
    expect(signal).toBe('SIGKILL');
    await until(async () => (await mesh.registry.list({ state: 'killed', limit: 1000 })).items.length === ids.length);
    await until(async () => Object.keys(await endings(mesh)).length === ids.length);
    expect(new Set(Object.values(await endings(mesh)).flat())).toEqual(new Set(['killed']));
    expect(Object.values(await endings(mesh)).flat()).toHaveLength(ids.length);
  });
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readDocument } from './readme.ts';
import { type Ran, runNode } from './run.ts';
import { ROOT } from './source-tree.ts';

const DEMO = path.join(ROOT, 'examples', 'demo', 'demo.mjs');
let elsewhere: string;

beforeAll(() => {
  elsewhere = mkdtempSync(path.join(tmpdir(), 'demo-'));
});
afterAll(() => rmSync(elsewhere, { recursive: true, force: true }));

/** The demo on some folder, with what it leaves behind. */
async function demo(name: string, folder: string): Promise<Ran & { readonly left: readonly string[] }> {
  const place = path.join(elsewhere, name);
  mkdirSync(place);
  const ran = await runNode([DEMO, folder], elsewhere, { TMPDIR: place, TEMP: place });
  return { ...ran, left: readdirSync(place).flatMap((made) => readdirSync(path.join(place, made))) };
}

describe('the demo', () => {
  it('is what the README begins with', () => {
    const manifest = JSON.parse(readDocument('package.json')) as { scripts: Record<string, string> };
    expect(manifest.scripts['demo']).toContain(path.relative(ROOT, DEMO).replaceAll('\\', '/'));
  });

  it('completes every task once, though workers are killed, twice at the same time', async () => {
    const both = await Promise.all([demo('one', path.join(ROOT, 'src')), demo('two', path.join(ROOT, 'docs'))]);
    for (const { code, output, stdout, left } of both) {
      expect(code, output).toBe(0);
      expect(stdout).toMatch(/✓ each was completed exactly once/);
      expect(stdout).not.toMatch(/✗/);
      expect([...left].sort()).toEqual(['events.jsonl', 'topology.mmd']);
    }
  });

  it('surveys a tree of one file', async () => {
    const { code, output } = await demo('small', path.join(ROOT, 'test', 'soak'));
    expect(code, output).toBe(0);
  });

  it('refuses what is no source tree, and leaves nothing', async () => {
    const empty = path.join(elsewhere, 'empty');
    mkdirSync(empty);
    for (const [name, folder] of Object.entries({ none: empty, unknown: path.join(empty, 'unknown') })) {
      const { code, output, left } = await demo(name, folder);
      expect(code, output).toBe(2);
      expect(left).toEqual([]);
    }
  });

  it.skipIf(process.platform !== 'linux')('leaves no process behind when the orchestrator is killed', async () => {
    const orchestrator = spawn(process.execPath, [DEMO, path.join(ROOT, 'src')], { stdio: ['ignore', 'ignore', 'pipe'] });
    const exited = once(orchestrator, 'exit');
    await once(orchestrator.stderr, 'data');
    const children = childrenOf(orchestrator.pid ?? 0);
    expect(children.length).toBeGreaterThan(0);
    orchestrator.kill('SIGKILL');
    await exited;
    await expect.poll(() => children.filter(isRunning), { timeout: 20_000 }).toEqual([]);
  });
});

function childrenOf(parent: number): number[] {
  return readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
}

/** Nobody may be left to fetch the exit code of one whose parent is gone. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

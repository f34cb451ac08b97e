import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';
import { afterAll, afterEach } from 'vitest';

const ROOT = path.join(import.meta.dirname, '../../..');
const running = new Set<Child>();
const bundles = new Map<string, Promise<string>>();
let folder: string | undefined;

afterEach(async () => {
  await Promise.all([...running].map((child) => child.kill()));
});
afterAll(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

export interface Child {
  readonly process: ChildProcess;
  /** The next line that it prints. Rejects when it ends first. */
  line(): Promise<string>;
  say(text: string): void;
  /** Ends it as if its power went, and resolves when it is gone. */
  kill(): Promise<void>;
  /** Its exit code or the signal that ended it. */
  readonly ended: Promise<number | string>;
}

/** A process that runs one of the `*.child.ts` beside this file, bundled with the sources as they are now. */
export async function startChild(script: string, args: readonly string[] = []): Promise<Child> {
  const bundle = bundles.get(script) ?? bundled(script);
  bundles.set(script, bundle);
  const child = spawn(process.execPath, ['--no-warnings', await bundle, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise<number | string>((resolve) =>
    child.on('exit', (code, signal) => resolve(code ?? signal ?? 'nothing')),
  );
  const started: Child = {
    process: child,
    ended,
    say: (text) => void child.stdin.write(`${text}\n`),
    line: async () => {
      const next = await lines.next();
      if (next.done) throw new Error(`${script} ended (${await ended}) where it was to print a line`);
      return next.value;
    },
    kill: async () => {
      running.delete(started);
      child.kill('SIGKILL');
      await ended;
    },
  };
  running.add(started);
  return started;
}

async function bundled(script: string): Promise<string> {
  if (folder === undefined) {
    folder = mkdtempSync(path.join(tmpdir(), 'session-mesh-children-'));
    // Drivers of SQLite stay outside of the bundle.
    symlinkSync(path.join(ROOT, 'node_modules'), path.join(folder, 'node_modules'));
  }
  const outfile = path.join(folder, `${script}.mjs`);
  await build({
    entryPoints: [path.join(import.meta.dirname, `${script}.child.ts`)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    logLevel: 'silent',
  });
  return outfile;
}

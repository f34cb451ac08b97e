import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';
import { afterAll, afterEach } from 'vitest';

const ROOT = path.join(import.meta.dirname, '../../..');
const running: ChildProcess[] = [];
let folder: string | undefined;

afterEach(async () => {
  for (const child of running.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const ended = new Promise((resolve) => child.on('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }
});
afterAll(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

export interface Child {
  readonly process: ChildProcess;
  /** The next line that it prints. Rejects when it ends first. */
  line(): Promise<string>;
  say(text: string): void;
  /** Its exit code or the signal that ended it. */
  readonly ended: Promise<number | string>;
}

/** A process that runs one of the `*.child.ts` beside this file, bundled with the sources as they are now. */
export async function startChild(script: string, args: readonly string[] = []): Promise<Child> {
  return follow(
    spawn(process.execPath, ['--no-warnings', await bundled(script), ...args], { stdio: ['pipe', 'pipe', 'inherit'] }),
    script,
  );
}

/** A process that knows nothing of the library: code of its own. */
export function startScript(code: string): Child {
  return follow(
    spawn(process.execPath, ['--no-warnings', '--input-type=module', '-e', code], { stdio: ['pipe', 'pipe', 'inherit'] }),
    'a script',
  );
}

function follow(child: ChildProcess, name: string): Child {
  running.push(child);
  const ended = new Promise<number | string>((resolve) =>
    child.on('exit', (code, signal) => resolve(code ?? signal ?? 'nothing')),
  );
  const { stdin, stdout } = child;
  if (!stdin || !stdout) throw new Error('expected a child with pipes, got none');
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  return {
    process: child,
    ended,
    say: (text) => void stdin.write(`${text}\n`),
    line: async () => {
      const next = await lines.next();
      if (next.done) throw new Error(`${name} ended (${await ended}) where it was to print a line`);
      return next.value;
    },
  };
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

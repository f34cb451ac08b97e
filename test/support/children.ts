import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';
import { afterAll } from 'vitest';
import { afterThisTest } from './sqlite/files.ts';

const ROOT = path.join(import.meta.dirname, '../..');

/** A process of its own. It is gone when its test is over. */
export interface Child {
  readonly process: ChildProcess;
  /** The next line that it prints. Rejects when it ends first. */
  line(): Promise<string>;
  /** Says a line to it. */
  say(text: string): void;
  /** Ends it as if its power went, and resolves when it is gone. */
  kill(): Promise<void>;
  /** Its exit code or the signal that ended it. */
  readonly ended: Promise<number | string>;
}

export interface ChildOptions {
  readonly node?: string;
  readonly nodeOptions?: readonly string[];
  readonly uid?: number;
}

/** Runs one of the `*.child.mjs` below this folder, on what was built. */
export function startChild(script: string, args: readonly string[] = [], options: ChildOptions = {}): Child {
  return start(script, [path.join(import.meta.dirname, `${script}.child.mjs`), ...args], options);
}

/** Runs one of the `*.child.ts` below this folder, bundled with the sources as they are now. */
export async function startBundled(script: string, args: readonly string[] = []): Promise<Child> {
  const bundle = bundles.get(script) ?? bundled(script);
  bundles.set(script, bundle);
  return start(script, [await bundle, ...args]);
}

/** Runs code that knows nothing of the library. */
export function startScript(code: string): Child {
  return start('a script', ['--input-type=module', '-e', code]);
}

function start(
  name: string,
  argv: readonly string[],
  { node = process.execPath, nodeOptions = [], uid }: ChildOptions = {},
): Child {
  const child = spawn(node, ['--no-warnings', ...nodeOptions, ...argv], {
    stdio: ['pipe', 'pipe', 'inherit'],
    ...(uid !== undefined && { uid, gid: uid }),
  });
  const ended = new Promise<number | string>((resolve) =>
    child.on('exit', (code, signal) => resolve(code ?? signal ?? 'nothing')),
  );
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  afterThisTest(kill);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    process: child,
    ended,
    kill,
    say: (text) => void child.stdin.write(`${text}\n`),
    line: async () => {
      const next = await lines.next();
      if (next.done) throw new Error(`${name} ended (${await ended}) where it was to print a line`);
      return next.value;
    },
  };
}

const bundles = new Map<string, Promise<string>>();
let folder: string | undefined;

afterAll(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

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

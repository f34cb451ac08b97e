import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterThisTest } from './files.ts';

/** A process of its own that runs one of the `*.child.mjs` beside this file, on what was built. */
export interface Child {
  readonly process: ChildProcess;
  /** The next line that it prints. Rejects when it ends first. */
  line(): Promise<string>;
  /** Says a line to it. */
  say(text: string): void;
  /** Its exit code or the signal that ended it. */
  readonly ended: Promise<number | string>;
}

export interface ChildOptions {
  readonly node?: string;
  readonly uid?: number;
}

export function startChild(script: string, args: readonly string[], { node = process.execPath, uid }: ChildOptions = {}): Child {
  const file = path.join(import.meta.dirname, `${script}.child.mjs`);
  const child = spawn(node, ['--no-warnings', file, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
    ...(uid !== undefined && { uid, gid: uid }),
  });
  const ended = new Promise<number | string>((resolve) =>
    child.on('exit', (code, signal) => resolve(code ?? signal ?? 'nothing')),
  );
  afterThisTest(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    process: child,
    ended,
    say: (text) => child.stdin.write(`${text}\n`),
    line: async () => {
      const next = await lines.next();
      if (next.done) throw new Error(`${script} ended (${await ended}) where it was to print a line`);
      return next.value;
    },
  };
}

import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach } from 'vitest';

/** A process of its own that runs one of the `*.child.mjs` beside this file, on what was built. */
export interface Child {
  /** The next line that it prints. Rejects when it ends first. */
  line(): Promise<string>;
  /** Says a line to it. */
  say(text: string): void;
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>;
}

const running: { readonly child: ChildProcess; readonly ended: Promise<unknown> }[] = [];
afterEach(async () => {
  for (const { child, ended } of running.splice(0)) {
    child.kill('SIGKILL');
    await ended;
  }
});

export function startChild(script: string, args: readonly string[], nodeOptions: readonly string[] = []): Child {
  const file = path.join(import.meta.dirname, `${script}.child.mjs`);
  const child = spawn(process.execPath, ['--no-warnings', ...nodeOptions, file, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise<number | string>((resolve) =>
    child.on('exit', (code, signal) => resolve(code ?? signal ?? 'nothing')),
  );
  running.push({ child, ended });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    ended,
    say: (text) => child.stdin.write(`${text}\n`),
    line: async () => {
      const next = await lines.next();
      if (next.done) throw new Error(`${script} ended (${await ended}) where it was to print a line`);
      return next.value;
    },
  };
}

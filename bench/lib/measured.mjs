import { fork } from 'node:child_process';
import path from 'node:path';

/** What takes longer does not end. */
const LIMIT_MS = 20 * 60_000;

/** Runs a script of this folder in a process of its own, and answers what it sends; one that fails is reported. */
export function measuredBy(script, args) {
  return new Promise((resolve) => {
    const child = fork(path.join(import.meta.dirname, script), args.map(String), {
      execArgv: ['--expose-gc', '--max-old-space-size=16384'],
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
    let answer;
    child.on('message', (message) => {
      answer = message;
    });
    child.on('exit', (code) => {
      clearTimeout(timer);
      if (!answer) console.error(code === null ? '  ended: it took too long' : `  failed, exit code ${code}`);
      resolve(answer);
    });
  });
}

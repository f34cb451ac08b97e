import { execFile } from 'node:child_process';

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  /** Both streams, for the message of a failing test. */
  readonly output: string;
}

/** Runs a program to its end, whatever that is. */
export function run(program: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  return new Promise((resolve) => {
    const options = { cwd, env: { ...childEnv(), ...env }, maxBuffer: 64 * 1024 * 1024, shell: false };
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      const code = error ? (typeof error.code === 'number' ? error.code : 1) : 0;
      resolve({ code, stdout, output: `${program} ${args.join(' ')}\n${stdout}${stderr}` });
    });
    child.stdin?.end();
  });
}

export function runNode(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  return run(process.execPath, args, cwd, env);
}

/** Ours without what npm and vitest tell their own children, which another npm would take for its settings. */
function childEnv(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => {
    if (/^(npm_config_cache|npm_config_registry|npm_config_userconfig)$/i.test(name)) return true;
    return !/^(npm_|vitest|NODE_OPTIONS$|NODE_ENV$|FORCE_COLOR$|TEST_REPORT$)/i.test(name);
  });
  return { ...Object.fromEntries(kept), NO_COLOR: '1' };
}

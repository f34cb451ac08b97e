import { spawn } from 'node:child_process';
import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT, temporaryFolder } from './bundle.mjs';
import { MISTAKES } from './mistakes.table.mjs';

const ALLOWED_MS = 60_000;

/** Makes each mistake in a copy of the tree, and looks whether the test that is named for it notices within a minute. */
export async function soakMistakes({ only }) {
  const copy = path.join(temporaryFolder(), 'tree');
  const wanted = MISTAKES.filter(({ name }) => only === undefined || name.includes(only));
  for (const part of ['src', 'test', 'package.json', 'tsconfig.json', 'vitest.config.ts', 'tsup.config.ts'])
    cpSync(path.join(ROOT, part), path.join(copy, part), { recursive: true });
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(copy, 'node_modules'));
  const results = [];
  for (const mistake of wanted) {
    const result = await tried(copy, mistake);
    results.push(result);
    const seconds = (result.ms / 1000).toFixed(1).padStart(5);
    console.log(`${result.verdict.padEnd(9)} ${seconds} s  ${mistake.name.padEnd(62)} ${mistake.test}`);
    if (result.verdict !== 'caught') console.log(result.output.slice(-1500));
  }
  const caught = results.filter(({ verdict }) => verdict === 'caught').length;
  console.log(`${caught} of ${results.length} mistakes were caught`);
  return caught === results.length;
}

async function tried(copy, { file, find, replace, test, named, env = {} }) {
  const target = path.join(copy, file);
  const right = readFileSync(target, 'utf8');
  if (right.split(find).length !== 2)
    return {
      verdict: 'unfound',
      ms: 0,
      output: `expected once in ${file}, got it ${right.split(find).length - 1} times: ${find}`,
    };
  writeFileSync(
    target,
    right.replace(find, () => replace),
  );
  try {
    return await runTest(copy, test, named, env);
  } finally {
    writeFileSync(target, right);
  }
}

/** Caught is what fails a test; what cannot even be loaded proves nothing. */
function runTest(copy, test, named, env) {
  const vitest = path.join(copy, 'node_modules', 'vitest', 'vitest.mjs');
  const args = [vitest, 'run', test, '--bail=1', '--reporter=verbose', ...(named ? ['-t', named] : [])];
  const began = Date.now();
  const child = spawn(process.execPath, args, {
    cwd: copy,
    env: { ...process.env, ...env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (data) => (output += data));
  child.stderr.on('data', (data) => (output += data));
  const timer = setTimeout(() => child.kill('SIGKILL'), ALLOWED_MS);
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const ms = Date.now() - began;
      const isTest = /Tests\s+\d+ failed/.test(output);
      const verdict = signal ? 'too slow' : code === 0 ? 'SURVIVED' : isTest ? 'caught' : 'broken';
      resolve({ verdict, ms, output });
    });
  });
}

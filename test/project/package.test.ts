import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readDocument } from './readme.ts';
import { run, runNode } from './run.ts';
import { ROOT } from './source-tree.ts';

const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
const quickStart = readDocument('examples/quick-start.mjs');

let folder: string;
let tarball: string;
let files: string[];

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'package-'));
  const packed = await run(npm, ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], ROOT);
  expect(packed.code, packed.output).toBe(0);
  const [pack] = JSON.parse(packed.stdout) as [{ filename: string; files: { path: string }[] }];
  tarball = path.join(folder, pack.filename);
  files = pack.files.map((file) => file.path);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the packed package', () => {
  it('holds what was built, its documents, and nothing else', () => {
    const strays = files.filter(
      (file) => !/^(dist\/[\w-]+\.(js|d\.ts)|docs\/[\w/-]+\.md|docs\/llms\.txt|README\.md|LICENSE|package\.json)$/.test(file),
    );
    expect(strays).toEqual([]);
    for (const file of ['dist/index.js', 'dist/index.d.ts', 'README.md', 'LICENSE', 'docs/llms.txt'])
      expect(files).toContain(file);
  });

  it('names each document to those who read by machine', () => {
    const named = [...readDocument('docs/llms.txt').matchAll(/\]\(([\w.-]+\.md)\)/g)].map(([, name]) => `docs/${name}`);
    expect(files.filter((file) => /^docs\/.*\.md$/.test(file)).filter((file) => !named.includes(file))).toEqual([]);
  });

  it('pleases publint', async () => {
    const manifest = JSON.parse(readDocument('package.json')) as Record<string, unknown>;
    const { messages } = await publint({ pack: { tarball: new Uint8Array(readFileSync(tarball)).buffer }, strict: true });
    expect(messages.map((message) => formatMessage(message, manifest, { color: false }))).toEqual([]);
  });

  it('has types that every resolution of ESM finds', async () => {
    const attw = path.join(ROOT, 'node_modules', '@arethetypeswrong', 'cli', 'dist', 'index.js');
    const { code, output } = await runNode([attw, tarball, '--profile', 'esm-only', '--no-emoji'], folder);
    expect(code, output).toBe(0);
  });
});

describe('the package installed in an empty folder, install scripts blocked', () => {
  let home: string;

  beforeAll(async () => {
    home = path.join(folder, 'home');
    mkdirSync(home);
    writeFileSync(path.join(home, 'package.json'), JSON.stringify({ name: 'home', private: true, type: 'module' }));
    const flags = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'];
    const installed = await run(npm, ['install', tarball, ...flags], home);
    expect(installed.code, installed.output).toBe(0);
  });

  it('brings the four dependencies and what they need, nothing more', () => {
    const installed = readdirSync(path.join(home, 'node_modules')).filter((name) => !name.startsWith('.'));
    expect(installed.sort()).toEqual(['eventemitter3', 'lru-cache', 'nanoid', 'session-mesh', 'zod']);
  });

  it('runs the quick start as a plain module', async () => {
    copyFileSync(path.join(ROOT, 'examples', 'quick-start.mjs'), path.join(home, 'plain.mjs'));
    const { code, output } = await runNode(['plain.mjs'], home);
    expect(code, output).toBe(0);
  });

  it('runs the quick start through require', async () => {
    writeFileSync(path.join(home, 'required.cjs'), asCommonJs(quickStart));
    const { code, output } = await runNode(['required.cjs'], home);
    expect(code, output).toBe(0);
  });

  it('compiles the quick start as TypeScript under nodenext, libraries checked too, and runs it', async () => {
    writeFileSync(path.join(home, 'typed.ts'), quickStart);
    const typeRoots = [path.join(ROOT, 'node_modules', '@types')];
    const compilerOptions = {
      target: 'ES2022',
      module: 'nodenext',
      strict: true,
      skipLibCheck: false,
      types: ['node'],
      typeRoots,
    };
    writeFileSync(path.join(home, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['typed.ts'] }));
    const compiled = await runNode([path.join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', home], home);
    expect(compiled.code, compiled.output).toBe(0);
    const { code, output } = await runNode(['typed.js'], home);
    expect(code, output).toBe(0);
  });
});

/** The same program for a script that cannot import. */
function asCommonJs(program: string): string {
  const required = program.replace(/^import \{([^}]*)\} from ('[^']+');$/gm, (_, names: string, from: string) => {
    return `const {${names.replaceAll(' as ', ': ')}} = require(${from});`;
  });
  const [heads, rest] = [/^const \{[^}]*\} = require\([^)]*\);$/gm, /^const \{[^}]*\} = require\([^)]*\);\n?/gm];
  return `${(required.match(heads) ?? []).join('\n')}\n(async () => {\n${required.replace(rest, '')}\n})();\n`;
}

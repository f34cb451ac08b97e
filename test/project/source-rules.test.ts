import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { directTimeIn } from './direct-time.ts';
import { globalsOf, placeOf, ROOT, SOURCES, sourceFile, walk } from './source-tree.ts';

const MAX_LINES = 400;
const UNFINISHED = /\b(TODO|FIXME|XXX|HACK)\b|@ts-(ignore|nocheck|expect-error)/;

/** Where the library may ask the host for time, timers and randomness. */
const KERNEL_SOURCES = new Set(['kernel/clock.ts', 'kernel/random.ts', 'kernel/ids.ts']);

const NETWORK = new Set(['fetch', 'WebSocket', 'XMLHttpRequest', 'EventSource']);

describe('every file of src', () => {
  it('fits on a few screens', () => {
    const long = SOURCES.map(({ name, text }) => [name, text.split('\n').length - 1] as const).filter(
      ([, lines]) => lines > MAX_LINES,
    );
    expect(long).toEqual([]);
  });

  it('is finished', () => {
    const found = SOURCES.flatMap(({ name, text }) =>
      text.split('\n').map((line, index) => ({ line, place: `${name}:${index + 1}` })),
    )
      .filter(({ line }) => UNFINISHED.test(line))
      .map(({ place }) => place);
    expect(found).toEqual([]);
  });

  it('says what its types are', () => {
    const found: string[] = [];
    for (const file of SOURCES) {
      walk(file.tree, (node) => {
        if (node.kind === ts.SyntaxKind.AnyKeyword) found.push(placeOf(file, node));
      });
    }
    expect(found).toEqual([]);
  });

  it('takes time, timers and randomness from the kernel', () => {
    const found = SOURCES.filter(({ name }) => !KERNEL_SOURCES.has(name)).flatMap(directTimeIn);
    expect(found).toEqual([]);
  });

  it('uses no network and evaluates no text', () => {
    const found = SOURCES.flatMap((file) =>
      globalsOf(file)
        .filter(({ text }) => NETWORK.has(text) || text === 'eval' || text === 'Function')
        .map((node) => `${placeOf(file, node)}: ${node.text}`),
    );
    expect(found).toEqual([]);
  });

  it('imports zod as a namespace, which bundles to a third of the size', () => {
    const found = SOURCES.filter(({ text }) => /import\s+(type\s+)?\{[^}]*\}\s+from\s+'zod'/.test(text)).map(({ name }) => name);
    expect(found).toEqual([]);
  });
});

describe('the rule against direct time and randomness', () => {
  it.each([
    'Date.now();',
    'new Date();',
    'const { now } = Date;',
    'performance.now();',
    'setTimeout(() => {}, 1);',
    'const later = setTimeout;',
    'export const timers = { setInterval };',
    'setImmediate(() => {});',
    'globalThis.setTimeout(() => {}, 1);',
    "globalThis['setTimeout'](() => {}, 1);",
    'const { setTimeout: later } = globalThis;',
    'globalThis.Date.now();',
    'Math.random();',
    "Math['random']();",
    'const { random } = Math;',
    'crypto.randomUUID();',
    'globalThis.crypto.getRandomValues(bytes);',
    'AbortSignal.timeout(5);',
    'process.hrtime.bigint();',
    "import { nanoid } from 'nanoid';",
    "import { setTimeout as sleep } from 'node:timers/promises';",
    "import { performance as watch } from 'node:perf_hooks';",
    "import { randomBytes as bytes } from 'node:crypto';",
  ])('catches %s', (code) => {
    expect(directTimeIn(sourceFile('some.ts', code))).not.toEqual([]);
  });

  it.each([
    'clock.setTimeout(() => {}, 1);',
    'this.clock.now();',
    'Math.max(1, 2);',
    'queueMicrotask(() => {});',
    'export interface Clock { setTimeout(callback: () => void): void }',
    'export const clock = { setTimeout() {} };',
  ])('lets %s pass', (code) => {
    expect(directTimeIn(sourceFile('some.ts', code))).toEqual([]);
  });
});

describe('the package', () => {
  const manifest = readJson('package.json') as { dependencies: Record<string, string> };
  const lock = readJson('package-lock.json') as { packages: Record<string, LockedPackage> };

  it('depends on four packages', () => {
    expect(Object.keys(manifest.dependencies).sort()).toEqual(['eventemitter3', 'lru-cache', 'nanoid', 'zod']);
  });

  it('runs no install script of the packages it depends on', () => {
    const shipped = Object.entries(lock.packages).filter(
      ([name, { dev, devOptional, peer }]) => name !== '' && !dev && !devOptional && !peer,
    );
    expect(shipped.length).toBeGreaterThanOrEqual(4);
    expect(shipped.filter(([, { hasInstallScript }]) => hasInstallScript).map(([name]) => name)).toEqual([]);
  });

  it('is locked without naming the registry it was locked from', () => {
    const named = Object.entries(lock.packages).filter(([, { resolved }]) => resolved !== undefined);
    expect(named.map(([name]) => name)).toEqual([]);
  });

  it('is locked for every platform, or npm ci refuses the lock file on one of them', () => {
    const missing = Object.entries(lock.packages).flatMap(([name, { optionalDependencies = {} }]) =>
      Object.keys(optionalDependencies).filter(
        (wanted) => !lock.packages[`node_modules/${wanted}`] && !lock.packages[`${name}/node_modules/${wanted}`],
      ),
    );
    expect(missing).toEqual([]);
  });

  it('evaluates no text in what it ships', () => {
    const shipped = readdirSync(path.join(ROOT, 'dist')).filter((name) => name.endsWith('.js'));
    expect(shipped).toContain('index.js');
    const found = shipped
      .map((name) => sourceFile(name, readFileSync(path.join(ROOT, 'dist', name), 'utf8')))
      .flatMap((file) => globalsOf(file).filter(({ text }) => text === 'eval' || text === 'Function'));
    expect(found.map(({ text }) => text)).toEqual([]);
  });
});

interface LockedPackage {
  readonly dev?: boolean;
  readonly devOptional?: boolean;
  readonly peer?: boolean;
  readonly resolved?: string;
  readonly optionalDependencies?: Record<string, string>;
  readonly hasInstallScript?: boolean;
}

function readJson(name: string): unknown {
  return JSON.parse(readFileSync(path.join(ROOT, name), 'utf8'));
}

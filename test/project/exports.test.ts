import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import tsup from '../../tsup.config.ts';
import { readDocument } from './readme.ts';
import { runNode } from './run.ts';
import { ROOT, SOURCES } from './source-tree.ts';

interface Target {
  readonly types: string;
  readonly default: string;
}

const manifest = JSON.parse(readDocument('package.json')) as { name: string; exports: Record<string, Target | string> };
const subpaths = Object.keys(manifest.exports).filter((subpath) => subpath !== './package.json');
const entries = typeof tsup === 'function' || Array.isArray(tsup) ? [] : Object.values(tsup.entry ?? {});
const specifiers = subpaths.map((subpath) => manifest.name + subpath.slice(1));

describe('the exports map', () => {
  it('has the same entries as the build', () => {
    const entries = typeof tsup === 'function' || Array.isArray(tsup) ? undefined : tsup.entry;
    const built = Object.keys(entries ?? {}).map((name) => (name === 'index' ? '.' : `./${name}`));
    expect(built.sort()).toEqual([...subpaths].sort());
  });

  it('is the list in the README', () => {
    const rows = readDocument('README.md').matchAll(/^\|\s*`(session-mesh(?:\/[\w-]+)*)`/gm);
    expect([...rows].map(([, name]) => name).sort()).toEqual([...specifiers].sort());
  });

  it.each(subpaths)('leads from %s to code and types that were built', (subpath) => {
    const target = manifest.exports[subpath] as Target;
    expect(Object.keys(target)).toEqual(['types', 'default']);
    for (const file of Object.values(target)) expect(existsSync(path.join(ROOT, file)), file).toBe(true);
  });

  it.each([...specifiers, `${manifest.name}/package.json`])('resolves %s, by import and by require', async (specifier) => {
    const code = `
      import { createRequire } from 'node:module';
      const name = ${JSON.stringify(specifier)};
      const required = createRequire(import.meta.url)(name);
      if (!name.endsWith('.json') && required !== await import(name)) throw new Error('two copies');
    `;
    const { code: exit, output } = await runNode(['--input-type=module', '--eval', code], ROOT);
    expect(exit, output).toBe(0);
  });

  it('has one copy of every class, so that instanceof holds across subpaths', () => {
    const built = readdirSync(path.join(ROOT, 'dist'))
      .filter((name) => name.endsWith('.js'))
      .flatMap((name) => classesIn(readFileSync(path.join(ROOT, 'dist', name), 'utf8')));
    expect(built).toContain('MeshError');
    // Two files of src may each have a private class of one name; the build numbers those that meet in a chunk.
    const written = SOURCES.flatMap(({ text }) => classesIn(text));
    const times = (names: readonly string[], name: string): number => names.filter((other) => other === name).length;
    expect([...new Set(written)].filter((name) => times(built, name) > times(written, name))).toEqual([]);
  });

  it('throws the root entry’s MeshError from every subpath', async () => {
    const { code, output } = await runNode(['--input-type=module', '--eval', THROWS], ROOT);
    expect(code, output).toBe(0);
  });

  it.each(specifiers)('gives every class and function of %s the name it is exported by', async (specifier) => {
    const exported = Object.entries(await exportsOf(specifier));
    expect(exported.filter(([name, own]) => own !== null && own !== name)).toEqual([]);
  });

  it.each(specifiers)('has every name of %s in docs/api.md', async (specifier) => {
    const names = Object.keys(await exportsOf(specifier));
    const documented = readDocument('docs/api.md');
    expect(names.filter((name) => !new RegExp(`\\b${name}\\b`).test(documented))).toEqual([]);
  });

  it.each(entries)('has every type of %s in docs/api.md', (entry) => {
    const documented = readDocument('docs/api.md');
    const { tree } = SOURCES.find(({ name }) => `src/${name}` === entry) ?? {};
    const names = tree?.statements.flatMap((statement) =>
      ts.isExportDeclaration(statement) && statement.exportClause && ts.isNamedExports(statement.exportClause)
        ? statement.exportClause.elements.map(({ name }) => name.text)
        : [],
    );
    expect(names?.length).toBeGreaterThan(0);
    expect(names?.filter((name) => !documented.includes(`\`${name}\``))).toEqual([]);
  });
});

describe('what is exported', () => {
  it('is documented, without a reference to what is not', async () => {
    const typedoc = path.join(ROOT, 'node_modules', 'typedoc', 'bin', 'typedoc');
    const { code, output } = await runNode([typedoc, '--emit', 'none'], ROOT);
    expect(code, output).toBe(0);
  });
});

/** The names of the classes that a text declares at its top level. */
function classesIn(text: string): string[] {
  const declared = text.matchAll(/^(?:export )?(?:abstract )?(?:var (\w+) = )?class\b ?(\w*)/gm);
  return [...declared].map(([, variable, name = '']) => variable ?? name);
}

/** What a module exports: the own name of each function and class, `null` for other values. */
async function exportsOf(specifier: string): Promise<Record<string, string | null>> {
  const code = `
    const exported = Object.entries(await import(${JSON.stringify(specifier)}));
    const named = exported.map(([name, value]) => [name, typeof value === 'function' ? value.name : null]);
    console.log(JSON.stringify(Object.fromEntries(named)));
  `;
  const { code: exit, stdout, output } = await runNode(['--input-type=module', '--eval', code], ROOT);
  expect(exit, output).toBe(0);
  return JSON.parse(stdout) as Record<string, string | null>;
}

/** A call that each subpath refuses. */
const THROWS = `
  import assert from 'node:assert/strict';
  import { InMemoryStorage, MeshError } from 'session-mesh';
  import { SqliteStorage } from 'session-mesh/sqlite';
  await assert.rejects(async () => new InMemoryStorage().get('none'), MeshError);
  await assert.rejects(async () => SqliteStorage.open(5), MeshError);
`;

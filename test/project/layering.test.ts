import { describe, expect, it } from 'vitest';
import { globalsOf, placeOf, SOURCES, type SourceFile } from './source-tree.ts';

/** What each layer may import besides itself. A layer that is not here has no place in src. */
const BELOW: Record<string, readonly string[]> = {
  kernel: [],
  storage: ['kernel'],
  adapters: ['kernel', 'storage'],
  registry: ['kernel', 'storage'],
  memory: ['kernel', 'storage', 'registry'],
  keys: ['kernel', 'storage', 'registry'],
  hub: ['kernel', 'storage', 'registry'],
  'mesh.ts': ['kernel', 'storage', 'registry', 'memory', 'keys', 'hub'],
  testing: ['kernel', 'storage', 'registry', 'memory', 'keys', 'hub', 'mesh.ts'],
  'index.ts': ['kernel', 'storage', 'registry', 'memory', 'keys', 'hub', 'mesh.ts'],
};

/** The contract and what every backend needs to keep it. */
const FOR_ADAPTERS = new Set(['storage', 'checked', 'keys', 'hint-fan', 'group-commit'].map((name) => `storage/${name}.ts`));

const DEPENDENCIES = new Set(['eventemitter3', 'lru-cache', 'nanoid', 'zod']);

const NODE_GLOBALS = new Set(['process', 'Buffer', 'global', 'require', 'module', '__dirname', '__filename', 'setImmediate']);

const byName = new Map(SOURCES.map((file) => [file.name, file]));

function layerOf(name: string): string {
  return name.split('/')[0] ?? name;
}

/** `adapters/sqlite/…` → `sqlite`. */
function adapterOf(name: string): string | undefined {
  return layerOf(name) === 'adapters' ? name.split('/')[1] : undefined;
}

describe('layering', () => {
  it('has a place for every file', () => {
    const strays = SOURCES.filter(({ name }) => !Object.hasOwn(BELOW, layerOf(name))).map(({ name }) => name);
    expect(strays).toEqual([]);
  });

  it.each(SOURCES)('$name imports nothing from above or beside it', ({ name, imports }) => {
    const layer = layerOf(name);
    const wrong = imports.filter(({ target }) => {
      if (target === undefined || layerOf(target) === layer) return false;
      return !BELOW[layer]?.includes(layerOf(target));
    });
    expect(wrong.map(({ specifier }) => specifier)).toEqual([]);
  });

  it('lets an adapter know the storage contract, the kernel and no other adapter', () => {
    const wrong = edges(({ name }) => layerOf(name) === 'adapters').filter(([from, to]) => {
      if (layerOf(to) === 'storage') return !FOR_ADAPTERS.has(to);
      return layerOf(to) === 'adapters' && adapterOf(to) !== adapterOf(from);
    });
    expect(wrong).toEqual([]);
  });

  it('imports relative files of src with their extension, the four dependencies, and nothing else', () => {
    const wrong = SOURCES.flatMap((file) =>
      file.imports.filter((found) => !isAllowed(file, found)).map(({ specifier }) => [file.name, specifier]),
    );
    expect(wrong).toEqual([]);
  });

  it('has no cycle of files', () => {
    expect(cycle()).toBeUndefined();
  });

  it('keeps everything that only Node has out of the root entry', () => {
    const reached = reachedFrom('index.ts');
    const modules = reached.flatMap(({ name, imports }) =>
      imports
        .filter(({ specifier, asked }) => specifier.startsWith('node:') && !asked)
        .map(({ specifier }) => `${name}: ${specifier}`),
    );
    // A name behind `typeof` asks whether the host has it.
    const globals = reached.flatMap((file) =>
      globalsOf(file)
        .filter(({ text }) => NODE_GLOBALS.has(text) && !file.text.includes(`typeof ${text} ===`))
        .map((node) => `${placeOf(file, node)}: ${node.text}`),
    );
    expect([...modules, ...globals]).toEqual([]);
  });
});

function isAllowed({ name }: SourceFile, { specifier, target }: SourceFile['imports'][number]): boolean {
  if (target !== undefined) return byName.has(target);
  if (DEPENDENCIES.has(specifier)) return true;
  // The optional driver is the SQLite adapter's own business.
  if (specifier === '@photostructure/sqlite') return adapterOf(name) === 'sqlite';
  return specifier.startsWith('node:') && (layerOf(name) === 'adapters' || specifier === 'node:crypto');
}

/** Imports between files of src, as pairs of names. */
function edges(from: (file: SourceFile) => boolean): [string, string][] {
  return SOURCES.filter(from).flatMap(({ name, imports }) =>
    imports.flatMap(({ target }) => (target === undefined ? [] : [[name, target] as [string, string]])),
  );
}

/** The first circle of imports that exist at run time. */
function cycle(): string[] | undefined {
  const done = new Set<string>();
  const visit = (name: string, path: readonly string[]): string[] | undefined => {
    if (path.includes(name)) return [...path.slice(path.indexOf(name)), name];
    if (done.has(name)) return undefined;
    for (const { target, typeOnly } of byName.get(name)?.imports ?? []) {
      const found = target === undefined || typeOnly ? undefined : visit(target, [...path, name]);
      if (found) return found;
    }
    done.add(name);
    return undefined;
  };
  for (const { name } of SOURCES) {
    const found = visit(name, []);
    if (found) return found;
  }
  return undefined;
}

function reachedFrom(entry: string): SourceFile[] {
  const reached = new Map<string, SourceFile>();
  const visit = (name: string): void => {
    const file = byName.get(name);
    if (!file || reached.has(name)) return;
    reached.set(name, file);
    for (const { target, typeOnly } of file.imports) if (target !== undefined && !typeOnly) visit(target);
  };
  visit(entry);
  return [...reached.values()];
}

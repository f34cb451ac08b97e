import { defineConfig } from 'tsup';

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    sqlite: 'src/adapters/sqlite/index.ts',
    testing: 'src/testing/index.ts',
  },
  format: ['esm'],
  target: 'node20',
  dts: true,
  // Without it each subpath has its own copy of every class, and `instanceof` fails across them.
  splitting: true,
  clean: true,
  // The default strips the prefix of `node:sqlite`, which has no name without it.
  removeNodeProtocol: false,
  plugins: [{ name: 'class-names', renderChunk: (code) => ({ code: keepClassNames(code) }) }],
});

/**
 * esbuild writes a class that mentions itself as `var Name = class _Name`, and users would read `_Name` in their logs.
 * Its own `keepNames` wraps every function too, which costs time wherever a closure is made.
 */
function keepClassNames(code: string): string {
  const renamed = [...code.matchAll(/^var (\w+) = class (_\1) /gm)];
  return renamed.reduce((text, [, name = '', alias = '']) => text.replaceAll(new RegExp(`\\b${alias}\\b`, 'g'), name), code);
}

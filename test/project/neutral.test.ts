import vm from 'node:vm';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { ROOT } from './source-tree.ts';

/** The root entry with its dependencies as one script, for no host in particular: whatever only Node has fails here. */
async function bundle(code: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: ROOT },
    bundle: true,
    minify: true,
    platform: 'neutral',
    mainFields: ['module', 'main'],
    conditions: ['worker', 'browser'],
    format: 'iife',
    globalName: 'bundled',
    target: 'es2022',
    write: false,
    logLevel: 'silent',
  });
  return outputFiles[0]?.text ?? '';
}

describe('the root entry without Node', () => {
  it('loads and works on a host that has JavaScript, timers and text encoding', async () => {
    const script = await bundle(`
      import { createMesh, InMemoryStorage } from 'session-mesh';
      export async function run() {
        const storage = new InMemoryStorage();
        const mesh = createMesh({ storage });
        await storage.commit({ puts: [{ partition: 'p', key: 'k', value: { deep: [1] } }] });
        const [record] = await storage.get([{ partition: 'p', key: 'k' }]);
        await mesh.settled();
        await mesh.close();
        return JSON.stringify(record.value);
      }
    `);
    const timers = { setTimeout, clearTimeout, setInterval, clearInterval, queueMicrotask };
    const web = { TextEncoder, TextDecoder, AbortController, AbortSignal, crypto, structuredClone };
    const host = vm.createContext({ ...timers, ...web });
    vm.runInContext(script, host);
    expect(await vm.runInContext('bundled.run()', host)).toBe('{"deep":[1]}');
  });

  it('says how large it is', async () => {
    const all = await bundle("export * from 'session-mesh';");
    const storage = await bundle("export { InMemoryStorage } from 'session-mesh';");
    const kilobytes = (script: string): string => `${(gzipSync(script).length / 1000).toFixed(1)} KB`;
    console.info(`gzip, dependencies included: everything ${kilobytes(all)}, InMemoryStorage alone ${kilobytes(storage)}`);
    expect(all.length).toBeGreaterThan(storage.length);
  });
});

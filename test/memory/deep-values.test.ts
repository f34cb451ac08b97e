import { describe, expect, it } from 'vitest';
import { createMesh } from '../../src/mesh.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { storages } from '../support/storages.ts';

function nested(levels: number): unknown {
  let value: unknown = 'core';
  for (let level = 0; level < levels; level++) value = level % 2 ? { inside: value } : [value];
  return value;
}

describe.each(storages)('values at the limits on %s', (_name, open) => {
  it('keeps 64 levels and refuses 65, although its records hold them deeper', async () => {
    const mesh = createMesh({ storage: await open(new VirtualClock()) });
    const deep = nested(64);
    await mesh.memory.set('deep', deep, { metadata: { nested: nested(63) } });
    await mesh.memory.set('again', await mesh.memory.get('deep'));
    expect(await mesh.memory.get('again')).toEqual(deep);
    await expect(mesh.memory.set('deeper', nested(65))).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(mesh.memory.set('deeper', [await mesh.memory.get('deep')])).rejects.toMatchObject({ code: 'invalid_input' });
    expect(await mesh.memory.get('deeper')).toBeUndefined();
    await mesh.close();
  });

  it('keeps what is nested in a session through its updates', async () => {
    const mesh = createMesh({ storage: await open(new VirtualClock()) });
    const metadata = { nested: nested(63) };
    const session = await mesh.registry.register({ id: 'a', metadata });
    await session.update({ status: 'idle' });
    await mesh.registry.update('a', { task: 'dig' });
    expect((await mesh.registry.get('a'))?.metadata).toEqual(metadata);
    await mesh.close();
  });

  it('keeps as many names as a value may have', async () => {
    const mesh = createMesh({ storage: await open(new VirtualClock()) });
    const wide = Object.fromEntries(Array.from({ length: 32_767 }, (_, n) => [`n${n}`, 1]));
    await mesh.memory.set('wide', wide);
    await mesh.memory.update('wide', (value) => value, { tags: ['kept'] });
    expect(await mesh.memory.get('wide')).toEqual(wide);
    await mesh.close();
  });
});

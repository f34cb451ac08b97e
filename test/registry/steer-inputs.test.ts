import { describe, expect, it } from 'vitest';
import { MeshError, type Steer, type SteerOptions } from '../../src/index.ts';
import { expectRefused, NO_IDS, named } from '../support/registry-kill/hostile.ts';
import { countedWorld, quiet } from '../support/registry-kill/world.ts';
import { storages } from '../support/storages.ts';

const cycle: Record<string, unknown> = {};
cycle['self'] = cycle;

const NO_DIRECTIVES: readonly unknown[] = [
  undefined,
  null,
  'north',
  42,
  [],
  { direction: 1 },
  { direction: null },
  { direction: 'x'.repeat(1025) },
  { direction: '\udc00' },
  { message: {} },
  { message: 'x'.repeat(64 * 1024 + 1) },
  { data: Number.NaN },
  { data: undefined, extra: 1 },
  { data: { deep: [undefined] } },
  { data: 1n },
  { data: new Date() },
  { data: new Map() },
  { data: cycle },
  { data: 'x'.repeat(1024 * 1024) },
  { data: '\ud800' },
  { data: () => {} },
  { data: Object.defineProperty({}, 'x', { get: () => 1, enumerable: true }) },
  { by: 42 },
  { by: null },
  { by: { id: 7 } },
  { to: 'north' },
];

async function firstOf(loop: AsyncGenerator<Steer, void, undefined>): Promise<Steer> {
  const { value } = await loop.next();
  await loop.return();
  return value as Steer;
}

describe.each(storages)('what steer accepts on %s', (_name, open) => {
  it('are ids, and nothing is asked of the storage for anything else', async () => {
    const { registry, counter } = await countedWorld(open);
    await quiet(registry, 'agent');
    for (const id of NO_IDS) await expectRefused(counter, () => registry.steer(id as string, {}), `steer ${named(id)}`);
  });

  it('are directives of text and JSON within their bounds', async () => {
    const { registry, counter } = await countedWorld(open);
    await quiet(registry, 'agent');
    const codes = ['invalid_input', 'limit_exceeded'];
    for (const directive of NO_DIRECTIVES) {
      await expectRefused(
        counter,
        () => registry.steer('agent', directive as SteerOptions),
        `steer with ${named(directive).slice(0, 60)}`,
        codes,
      );
    }
    expect(await counter.storage.list('steers/agent')).toEqual([]);
  });

  it('are data that come back as they went in, and are the caller’s own before and after', async () => {
    const { registry } = await countedWorld(open);
    const agent = await quiet(registry, 'agent');
    const data = JSON.parse('{"__proto__":{"x":1},"constructor":"c","list":[1,null,{"deep":"ü💥"}],"zero":0}') as Record<
      string,
      unknown
    >;
    const directive = { direction: 'n'.repeat(1024), message: 'm'.repeat(64 * 1024), data };
    const before = structuredClone(directive);
    await registry.steer('agent', directive);
    expect(directive).toEqual(before);
    (data['list'] as unknown[]).push('changed later');
    const steer = await firstOf(agent.steers());
    expect(JSON.stringify(steer.data)).toBe(JSON.stringify(before.data));
    expect(Object.getPrototypeOf(steer.data)).toBe(Object.prototype);
    expect(Object.isFrozen(steer.data)).toBe(true);
    expect(steer.message).toHaveLength(64 * 1024);
  });

  it('are data of a megabyte beside a message of 64 kilobytes', async () => {
    const { registry } = await countedWorld(open);
    const agent = await quiet(registry, 'agent');
    await registry.steer('agent', { data: 'x'.repeat(1024 * 1024 - 2), message: 'm'.repeat(60 * 1024) });
    const steer = await firstOf(agent.steers());
    expect(String(steer.data)).toHaveLength(1024 * 1024 - 2);
    await steer.applied();
  });

  it('are refused when all of it together is too large to be delivered, and else settled with any note', async () => {
    const { registry, counter } = await countedWorld(open);
    const agent = await quiet(registry, 'agent');
    await quiet(registry, 'probe');
    const directive = (length: number) => ({ data: 'x'.repeat(1024 * 1024 - 2), message: 'm'.repeat(length) });
    let [length, tooLong] = [60 * 1024, 64 * 1024];
    while (tooLong - length > 1) {
      const middle = (length + tooLong) >> 1;
      const fits = await registry.steer('probe', directive(middle)).catch(() => undefined);
      if (fits) length = middle;
      else tooLong = middle;
    }
    await expectRefused(counter, () => registry.steer('agent', directive(tooLong)), 'steer with too much', ['limit_exceeded']);
    const receipt = await registry.steer('agent', directive(length));
    const steer = await firstOf(agent.steers());
    expect(steer.message).toHaveLength(length);
    await steer.rejected('\n'.repeat(1024));
    expect(await receipt.settled()).toEqual({ outcome: 'rejected', note: '\n'.repeat(1024) });
  });

  it('may be nothing at all, and null is data', async () => {
    const { registry } = await countedWorld(open);
    const agent = await quiet(registry, 'agent');
    await registry.steer('agent', {});
    await registry.steer('agent', { data: null, direction: undefined, by: undefined });
    const loop = agent.steers();
    const [first, second] = [(await loop.next()).value as Steer, (await loop.next()).value as Steer];
    await loop.return();
    expect(Object.keys(first)).toEqual(['id', 'at', 'applied', 'rejected']);
    expect(second).toMatchObject({ data: null });
    expect('direction' in second).toBe(false);
  });

  it('are notes and reasons of a kilobyte', async () => {
    const { registry, counter } = await countedWorld(open);
    const agent = await quiet(registry, 'agent');
    const receipt = await registry.steer('agent', {});
    const steer = await firstOf(agent.steers());
    for (const options of [null, 'note', { note: 1 }, { note: 'x'.repeat(1025) }, { notes: 'x' }, { note: null }]) {
      await expectRefused(counter, () => steer.applied(options as object), `applied ${named(options).slice(0, 60)}`);
    }
    for (const reason of [null, 1, {}, 'x'.repeat(1025), '\ud800']) {
      await expectRefused(counter, () => steer.rejected(reason as string), `rejected ${named(reason).slice(0, 60)}`);
    }
    expect(await receipt.state()).toBe('delivered');
    await steer.applied({ note: 'ü'.repeat(512) });
    expect(await receipt.settled()).toEqual({ outcome: 'applied', note: 'ü'.repeat(512) });
  });

  it('are signals and times to wait', async () => {
    const { registry, counter } = await countedWorld(open);
    const agent = await quiet(registry, 'agent');
    const receipt = await registry.steer('agent', {});
    for (const options of [
      null,
      1,
      { timeoutMs: -1 },
      { timeoutMs: 2 ** 31 },
      { timeoutMs: '5' },
      { signal: {} },
      { signal: null },
      { timeout: 5 },
    ]) {
      await expectRefused(counter, () => receipt.settled(options as object), `settled ${named(options)}`);
    }
    counter.take();
    for (const options of [{ signal: 'abort' }, { signal: null }, { signl: undefined }, null, 7]) {
      const act = async () => agent.steers(options as object).next();
      await expect(act(), named(options)).rejects.toBeInstanceOf(MeshError);
      await expect(act(), named(options)).rejects.toMatchObject({ code: 'invalid_input' });
    }
    expect(counter.take()).toEqual({ get: 0, list: 0, commit: 0 });
    expect(await receipt.state()).toBe('queued');
  });
});

import { describe, expect, it, vi } from 'vitest';
import { createMesh, InMemoryStorage, MeshError, type MeshEvent } from '../src/index.ts';
import { Engine } from '../src/storage/engine.ts';
import { VirtualClock } from '../src/testing/virtual-clock.ts';
import { hooked } from './support/memory/observed.ts';
import { type OpenStorage, storages } from './support/storages.ts';
import { passUntil } from './support/timing.ts';

const [, [, openSqlite]] = storages as readonly [unknown, readonly [string, OpenStorage]];

describe.each(storages)('a mesh on %s', (_name, open) => {
  it('hears all events of all processes on its storage, and after settled it has heard them', async () => {
    const storage = await open(new VirtualClock());
    const mesh = createMesh({ storage, closeStorage: false });
    const other = new Engine({ storage });
    const heard: MeshEvent[] = [];
    mesh.on('*', (event) => heard.push(event)).on('session_created', (event) => heard.push(event));
    await other.commit({ puts: [other.log.put('session_created', { id: 'a' }), other.log.put('session_ended', { id: 'a' })] });
    expect(heard).toEqual([]);
    await mesh.settled();
    expect(heard.map(({ name }) => name)).toEqual(['session_created', 'session_created', 'session_ended']);
    await mesh.close();
    await other.close();
  });

  it('keeps namespaces apart', async () => {
    const storage = await open(new VirtualClock());
    const [a, b] = ['a', 'b'].map((namespace) => createMesh({ storage, namespace, closeStorage: false }));
    const heard: string[] = [];
    a?.on('*', ({ name }) => heard.push(`a:${name}`));
    b?.on('*', ({ name }) => heard.push(`b:${name}`));
    const other = new Engine({ storage, namespace: 'b' });
    await other.commit({ puts: [other.log.put('session_created', {})] });
    await Promise.all([a?.settled(), b?.settled()]);
    expect(heard).toEqual(['b:session_created']);
    await Promise.all([a?.close(), b?.close(), other.close()]);
  });

  it('replays and follows its events', async () => {
    const storage = await open(new VirtualClock());
    const mesh = createMesh({ storage, closeStorage: false });
    const other = new Engine({ storage });
    await other.commit({ puts: [other.log.put('one', {}), other.log.put('two', {})] });
    const names: string[] = [];
    for await (const event of mesh.events({ after: '' })) {
      names.push(event.name);
      if (event.name === 'two') await other.commit({ puts: [other.log.put('three', {})] });
      if (event.name === 'three') break;
    }
    expect(names).toEqual(['one', 'two', 'three']);
    const { storage: stats } = await mesh.stats();
    expect(stats.durability).toBe(storage.durability);
    expect(stats.events.oldest).toMatch(/^\d{20}$/);
    expect(String(stats.events.newest) > String(stats.events.oldest)).toBe(true);
    await mesh.close();
    await other.close();
  });

  it('ends its loops when it is closed, closes the storage, and refuses everything afterwards', async () => {
    const clock = new VirtualClock();
    const storage = await open(clock);
    const mesh = createMesh({ storage });
    mesh.on('*', () => {});
    const loop = (async () => {
      for await (const _event of mesh.events());
      return 'ended';
    })();
    await new Promise(setImmediate);
    await Promise.all([mesh.close(), mesh.close()]);
    expect(await loop).toBe('ended');
    await mesh[Symbol.asyncDispose]();
    expect(clock.pending).toBe(0);
    await expect(mesh.stats()).rejects.toMatchObject({ code: 'closed' });
    expect(() => mesh.on('*', () => {})).toThrow(expect.objectContaining({ code: 'closed' }));
    await expect(mesh.settled()).rejects.toMatchObject({ code: 'closed' });
    await expect((async () => storage.list('p'))()).rejects.toMatchObject({ code: 'closed' });
  });
});

it('leaves the storage open when asked to', async () => {
  const storage = new InMemoryStorage();
  await createMesh({ storage, closeStorage: false }).close();
  expect(storage.list('p')).toEqual([]);
});

it('reports what a listener throws to onError, and other listeners still hear', async () => {
  const storage = new InMemoryStorage();
  const errors: unknown[] = [];
  const mesh = createMesh({ storage, onError: (error) => errors.push(error) });
  const heard: string[] = [];
  mesh.on('*', () => {
    throw new Error('mine');
  });
  mesh.on('*', ({ name }) => heard.push(name));
  const other = new Engine({ storage });
  await other.commit({ puts: [other.log.put('session_created', {})] });
  await mesh.settled();
  expect(errors).toEqual([new Error('mine')]);
  expect(heard).toEqual(['session_created']);
  await mesh.close();
});

it.each([
  [{ storage: {} }, 'expected options.storage to be a storage with get, list, commit, watch, close and now, got an object'],
  [{ storage: null }, 'expected options.storage to be a storage with get, list, commit, watch, close and now, got null'],
  [{ namespace: 'a|b' }, 'expected options.namespace to be an id'],
  [{ namespace: '' }, 'expected options.namespace to be an id'],
  [{ closeStorage: 1 }, 'expected options.closeStorage to be boolean, got 1'],
  [{ pollIntervalMs: 0 }, 'expected options.pollIntervalMs to be a whole number between 1 and 60000, got 0'],
  [{ pollIntervalMs: Number.NaN }, 'expected options.pollIntervalMs to be a whole number between 1 and 60000, got NaN'],
  [{ sweepIntervalMs: 1e12 }, 'expected options.sweepIntervalMs to be a whole number between 10 and 3600000, got 1000000000000'],
  [{ generateId: 'x' }, 'expected options.generateId to be a function, got "x"'],
  [{ onError: null }, 'expected options.onError to be a function, got null'],
  [{ namspace: 'a' }, 'expected options to have known options only, got "namspace"'],
  [{ memory: { historyPerKey: 0 } }, 'expected options.memory.historyPerKey to be a whole number between 1 and 10000, got 0'],
  [{ memory: { history: 5 } }, 'expected options.memory to have known options only, got "history"'],
  [null, 'expected options to be an object, got null'],
  ['mesh.db', 'expected options to be an object, got "mesh.db"'],
])('refuses the options %o', (options, message) => {
  const act = () => createMesh(options as object);
  expect(act).toThrow(MeshError);
  expect(act).toThrow(expect.objectContaining({ code: 'invalid_input', message: expect.stringContaining(message) }));
});

it.each(['', 'a b', '-rf', 7, undefined, 'x'.repeat(129)])(
  'refuses the id %o of its generateId, and stores nothing',
  async (made) => {
    const storage = new InMemoryStorage();
    let isWrong = false;
    const mesh = createMesh({ storage, generateId: (prefix) => (isWrong ? (made as string) : `${prefix}_1`) });
    const message = 'expected generateId() to be an id';
    isWrong = true;
    await expect(mesh.registry.register({ id: 'agent' })).rejects.toThrow(message);
    expect(await storage.list('sessions')).toEqual([]);
    await mesh.close();
  },
);

it('takes options that are undefined as left out', async () => {
  await createMesh({
    storage: undefined,
    namespace: undefined,
    onError: undefined,
    closeStorage: undefined,
    memory: undefined,
  }).close();
  await createMesh({ memory: { historyPerKey: undefined } }).close();
});

describe.each(storages)('events that are followed, on %s', (_name, open) => {
  it('end with an abort at whatever step it comes', async () => {
    const clock = new VirtualClock();
    const mesh = createMesh({ storage: await open(clock), closeStorage: false });
    for (let steps = 0; steps < 10; steps++) {
      const controller = new AbortController();
      const { signal } = controller;
      const next = mesh.events({ signal }).next();
      const outcome = next.then(
        () => 'event',
        ({ code }) => code,
      );
      for (let step = 0; step < steps; step++) await Promise.resolve();
      controller.abort();
      expect(await passUntil(clock, outcome, 100, 5000)).toBe('aborted');
    }
    await mesh.close();
  });

  it('are followed by known options only', async () => {
    const mesh = createMesh({ storage: await open(new VirtualClock()), closeStorage: false });
    for (const options of [{ aftr: '' }, { signal: 5 }, { after: 5 }, { after: 'x' }, 7, 'x', [], null]) {
      expect(() => mesh.events(options as never)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
    }
    await mesh.close();
  });

  it('are missed by nobody unknowingly who has not looked for long', async () => {
    const clock = new VirtualClock();
    const storage = await open(clock);
    const errors: unknown[] = [];
    const mesh = createMesh({ storage, closeStorage: false, onError: (error) => errors.push(error), pollIntervalMs: 60_000 });
    mesh.memory.on('memory_set', () => {});
    await mesh.memory.set('one', 1);
    await passUntil(clock, mesh.settled());
    const [last] = await storage.list('events', { reverse: true, limit: 1 });
    const trimmed = String(BigInt(last?.key ?? 0) + 10_000n).padStart(20, '0');
    await storage.commit({
      deletes: [{ partition: 'events', limit: 1000 }],
      puts: [{ partition: 'events.trimmed', key: 'cursor', value: trimmed }],
    });
    clock.set(clock.now() + 3_600_000);
    await mesh.memory.set('two', 2);
    await passUntil(clock, mesh.settled());
    expect(errors).toEqual([expect.objectContaining({ code: 'not_found' })]);
    await mesh.close();
  });
});

it('goes on with what it does in the background when the host can report nothing', async () => {
  const clock = new VirtualClock();
  const storage = new InMemoryStorage({ clock });
  let isBroken = false;
  let looks = 0;
  const failing = hooked(storage, {
    async list(partition) {
      if (partition !== 'due') return;
      looks += 1;
      if (isBroken) throw new MeshError('storage_full', 'expected an answer, got none');
    },
  });
  const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const mesh = createMesh({
    storage: failing,
    onError: () => {
      throw new Error('broken');
    },
  });
  await mesh.memory.set('key', 1);
  isBroken = true;
  await clock.advance(3000);
  isBroken = false;
  await mesh.memory.set('key', 2);
  looks = 0;
  await clock.advance(3000);
  expect(looks).toBeGreaterThan(0);
  await mesh.close();
  expect(warned.mock.calls[0]?.[0]).toMatchObject({ code: 'storage_full' });
  warned.mockRestore();
});

it('all waits end when somebody else has closed the storage', async () => {
  const clock = new VirtualClock();
  // One that is looked at now and then. In memory nobody is told, and each mesh is closed by itself.
  const storage = await openSqlite(clock);
  const mesh = createMesh({ storage, closeStorage: false, onError: () => {} });
  await mesh.registry.register({ id: 'dev', heartbeat: 'manual' });
  const task = await mesh.hub.delegate({ from: 'dev', to: 'dev', type: 'build' });
  const ends = [
    mesh.hub.inbox('dev')[Symbol.asyncIterator]().next(),
    mesh.events().next(),
    task.result(),
    mesh.memory.waitFor('key', Boolean, { timeoutMs: 3_600_000 }),
    mesh.hub.request({ from: 'dev', to: 'dev', timeoutMs: 3_600_000 }),
  ].map((wait) =>
    wait.then(
      () => 'over',
      ({ code }) => code,
    ),
  );
  await clock.advance(100);
  await storage.close();
  expect(new Set(await passUntil(clock, Promise.all(ends), 100, 5000))).toEqual(new Set(['over', 'closed']));
  await mesh.close();
});

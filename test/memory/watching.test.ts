import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { MAX_TIMER_MS } from '../../src/kernel/clock.ts';
import { MeshError } from '../../src/kernel/errors.ts';
import type { MemoryChange } from '../../src/memory/watching.ts';
import { hooked, once } from '../support/memory/observed.ts';
import { isSettled, passUntil, quiet, refusal, worldOn } from '../support/memory/worlds.ts';
import { storages } from '../support/storages.ts';

/** The next so many changes. */
async function take(changes: AsyncIterable<MemoryChange>, count: number): Promise<MemoryChange[]> {
  const taken: MemoryChange[] = [];
  for await (const change of changes) if (taken.push(change) === count) break;
  return taken;
}

const lineOf = ({ kind, key, version }: MemoryChange): string => `${kind} ${key} ${version}`;

/** A signal that tells how many listen to it. */
function countedSignal(): {
  readonly signal: AbortSignal;
  readonly controller: AbortController;
  readonly listeners: () => number;
} {
  const controller = new AbortController();
  const { signal } = controller;
  let listeners = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  const count =
    <Args extends unknown[]>(step: number, call: (...args: Args) => void) =>
    (...args: Args): void => {
      listeners += step;
      call(...args);
    };
  Object.assign(signal, { addEventListener: count(1, add), removeEventListener: count(-1, remove) });
  return { signal, controller, listeners: () => listeners };
}

/** The intervals by which the library keeps this process alive while somebody waits. */
const anchors = new Set<unknown>();
const { setInterval: start, clearInterval: stop } = globalThis;
beforeAll(() => {
  vi.spyOn(globalThis, 'setInterval').mockImplementation(((callback: () => void, ms: number) => {
    const timer = start(callback, ms);
    if (ms === MAX_TIMER_MS) anchors.add(timer);
    return timer;
  }) as typeof setInterval);
  vi.spyOn(globalThis, 'clearInterval').mockImplementation((timer) => {
    anchors.delete(timer);
    stop(timer as NodeJS.Timeout);
  });
});
afterAll(() => {
  vi.restoreAllMocks();
});

describe.each(storages)('watch on %s', (_name, open) => {
  it('tells sets, deletes and expiry of the keys that match, in their order', async () => {
    const { clock, memory, registry, another } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    const changes = take(another().memory.watch('task_*'), 7);
    await memory.set('task_1', 'body', { by: agent });
    await memory.set('other', 1);
    await memory.set('task_2', 1, { ttlMs: 1000 });
    await memory.update('task_1', () => 'more');
    await memory.delete('task_1', { by: 'janitor' });
    await memory.namespace('task_').set('task_3', 1);
    await memory.set('task_4', 1, { by: agent, untilSessionEnds: true });
    await agent.end();
    const told = await passUntil(clock, changes);
    expect(told.map(lineOf)).toEqual([
      'set task_1 1',
      'set task_2 1',
      'set task_1 2',
      'deleted task_1 3',
      'set task_4 1',
      'expired task_2 2',
      'deleted task_4 2',
    ]);
    expect(told.map(({ session }) => session)).toEqual(['agent', undefined, undefined, 'janitor', 'agent', undefined, undefined]);
    expect(told.map(({ at }) => at)).toEqual(told.map(({ at }) => at).sort((a, b) => a - b));
    expect(JSON.stringify(told)).not.toContain('body');
  });

  it('begins when it is called, not when it is first asked', async () => {
    const { clock, memory } = await worldOn(open);
    await memory.set('key', 1);
    const changes = memory.watch('*');
    await memory.set('key', 2);
    await clock.settle();
    expect((await take(changes, 1)).map(lineOf)).toEqual(['set key 2']);
  });

  it('goes on behind any change it has told, and from the beginning of the log', async () => {
    const { memory } = await worldOn(open);
    for (let n = 1; n <= 5; n++) await memory.set('key', n);
    const all = await take(memory.watch('*', { after: '' }), 5);
    expect(all.map(lineOf)).toEqual(['set key 1', 'set key 2', 'set key 3', 'set key 4', 'set key 5']);
    for (const [n, { cursor }] of all.entries()) {
      if (n < 4) expect(await take(memory.watch('*', { after: cursor }), 4 - n)).toEqual(all.slice(n + 1));
    }
  });

  it('tells only its namespace', async () => {
    const { memory } = await worldOn(open);
    const inner = memory.namespace('a');
    await memory.set('key', 1);
    await inner.namespace('b').set('key', 1);
    await inner.set('key', 'inner');
    await inner.set('last', 1);
    await memory.set('last', 1);
    expect((await take(inner.watch('*', { after: '' }), 2)).map(lineOf)).toEqual(['set key 1', 'set last 1']);
    expect((await take(memory.watch('*', { after: '' }), 2)).map(lineOf)).toEqual(['set key 1', 'set last 1']);
  });

  it('ends with an error when its signal aborts, also while it waits', async () => {
    const { clock, memory } = await worldOn(open);
    const controller = new AbortController();
    const told: string[] = [];
    const loop = (async () => {
      for await (const change of memory.watch('*', { signal: controller.signal })) told.push(lineOf(change));
    })();
    const refused = expect(loop).rejects.toMatchObject({ code: 'aborted', cause: 'enough' });
    await memory.set('key', 1);
    await clock.advance(200);
    expect(told).toEqual(['set key 1']);
    controller.abort('enough');
    await refused;
    await expect(memory.watch('*', { signal: controller.signal }).next()).rejects.toEqual(refusal('aborted'));
  });

  it('ends quietly when the mesh is closed, and leaves nothing behind', async () => {
    const { clock, another, storage } = await worldOn(open);
    const mesh = another();
    const { signal, listeners } = countedSignal();
    const loop = (async () => {
      let count = 0;
      for await (const _ of mesh.memory.watch('*', { signal })) count += 1;
      return count;
    })();
    await mesh.memory.set('key', 1);
    await clock.advance(200);
    expect(await isSettled(clock, loop)).toBe(false);
    expect(anchors.size).toBe(1);
    await mesh.close();
    expect(await loop).toBe(1);
    expect(anchors.size).toBe(0);
    expect(listeners()).toBe(0);
    expect(() => mesh.memory.watch('*')).toThrow(refusal('closed') as Error);
    expect(storage.now()).toBe(clock.now());
  });

  it('leaves nothing behind when its loop is left', async () => {
    const { clock, memory } = await worldOn(open);
    const { signal, listeners } = countedSignal();
    const first = take(memory.watch('*', { signal }), 1);
    await memory.set('key', 1);
    await passUntil(clock, first);
    expect(anchors.size).toBe(0);
    expect(listeners()).toBe(0);
  });

  it('is refused with what it does not know', async () => {
    const { memory } = await worldOn(open);
    for (const pattern of ['', 5, null, undefined, 'a'.repeat(257), 'a\n', '\udc00']) {
      expect(() => memory.watch(pattern as string)).toThrow(
        refusal('invalid_input', 'expected pattern to be a pattern of 1 to 256 bytes') as Error,
      );
    }
    for (const options of [{ after: 5 }, { after: 'no cursor' }, { signal: {} }, { before: '' }, null]) {
      expect(() => memory.watch('*', options as object)).toThrow(refusal('invalid_input') as Error);
    }
  });

  it('says when changes behind a cursor were forgotten', async () => {
    const { memory, storage } = await worldOn(open);
    await memory.set('key', 1);
    const [change] = await take(memory.watch('*', { after: '' }), 1);
    await storage.commit({ puts: [{ partition: 'events.trimmed', key: 'cursor', value: `${'9'.repeat(20)}` }] });
    await expect(memory.watch('*', { after: change?.cursor as string }).next()).rejects.toEqual(refusal('not_found'));
  });
});

describe.each(storages)('waitFor on %s', (_name, open) => {
  const isDone = (value: unknown): boolean => value === 'done';

  it('answers at once when the value fits already', async () => {
    const { memory } = await worldOn(open);
    await memory.set('state', 'done');
    expect(await memory.waitFor('state', isDone)).toBe('done');
    expect(await memory.waitFor('nothing', (value) => value === undefined)).toBeUndefined();
    expect(await memory.waitFor('state', isDone, { timeoutMs: 0 })).toBe('done');
  });

  it('answers when another mesh sets a value that fits', async () => {
    const { clock, memory, another } = await worldOn(open);
    const seen: unknown[] = [];
    const other = another().memory;
    const waiting = memory.waitFor('state', (value) => {
      seen.push(value);
      return isDone(value);
    });
    expect(await isSettled(clock, waiting)).toBe(false);
    await other.set('state', 'begun');
    await other.set('other', 'done');
    await clock.advance(100);
    await other.set('state', 'done');
    await clock.advance(100);
    expect(await isSettled(clock, waiting)).toBe(true);
    expect(await waiting).toBe('done');
    expect(seen).toEqual([undefined, 'begun', 'done']);
  });

  it('misses nothing that is set between its look and its wait', async () => {
    const { clock, storage, memory, another } = await worldOn(open);
    // Told while the answer of the look, which is of before, is still on its way.
    const set = once(async () => {
      await memory.set('state', 'done');
      for (let turn = 0; turn < 10; turn++) await new Promise<void>((resolve) => clock.nextTurn(resolve));
    });
    const late = hooked(storage, {});
    const { memory: slow } = another({
      ...late,
      async get(addresses) {
        const records = await storage.get(addresses);
        if (addresses.some(({ partition }) => partition === 'memory')) await set.run();
        return records;
      },
    });
    set.arm();
    const waiting = slow.waitFor('state', isDone);
    await clock.advance(150);
    expect(await isSettled(clock, waiting)).toBe(true);
  });

  it('misses nothing that is set before it has learnt where the log ends', async () => {
    const { clock, storage, memory, another } = await worldOn(open);
    const set = once(() => memory.set('state', 'done'));
    const { memory: slow } = another(
      hooked(storage, {
        async list(partition) {
          for (let turn = 0; turn < 5; turn++) await new Promise<void>((resolve) => clock.nextTurn(resolve));
          if (partition === 'events') await set.run();
        },
      }),
    );
    set.arm();
    const waiting = slow.waitFor('state', isDone);
    await clock.advance(150);
    expect(await isSettled(clock, waiting)).toBe(true);
  });

  it('asks once for each version, however long it waits', async () => {
    const { clock, memory } = await worldOn(open);
    const seen: unknown[] = [];
    const never = (value: unknown): boolean => seen.push(value) === 0;
    const waiting = memory.waitFor('state', never, { timeoutMs: 20_000 });
    const refused = expect(waiting).rejects.toEqual(refusal('timed_out'));
    await clock.advance(5000);
    await memory.set('state', 1);
    await clock.advance(5000);
    await memory.delete('state');
    await clock.advance(11_000);
    await refused;
    expect(seen).toEqual([undefined, 1, undefined]);
  });

  it('takes a predicate that answers later', async () => {
    const { clock, memory } = await worldOn(open);
    const waiting = memory.waitFor('state', async (value) => isDone(value));
    await memory.set('state', 'begun');
    await clock.advance(100);
    expect(await isSettled(clock, waiting)).toBe(false);
    await memory.set('state', 'done');
    expect(await passUntil(clock, waiting)).toBe('done');
  });

  it('sees an entry expire, to the millisecond', async () => {
    const { clock, memory } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    await memory.set('lock', 'taken', { ttlMs: 7300 });
    const waiting = memory.waitFor('lock', (value) => value === undefined);
    await clock.advance(7299);
    expect(await isSettled(clock, waiting)).toBe(false);
    await clock.advance(1);
    expect(await isSettled(clock, waiting)).toBe(true);
  });

  it('sees an entry vanish with its session, within a second', async () => {
    const { clock, memory, registry } = await worldOn(open, { sweepIntervalMs: 3_600_000 });
    const agent = await quiet(registry, 'agent');
    await memory.set('lock', 'taken', { by: agent, untilSessionEnds: true });
    const waiting = memory.waitFor('lock', (value) => value === undefined);
    await clock.advance(3500);
    await agent.end();
    await clock.advance(1000);
    expect(await isSettled(clock, waiting)).toBe(true);
  });

  it('gives up after its time, to the millisecond', async () => {
    const { clock, memory } = await worldOn(open);
    for (const timeoutMs of [undefined, 1, 2500]) {
      const waiting = memory.waitFor('state', isDone, { timeoutMs });
      const refused = expect(waiting).rejects.toEqual(
        refusal('timed_out', `expected the value to fit within ${timeoutMs ?? 30_000} ms`),
      );
      await clock.advance((timeoutMs ?? 30_000) - 1);
      expect(await isSettled(clock, waiting)).toBe(false);
      await clock.advance(1);
      await refused;
    }
    await expect(memory.waitFor('state', isDone, { timeoutMs: 0 })).rejects.toEqual(refusal('timed_out'));
  });

  it('looks a last time when its time is over', async () => {
    const { clock, memory, storage, another } = await worldOn(open);
    // Nobody is told of anything for as long as that.
    const deaf = another({ ...storage, reliableHints: false, watch: () => () => {} }, { pollIntervalMs: 60_000 }).memory;
    const waiting = deaf.waitFor('state', isDone, { timeoutMs: 500 });
    await clock.advance(499);
    await memory.set('state', 'done');
    await clock.advance(1);
    expect(await isSettled(clock, waiting)).toBe(true);
    expect(await waiting).toBe('done');
  });

  it('is not held up when the host sets its clock', async () => {
    const { clock, memory } = await worldOn(open);
    const waiting = memory.waitFor('state', isDone, { timeoutMs: 5000 });
    const refused = expect(waiting).rejects.toEqual(refusal('timed_out'));
    clock.set(clock.now() - 1_000_000);
    await clock.advance(5000);
    await refused;
  });

  it('ends when its signal aborts, and does not begin with one that has', async () => {
    const { clock, memory } = await worldOn(open);
    const controller = new AbortController();
    const waiting = memory.waitFor('state', isDone, { signal: controller.signal });
    const refused = expect(waiting).rejects.toMatchObject({ code: 'aborted', cause: 'enough' });
    await clock.advance(10);
    controller.abort('enough');
    await refused;
    await memory.set('state', 'done');
    await expect(memory.waitFor('state', isDone, { signal: controller.signal })).rejects.toEqual(refusal('aborted'));
  });

  it('passes on what the predicate throws', async () => {
    const { clock, memory } = await worldOn(open);
    const error = new TypeError('no');
    const fails = (value: unknown): boolean => {
      if (value === undefined) return false;
      throw error;
    };
    const waiting = memory.waitFor('state', fails);
    const refused = expect(waiting).rejects.toBe(error);
    await memory.set('state', 1);
    await clock.advance(200);
    await refused;
    await expect(memory.waitFor('state', fails)).rejects.toBe(error);
  });

  it('ends when the mesh is closed', async () => {
    const { clock, another } = await worldOn(open);
    const mesh = another();
    const waiting = mesh.memory.waitFor('state', isDone);
    const refused = expect(waiting).rejects.toEqual(refusal('closed'));
    await clock.advance(10);
    await mesh.close();
    await clock.advance(1000);
    await refused;
    await expect(mesh.memory.waitFor('state', isDone)).rejects.toEqual(refusal('closed'));
  });

  it.each(['fits', 'times out', 'is aborted', 'fails', 'is refused because the mesh is closed'])(
    'leaves no timer, listener or hold when it %s',
    async (how) => {
      const { clock, another } = await worldOn(open);
      const mesh = another();
      const { memory } = mesh;
      await memory.set('state', 'begun', { ttlMs: 60_000 });
      await clock.advance(5000);
      const pending = clock.pending;
      const { signal, controller, listeners } = countedSignal();
      if (how.includes('closed')) await mesh.close();
      const fits = (value: unknown): boolean => {
        if (value === 'bad') throw new Error('no');
        return value === 'done';
      };
      const waiting = memory.waitFor('state', fits, { signal, timeoutMs: 10_000 }).catch(() => {});
      if (!how.includes('closed')) {
        await clock.advance(1500);
        expect(anchors.size).toBe(1);
        expect(listeners()).toBe(1);
        expect(clock.pending).toBeGreaterThan(pending);
        if (how === 'fits') await memory.set('state', 'done', { ttlMs: 60_000 });
        if (how === 'fails') await memory.set('state', 'bad', { ttlMs: 60_000 });
        if (how === 'is aborted') controller.abort();
        await clock.advance(how === 'times out' ? 8500 : 150);
      }
      await waiting;
      expect(anchors.size).toBe(0);
      expect(listeners()).toBe(0);
      expect(clock.pending).toBeLessThanOrEqual(pending);
    },
  );

  it('is refused with what it does not know', async () => {
    const { memory } = await worldOn(open);
    await expect(memory.waitFor('key', 'done' as never)).rejects.toEqual(
      refusal('invalid_input', 'expected fits to be a function, got "done"'),
    );
    await expect(memory.waitFor('', isDone)).rejects.toEqual(refusal('invalid_input', 'expected a key'));
    for (const options of [{ timeoutMs: -1 }, { timeoutMs: 2 ** 31 }, { timeoutMs: '5' }, { signal: 5 }, { timeout: 5 }, null]) {
      await expect(memory.waitFor('key', isDone, options as object)).rejects.toEqual(
        refusal('invalid_input', 'expected options'),
      );
    }
  });
});

describe.each(storages)('waitFor on %s, while the storage is out of reach', (_name, open) => {
  it('waits on, and tells of it', async () => {
    const { memory, seen, clock, another, errors } = await worldOn(open);
    let isOut = false;
    const failing = hooked(seen.storage, {
      async get() {
        if (isOut) throw new MeshError('unavailable', 'expected an answer, got none', { details: { transient: true } });
      },
    });
    const waiting = another(failing).memory.waitFor('key', (value) => value === 2, { timeoutMs: 60_000 });
    await clock.advance(10);
    isOut = true;
    await memory.set('key', 1);
    await clock.advance(2500);
    isOut = false;
    await memory.set('key', 2);
    expect(await passUntil(clock, waiting)).toBe(2);
    expect(new Set(errors.splice(0).map((error) => (error as MeshError).code))).toEqual(new Set(['unavailable']));
  });
});

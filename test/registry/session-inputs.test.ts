import fc from 'fast-check';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { MeshError } from '../../src/kernel/errors.ts';
import type { SessionHandle } from '../../src/registry/session-handle.ts';
import type {
  KillOptions,
  ListOptions,
  RegisterOptions,
  SessionUpdate,
  SteerOptions,
} from '../../src/registry/session-inputs.ts';
import type { SessionRegistry } from '../../src/registry/session-registry.ts';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { processOn, worldOn } from '../support/registry/meshes.ts';
import { counted } from '../support/registry/views.ts';
import { storages } from '../support/storages.ts';

/** As a caller without types has it. */
type Loose = Record<string, (...args: unknown[]) => unknown>;

const circle: Record<string, unknown> = {};
circle['self'] = circle;
const throwing = {
  get id(): string {
    throw new Error('mine');
  },
};

// biome-ignore format: a list of single things
const BAD_IDS: readonly unknown[] = [
  '', ' a', 'a b', 'a ', '-rf', '*', '../etc', '.', '_a', 'a\n', 'a\u0000', 'é', '🧭', 'a🧭', '\ud800', 'a'.repeat(129), 'a|b', 'a;b',
  5, Number.NaN, 0, true, null, Object('a'), ['a'], { toString: () => 'a' }, Symbol('a'), 1n, () => 'a',
];
const GOOD_IDS: readonly string[] = [
  'a',
  '0',
  'A.b_c:d/e@f+g-h',
  'claude-code://orchestrator',
  '__proto__'.slice(2),
  'constructor',
  'a'.repeat(128),
];

// biome-ignore format: a list of single things
const BAD_NAMES: readonly unknown[] = [
  'python', {}, 5, null, { length: 1, 0: 'a' }, new Set(['a']), [''], [' '], ['a b'], ['-a'], ['*'], ['é'], ['a'.repeat(65)], [5], [null], [undefined],
  ['a', 'a'], [['a']], Array.from({ length: 65 }, (_, n) => `c${n}`), [Object('a')],
];

// biome-ignore format: a list of single things
const BAD_METADATA: readonly unknown[] = [
  null, 5, 'text', [], [1], true, () => {}, Symbol('a'), 1n, new Date(0), new Map(), Object('a'), { a: undefined }, { a: Number.NaN },
  { a: Number.POSITIVE_INFINITY }, { a: new Date(0) }, { a: 1n }, { a: () => {} }, { a: [, 1] }, { a: '\ud800' }, { '\ud800': 1 }, circle,
  { a: { get b() { return 1; } } }, { [Symbol('a')]: 1 }, { a: 'x'.repeat(1024 * 1024) }, new (class Own {})(),
  deep(65),
];

// biome-ignore format: a list of single things
const BAD_TTLS: readonly unknown[] = [
  0, -1, 1, 999, 1.5, 1000.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 30 * 86_400_000 + 1, 2 ** 53, '5000', null, true, 1000n,
];

const BAD_LINES: readonly unknown[] = ['', 'a\nb', '\u0000', '\u007f', '\ud800', 'é'.repeat(129), 5, null, {}, ['a']];
const BAD_TEXTS: readonly unknown[] = ['x'.repeat(1025), '\udc00', 5, {}, ['a'], true];
const BAD_OPTIONS: readonly unknown[] = [null, 5, 'a', true, [], [{}], () => {}, Symbol('a'), 1n];
const BAD_WHOLE: readonly unknown[] = [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '1', null, 1n];

function deep(levels: number): unknown {
  let value: unknown = {};
  for (let level = 1; level < levels; level++) value = { value };
  return value;
}

/** Calls that must all be refused: what they are, and how to make them. */
type Attempt = readonly [what: string, call: (registry: Loose, handle: Loose) => unknown];

const each = (values: readonly unknown[], what: string, call: (value: unknown) => Attempt[1]): Attempt[] =>
  values.map((value, n) => [`${what} #${n}`, call(value)] as const);

const ATTEMPTS: readonly Attempt[] = [
  ...each(BAD_OPTIONS, 'register', (value) => (registry) => registry['register']?.(value)),
  ...each(BAD_IDS, 'register id', (id) => (registry) => registry['register']?.({ id })),
  ...each(BAD_IDS, 'register parentId', (parentId) => (registry) => registry['register']?.({ parentId })),
  ...each(BAD_NAMES, 'register capabilities', (capabilities) => (registry) => registry['register']?.({ capabilities })),
  ...each(BAD_NAMES, 'register groups', (groups) => (registry) => registry['register']?.({ groups })),
  ...each(BAD_METADATA, 'register metadata', (metadata) => (registry) => registry['register']?.({ metadata })),
  ...each(BAD_TTLS, 'register ttlMs', (ttlMs) => (registry) => registry['register']?.({ ttlMs })),
  ...each(BAD_TTLS, 'register retentionMs', (retentionMs) => (registry) => registry['register']?.({ retentionMs })),
  ...each([...BAD_WHOLE, 1_000_001], 'register capacity', (capacity) => (registry) => registry['register']?.({ capacity })),
  ...each(BAD_LINES, 'register user', (user) => (registry) => registry['register']?.({ user })),
  ...each([...BAD_TEXTS, null], 'register task', (task) => (registry) => registry['register']?.({ task })),
  ...each(['alive', '', 'ACTIVE', 5, null, {}], 'register status', (status) => (registry) => registry['register']?.({ status })),
  ...each(['', 'on', true, null], 'register heartbeat', (heartbeat) => (registry) => registry['register']?.({ heartbeat })),
  ...each([1, 'true', null], 'register takeover', (takeover) => (registry) => registry['register']?.({ takeover })),
  ...each([1, 'kill', {}, null], 'register onKill', (onKill) => (registry) => registry['register']?.({ onKill })),
  ...each(
    [
      null,
      'Planner',
      {},
      { name: 'a' },
      { type: 'a' },
      { name: 'a', type: '' },
      { name: 5, type: 'a' },
      { name: 'a', type: 'b', x: 1 },
      [],
    ],
    'register agent',
    (agent) => (registry) => registry['register']?.({ agent }),
  ),
  ...each(BAD_LINES, 'register agent.type', (type) => (registry) => registry['register']?.({ agent: { name: 'a', type } })),
  ...each(
    [{ ttl: 5000 }, { Id: 'a' }, { capabilites: [] }, { constructor: 1 }, JSON.parse('{"__proto__": 1}')],
    'register unknown option',
    (options) => (registry) => registry['register']?.(options),
  ),
  ...each(BAD_OPTIONS, 'spawn', (value) => (_, handle) => handle['spawn']?.(value)),
  ...each(BAD_IDS, 'spawn id', (id) => (_, handle) => handle['spawn']?.({ id })),
  ['spawn parentId', (_, handle) => handle['spawn']?.({ parentId: 'a' })],
  ['spawn unknown option', (_, handle) => handle['spawn']?.({ ttl: 1 })],

  ...['get', 'heartbeat', 'end', 'unregister', 'kill'].flatMap((method) =>
    each([...BAD_IDS, undefined], `${method} id`, (id) => (registry) => registry[method]?.(id)),
  ),
  ...each([...BAD_IDS, undefined], 'update id', (id) => (registry) => registry['update']?.(id, {})),
  ...each([...BAD_IDS, undefined], 'specialize id', (id) => (registry) => registry['specialize']?.(id, ['x'])),
  ...each([...BAD_IDS, undefined], 'steer id', (id) => (registry) => registry['steer']?.(id, { message: 'x' })),
  ...each(BAD_IDS, 'topology root', (root) => (registry) => registry['topology']?.({ root })),

  ...each([...BAD_OPTIONS, undefined], 'update', (value) => (registry) => registry['update']?.('known', value)),
  ...each([...BAD_OPTIONS, undefined], 'handle.update', (value) => (_, handle) => handle['update']?.(value)),
  ...each(BAD_NAMES, 'update capabilities', (capabilities) => (registry) => registry['update']?.('known', { capabilities })),
  ...each(BAD_NAMES, 'update groups', (groups) => (_, handle) => handle['update']?.({ groups })),
  ...each(BAD_METADATA, 'update metadata', (metadata) => (_, handle) => handle['update']?.({ metadata })),
  ...each(BAD_METADATA, 'update metadata by id', (metadata) => (registry) => registry['update']?.('known', { metadata })),
  ...each(BAD_TEXTS, 'update task', (task) => (_, handle) => handle['update']?.({ task })),
  ...each(BAD_WHOLE, 'update capacity', (capacity) => (_, handle) => handle['update']?.({ capacity })),
  ...each(['busy', 5, null], 'update status', (status) => (_, handle) => handle['update']?.({ status })),
  ...each(
    [{ id: 'b' }, { ttlMs: 1000 }, { state: 'alive' }, { user: 'x' }],
    'update unknown',
    (value) => (_, handle) => handle['update']?.(value),
  ),
  ...each([...BAD_NAMES, undefined], 'specialize', (value) => (registry) => registry['specialize']?.('known', value)),

  ...each(BAD_OPTIONS, 'end', (value) => (registry) => registry['end']?.('known', value)),
  ...each(BAD_OPTIONS, 'handle.end', (value) => (_, handle) => handle['end']?.(value)),
  ...each(BAD_TEXTS, 'end reason', (reason) => (_, handle) => handle['end']?.({ reason })),
  ...each(
    [
      { result: Number.NaN },
      { result: () => {} },
      { result: circle },
      { result: { a: undefined } },
      { result: new Date(0) },
      { results: 1 },
    ],
    'end result',
    (value) => (_, handle) => handle['end']?.(value),
  ),

  ...each(BAD_OPTIONS, 'list', (value) => (registry) => registry['list']?.(value)),
  ...each(['dead', '', 5, null], 'list state', (state) => (registry) => registry['list']?.({ state })),
  ...each(BAD_NAMES, 'list capabilities', (capabilities) => (registry) => registry['list']?.({ capabilities })),
  ...each(['some', null], 'list match', (match) => (registry) => registry['list']?.({ match })),
  ...each(['alive', null], 'list status', (status) => (registry) => registry['list']?.({ status })),
  ...each(BAD_LINES, 'list user', (user) => (registry) => registry['list']?.({ user })),
  ...each(BAD_LINES, 'list agentType', (agentType) => (registry) => registry['list']?.({ agentType })),
  ...each([...BAD_LINES, 'a b', '*', ['g']], 'list group', (group) => (registry) => registry['list']?.({ group })),
  ...each(BAD_IDS, 'list parentId', (parentId) => (registry) => registry['list']?.({ parentId })),
  ...each(BAD_IDS, 'list after', (after) => (registry) => registry['list']?.({ after })),
  ...each([...BAD_WHOLE, 1001], 'list limit', (limit) => (registry) => registry['list']?.({ limit })),
  ...each([{ filter: 'active' }, { ids: [] }], 'list unknown', (value) => (registry) => registry['list']?.(value)),

  ...each([...BAD_IDS, undefined, 'a'.repeat(65)], 'specialists', (value) => (registry) => registry['specialists']?.(value)),
  ...each(BAD_OPTIONS, 'specialists options', (value) => (registry) => registry['specialists']?.('x', value)),
  ...each([...BAD_WHOLE, 65], 'specialists limit', (limit) => (registry) => registry['specialists']?.('x', { limit })),
  ...each(BAD_OPTIONS, 'topology', (value) => (registry) => registry['topology']?.(value)),

  ...each([...BAD_OPTIONS, undefined], 'steer', (value) => (registry) => registry['steer']?.('known', value)),
  ...each(
    [
      { data: Number.NaN },
      { data: circle },
      { message: 5 },
      { direction: {} },
      { by: '' },
      { by: {} },
      { by: 5 },
      { by: null },
      { dir: 'x' },
    ],
    'steer directive',
    (value) => (registry) => registry['steer']?.('known', value),
  ),
  ...each(BAD_OPTIONS, 'kill', (value) => (registry) => registry['kill']?.('known', value)),
  ...each(
    [
      { graceMs: -1 },
      { graceMs: 1.5 },
      { graceMs: 2 ** 31 },
      { graceMs: '5' },
      { force: 1 },
      { cascade: 'no' },
      { reason: 5 },
      { timeoutMs: Number.NaN },
      { signal: {} },
      { signal: new AbortController() },
      { by: {} },
      { by: throwing },
      { grace: 5 },
    ],
    'kill options',
    (value) => (registry) => registry['kill']?.('known', value),
  ),
  ...each(
    [...BAD_OPTIONS, { signal: 5 }, { signal: null }, { after: 1 }],
    'steers',
    (value) => (_, handle) => handle['steers']?.(value),
  ),
  ...each(
    [...BAD_OPTIONS, undefined, { loadOf: 5 }, { talkEdges: {} }, { load: () => [] }],
    'provide',
    (value) => (registry) => registry['provide']?.(value),
  ),
];

/** What is thrown at once or later. */
async function refusalOf(call: () => unknown): Promise<unknown> {
  let turns = 20;
  const later = async (): Promise<unknown> => {
    while (turns-- > 0) await new Promise(setImmediate);
    return 'waiting';
  };
  try {
    return await Promise.race([later(), Promise.resolve(call()).then(() => 'accepted')]);
  } catch (error) {
    return error;
  }
}

describe.each(storages)('hostile input on %s', (_name, open) => {
  it('is refused before any call of the storage, and leaves nothing behind', async () => {
    const { storage: real, another } = await worldOn(open);
    const view = counted(real);
    const { registry } = another({ storage: view.storage });
    const handle = await registry.register({ id: 'known', heartbeat: 'manual', capabilities: ['x'] });
    await registry.list();
    const before = await Promise.all(['sessions', 'leases', 'events', 'due', 'kills'].map((partition) => real.list(partition)));
    const wrong: string[] = [];
    for (const [what, call] of ATTEMPTS) {
      view.calls.count = 0;
      const error = await refusalOf(() => call(registry as unknown as Loose, handle as unknown as Loose));
      if (!MeshError.is(error, 'invalid_input', 'limit_exceeded')) wrong.push(`${what}: ${error}`);
      else if (!/^expected .+, got .+/s.test(error.message)) wrong.push(`${what} says: ${error.message}`);
      if (view.calls.count > 0) wrong.push(`${what}: ${view.calls.count} storage calls`);
    }
    expect(wrong).toEqual([]);
    expect(await Promise.all(['sessions', 'leases', 'events', 'due', 'kills'].map((partition) => real.list(partition)))).toEqual(
      before,
    );
  });
});

describe('an error for bad input', () => {
  it.each([
    [{ ttlMs: 5 }, 'expected options.ttlMs to be a whole number between 1000 and 2592000000, got 5'],
    [{ capabilities: ['a', 'b c'] }, 'expected options.capabilities to be an array of at most 64 different names'],
    [
      { id: '-rf' },
      'expected options.id to be an id (a letter or digit, then letters, digits and . _ : / @ + -, at most 128 characters), got "-rf"',
    ],
    [
      { agent: { name: 'a' } },
      'expected options.agent.type to be one line of 1 to 256 bytes of well-formed Unicode, got undefined',
    ],
    [{ status: 'busy' }, 'expected options.status to be one of "active", "idle", "working", "waiting", got "busy"'],
    [{ metadata: { when: new Date(0) } }, 'options.metadata.when'],
    [{ metadata: { a: { b: undefined } } }, 'remove it or use null'],
    [{ metadata: null }, 'expected options.metadata to be an object, got null'],
    [{ capabilites: [] }, 'expected options to have known options only, got "capabilites"'],
    [null, 'expected options to be an object, got null'],
  ])('says what was expected and what was got: %o', async (options, message) => {
    const loose = processOn(new InMemoryStorage({ clock: new VirtualClock() })).registry as unknown as Loose;
    await expect(async () => loose['register']?.(options)).rejects.toThrow(message);
  });

  it('says the same of an update, a name and a page', async () => {
    const { registry } = processOn(new InMemoryStorage({ clock: new VirtualClock() }));
    const loose = registry as unknown as Loose;
    await expect(async () => loose['update']?.('a', { task: 5 })).rejects.toThrow(
      'expected changes.task to be null or at most 1024 bytes of well-formed Unicode, got 5',
    );
    await expect(registry.specialists('a b')).rejects.toThrow(
      'expected capability to be a name (letters, digits and . _ : / @ + - #, 1 to 64 characters), got "a b"',
    );
    await expect(registry.list({ limit: 0 })).rejects.toThrow(
      'expected options.limit to be a whole number between 1 and 1000, got 0',
    );
  });
});

describe('what is given', () => {
  const freeze = <T>(value: T): T => {
    if (typeof value === 'object' && value !== null) {
      Object.freeze(value);
      for (const member of Object.values(value)) freeze(member);
    }
    return value;
  };

  it('is never changed, and nothing of it is kept', async () => {
    const { registry } = processOn(new InMemoryStorage({ clock: new VirtualClock() }));
    const options = freeze({
      id: 'a',
      agent: { name: 'n', type: 't' },
      capabilities: ['x'],
      groups: ['g'],
      metadata: { list: [{ a: 1 }] },
      heartbeat: 'manual' as const,
    });
    const handle = await registry.register(options);
    await handle.update(freeze({ metadata: { other: [1] }, capabilities: ['y'], groups: [] }));
    await registry.specialize('a', freeze(['z']));
    await registry.list(freeze({ capabilities: ['y'], limit: 1 }));
    await handle.end(freeze({ result: { list: [1] } }));

    const metadata = { list: [1] };
    const capabilities = ['x'];
    await registry.register({ id: 'b', metadata, capabilities });
    metadata.list.push(2);
    capabilities.push('y');
    expect(Object.isFrozen(metadata) || Object.isFrozen(capabilities)).toBe(false);
    expect(await registry.get('b')).toMatchObject({ metadata: { list: [1] }, capabilities: ['x'] });
  });

  it.each(storages)('is what it was when the call was made, on %s', async (_name, open) => {
    const { registry, mesh } = await worldOn(open);
    const given = ['x'];
    const calls = [
      () => registry.register({ id: 'a', capabilities: given, groups: given }),
      () => registry.update('a', { capabilities: given, groups: given }),
      () => registry.specialize('a', given),
      () => mesh.memory.set('key', 1, { tags: given }),
      () => mesh.keys.issue({ scopes: given }),
    ];
    for (const call of calls) {
      const under = call();
      given[0] = 'not a name';
      given.push('y');
      await under;
      given.splice(0, 2, 'x');
    }
    expect(await registry.get('a')).toMatchObject({ capabilities: ['x'], groups: ['x'] });
    const search = mesh.memory.search({ tags: given });
    const list = registry.list({ capabilities: given, match: 'any' });
    given[0] = 'y';
    expect((await search).items).toMatchObject([{ key: 'key', tags: ['x'] }]);
    expect((await list).items).toMatchObject([{ id: 'a' }]);
    expect((await mesh.keys.list()).items).toMatchObject([{ scopes: ['x'] }]);
  });

  it('comes back as it went in, whatever its names are', async () => {
    const { registry } = processOn(new InMemoryStorage({ clock: new VirtualClock() }));
    const metadata = JSON.parse('{"__proto__": {"x": 1}, "constructor": null, "toString": [], "": "", "é": "\\u0007"}');
    await registry.register({
      id: 'a',
      metadata,
      capabilities: ['constructor', '#1'],
      agent: { name: '__proto__', type: 'toString' },
      user: '__proto__',
    });
    const session = await registry.get('a');
    expect(JSON.stringify(session?.metadata)).toBe(JSON.stringify(metadata));
    expect(({} as { x?: number }).x).toBeUndefined();
    expect(
      (await registry.list({ user: '__proto__', agentType: 'toString', capabilities: ['constructor', '#1'] })).items,
    ).toHaveLength(1);
  });

  it('is taken when it is an id, to the last character', async () => {
    const { registry } = processOn(new InMemoryStorage({ clock: new VirtualClock() }));
    for (const id of GOOD_IDS) {
      const handle = await registry.register({ id, groups: ['a'.repeat(64)], ttlMs: 1000, retentionMs: 30 * 86_400_000 });
      expect((await registry.get(handle.id))?.id).toBe(id);
    }
    expect((await registry.list({ limit: 1000 })).items).toHaveLength(GOOD_IDS.length);
  });

  it('is refused or taken whole, whatever it is', async () => {
    const { registry } = processOn(new InMemoryStorage({ clock: new VirtualClock() }));
    const loose = registry as unknown as Loose;
    const anything = fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withNullPrototype: true,
      withSparseArray: true,
      withTypedArray: true,
    });
    const options = fc.record(
      {
        id: anything,
        agent: anything,
        user: anything,
        capabilities: anything,
        groups: anything,
        metadata: anything,
        ttlMs: anything,
        task: anything,
        status: anything,
      },
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(options, async (given) => {
        const before = (await registry.stats()).total;
        const answer = await refusalOf(() => loose['register']?.(given));
        if (MeshError.is(answer, 'invalid_input', 'limit_exceeded', 'already_exists'))
          expect((await registry.stats()).total).toBe(before);
        else expect(answer).toBe('accepted');
      }),
      { numRuns: 500 },
    );
  });

  it('has types that say what is accepted', () => {
    expectTypeOf<RegisterOptions['ttlMs']>().toEqualTypeOf<number | undefined>();
    expectTypeOf<RegisterOptions['capabilities']>().toEqualTypeOf<readonly string[] | undefined>();
    expectTypeOf<RegisterOptions['id']>().toEqualTypeOf<string | undefined>();
    expectTypeOf<SessionUpdate['task']>().toEqualTypeOf<string | null | undefined>();
    expectTypeOf<ListOptions['after']>().toEqualTypeOf<string | undefined>();
    expectTypeOf<KillOptions['graceMs']>().toEqualTypeOf<number | undefined>();
    expectTypeOf<SteerOptions['message']>().toEqualTypeOf<string | undefined>();
    expectTypeOf<Parameters<SessionHandle['spawn']>[0]>().not.toHaveProperty('parentId');
    expectTypeOf<SessionRegistry['register']>().returns.resolves.toEqualTypeOf<SessionHandle>();
  });
});

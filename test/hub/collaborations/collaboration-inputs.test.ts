import { expect, it } from 'vitest';
import type { Collaboration } from '../../../src/hub/collaborations/collaboration.ts';
import { createMesh, InMemoryStorage } from '../../../src/index.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { expectRefused, NO_IDS, named } from '../../support/registry-kill/hostile.ts';
import { type Counted, counted } from '../../support/registry-kill/storages.ts';

interface Desk {
  readonly counter: Counted;
  readonly collaboration: Collaboration;
  /** Creates, with options of any kind. */
  readonly create: (options: unknown) => Promise<unknown>;
  readonly list: (options: unknown) => Promise<unknown>;
  readonly get: (id: unknown) => Promise<unknown>;
  /** Calls a method of the collaboration with anything. */
  readonly call: (method: string, ...args: readonly unknown[]) => unknown;
}

async function desk(): Promise<Desk> {
  const counter = counted(new InMemoryStorage({ clock: new VirtualClock() }));
  const { hub, registry } = createMesh({ storage: counter.storage });
  await registry.register({ id: 'lead', heartbeat: 'manual' });
  const collaboration = await hub.createCollaboration({ initiator: 'lead', steps: [{ name: 'a' }] });
  return {
    counter,
    collaboration,
    create: hub.createCollaboration.bind(hub) as (options: unknown) => Promise<unknown>,
    list: hub.collaborations.bind(hub) as (options: unknown) => Promise<unknown>,
    get: hub.getCollaboration.bind(hub) as (id: unknown) => Promise<unknown>,
    call: (method, ...args) =>
      (collaboration as unknown as Record<string, (...args: readonly unknown[]) => unknown>)[method]?.(...args),
  };
}

/** What is no plain object of options. */
const NO_OPTIONS: readonly unknown[] = [null, 42, 'text', true, [], () => ({})];
const NO_REFS = NO_IDS.filter((id) => typeof id !== 'object' || id === null);
const NO_NAMES: readonly unknown[] = [undefined, null, 1, '', 'a\nb', '\ud800', 'x'.repeat(129), {}, ['a']];

const cycle: Record<string, unknown> = {};
cycle['self'] = cycle;
/** What is no JSON. */
const NO_JSON: readonly unknown[] = [
  Number.NaN,
  Number.POSITIVE_INFINITY,
  1n,
  new Date(0),
  new Map(),
  Symbol('x'),
  () => 1,
  { a: undefined },
  [undefined],
  cycle,
  '\ud800',
  {
    get a() {
      throw new Error('read');
    },
  },
];

it('refuses wrong options of a new collaboration before it asks the storage', async () => {
  const { counter, create } = await desk();
  const refused = (options: unknown, codes?: string[]): Promise<void> =>
    expectRefused(counter, () => create(options), named(options), codes);
  for (const options of [undefined, ...NO_OPTIONS]) await refused(options);
  for (const id of NO_IDS.slice(1)) await refused({ initiator: 'lead', id });
  for (const initiator of NO_REFS) await refused({ initiator });
  for (const session of NO_REFS) await refused({ initiator: 'lead', participants: [{ session }] });
  for (const role of NO_NAMES.slice(1)) await refused({ initiator: 'lead', participants: [{ session: 'dev', role }] });
  for (const name of NO_NAMES) await refused({ initiator: 'lead', steps: [{ name }] });
  for (const name of NO_NAMES) await refused({ initiator: 'lead', steps: [{ name: 'a', after: [name] }] });
  for (const id of NO_IDS) await refused({ initiator: 'lead', steps: [{ name: 'a', requires: [id] }] });
  for (const list of [null, 1, 'dev', {}, new Set(), { length: 1 }]) {
    await refused({ initiator: 'lead', participants: list });
    await refused({ initiator: 'lead', steps: list });
    await refused({ initiator: 'lead', steps: [{ name: 'a', requires: list }] });
    await refused({ initiator: 'lead', steps: [{ name: 'a', after: list }] });
  }
  for (const more of [
    { extra: 1 },
    { steps: [{ name: 'a', extra: 1 }] },
    { participants: [{ session: 'dev', extra: 1 }] },
    { participants: [{ session: 'dev' }, { session: 'dev' }] },
    { steps: [{ name: 'a' }, { name: 'a' }] },
    { steps: [{ name: 'a', after: ['b'] }] },
    { steps: [{ name: 'a', after: ['a'] }] },
    { steps: [{ name: 'a' }, { name: 'b', after: ['a', 'a'] }] },
    { steps: [{ name: 'a', requires: ['dev'] }] },
    { steps: [{ name: 'a', requires: ['lead', 'lead'] }] },
    { steps: [{ name: 'a', description: 5 }] },
    { steps: [{ name: 'a', description: 'x'.repeat(1025) }] },
    { steps: Array.from({ length: 101 }, (_, n) => ({ name: `s${n}` })) },
    { participants: Array.from({ length: 501 }, (_, n) => ({ session: `s${n}` })) },
    ...[0, 501, 1.5, '5', Number.NaN].map((maxParticipants) => ({ maxParticipants })),
    ...[0, 999, 2 ** 31, 1000.5, '1000', Number.NaN].map((timeoutMs) => ({ timeoutMs })),
    ...[null, [], 'text', 1, new Date(0), ...NO_JSON].flatMap((value) => [{ context: value }, { metadata: value }]),
  ]) {
    await refused({ initiator: 'lead', ...more });
  }
  const names = Array.from({ length: 100 }, (_, n) => String(n).padEnd(128, 'x'));
  for (const more of [
    { context: { text: 'x'.repeat(1024 * 1024) } },
    { metadata: { text: 'x'.repeat(64 * 1024) } },
    { steps: names.map((name, n) => ({ name, after: names.slice(0, n) })) },
    { participants: [{ session: 'a' }, { session: 'b' }], maxParticipants: 2 },
  ]) {
    await refused({ initiator: 'lead', ...more }, ['limit_exceeded']);
  }
});

it('refuses huge lists without looking at what is in them', async () => {
  const { create } = await desk();
  const many = Array.from({ length: 1_000_000 }, () => ({ name: 'a', session: 'a' }));
  let longest = 0;
  for (const options of [
    { steps: many },
    { participants: many },
    { steps: [{ name: 'a', after: many }] },
    { steps: [{ name: 'a', requires: many }] },
  ]) {
    // How long the event loop is held up is a matter of real time.
    const before = performance.now();
    await expect(create({ initiator: 'lead', ...options })).rejects.toThrow(/an array of at most/);
    longest = Math.max(longest, performance.now() - before);
  }
  expect(longest).toBeLessThan(50);
});

it('refuses wrong arguments of what changes a collaboration before it asks the storage', async () => {
  const { counter, call, collaboration } = await desk();
  const refused = (method: string, args: readonly unknown[], codes?: string[]): Promise<void> =>
    expectRefused(counter, () => call(method, ...args), `${method} ${args.map(named).join(' ')}`, codes);
  for (const method of ['join', 'leave', 'complete', 'terminate', 'summary'] as const) {
    for (const options of NO_OPTIONS) await refused(method, [options]);
    await refused(method, [{ session: 'dev', extra: 1 }]);
  }
  for (const session of NO_REFS) {
    await refused('join', [{ session }]);
    await refused('leave', [{ session }]);
    await refused('completeStep', ['a', { by: session }]);
  }
  await refused('join', []);
  await refused('leave', []);
  for (const role of NO_NAMES.slice(1)) await refused('join', [{ session: 'dev', role }]);
  for (const name of NO_NAMES) {
    await refused('completeStep', [name, { by: 'lead' }]);
    await refused('output', [name]);
  }
  for (const options of [undefined, ...NO_OPTIONS, {}, { by: 'lead', extra: 1 }]) await refused('completeStep', ['a', options]);
  for (const change of [undefined, null, 1, 'text', {}, Promise.resolve()]) await refused('updateContext', [change]);
  for (const options of [...NO_OPTIONS, { extra: 1 }]) await refused('updateContext', [() => ({}), options]);
  for (const by of NO_REFS.slice(1)) {
    await refused('updateContext', [() => ({}), { by }]);
    await refused('complete', [{ by }]);
    await refused('terminate', [{ by }]);
  }
  for (const value of NO_JSON) {
    await refused('completeStep', ['a', { by: 'lead', output: value }]);
    await refused('complete', [{ artifacts: value }]);
    await refused('terminate', [{ details: value }]);
  }
  for (const text of [null, 1, {}, '\ud800']) {
    await refused('complete', [{ summary: text }]);
    await refused('terminate', [{ reason: text }]);
  }
  await refused('complete', [{ summary: 'x'.repeat(32 * 1024 + 1) }]);
  await refused('terminate', [{ reason: 'x'.repeat(1025) }]);
  for (const limit of [-1, 10_001, 1.5, '5']) await refused('summary', [{ limit }]);
  const large = 'x'.repeat(1024 * 1024);
  await refused('completeStep', ['a', { by: 'lead', output: large }], ['limit_exceeded']);
  await refused('complete', [{ artifacts: large }], ['limit_exceeded']);
  await refused('complete', [{ artifacts: large.slice(10), summary: '\u0001'.repeat(32 * 1024) }], ['limit_exceeded']);
  await refused('terminate', [{ details: large }], ['limit_exceeded']);
  expect((await collaboration.get()).state).toBe('active');
});

it('refuses wrong ids and conditions before it asks the storage', async () => {
  const { counter, get, list } = await desk();
  for (const id of NO_IDS) await expectRefused(counter, () => get(id), named(id));
  for (const options of NO_OPTIONS) await expectRefused(counter, () => list(options), named(options));
  for (const options of [
    { extra: 1 },
    { state: 'all' },
    { state: 'alive' },
    ...NO_IDS.slice(1).flatMap((id) => [{ session: id }, { after: id }]),
    ...[0, 1001, 1.5, '5'].map((limit) => ({ limit })),
  ]) {
    await expectRefused(counter, () => list(options), named(options));
  }
});

it('takes a deep value for an output, artifacts and details, as everywhere', async () => {
  const { collaboration, counter } = await desk();
  let deep: unknown = 1;
  for (let level = 0; level < 64; level++) deep = [deep];
  await collaboration.completeStep('a', { by: 'lead', output: deep });
  expect(await collaboration.output('a')).toEqual(deep);
  await collaboration.complete({ artifacts: deep });
  expect((await collaboration.get()).artifacts).toEqual(deep);
  counter.take();
});

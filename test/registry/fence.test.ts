import { describe, expect, it } from 'vitest';
import type { MeshError } from '../../src/kernel/errors.ts';
import type { SessionHandle } from '../../src/registry/session-handle.ts';
import type { SessionRegistry } from '../../src/registry/session-registry.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { SeededRandom } from '../../src/testing/random.ts';
import { outcomeOf, refusal, worldOn } from '../support/registry/meshes.ts';
import { counted, gate, scattered, viewOf } from '../support/registry/views.ts';
import { storages } from '../support/storages.ts';

/** Everything that an owner can do through its handle. */
const WRITES: readonly (readonly [what: string, write: (handle: SessionHandle) => Promise<unknown>])[] = [
  ['update', (handle) => handle.update({ task: 'zombie', status: 'waiting', metadata: { zombie: true } })],
  ['spawn', (handle) => handle.spawn({ id: 'zombie-child' })],
  ['end', (handle) => handle.end({ result: 'zombie' })],
];

/** How a session can be lost, each by somebody else than its owner. */
const LOSSES: readonly (readonly [
  how: string,
  lose: (elsewhere: Awaited<ReturnType<typeof worldOn>>['registry']) => Promise<unknown>,
])[] = [
  ['a takeover', (elsewhere) => elsewhere.register({ id: 'a', takeover: true })],
  ['a kill', (elsewhere) => elsewhere.kill('a', { force: true })],
  ['an end', (elsewhere) => elsewhere.end('a')],
  ['a removal', (elsewhere) => elsewhere.unregister('a')],
  [
    'a removal and a registration anew',
    async (elsewhere) => {
      await elsewhere.unregister('a');
      await elsewhere.register({ id: 'a' });
    },
  ],
];

describe.each(storages)('a handle on %s', (_name, open) => {
  describe.each(LOSSES)('after %s', (how, lose) => {
    it.each(WRITES)('is told lease_lost at its first attempt: %s', async (_what, write) => {
      const { registry: elsewhere, another, storage } = await worldOn(open);
      const view = counted(storage);
      const { registry } = another({ storage: view.storage });
      const handle = await registry.register({ id: 'a', heartbeat: 'manual' });
      await lose(elsewhere);
      const before = await everything(storage);
      await expect(write(handle)).rejects.toEqual(refusal('lease_lost'));
      expect(handle.signal.aborted).toBe(true);
      const reason = handle.signal.reason as MeshError;
      expect(reason.code).toBe(how === 'a kill' ? 'aborted' : 'lease_lost');
      expect(await everything(storage)).toEqual(before);
      expect(await registry.get('zombie-child')).toBeUndefined();
      // And from then on without asking anybody.
      view.calls.count = 0;
      await expect(write(handle)).rejects.toEqual(refusal('lease_lost'));
      expect(await handle.heartbeat()).toMatchObject({ alive: false });
      expect(view.calls.count).toBe(0);
    });

    it('has its signal aborted without any attempt', async () => {
      const { registry, another, mesh } = await worldOn(open);
      const handle = await registry.register({ id: 'a', heartbeat: 'manual' });
      const told = new Promise<MeshError>((resolve) => {
        handle.signal.addEventListener('abort', () => resolve(handle.signal.reason as MeshError));
      });
      await lose(another().registry);
      await mesh.settled();
      expect((await told).code).toBe(how === 'a kill' ? 'aborted' : 'lease_lost');
      await expect(handle.update({})).rejects.toEqual(refusal('lease_lost'));
    });
  });

  it.each([
    ...WRITES,
    ['update by id', (_handle: SessionHandle, registry: SessionRegistry) => registry.update('a', { task: 'late' })],
    ['a child', (_handle: SessionHandle, registry: SessionRegistry) => registry.register({ id: 'zombie-child', parentId: 'a' })],
    [
      'steer in its name',
      (handle: SessionHandle, registry: SessionRegistry) => registry.steer('b', { message: 'late', by: handle }),
    ],
  ] as const)(
    'writes nothing that reaches the store after the lease is over, though it set out before: %s',
    async (_what, write) => {
      const { another, clock, storage } = await worldOn(open, { sweepIntervalMs: 60_000 });
      let held: ReturnType<typeof gate> | undefined;
      const { registry } = another({ storage: viewOf(storage, { commit: () => held?.wait() }) });
      const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 1000 });
      await registry.register({ id: 'b', heartbeat: 'manual' });
      const before = await everything(storage);
      held = gate();
      const writing = outcomeOf(write(handle, registry));
      await held.reached;
      await clock.advance(1001);
      held.open();
      held = undefined;
      expect(await writing).toBe('not_alive');
      const [sessions, _leases, _sightings, ...rest] = await everything(storage);
      expect([sessions, ...rest]).toEqual([before[0], ...before.slice(3)]);
      expect(await registry.get('zombie-child')).toBeUndefined();
      await handle.heartbeat();
      await handle.update({ task: 'on' });
    },
  );

  it('cannot act in its name once it is lost', async () => {
    const { registry, another } = await worldOn(open);
    await registry.register({ id: 'target' });
    const handle = await registry.register({ id: 'a', heartbeat: 'manual' });
    await another().registry.register({ id: 'a', takeover: true });
    await expect(registry.steer('target', { message: 'x', by: handle })).rejects.toEqual(refusal('lease_lost'));
    await expect(registry.kill('target', { by: handle })).rejects.toEqual(refusal('lease_lost'));
    expect((await registry.get('target'))?.state).toBe('alive');
    // An id is the host's authority.
    await registry.steer('target', { message: 'x', by: 'a' });
  });

  it('goes on after a takeover order was refused, and after a revival and a kill order put its lease anew', async () => {
    const { registry, another, clock } = await worldOn(open);
    const other = another().registry;
    const handle = await registry.register({ id: 'a', heartbeat: 'manual', ttlMs: 2000 });
    await expect(other.register({ id: 'a' })).rejects.toEqual(refusal('already_exists'));
    await handle.update({ task: '1' });
    await clock.advance(2001);
    await other.heartbeat('a');
    await handle.update({ task: '2' });
    await other.kill('a', { graceMs: 1000, timeoutMs: 0 });
    await handle.update({ task: '3' });
    expect(await registry.get('a')).toMatchObject({ state: 'stopping', task: '3' });
    expect((handle.signal.reason as MeshError).code).toBe('aborted');
    await expect(handle.spawn()).rejects.toEqual(refusal('not_alive', 'got stopping'));
    await clock.advance(1001);
    await expect(handle.update({ task: '4' })).rejects.toEqual(refusal('lease_lost', 'got killed'));
    expect(await registry.get('a')).toMatchObject({ state: 'killed', task: '3' });
  });

  it('loses no change of many at once, of itself and others', async () => {
    const { registry, another } = await worldOn(open);
    const handle = await registry.register({ id: 'a' });
    const others = [registry, another().registry, another().registry];
    const changes = Array.from({ length: 30 }, (_, n) => others[n % 3]?.specialize('a', [`c${n}`]));
    await Promise.all([
      ...changes,
      handle.update({ task: 'x' }),
      handle.update({ status: 'idle' }),
      handle.update({ capacity: 7 }),
    ]);
    const session = await registry.get('a');
    expect(session).toMatchObject({ task: 'x', status: 'idle', capacity: 7 });
    expect(session?.capabilities).toHaveLength(30);
    for (let n = 0; n < 30; n++) expect((await registry.list({ capabilities: [`c${n}`] })).items).toHaveLength(1);
  });

  it('writes nothing after a takeover, whenever the takeover falls', async () => {
    for (let seed = 0; seed < 25; seed++) {
      const random = new SeededRandom(seed);
      const { registry, another, storage } = await worldOn(open);
      const slow = another({ storage: scattered(storage, random, 6) }).registry;
      const other = another({ storage: scattered(storage, random, 6) }).registry;
      const handle = await slow.register({ id: 'a', heartbeat: 'manual' });
      const [written, taken] = await Promise.all([
        Promise.all([1, 2, 3].map((n) => outcomeOf(handle.update({ metadata: { old: n } })))),
        other.register({ id: 'a', takeover: true, metadata: { owner: 'new' } }),
        outcomeOf(handle.spawn({ id: 'child' })),
      ]);
      expect(new Set([...written, 'done', 'lease_lost']).size, `seed ${seed}: ${written}`).toBe(2);
      expect(await registry.get('a')).toMatchObject({ epoch: 2, metadata: { owner: 'new' } });
      await expect(handle.update({})).rejects.toEqual(refusal('lease_lost'));
      await taken.update({ task: 'mine' });
      const events = (await storage.list('events')).map(({ value }) => value as { name: string; session: string; epoch: number });
      const takeover = events.findIndex(({ name, epoch }) => name === 'session_created' && epoch === 2);
      const late = events.slice(takeover + 1).filter(({ session, epoch }) => session !== 'a' || epoch !== 2);
      expect(late, `seed ${seed}`).toEqual([]);
    }
  });
});

/** What a write could leave anywhere. */
async function everything(storage: Storage): Promise<unknown[]> {
  const partitions = [
    'sessions',
    'leases',
    'sightings',
    'events',
    'due',
    'watches',
    'steers/a',
    'sessions.parent=a',
    'sessions.type=agent',
  ];
  return Promise.all(partitions.map((partition) => storage.list(partition)));
}

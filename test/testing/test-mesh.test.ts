import { describe, expect, it } from 'vitest';
import { InMemoryStorage, namespaced } from '../../src/index.ts';
import {
  createTestMesh,
  type EventRecorder,
  recordEvents,
  scriptedAgent,
  simulate,
  VirtualClock,
  withFaults,
} from '../../src/testing/index.ts';
import { refusal } from '../support/refusal.ts';
import { isSettled } from '../support/timing.ts';

describe('a mesh for a test', () => {
  it('is on the clock of its storage', async () => {
    const clock = new VirtualClock();
    const made = createTestMesh({ storage: withFaults(new InMemoryStorage({ clock })) });
    expect(made.clock).toBe(clock);
    await made.mesh.close();
  });

  it.each([
    ['a storage on the clock of the system', { storage: new InMemoryStorage() }],
    ['one behind faults', { storage: withFaults(new InMemoryStorage()) }],
    ['no storage', { storage: 5 }],
    ['no seed', { seed: 'a' }],
    ['ids of its own', { generateId: () => 'a' }],
    ['an option that is not known', { sed: 1 }],
    ['a number', 5],
    ['null', null],
  ])('is not made of %s', (_what, options) => {
    expect(() => createTestMesh(options as never)).toThrow(refusal('invalid_input') as Error);
  });
});

describe('what tests are made of', () => {
  const clock = { now: () => 5 };
  it.each([
    ['a storage of a clock that is none', () => new InMemoryStorage({ clock: clock as never })],
    ['a storage of an option that is not known', () => new InMemoryStorage({ clok: new VirtualClock() } as never)],
    ['a storage of null', () => new InMemoryStorage(null as never)],
    ['a clock of an option that is not known', () => new VirtualClock({ nov: 1 } as never)],
    ['a clock of a number', () => new VirtualClock(5 as never)],
    ['a clock of null', () => new VirtualClock(null as never)],
    ['faults of no storage', () => withFaults({} as never)],
    ['faults of null', () => withFaults(null as never)],
    ['a namespace of no storage', () => namespaced(null as never, 'a')],
    ['a recorder of no mesh', () => recordEvents({} as never)],
  ])('is refused: %s', (_what, make) => {
    expect(make).toThrow(refusal('invalid_input') as Error);
  });

  it.each([
    ['an agent of no mesh', () => scriptedAgent({} as never)],
    ['an agent with heartbeats of its own', () => scriptedAgent(createTestMesh().mesh, { heartbeat: 'manual' } as never)],
    ['a simulation with a storage for each mesh', () => simulate({ mesh: { storage: 5 } } as never)],
  ])('is refused: %s', async (_what, make) => {
    await expect(make()).rejects.toEqual(refusal('invalid_input'));
  });
});

describe('a recorder', () => {
  async function recording(): Promise<{ recorder: EventRecorder; set: (value: number) => Promise<void> }> {
    const { mesh, clock } = createTestMesh();
    const recorder = recordEvents(mesh);
    const set = async (value: number): Promise<void> => {
      await mesh.memory.set('key', value);
      await mesh.settled();
      await clock.settle();
    };
    return { recorder, set };
  }

  it('waits for what fits, and remembers what it heard', async () => {
    const { recorder, set } = await recording();
    const second = recorder.waitFor('memory_set', ({ version }) => version === 2);
    await set(1);
    expect(await isSettled(new VirtualClock(), second)).toBe(false);
    await set(2);
    expect((await second).version).toBe(2);
    expect((await recorder.waitFor('memory_set')).version).toBe(1);
    expect(recorder.names).toEqual(['memory_set', 'memory_set']);
  });

  it.each([0, 1])('tells what a condition throws, after %i events', async (heard) => {
    const { recorder, set } = await recording();
    for (let n = 0; n < heard; n++) await set(n);
    const waiting = recorder.waitFor('memory_set', () => {
      throw new RangeError('a bug in the test');
    });
    const told = expect(waiting).rejects.toThrow('a bug in the test');
    await set(9);
    await told;
  });

  it('waits for no event that there is not, and by no condition that is none', async () => {
    const { recorder, set } = await recording();
    await set(1);
    await expect(recorder.waitFor('memory_sett' as never)).rejects.toEqual(refusal('invalid_input'));
    await expect(recorder.waitFor('memory_set', 5 as never)).rejects.toEqual(refusal('invalid_input'));
  });
});

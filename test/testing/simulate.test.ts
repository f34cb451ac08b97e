import { expect, it } from 'vitest';
import { MeshError, type SessionHandle } from '../../src/index.ts';
import { type SimulateOptions, SimulationFailure, simulate } from '../../src/testing/index.ts';

async function failureOf<State, Own>(options: SimulateOptions<State, Own>): Promise<SimulationFailure> {
  try {
    await simulate(options);
  } catch (error) {
    if (error instanceof SimulationFailure) return error;
    throw error;
  }
  throw new Error('expected the simulation to fail, got an end');
}

it('does the same for the same seed, and something else for another', async () => {
  const first = await simulate({ seed: 7, steps: 100 });
  const again = await simulate({ seed: 7, steps: 100 });
  const other = await simulate({ seed: 8, steps: 100 });
  expect(again).toEqual(first);
  expect(other.trace).not.toEqual(first.trace);
  expect(first.counts.calls).toBeGreaterThan(500);
});

it('lets everything go wrong that it says', async () => {
  const { counts, trace } = await simulate({ seeds: 3, steps: 120, faults: { clockStepRate: 0.02 } });
  for (const [name, count] of Object.entries(counts)) expect(count, name).toBeGreaterThan(0);
  expect(trace.join('\n')).toMatch(/crashes/);
  expect(trace.join('\n')).toMatch(/frozen/);
});

it('finds the agent that acts before it notes that it has acted, and says how in a few steps', async () => {
  // Whoever gets the order ships it first and acks it then: a crash in between ships it twice.
  interface State {
    readonly shipped: Map<string, number>;
  }
  const options: SimulateOptions<State, SessionHandle> = {
    seeds: 40,
    steps: 120,
    stepMs: 2000,
    faults: { conflictRate: 0, unknownRate: 0, dropHints: 0, crashRate: 0.1, stallRate: 0, pauseRate: 0 },
    state: () => ({ shipped: new Map() }),
    start: ({ name, mesh }) => mesh.registry.register({ id: name, takeover: true }),
    actions: {
      order: ({ own, mesh }, random) => mesh.hub.send({ from: own, to: random.pick(['p1', 'p2', 'p3']), body: 'ship it' }),
      ship: async ({ own, mesh, state: { shipped } }) => {
        for (const { message, ack } of (await mesh.hub.inbox(own).receive()).map((delivery) => ({
          message: delivery.message,
          ack: () => delivery.ack(),
        }))) {
          shipped.set(message.id, (shipped.get(message.id) ?? 0) + 1);
          await ack();
        }
      },
    },
    invariants: {
      'nothing is shipped twice': ({ state: { shipped } }) => {
        for (const [id, times] of shipped) if (times > 1) throw new Error(`${id} was shipped ${times} times`);
      },
    },
  };
  const failure = await failureOf(options);
  expect(failure.invariant).toBe('nothing is shipped twice');
  expect(failure.message).toContain(`seed ${failure.seed} breaks "nothing is shipped twice" at step ${failure.step}`);
  expect(failure.message).toContain('was shipped 2 times');
  // It takes an order, a shipment and a crash in it, and a second shipment.
  const steps = new Set(failure.trace.map((line) => line.split(' ')[0]));
  expect(steps.size).toBeLessThanOrEqual(20);
  expect(failure.trace.join('\n')).toMatch(/ order\n.* ship\n.* crashes\n/s);
  const again = await failureOf({ ...options, seed: failure.seed, seeds: 1 });
  expect(again.message).toBe(failure.message);
});

it('finds a lost update of who reads, thinks and writes', async () => {
  const failure = await failureOf({
    seed: 1,
    seeds: 20,
    steps: 60,
    faults: { crashRate: 0 },
    state: () => ({ counted: 0 }),
    actions: {
      count: async ({ mesh: { memory }, state }) => {
        const count = await memory.get<number>('count');
        await memory.set('count', (count ?? 0) + 1);
        state.counted += 1;
      },
    },
    invariants: {
      'every count counts': async ({ mesh: { memory }, state: { counted } }) => {
        const count = (await memory.get<number>('count')) ?? 0;
        if (count < counted) throw new Error(`${counted} counts came to ${count}`);
      },
    },
  });
  expect(failure.invariant).toBe('every count counts');
  expect(failure.trace.filter((line) => line.endsWith(' count')).length).toBeLessThanOrEqual(3);
});

it('finds nothing wrong with who counts as one should', async () => {
  await simulate({
    seeds: 20,
    steps: 40,
    state: () => ({ begun: 0, counted: 0 }),
    actions: {
      count: async ({ mesh: { memory }, state }) => {
        state.begun += 1;
        await memory.update<number>('count', (count) => (count ?? 0) + 1);
        state.counted += 1;
      },
    },
    invariants: {
      'every count counts once': async ({ mesh: { memory }, state: { begun, counted } }) => {
        const count = (await memory.get<number>('count')) ?? 0;
        if (count < counted || count > begun) throw new Error(`${counted} of ${begun} counts came to ${count}`);
      },
    },
  });
});

it('fails for what an action throws that is not of the library, and lets its MeshErrors pass', async () => {
  const failure = await failureOf({
    steps: 5,
    faults: false,
    actions: {
      refused: async ({ mesh }) => {
        await mesh.hub.send({ from: 'nobody', to: 'nobody' });
      },
      wrong: [
        0.5,
        () => {
          throw new TypeError('oops');
        },
      ],
    },
    seeds: 10,
  });
  expect(failure.invariant).toBe('action wrong');
  expect(failure.cause).toBeInstanceOf(TypeError);
});

it('says so when something is not drawn from the seed', async () => {
  let runs = 0;
  const failure = await failureOf({
    steps: 20,
    faults: false,
    actions: { idle: () => {} },
    state: () => ({ run: ++runs }),
    invariants: {
      'fails sooner each time': ({ state, now }) => {
        if (now() > 1_767_225_600_000 + 2000 / (state as { run: number }).run) throw new Error('late');
      },
    },
  });
  expect(failure.message).toContain('not drawn from the seed');
});

it('checks in the end what holds only then, with every process up and all faults over', async () => {
  await simulate({
    seeds: 2,
    steps: 30,
    stepMs: 300,
    faults: { crashRate: 0.1, pauseRate: 0.1 },
    eventually: {
      'everybody is there': async ({ mesh }) => {
        expect((await mesh.registry.list()).items.map(({ id }) => id)).toEqual(['p1', 'p2', 'p3']);
      },
      'nothing is open': async ({ mesh }) => {
        const { messages } = await mesh.hub.stats();
        expect(messages.claimed).toBe(0);
        expect((await mesh.hub.tasks({ state: 'open' })).items).toEqual([]);
      },
    },
    settleMs: 310_000,
  });
});

it.each([
  [{ seed: 1.5 }],
  [{ seeds: 0 }],
  [{ processes: 0 }],
  [{ steps: -1 }],
  [{ faults: { crashRate: 2 } }],
  [{ faults: { crashes: 1 } }],
  [{ actions: {} }],
  [{ actions: { a: 5 } }],
  [{ invariants: { a: 'b' } }],
  [{ unknown: 1 }],
])('refuses %j', async (options) => {
  await expect(simulate(options as SimulateOptions)).rejects.toSatisfy((error) => MeshError.is(error, 'invalid_input'));
});

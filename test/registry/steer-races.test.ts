import { expect, it } from 'vitest';
import {
  InMemoryStorage,
  MeshError,
  type SessionHandle,
  SessionRegistry,
  type Steer,
  type SteerReceipt,
} from '../../src/index.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { withFaults } from '../../src/testing/faults.ts';
import { SeededRandom } from '../../src/testing/random.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { Shuffle } from '../support/registry-kill/storages.ts';

const RACES = Number(process.env['STEER_RACES'] ?? 1000);
const FIRST_SEED = Number(process.env['STEER_SEED'] ?? 1);

interface Delivery {
  readonly epoch: number;
  readonly id: string;
  /** Nobody knows when the mesh was closed meanwhile. */
  readonly settled: boolean | undefined;
}

interface Sent {
  readonly receipt: SteerReceipt;
  readonly outcome: string;
}

/** Works through its directives as an owner would, and leaves some of its loops, and some directives, unfinished. */
async function own(handle: SessionHandle, random: SeededRandom, deliveries: Delivery[]): Promise<void> {
  const settle = async (steer: Steer): Promise<void> => {
    const settled = await (random.chance(0.5) ? steer.applied() : steer.rejected('no')).then(
      () => true,
      (error: unknown) => {
        if (MeshError.is(error, 'commit_unknown') && handle.signal.aborted) return undefined;
        if (!MeshError.is(error, 'lease_lost', 'stale_receipt', 'closed')) throw error;
        return false;
      },
    );
    deliveries.push({ epoch: handle.epoch, id: steer.id, settled });
  };
  while (!handle.signal.aborted) {
    for await (const steer of handle.steers()) {
      if (random.chance(0.2)) {
        // It comes again in the next loop, and not in this one.
        deliveries.push({ epoch: handle.epoch, id: steer.id, settled: false });
        break;
      }
      await settle(steer);
      if (random.chance(0.2)) break;
    }
  }
}

async function run(seed: number): Promise<void> {
  const random = new SeededRandom(seed);
  const clock = new VirtualClock();
  const memory = new InMemoryStorage({ clock });
  const faulty = withFaults(memory, seed % 4 === 0 ? { seed, unknownRate: 0.1 } : { seed, conflictRate: 0.1 });
  const shuffle = new Shuffle(seed);
  const storage: Storage = shuffle.over(faulty);
  const names = new Map<string, number>();
  const generateId = (prefix: string): string => {
    const n = names.get(prefix) ?? 0;
    names.set(prefix, n + 1);
    return `${prefix}_${n}`;
  };
  const registryOn = (): SessionRegistry => new SessionRegistry({ storage, generateId, onError: () => {} });
  const [first, second, sender] = [registryOn(), registryOn(), registryOn()];
  const deliveries: Delivery[] = [];
  const owners: Promise<void>[] = [];
  const register = async (registry: SessionRegistry): Promise<void> => {
    const handle = await registry.register({ id: 'agent', heartbeat: 'manual', takeover: true });
    owners.push(own(handle, random, deliveries));
  };
  // Whoever asks again after an unknown outcome waits a little between attempts.
  const letPass = async <T>(promise: Promise<T>): Promise<T> => {
    let isDone = false;
    const done = (): void => {
      isDone = true;
    };
    promise.then(done, done);
    while (!isDone) {
      await clock.advance(1);
      await shuffle.rest();
    }
    return promise;
  };
  const work = async (): Promise<Sent[]> => {
    await register(first);
    const sends = Array.from({ length: 2 }, async () => {
      const sent: Promise<Sent>[] = [];
      for (let n = 0; n < 3; n++) {
        const receipt = await sender.steer('agent', { direction: `${n}` });
        const outcome = receipt.settled({ timeoutMs: 60_000 }).then(
          (done) => done.outcome,
          (error: unknown) => (error as MeshError).code,
        );
        sent.push(outcome.then((told) => ({ receipt, outcome: told })));
      }
      return Promise.all(sent);
    });
    if (random.chance(0.6)) {
      for (let steps = random.below(40); steps > 0; steps--) await shuffle.step();
      await register(second);
    }
    return (await Promise.all(sends)).flat();
  };
  const sent = await letPass(work());
  faulty.faults.pause();
  await letPass(Promise.all([first.close(), second.close(), sender.close()]));
  await letPass(Promise.all(owners));
  check(memory, sent, deliveries);
}

function check(storage: InMemoryStorage, sent: readonly Sent[], deliveries: readonly Delivery[]): void {
  const told = storage.list('events').map(({ value }) => value as Record<string, unknown> & { name: string });
  const steered = told.filter(({ name }) => name === 'agent_steered');
  expect(steered.map(({ steer }) => steer).sort()).toEqual(sent.map(({ receipt }) => receipt.id).sort());
  const epochs = new Map(steered.map(({ steer, epoch }) => [steer, epoch]));
  for (const { id, epoch } of deliveries) expect(epoch, `the epoch to which ${id} was delivered`).toBe(epochs.get(id));
  const settled = told.filter(({ name }) => name === 'steer_settled');
  expect(new Set(settled.map(({ steer }) => steer)).size).toBe(settled.length);
  const outcomes = new Map(settled.map(({ steer, outcome }) => [steer, outcome]));
  for (const { receipt, outcome } of sent) expect(outcome, receipt.id).toBe(outcomes.get(receipt.id) ?? 'not_alive');
  const unclear = new Set(deliveries.filter((delivery) => delivery.settled === undefined).map(({ id }) => id));
  const sure = deliveries.filter((delivery) => delivery.settled && !unclear.has(delivery.id)).map(({ id }) => id);
  expect(sure.sort()).toEqual(
    [...outcomes.keys()]
      .map(String)
      .filter((id) => !unclear.has(id))
      .sort(),
  );
  // Whoever was there to the end has settled everything; whoever was replaced got the first of what it was sent, in order.
  const last = Math.max(...steered.map(({ epoch }) => Number(epoch)));
  for (let epoch = 1; epoch <= last; epoch++) {
    const all = steered.filter((event) => event['epoch'] === epoch).map(({ steer }) => steer);
    const delivered = [...new Set(deliveries.filter((delivery) => delivery.epoch === epoch).map(({ id }) => id))];
    const inOrder = delivered.sort((a, b) => all.indexOf(a) - all.indexOf(b));
    expect(inOrder).toEqual(all.slice(0, delivered.length));
  }
}

it(`brings each directive to the incarnation that it was sent to, in order, or tells its sender, in ${RACES} interleavings`, async () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + RACES; seed++) {
    try {
      await run(seed);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
});

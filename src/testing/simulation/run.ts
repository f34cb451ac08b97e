import { sleep } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import { createMesh, type Mesh } from '../../mesh.ts';
import type { Storage } from '../../storage/storage.ts';
import { type FaultCounts, type FaultyStorage, withFaults } from '../faults.ts';
import { SeededRandom } from '../random.ts';
import { seededIds } from '../test-mesh.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { Host } from './host.ts';
import type { Accepted, Invariant, SimulatedProcess, SimulatedWorld } from './options.ts';
import type { Step } from './plan.ts';
import { Turns } from './turns.ts';

/** How often each thing happened. */
export interface SimulationCounts extends FaultCounts {
  readonly steps: number;
  readonly crashes: number;
}

export interface Failure {
  readonly step: number;
  readonly invariant: string;
  readonly error: unknown;
}

export interface Outcome {
  readonly failure: Failure | undefined;
  readonly trace: readonly string[];
  readonly counts: SimulationCounts;
}

interface Running {
  readonly name: string;
  readonly host: Host;
  readonly mesh: Mesh;
  process: SimulatedProcess | undefined;
}

const RESTART_MS = 1000;
const CLOSE_STEP_MS = 500;
const CLOSE_STEPS = 240;

/** One run of a plan, in a world of its own. */
export class Run {
  readonly #options: Accepted;
  readonly #clock: VirtualClock;
  readonly #began: number;
  readonly #storage: Storage;
  readonly #faulty: FaultyStorage;
  readonly #turns: Turns;
  readonly #random: SeededRandom;
  readonly #generateId: (prefix: string) => string;
  readonly #state: unknown;
  readonly #processes: Running[] = [];
  readonly #crashed: Running[] = [];
  readonly #trace: string[] = [];
  #errors: unknown[] = [];
  #failure: Failure | undefined;
  #isOver = false;
  #step = -1;

  /** Opens a world and lets everything happen in it. */
  static async through(steps: readonly Step[], seed: number, options: Accepted): Promise<Outcome> {
    const clock = new VirtualClock();
    const state = options.state();
    return new Run(seed, options, { clock, state, storage: await options.storage(clock) }).#all(steps);
  }

  private constructor(
    seed: number,
    options: Accepted,
    { clock, state, storage }: { readonly clock: VirtualClock; readonly state: unknown; readonly storage: Storage },
  ) {
    const { conflictRate, unknownRate, latencyMs, dropHints } = options.rates;
    this.#options = options;
    this.#clock = clock;
    this.#began = clock.now();
    this.#storage = storage;
    this.#state = state;
    this.#random = new SeededRandom(seed);
    this.#faulty = withFaults(this.#storage, { seed, conflictRate, unknownRate, latencyMs, dropHints });
    this.#turns = new Turns(this.#clock, new SeededRandom(seed));
    this.#generateId = seededIds(seed);
  }

  async #all(steps: readonly Step[]): Promise<Outcome> {
    const { invariants, eventually, settleMs, processes } = this.#options;
    const observer = createMesh({ storage: this.#storage, closeStorage: false, sweepIntervalMs: 3_600_000 });
    try {
      for (let n = 0; n < processes; n++) this.#boot(n);
      await this.#pass(0);
      for (const step of steps) {
        this.#step = step.index;
        this.#reseed(step.seed);
        this.#begin(step);
        await this.#pass(step.passMs);
        await this.#check(invariants, observer);
        if (this.#failure) break;
      }
      if (!this.#failure && Object.keys(eventually).length > 0) {
        await this.#calm(settleMs);
        await this.#check({ ...invariants, ...eventually }, observer);
      }
    } finally {
      await this.#end(observer);
    }
    const counts = { ...this.#faulty.faults.counts, steps: steps.length, crashes: this.#crashed.length };
    return { failure: this.#failure, trace: this.#trace, counts };
  }

  #reseed(seed: number): void {
    this.#faulty.faults.reseed(seed);
    this.#turns.reseed(new SeededRandom(seed));
  }

  #begin({ index, process: n, deed, seed }: Step): void {
    const running = this.#processes[n] as Running;
    const { name, host, process } = running;
    if (deed.kind === 'clock') {
      this.#note(`the clock is set by ${deed.byMs} ms`);
      this.#clock.set(Math.max(0, this.#clock.now() + deed.byMs));
    } else if (host.isDead) {
      this.#note(`${name} is down`);
    } else if (deed.kind === 'crash') {
      this.#note(`${name} is to crash at the ${deed.afterAwaits}. await point`);
      host.crashAfter(deed.afterAwaits);
      this.#clock.setTimeout(() => this.#replace(n, host), deed.backAfterMs);
    } else if (deed.kind === 'freeze') {
      this.#note(`${name} is frozen for ${deed.forMs} ms`);
      host.freeze();
      this.#clock.setTimeout(() => host.thaw(), deed.forMs);
    } else if (!process) {
      this.#note(`${name} is starting`);
    } else {
      this.#note(`${name} ${deed.action}`);
      void this.#act(index, deed.action, process, new SeededRandom(seed));
    }
  }

  async #act(index: number, action: string, process: SimulatedProcess, random: SeededRandom): Promise<void> {
    try {
      await this.#options.actions.get(action)?.act(process, random);
    } catch (error) {
      if (MeshError.is(error)) this.#note(`${process.name} ${action} of #${index}: ${error.code}`);
      else this.#fail(`action ${action}`, error);
    }
  }

  /** Another one takes its place, unless that has happened already. It has crashed, or does so now. */
  #replace(n: number, host: Host): void {
    host.crash();
    if (!this.#isOver && this.#processes[n]?.host === host) this.#boot(n);
  }

  #boot(n: number): void {
    const name = `p${n + 1}`;
    const host = new Host({
      storage: this.#faulty,
      turn: () => this.#turns.next(),
      random: () => this.#random.next(),
      onCrash: () => {
        this.#note(`${name} crashes`);
        this.#crashed.push(running);
      },
    });
    const onError = (error: unknown): void => {
      if (!host.isDead) this.#errors.push(error);
    };
    const mesh = createMesh({
      pollIntervalMs: 1000,
      ...this.#options.mesh,
      storage: host,
      closeStorage: false,
      generateId: this.#generateId,
      onError,
    });
    const running: Running = { name, host, mesh, process: undefined };
    this.#processes[n] = running;
    void this.#start(running, n);
  }

  async #start(running: Running, n: number): Promise<void> {
    const { name, host, mesh } = running;
    const { clock } = host;
    const begun = { name, mesh, state: this.#state, now: () => clock.now(), sleep: (ms: number) => sleep(clock, ms) };
    try {
      const own = await this.#options.start(begun, new SeededRandom(this.#random.below(2 ** 32)));
      running.process = { ...begun, own };
      this.#note(`${name} is up`);
    } catch (error) {
      if (!MeshError.is(error)) return this.#fail('start', error);
      this.#note(`${name} could not start: ${error.code}`);
      clock.setTimeout(() => this.#replace(n, host), RESTART_MS);
    }
  }

  async #check(invariants: Readonly<Record<string, Invariant>>, mesh: Mesh): Promise<void> {
    const world: SimulatedWorld = {
      state: this.#state,
      mesh,
      storage: this.#storage,
      errors: this.#errors,
      now: () => this.#clock.now(),
    };
    for (const [name, holds] of Object.entries(invariants)) {
      if (this.#failure) return;
      try {
        await holds(world);
      } catch (error) {
        this.#fail(name, error);
      }
    }
    this.#errors = [];
  }

  async #calm(settleMs: number): Promise<void> {
    this.#note('all faults end');
    this.#faulty.faults.pause();
    this.#processes.forEach(({ host }, n) => {
      host.crashAfter(Number.POSITIVE_INFINITY);
      host.thaw();
      if (host.isDead) this.#boot(n);
    });
    await this.#pass(settleMs);
  }

  /** Nothing is left open, also of those who have crashed: what waits there would keep the test's own process alive. */
  async #end(observer: Mesh): Promise<void> {
    this.#isOver = true;
    this.#faulty.faults.pause();
    for (const { host } of this.#processes) {
      host.crashAfter(Number.POSITIVE_INFINITY);
      host.thaw();
    }
    for (const { host } of this.#crashed) host.dismiss();
    const closing = [...this.#processes, ...this.#crashed, { mesh: observer }].map(({ mesh }) => mesh.close().catch(() => {}));
    let isClosed = false;
    void Promise.all(closing).then(() => {
      isClosed = true;
    });
    await this.#clock.settle();
    for (let n = 0; n < CLOSE_STEPS && !isClosed; n++) await this.#clock.advance(CLOSE_STEP_MS);
    if (!isClosed) this.#failure ??= { step: this.#step, invariant: 'every mesh can be closed', error: 'some could not' };
    await this.#storage.close();
  }

  async #pass(ms: number): Promise<void> {
    try {
      await this.#clock.advance(ms);
    } catch (error) {
      this.#fail('callbacks do not throw', error);
    }
  }

  #fail(invariant: string, error: unknown): void {
    if (!this.#isOver) this.#failure ??= { step: this.#step, invariant, error };
  }

  #note(text: string): void {
    if (this.#failure || this.#isOver) return;
    this.#trace.push(`#${this.#step} +${this.#clock.now() - this.#began} ms: ${text}`);
  }
}

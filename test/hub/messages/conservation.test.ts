import { describe, expect, it } from 'vitest';
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import type { Delivery } from '../../../src/hub/messages/delivery.ts';
import { MeshError } from '../../../src/kernel/errors.ts';
import { createMesh, type Mesh } from '../../../src/mesh.ts';
import { InMemoryStorage } from '../../../src/storage/in-memory-storage.ts';
import type { Storage } from '../../../src/storage/storage.ts';
import { type FaultyStorage, withFaults } from '../../../src/testing/faults.ts';
import { SeededRandom } from '../../../src/testing/random.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { Ledger } from '../../support/hub/ledger.ts';
import { passUntil } from '../../support/memory/worlds.ts';
import { temporaryFile } from '../../support/storages.ts';

const SESSIONS = ['s0', 's1', 's2', 's3'];
const TTL_MS = 600_000;
const EXPECTED: readonly string[] = [
  'not_alive',
  'lease_lost',
  'stale_receipt',
  'mailbox_full',
  'not_found',
  'already_exists',
  'conflict',
  'closed',
];

interface Held {
  readonly delivery: Delivery;
  readonly session: string;
  readonly mesh: Mesh;
}

/** A random run over several meshes on one storage, audited after every step. */
class Run {
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly storage: Storage;
  readonly ledger: Ledger;
  readonly faulty: FaultyStorage[] = [];
  readonly errors: unknown[] = [];
  readonly trace: string[] = [];
  readonly meshes: Mesh[] = [];
  readonly abandoned: Mesh[] = [];
  readonly #faults: boolean;
  #held: Held[] = [];
  /** Who holds what at this moment, by what claims said: until it lapses, nobody else may. */
  readonly #holders = new Map<string, { until: number; isOver?: boolean; readonly held: Held }>();
  readonly #seed: number;
  #sends = 0;
  /** When the step began: what it does comes at that time or later. */
  #begun = 0;

  constructor(seed: number, clock: VirtualClock, storage: Storage, faults: boolean) {
    this.#seed = seed;
    this.random = new SeededRandom(seed);
    this.clock = clock;
    this.storage = storage;
    this.ledger = new Ledger(this.storage);
    this.#faults = faults;
    for (let n = 0; n < 3; n++) this.#start();
  }

  #start(): Mesh {
    let storage: Storage = this.storage;
    if (this.#faults) {
      const faulty = withFaults(this.storage, {
        seed: this.#seed * 100 + this.faulty.length,
        conflictRate: 0.1,
        unknownRate: 0.1,
      });
      this.faulty.push(faulty);
      storage = faulty;
    }
    const mesh = createMesh({
      storage,
      closeStorage: false,
      onError: (error) => this.errors.push(error),
      hub: { mailboxLimit: 8, maxDeliveries: 3, visibilityMs: 5000 },
    });
    this.meshes.push(mesh);
    return mesh;
  }

  get #mesh(): Mesh {
    return this.random.pick(this.meshes);
  }

  get #session(): string {
    return this.random.pick(SESSIONS);
  }

  async begin(): Promise<void> {
    for (const id of SESSIONS) await this.#register(id);
  }

  async step(): Promise<void> {
    this.#begun = this.clock.now();
    if (this.random.chance(0.15))
      await Promise.all([this.#claim(), this.#settle('ack'), this.#claim(), this.#settle('nak'), this.#send()]);
    else await this.#act(this.random.below(100));
    await this.ledger.audit(SESSIONS, this.clock.now());
  }

  async #act(roll: number): Promise<void> {
    if (roll < 26) await this.#send();
    else if (roll < 31) await this.#broadcast();
    else if (roll < 53) await this.#claim();
    else if (roll < 70) await this.#settle('ack');
    else if (roll < 77) await this.#settle('nak');
    else if (roll < 80) await this.#settle('term');
    else if (roll < 84) await this.#settle('extend');
    else if (roll < 90) await this.#pass();
    else if (roll < 92) await this.#end();
    else if (roll < 94) await this.#register(this.#session);
    else if (roll < 95) await this.#crash();
    else if (roll < 97) await this.#purge();
    else await this.#redrive();
  }

  /** What was asked for, or the code of the refusal that may well come. */
  async #try<T>(what: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      const working = work();
      // Behind a bad line whoever got no answer tries again by the clock.
      const answer = await (this.#faults ? passUntil(this.clock, working, 10) : working);
      this.trace.push(what);
      return answer;
    } catch (error) {
      if (!MeshError.is(error) || !EXPECTED.includes(error.code)) throw error;
      this.trace.push(`${what}: ${error.code}`);
      return undefined;
    }
  }

  async #register(id: string): Promise<void> {
    await this.#try(`register ${id}`, () =>
      this.#mesh.registry.register({
        id,
        ttlMs: TTL_MS,
        heartbeat: 'manual',
        takeover: true,
        capabilities: ['any'],
        groups: ['all'],
      }),
    );
    this.#freeClaims(id);
  }

  /** What was claimed for an incarnation that is over is for the next one that looks, and until then still claimed. */
  #freeClaims(session: string): void {
    for (const holder of this.#holders.values()) {
      if (holder.held.session === session) Object.assign(holder, { until: 0, isOver: true });
    }
  }

  async #send(): Promise<void> {
    const { hub } = this.#mesh;
    const ttl = this.random.chance(0.25) ? { ttlMs: 1000 + 500 * this.random.below(12) } : {};
    const once = this.random.chance(0.2)
      ? { idempotencyKey: `k${this.random.below(6)}`, body: 'once' }
      : { body: `${this.#sends++}` };
    const priority = this.random.pick(['low', 'medium', 'high', 'critical'] as const);
    const kind = this.random.below(10);
    const to = kind === 0 ? { capability: 'any' } : kind === 1 ? { group: 'all' } : this.#session;
    const from = this.#session;
    const sent = await this.#try(`send ${from} → ${JSON.stringify(to)}`, () => hub.send({ from, to, priority, ...ttl, ...once }));
    for (const { session } of sent?.recipients ?? []) this.ledger.sent(session, sent?.message.id ?? '', sent?.message.expiresAt);
  }

  async #broadcast(): Promise<void> {
    const { hub } = this.#mesh;
    const from = this.#session;
    const ttl = this.random.chance(0.3) ? { ttlMs: 1000 + 500 * this.random.below(12) } : {};
    const sent = await this.#try(`broadcast ${from}`, () => hub.broadcast({ from, body: `${this.#sends++}`, ...ttl }));
    for (const { session } of sent?.recipients ?? []) this.ledger.sent(session, sent?.message.id ?? '', sent?.message.expiresAt);
  }

  async #claim(): Promise<void> {
    const mesh = this.#mesh;
    const session = this.#session;
    const limit = 1 + this.random.below(4);
    const deliveries = await this.#try(`claim ${session} ${limit}`, () => mesh.hub.inbox(session).receive({ limit }));
    for (const delivery of deliveries ?? []) {
      const name = `${session}>${delivery.message.id}`;
      const holder = this.#holders.get(name);
      if (holder) expect(holder.until, `${name} has one claimant`).toBeLessThanOrEqual(this.clock.now());
      expect(delivery.message.expiresAt ?? Number.POSITIVE_INFINITY).toBeGreaterThan(this.#begun);
      const held = { delivery, session, mesh };
      this.#holders.set(name, { until: this.#begun + 5000, held });
      this.#held.push(held);
    }
  }

  async #settle(how: 'ack' | 'nak' | 'term' | 'extend'): Promise<void> {
    if (this.#held.length === 0) return;
    const held = this.random.pick(this.#held);
    const { delivery, session } = held;
    const { id, expiresAt = Number.POSITIVE_INFINITY } = delivery.message;
    const name = `${session}>${id}`;
    const holder = this.#holders.get(name);
    const isHolder = holder?.held === held;
    // From here on it may be back, and somebody else's before whoever gave it back hears of it.
    if (isHolder && how === 'nak') holder.until = 0;
    const delayMs = this.random.below(2) * 3000;
    const done = await this.#try(`${how} ${name} ${delivery.attempt}`, async () => {
      if (how === 'ack') await delivery.ack();
      if (how === 'nak') await delivery.nak({ delayMs });
      if (how === 'term') await delivery.term();
      if (how === 'extend') await delivery.extend(5000);
      return true;
    });
    if (how === 'extend') {
      if (done && holder?.held === held && !holder.isOver) holder.until = this.#begun + 5000;
      return;
    }
    this.#held = this.#held.filter((other) => other !== held);
    if (!done) return;
    expect(isHolder, `${name} is settled by its claimant`).toBe(true);
    expect(expiresAt, `${name} is settled in time`).toBeGreaterThan(this.#begun);
    if (this.#holders.get(name)?.held === held) this.#holders.delete(name);
    if (how === 'ack') this.ledger.done(session, id, 'acked');
    if (how === 'term' || (how === 'nak' && delivery.attempt === 3)) this.ledger.done(session, id, 'dead');
  }

  async #pass(): Promise<void> {
    const ms = this.random.pick([500, 500, 1000, 2500, 5000]);
    this.trace.push(`pass ${ms}`);
    await this.clock.advance(ms);
  }

  async #end(): Promise<void> {
    const { registry } = this.#mesh;
    const id = this.#session;
    if (this.random.chance(0.5)) await this.#try(`end ${id}`, () => registry.end(id));
    else await this.#try(`kill ${id}`, () => registry.kill(id, { force: true }));
    this.#freeClaims(id);
  }

  /** The mesh is abandoned as it is: nothing is given back. Its listeners do not count any more. */
  async #crash(): Promise<void> {
    const mesh = this.#mesh;
    this.trace.push('crash');
    this.meshes.splice(this.meshes.indexOf(mesh), 1);
    this.abandoned.push(mesh);
    this.#held = this.#held.filter((held) => held.mesh !== mesh);
    this.#start();
  }

  async #purge(): Promise<void> {
    const { hub } = this.#mesh;
    const session = this.#session;
    const open = (await hub.messages({ session, unread: true })).items.filter(({ state }) => state === 'ready');
    const purged = await this.#try(`purge ${session}`, () => hub.purge(session));
    if (purged === undefined) return;
    expect(purged).toBe(open.length);
    for (const { id } of open) this.ledger.done(session, id, 'purged');
  }

  async #redrive(): Promise<void> {
    const { hub } = this.#mesh;
    const session = this.#session;
    const { items } = await hub.deadLetters({ session });
    if (items.length === 0) return;
    const { message } = this.random.pick(items);
    const done = await this.#try(`redrive ${session}>${message.id}`, async () => {
      await hub.redrive(message.id, { session });
      return true;
    });
    if (done) this.ledger.redriven(session, message.id);
  }

  /** In the end nothing is left open: what can be claimed is acked, and all the rest lapses, expires or dies. */
  async drain(): Promise<void> {
    for (const { faults } of this.faulty) faults.pause();
    for (let round = 0; round < 6; round++) {
      await this.clock.advance(5001);
      this.#begun = this.clock.now();
      for (const session of SESSIONS) {
        const deliveries =
          (await this.#try(`drain ${session}`, () => this.#mesh.hub.inbox(session).receive({ limit: 50 }))) ?? [];
        await Promise.all(deliveries.map((delivery) => delivery.ack()));
        for (const { message } of deliveries) this.ledger.done(session, message.id, 'acked');
      }
    }
    const counts = await this.ledger.audit(SESSIONS, this.clock.now());
    expect([counts.ready, counts.claimed]).toEqual([0, 0]);
    for (const mesh of [...this.meshes, ...this.abandoned]) await mesh.close();
    expect(this.errors).toEqual([]);
  }
}

type Open = (clock: VirtualClock) => Storage | Promise<Storage>;

async function simulate(seed: number, steps: number, open: Open, faults: boolean): Promise<Run> {
  const clock = new VirtualClock();
  const storage = await open(clock);
  const run = new Run(seed, clock, storage, faults);
  try {
    await run.begin();
    for (let step = 0; step < steps; step++) await run.step();
    await run.drain();
    await storage.close();
    return run;
  } catch (error) {
    (error as Error).message =
      `seed ${seed}${faults ? ' with faults' : ''}: ${(error as Error).message}\n${run.trace.slice(-25).join('\n')}`;
    throw error;
  }
}

const onMemory: Open = (clock) => new InMemoryStorage({ clock });
const onSqlite: Open = (clock) => SqliteStorage.open(temporaryFile(), { clock });

describe('every message that was sent is in exactly one state, after every step', () => {
  it.each(Array.from({ length: 10 }, (_, n) => n))('in random runs in memory (%i)', async (part) => {
    let sent = 0;
    for (let seed = part * 50; seed < part * 50 + 50; seed++) {
      const run = await simulate(seed, 45, onMemory, seed % 5 === 0);
      sent += run.ledger.size;
    }
    expect(sent).toBeGreaterThan(50 * 10);
  });

  it('in random runs on SQLite', async () => {
    for (let seed = 1000; seed < 1012; seed++) await simulate(seed, 60, onSqlite, seed % 3 === 0);
  });
});

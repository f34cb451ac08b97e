import * as z from 'zod';
import { abortedBy, holdProcess, MAX_TIMER_MS } from '../kernel/clock.ts';
import { MeshError } from '../kernel/errors.ts';
import { abortSignal, parse, text, wholeNumber } from '../kernel/inputs.ts';
import type { JsonValue } from '../kernel/json.ts';
import { Draft } from '../storage/draft.ts';
import { keyAfter, padded, stampedKey } from '../storage/keys.ts';
import { isTransient } from '../storage/steady-storage.ts';
import type { Address } from '../storage/storage.ts';
import { setAlarm } from './alarm.ts';
import { directivesOf } from './directives.ts';
import type { Fence } from './fence.ts';
import { isTerminal, stateOf } from './session.ts';
import type { SessionStore } from './session-store.ts';
import type { Tenure } from './tenure.ts';

/** What a session is told to do. `direction` is free text, such as `"north"`. */
export interface Directive {
  readonly direction?: string;
  readonly message?: string;
  readonly data?: JsonValue;
  readonly by?: string;
}

/** Where a directive is on its way. */
export type SteerState = 'queued' | 'delivered' | 'applied' | 'rejected';

/** How a directive was settled. */
export interface SteerOutcome {
  readonly outcome: 'applied' | 'rejected';
  /** What the session said about it. */
  readonly note?: string;
}

interface SteerRecord extends Directive {
  readonly id: string;
  readonly incarnation: string;
  readonly epoch: number;
  readonly at: number;
  readonly state: SteerState;
  readonly note?: string;
}

/** A directive as it was read: a change of it checks the revision. */
interface OpenSteer {
  readonly steer: SteerRecord;
  readonly revision: number;
}

/** Settled directives stay so long for their senders to see. */
const SETTLED_MS = 86_400_000;
/** Directives read at once; the loop is yielded between pages. */
const PAGE = 100;
const NOTE = z.strictObject({ note: text(1024).optional() });
const REASON = text(1024).optional();
const WAIT = z.strictObject({ signal: abortSignal.optional(), timeoutMs: wholeNumber(0, MAX_TIMER_MS).optional() });

/** A directive as the steered session gets it. Settle it once, by `applied` or `rejected`. */
export interface Steer extends Directive {
  readonly id: string;
  readonly at: number;
  /** @throws MeshError `lease_lost`, `not_alive`, `stale_receipt` when it was settled already */
  applied(options?: { readonly note?: string }): Promise<void>;
  /** @throws MeshError as `applied` */
  rejected(reason?: string): Promise<void>;
}

/** What the sender of a directive holds. */
export interface SteerReceipt {
  readonly id: string;
  readonly session: string;
  /**
   * Where it is now.
   * @throws MeshError `not_alive` when its incarnation is over and will not settle it any more, `not_found` when it was
   * settled more than a day ago
   */
  state(): Promise<SteerState>;
  /**
   * Waits until the session has applied or rejected it.
   * @throws MeshError as `state`, and `invalid_input`, `timed_out`, `aborted`
   */
  settled(options?: {
    readonly signal?: AbortSignal | undefined;
    readonly timeoutMs?: number | undefined;
  }): Promise<SteerOutcome>;
}

/** Where a directive is and whom it was sent to. */
interface Sent {
  readonly address: Address;
  readonly session: string;
  readonly incarnation: string;
}

/** Directives: a stamped list for each session, bound to the incarnation that was addressed. */
export class Steers {
  readonly #store: SessionStore;
  readonly #fence: Fence;

  constructor(store: SessionStore, fence: Fence) {
    this.#store = store;
    this.#fence = fence;
  }

  /** @throws MeshError `not_found`, `not_alive` */
  async send(session: string, directive: Directive, stageActor: (draft: Draft) => Promise<void>): Promise<SteerReceipt> {
    const { engine } = this.#store;
    for (;;) {
      const snapshot = await this.#store.require(session);
      const { record, lease } = snapshot;
      if (stateOf(snapshot) !== 'alive' || !lease) {
        throw new MeshError('not_alive', `expected session ${session} to be alive, got ${stateOf(snapshot)}`, {
          details: { session },
        });
      }
      const id = engine.generateId('steer');
      const { incarnation, epoch } = record;
      const value: SteerRecord = { id, incarnation, epoch, at: engine.now(), state: 'queued', ...directive };
      const draft = new Draft();
      draft.checks.push(this.#store.leaseCheck(session, lease.revision));
      const partition = directivesOf(session);
      const position = draft.puts.push({ partition, key: '', value: value as unknown as JsonValue, stamped: true }) - 1;
      this.#store.event(draft, 'agent_steered', session, epoch, {
        steer: id,
        ...(directive.by !== undefined && { by: directive.by }),
      });
      await stageActor(draft);
      const result = await engine.commit(draft);
      if (!result.committed) continue;
      const address = { partition, key: stampedKey('', padded(result.revision), position) };
      return this.#receipt(id, { address, session, incarnation });
    }
  }

  /** The directives for a tenure, oldest first, from now until it ends. Those delivered but not settled come again. */
  async *receive(tenure: Tenure, signal: AbortSignal | undefined): AsyncGenerator<Steer, void, undefined> {
    const { engine } = this.#store;
    let start = '';
    for (;;) {
      if (signal?.aborted) throw abortedBy(signal);
      if (isOver(tenure)) return;
      const alarm = await setAlarm(engine, { sessions: [tenure.id], signals: [tenure.signal, signal] });
      try {
        const page = await unlessOver(tenure, async () => engine.storage.list(directivesOf(tenure.id), { start, limit: PAGE }));
        if (!page) return;
        let mustWait = page.length === 0;
        for (const { partition, key, value, revision } of page) {
          const address = { partition, key };
          const open = await unlessOver(tenure, () =>
            this.#deliver(tenure, address, { steer: value as unknown as SteerRecord, revision }),
          );
          if (open === undefined) return;
          if (open === 'lapsed') {
            // Once a heartbeat has revived the session it is delivered.
            mustWait = true;
            break;
          }
          start = keyAfter(key);
          if (open === 'not open') continue;
          yield this.#steer(tenure, address, open);
          if (signal?.aborted) throw abortedBy(signal);
          if (isOver(tenure)) return;
        }
        if (mustWait) await held(alarm.ring);
        else if (page.length === PAGE) await new Promise<void>((resolve) => engine.clock.nextTurn(resolve));
      } finally {
        alarm.cancel();
      }
    }
  }

  /** Marks a directive as delivered, unless another loop of the same owner has settled it since it was read. */
  async #deliver(tenure: Tenure, address: Address, listed: OpenSteer): Promise<OpenSteer | 'not open' | 'lapsed'> {
    if (!isOpen(listed.steer) || listed.steer.incarnation !== tenure.incarnation) return 'not open';
    let open: OpenSteer | undefined = listed;
    let isAgain = false;
    try {
      const { revision } = await this.#fence.commit(tenure, async (draft) => {
        if (isAgain) open = await this.#find(address);
        isAgain = true;
        if (!open || !isOpen(open.steer)) return;
        draft.checks.push({ ...address, revision: open.revision });
        if (open.steer.state !== 'queued') return;
        draft.puts.push({ ...address, value: { ...open.steer, state: 'delivered' } as unknown as JsonValue });
      });
      if (!open || !isOpen(open.steer)) return 'not open';
      return open.steer.state === 'queued' ? { steer: { ...open.steer, state: 'delivered' }, revision } : open;
    } catch (error) {
      if (MeshError.is(error, 'not_alive')) return 'lapsed';
      throw error;
    }
  }

  #steer(tenure: Tenure, address: Address, open: OpenSteer): Steer {
    const { id, at, direction, message, data, by } = open.steer;
    return {
      id,
      at,
      ...(direction !== undefined && { direction }),
      ...(message !== undefined && { message }),
      ...(data !== undefined && { data }),
      ...(by !== undefined && { by }),
      applied: async (options = {}) => this.#settle(tenure, address, open, 'applied', parse(NOTE, options, 'options').note),
      rejected: async (reason) => this.#settle(tenure, address, open, 'rejected', parse(REASON, reason, 'reason')),
    };
  }

  async #settle(
    tenure: Tenure,
    address: Address,
    delivered: OpenSteer,
    state: 'applied' | 'rejected',
    note: string | undefined,
  ): Promise<void> {
    let open: OpenSteer | undefined = delivered;
    let isAgain = false;
    await this.#fence.commit(tenure, async (draft) => {
      if (isAgain) open = await this.#find(address);
      isAgain = true;
      if (!open || !isOpen(open.steer)) {
        throw new MeshError('stale_receipt', `expected a directive that is open, got ${open?.steer.state ?? 'none'}`);
      }
      // What it said nobody reads any more, and beside the most of it there would be no room for the note.
      const { direction: _direction, message: _message, data: _data, ...rest } = open.steer;
      const settled = { ...rest, state, ...(note !== undefined && { note }) };
      draft.checks.push({ ...address, revision: open.revision });
      draft.puts.push({ ...address, value: settled as unknown as JsonValue, ttlMs: SETTLED_MS });
      this.#store.event(draft, 'steer_settled', tenure.id, tenure.epoch, { steer: settled.id, outcome: state });
    });
  }

  async #find(address: Address): Promise<OpenSteer | undefined> {
    const [record] = await this.#store.engine.storage.get([address]);
    return record && { steer: record.value as unknown as SteerRecord, revision: record.revision };
  }

  #receipt(id: string, sent: Sent): SteerReceipt {
    return {
      id,
      session: sent.session,
      state: async () => (await this.#look(sent)).state,
      settled: async (options = {}) => this.#settled(sent, parse(WAIT, options, 'options')),
    };
  }

  /**
   * A directive as it is now, which is settled or may still be.
   * @throws MeshError `not_alive`, `not_found`
   */
  async #look(sent: Sent): Promise<SteerRecord> {
    const first = await this.#find(sent.address);
    if (first && !isOpen(first.steer)) return first.steer;
    const { session } = sent;
    const snapshot = await this.#store.read(session);
    const isTheSame = snapshot?.record.incarnation === sent.incarnation;
    if (first && isTheSame && !isTerminal(stateOf(snapshot))) return first.steer;
    // It may have been settled between the two reads, right before the end.
    const last = await this.#find(sent.address);
    if (last && !isOpen(last.steer)) return last.steer;
    const details = { session };
    if (!last && isTheSame)
      throw new MeshError('not_found', 'expected a directive that is kept, got one settled long ago', { details });
    throw new MeshError('not_alive', `expected session ${session} to settle the directive, got its end`, { details });
  }

  /** Whoever waits waits on when the storage is out of reach for a while. */
  async #lookAgain(sent: Sent, until: number): Promise<Partial<SteerRecord>> {
    const { engine } = this.#store;
    try {
      return await this.#look(sent);
    } catch (error) {
      if (!isTransient(error) || engine.now() >= until) throw error;
      engine.report(error);
      return {};
    }
  }

  async #settled(sent: Sent, { signal, timeoutMs }: z.output<typeof WAIT>): Promise<SteerOutcome> {
    const { engine } = this.#store;
    const until = timeoutMs === undefined ? Number.POSITIVE_INFINITY : engine.now() + timeoutMs;
    const release = holdProcess();
    try {
      for (;;) {
        const alarm = await setAlarm(engine, { sessions: [sent.session], signals: [signal], ms: until - engine.now() });
        try {
          if (signal?.aborted) throw abortedBy(signal);
          const { state, note } = await this.#lookAgain(sent, until);
          if (state === 'applied' || state === 'rejected') return { outcome: state, ...(note !== undefined && { note }) };
          if (engine.now() >= until) {
            throw new MeshError(
              'timed_out',
              `expected the directive to be settled within ${timeoutMs} ms, got ${state ?? 'none'}`,
            );
          }
          await alarm.ring;
        } finally {
          alarm.cancel();
        }
      }
    } finally {
      release();
    }
  }
}

function isOpen({ state }: SteerRecord): boolean {
  return state === 'queued' || state === 'delivered';
}

/** Its owner gets no more directives: it is over, or to stop. */
function isOver(tenure: Tenure): boolean {
  return tenure.end !== undefined || tenure.signal.aborted;
}

/** The answer, or nothing when the tenure ended meanwhile: what fails then does not concern the owner any more. */
async function unlessOver<T>(tenure: Tenure, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (isOver(tenure)) return undefined;
    throw error;
  }
}

async function held(ring: Promise<void>): Promise<void> {
  const release = holdProcess();
  await ring;
  release();
}

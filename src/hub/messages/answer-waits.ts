import { Bag, type Placed } from '../../kernel/bag.ts';
import { holdProcess } from '../../kernel/clock.ts';
import { EarliestTimer } from '../../kernel/earliest-timer.ts';
import { onAbort } from '../../kernel/on-abort.ts';
import { sessionTopic } from '../../registry/events.ts';
import { eventOf } from '../../storage/events/event-reader.ts';
import type { Unsubscribe } from '../../storage/storage.ts';
import type { HubCore } from '../hub-core.ts';
import { ANSWERS } from './events.ts';
import type { Message } from './message.ts';

/** After these the target may not answer any more. */
const DECISIVE: ReadonlySet<string> = new Set([
  'session_offline',
  'session_ended',
  'agent_killed',
  'session_removed',
  'session_created',
]);

/** Of sessions that nobody waits for at the moment. */
const KEPT_EMPTY = 100;

/** Those who wait for a session to answer, and how to stop listening for its end. */
interface Target {
  readonly waits: Bag<Wait>;
  readonly stop: Unsubscribe;
}

/**
 * Everybody in this process who waits for an answer. They listen to the log, the clock and the end of the mesh together,
 * from the first that comes until a turn of the event loop after the last has gone: who asks in a loop begins but once.
 */
export class AnswerWaits {
  readonly #core: HubCore;
  /** A wait is called by this process, its slot here, and a number that no other has. */
  readonly #slots: (Wait | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #targets = new Map<string, Target>();
  #prefix = '';
  #begun = 0;
  #size = 0;
  #stops: (() => void)[] | undefined;
  readonly #timer: EarliestTimer;
  #isResting = false;

  constructor(core: HubCore) {
    this.#core = core;
    this.#timer = new EarliestTimer(core.engine, () => this.#ring());
  }

  /** Begins to listen for the answer of a session before it is asked, so that no answer goes unheard. */
  begin({ from, session, until, signal }: Asking): Wait {
    this.#stops ??= this.#listen();
    const { waits } = this.#targetOf(session);
    const slot = this.#free.pop() ?? this.#slots.length;
    this.#begun += 1;
    const wait = new Wait(`${this.#prefix}${slot}.${this.#begun}`, { from, session, until });
    wait.forget = onAbort(signal, () => wait.news());
    this.#slots[slot] = wait;
    this.#size += 1;
    waits.add(wait);
    this.#timer.ringBy(until);
    return wait;
  }

  end(wait: Wait): void {
    wait.forget();
    const slot = this.#slotOf(wait.waiter);
    if (this.#slots[slot] !== wait) return;
    this.#slots[slot] = undefined;
    this.#free.push(slot);
    this.#leave(wait);
    this.#size -= 1;
    if (this.#size > 0 || this.#isResting) return;
    this.#isResting = true;
    this.#core.engine.clock.nextTurn(() => {
      this.#isResting = false;
      if (this.#size === 0) this.#rest();
    });
  }

  /** The wait of this name and session, if it is one of this process and still waits. */
  find(waiter: string, from: string): Wait | undefined {
    if (this.#size === 0 || !waiter.startsWith(this.#prefix)) return undefined;
    const wait = this.#slots[this.#slotOf(waiter)];
    // Two meshes of one test may make the same ids.
    return wait?.waiter === waiter && wait.from === from ? wait : undefined;
  }

  #slotOf(waiter: string): number {
    return Number.parseInt(waiter.slice(this.#prefix.length), 10);
  }

  #listen(): (() => void)[] {
    const { engine } = this.#core;
    if (this.#prefix === '') this.#prefix = `${engine.generateId('waiter')}.`;
    return [
      engine.log.wakeOn(ANSWERS, ({ waiter, session }, record) =>
        this.find(String(waiter), String(session))?.tell(String(eventOf(record)['message'])),
      ),
      this.#core.onClose(() => {
        for (const wait of this.#slots) wait?.news();
      }),
      holdProcess(),
    ];
  }

  #targetOf(session: string): Target {
    const known = this.#targets.get(session);
    if (known) return known;
    const waits = new Bag<Wait>();
    const stop = this.#core.engine.log.wakeOn(sessionTopic(session), ({ name }) => {
      if (DECISIVE.has(name)) for (const wait of waits.all()) wait.doubt();
    });
    const target = { waits, stop };
    this.#targets.set(session, target);
    return target;
  }

  /** Who was asked will be asked again soon, unless there are many. */
  #leave(wait: Wait): void {
    const target = this.#targets.get(wait.session);
    if (!target?.waits.delete(wait) || target.waits.size > 0 || this.#targets.size <= KEPT_EMPTY) return;
    target.stop();
    this.#targets.delete(wait.session);
  }

  /** Whoever is answered in time leaves the timer to whoever comes next. */
  #ring(): void {
    const now = this.#core.engine.now();
    let next = Number.POSITIVE_INFINITY;
    for (const wait of this.#slots) {
      if (!wait) continue;
      if (wait.until <= now) wait.news();
      else next = Math.min(next, wait.until);
    }
    if (next < Number.POSITIVE_INFINITY) this.#timer.ringBy(next);
  }

  #rest(): void {
    for (const stop of this.#stops ?? []) stop();
    this.#stops = undefined;
    for (const { stop } of this.#targets.values()) stop();
    this.#targets.clear();
    this.#timer.clear();
    this.#slots.length = 0;
    this.#free.length = 0;
  }
}

/** Who asks whom, and until when it waits. */
interface Asking {
  readonly from: string;
  readonly session: string;
  readonly until: number;
  readonly signal?: AbortSignal | undefined;
}

/** What one request waits for. */
export class Wait implements Placed {
  place = -1;
  readonly waiter: string;
  readonly from: string;
  readonly session: string;
  readonly until: number;
  /** Or its id, where only its event was heard of. */
  answer: Message | string | undefined;
  /** Ends what it listens to alone. */
  forget: () => void = NOTHING;
  #doubtful = false;
  #hasNews = false;
  #wake = NOTHING;

  constructor(waiter: string, { from, session, until }: Asking) {
    this.waiter = waiter;
    this.from = from;
    this.session = session;
    this.until = until;
  }

  tell(answer: Message | string): void {
    this.answer ??= answer;
    this.news();
  }

  news(): void {
    this.#hasNews = true;
    this.#wake();
  }

  /** Something has happened to the target. */
  doubt(): void {
    this.#doubtful = true;
    this.news();
  }

  /** Whether something has happened to the target since this was asked. */
  isDoubtful(): boolean {
    const isDoubtful = this.#doubtful;
    this.#doubtful = false;
    return isDoubtful;
  }

  async next(): Promise<void> {
    if (!this.#hasNews) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#hasNews = false;
  }
}

function NOTHING(): void {}

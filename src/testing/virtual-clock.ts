import * as z from 'zod';
import { type Clock, MAX_TIMER_MS, systemClock, type Timer } from '../kernel/clock.ts';
import { describe } from '../kernel/describe.ts';
import { MeshError } from '../kernel/errors.ts';
import { parse, wholeNumber } from '../kernel/inputs.ts';
import { padded } from '../storage/keys.ts';
import { SortedMap } from '../storage/sorted-map.ts';
import { SeededRandom } from './random.ts';

/** Options of a `VirtualClock`. */
export interface VirtualClockOptions {
  /** Epoch milliseconds at which the clock starts. Default: 2026-01-01T00:00:00Z. */
  readonly now?: number;
}

const OPTIONS = z.strictObject({ now: wholeNumber(0, Number.MAX_SAFE_INTEGER).optional() });
const START = 1_767_225_600_000;

/** Turns of the event loop in which nothing asked this clock for anything, after which all is taken to be at rest. */
const QUIET_TURNS = 4;

/** What keeps going for so long without letting time pass will not come to rest. */
const MAX_RESTLESS = 100_000;

/**
 * A clock that stands still until it is told to move: `advance` fires timers in due order, ties in the order of their
 * creation, and lets what each of them started settle before the next. So a test needs no sleep, and the same program
 * runs the same way each time.
 *
 * To settle means: all promise chains and `nextTurn` callbacks ran as far as they can without time passing. The clock
 * counts the `nextTurn` callbacks it owes; whatever else takes real time (a disk, a socket) is given a few more turns
 * of the event loop, so await it before the clock is moved on.
 */
export class VirtualClock implements Clock {
  readonly #timers = new SortedMap<VirtualTimer>();
  /** What timers live by: a step of the clock does not move them, as on any host. */
  #elapsed = 0;
  #offset: number;
  #timersMade = 0;
  #turnsOwed = 0;
  #calls = 0;
  #errors: unknown[] | undefined;
  #last: Promise<void> = Promise.resolve();
  readonly #random = new SeededRandom(1);

  /** @throws MeshError `invalid_input` */
  constructor(options: VirtualClockOptions = {}) {
    const { now = START } = parse(OPTIONS, options, 'options');
    this.#offset = now;
  }

  now(): number {
    return this.#elapsed + this.#offset;
  }

  setTimeout(callback: () => void, ms: number): Timer {
    this.#calls += 1;
    // Never early: a fraction is rounded up, as time here goes by whole milliseconds.
    const delay = ms > 0 ? Math.ceil(Math.min(ms, MAX_TIMER_MS)) : 0;
    const timer = new VirtualTimer(callback, this.#elapsed, this.#elapsed + delay, this.#timersMade++);
    this.#timers.add(timer);
    return timer;
  }

  /** Does nothing for a timer that has fired, or that another clock has made. */
  clearTimeout(timer: Timer): void {
    this.#calls += 1;
    if (timer instanceof VirtualTimer && this.#timers.get(timer.order) === timer) this.#timers.delete(timer.order);
  }

  nextTurn(callback: () => void): void {
    this.#calls += 1;
    this.#turnsOwed += 1;
    systemClock.nextTurn(() => {
      this.#turnsOwed -= 1;
      this.#calls += 1;
      this.#call(callback);
    });
  }

  /** The same numbers in every run. */
  readonly random = (): number => this.#random.next();

  /** How many timers wait for their time. */
  get pending(): number {
    return this.#timers.size;
  }

  /**
   * Lets what is under way settle, then moves on by `ms`: each timer due by then is fired with `now()` at its own time.
   * Timers made meanwhile count, so `advance(0)` fires those that are due now. Calls that overlap run one after another.
   *
   * What a timer or `nextTurn` callback throws stops nothing: the clock arrives, and `advance` rejects with the error
   * afterwards (with an `AggregateError` of several).
   *
   * @throws MeshError `invalid_input`; `limit_exceeded` when 100,000 timers in a row were made and due at the same
   * millisecond, or as many turns did not come to rest: the clock stays where it then is.
   */
  async advance(ms: number): Promise<void> {
    whole(ms, 'ms');
    return this.#alone(() => this.#moveTo(this.#elapsed + ms));
  }

  /**
   * The same, to a time that is not in the past when its turn comes.
   * @throws MeshError as `advance`
   */
  async advanceTo(time: number): Promise<void> {
    whole(time, 'time');
    return this.#alone(async () => {
      if (time < this.now()) throw invalid(`a time from ${this.now()} on, for set() alone goes back`, time);
      await this.#moveTo(time - this.#offset);
    });
  }

  /**
   * Lets what is under way settle, without moving the clock or firing timers.
   * @throws MeshError `limit_exceeded`, and what `nextTurn` callbacks threw, as `advance`
   */
  async settle(): Promise<void> {
    return this.#alone(() => this.#rest());
  }

  /**
   * Steps the clock to any time, forward or back, as a host's clock is set: no time passes, so nothing fires, and every
   * timer keeps the delay it has left.
   * @throws MeshError `invalid_input`
   */
  set(time: number): void {
    this.#offset = whole(time, 'time') - this.#elapsed;
  }

  async #moveTo(target: number): Promise<void> {
    await this.#rest();
    let restless = 0;
    for (let timer = this.#first(); timer && timer.due <= target; timer = this.#first()) {
      restless = timer.made === timer.due && timer.due === this.#elapsed ? restless + 1 : 0;
      if (restless > MAX_RESTLESS) throw endless('timers that let time pass', 'timers of 0 ms');
      this.#timers.delete(timer.order);
      this.#elapsed = timer.due;
      this.#call(timer.callback);
      await this.#rest();
    }
    this.#elapsed = target;
  }

  #first(): VirtualTimer | undefined {
    let first: VirtualTimer | undefined;
    this.#timers.walk(undefined, undefined, false, (timer) => {
      first = timer;
      return false;
    });
    return first;
  }

  async #rest(): Promise<void> {
    let quiet = 0;
    for (let turns = 0; quiet < QUIET_TURNS; turns++) {
      if (turns > MAX_RESTLESS) throw endless('the program to come to rest', 'turns of the event loop');
      const before = this.#calls;
      await new Promise<void>((resolve) => systemClock.nextTurn(resolve));
      quiet = this.#turnsOwed === 0 && this.#calls === before ? quiet + 1 : 0;
    }
  }

  /** Outside of `advance` and `settle` nobody waits for the error, and it goes where the system clock's would. */
  #call(callback: () => void): void {
    const errors = this.#errors;
    try {
      callback();
    } catch (error) {
      if (!errors) throw error;
      errors.push(error);
    }
  }

  #alone(work: () => Promise<void>): Promise<void> {
    const run = this.#last.then(() => this.#collect(work));
    this.#last = run.catch(() => {});
    return run;
  }

  async #collect(work: () => Promise<void>): Promise<void> {
    const errors: unknown[] = [];
    this.#errors = errors;
    try {
      await work();
    } catch (error) {
      errors.unshift(error);
    } finally {
      this.#errors = undefined;
    }
    if (errors.length === 1) throw errors[0];
    if (errors.length > 1) throw new AggregateError(errors, `expected callbacks that do not throw, got ${errors.length} errors`);
  }
}

class VirtualTimer {
  readonly callback: () => void;
  readonly made: number;
  readonly due: number;
  readonly order: string;

  constructor(callback: () => void, made: number, due: number, position: number) {
    this.callback = callback;
    this.made = made;
    this.due = due;
    this.order = padded(due) + padded(position);
  }
}

function whole(value: number, name: string): number {
  if (!Number.isSafeInteger(value) || value < 0) throw invalid(`a whole number from 0 on for ${name}`, value);
  return value;
}

function invalid(expected: string, got: unknown): MeshError {
  return new MeshError('invalid_input', `expected ${expected}, got ${describe(got)}`);
}

function endless(expected: string, what: string): MeshError {
  return new MeshError('limit_exceeded', `expected ${expected}, got ${MAX_RESTLESS} ${what} in a row`);
}

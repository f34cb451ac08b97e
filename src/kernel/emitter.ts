import { EventEmitter } from 'eventemitter3';
import { guarded, type ReportError } from './report.ts';

/** Event names and what their listeners get. */
export type EventMap = Record<string, object>;
/** A listener of one event. What it throws or rejects with goes to `onError`. */
export type Listener<Event> = (event: Event) => unknown;

/** What eventemitter3 holds for a listener: it never throws, and remembers whom it calls. */
interface Guarded {
  (event: object): void;
  listener?: Listener<never>;
}

/**
 * Typed events on eventemitter3. Whatever a listener throws, or a promise it returns rejects with, goes to `report`
 * and touches neither the other listeners nor whoever emits. `*` hears everything, after those who asked by name.
 */
export class Emitter<Events extends EventMap> {
  readonly #emitter = new EventEmitter();
  readonly #report: ReportError;

  constructor(report: ReportError) {
    this.#report = report;
  }

  get listenerCount(): number {
    return this.#emitter.eventNames().reduce((count, name) => count + this.#emitter.listenerCount(name), 0);
  }

  on<Name extends keyof Events & string>(name: Name | '*', listener: Listener<Events[Name]>): void {
    this.#emitter.on(name, this.#guard(listener));
  }

  once<Name extends keyof Events & string>(name: Name | '*', listener: Listener<Events[Name]>): void {
    this.#emitter.once(name, this.#guard(listener));
  }

  /** Removes a listener of this name, added once or for good; the one added first if it was added twice. */
  off<Name extends keyof Events & string>(name: Name | '*', listener: Listener<Events[Name]>): void {
    const found = this.#emitter.listeners(name).find((added: Guarded) => added.listener === listener);
    if (found) this.#emitter.off(name, found);
  }

  emit<Name extends keyof Events & string>(name: Name, event: Events[Name]): void {
    this.#emitter.emit(name, event);
    if (name !== '*') this.#emitter.emit('*', event);
  }

  clear(): void {
    this.#emitter.removeAllListeners();
  }

  #guard(listener: Listener<never>): Guarded {
    const added: Guarded = guarded(listener as Listener<object>, this.#report);
    added.listener = listener;
    return added;
  }
}

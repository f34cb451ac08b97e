import { describe } from '../../kernel/describe.ts';
import { Emitter, type EventMap, type Listener } from '../../kernel/emitter.ts';
import { MeshError } from '../../kernel/errors.ts';
import type { ReportError } from '../../kernel/report.ts';
import type { Unsubscribe } from '../storage.ts';
import type { EventLog } from './event-log.ts';
import type { LoggedEvent } from './event-reader.ts';

export interface EventSourceOptions {
  readonly log: EventLog;
  readonly report: ReportError;
  /** The events of this source. Default: all. */
  readonly names?: ReadonlySet<string>;
  /** The names that may be listened to. Default: `names`. */
  readonly known?: ReadonlySet<string>;
  /** Which events of these names belong to it. Default: all. */
  readonly accepts?: (event: LoggedEvent) => boolean;
}

/**
 * Listeners of a mesh or of one of its classes. Events come from the log only, so every process hears the same ones in
 * the same order, after the change they tell has been stored. The log is followed only while somebody listens.
 */
export abstract class EventSource<Events extends EventMap> {
  readonly #log: EventLog;
  readonly #emitter: Emitter<Events>;
  readonly #names: ReadonlySet<string> | undefined;
  readonly #known: ReadonlySet<string> | undefined;
  readonly #accepts: ((event: LoggedEvent) => boolean) | undefined;
  #unsubscribe: Unsubscribe | undefined;

  constructor({ log, report, names, known = names, accepts }: EventSourceOptions) {
    this.#log = log;
    this.#emitter = new Emitter(report);
    this.#names = names;
    this.#known = known;
    this.#accepts = accepts;
  }

  /**
   * Calls back with each event of this name (`*`: of every name) that is committed from now on, by any process.
   * @throws MeshError `invalid_input`; `closed` after close
   */
  on<Name extends keyof Events & string>(name: Name | '*', listener: Listener<Events[Name]>): this {
    this.#check(name, listener);
    this.#follow();
    this.#emitter.on(name, listener);
    return this;
  }

  /**
   * Calls back with the next event of this name only.
   * @throws MeshError as `on`
   */
  once<Name extends keyof Events & string>(name: Name | '*', listener: Listener<Events[Name]>): this {
    this.#check(name, listener);
    this.#follow();
    this.#emitter.once(name, listener);
    return this;
  }

  /**
   * Removes a listener.
   * @throws MeshError `invalid_input`
   */
  off<Name extends keyof Events & string>(name: Name | '*', listener: Listener<Events[Name]>): this {
    this.#check(name, listener);
    this.#emitter.off(name, listener);
    this.#stopIfSilent();
    return this;
  }

  #check(name: unknown, listener: unknown): void {
    const isName = typeof name === 'string' && (name === '*' || this.#known === undefined || this.#known.has(name));
    if (!isName) throw new MeshError('invalid_input', `expected the name of an event or *, got ${describe(name)}`);
    if (typeof listener === 'function') return;
    throw new MeshError('invalid_input', `expected listener to be a function, got ${describe(listener)}`);
  }

  #follow(): void {
    this.#log.assertOpen();
    this.#unsubscribe ??= this.#log.subscribe((event) => this.#emit(event), this.#names);
  }

  #emit(event: LoggedEvent): void {
    if (this.#accepts && !this.#accepts(event)) return;
    this.#emitter.emit(event.name, event as unknown as Events[string]);
    this.#stopIfSilent();
  }

  #stopIfSilent(): void {
    if (this.#emitter.listenerCount > 0) return;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }
}

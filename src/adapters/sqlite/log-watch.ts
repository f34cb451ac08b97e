import { type FSWatcher, watch } from 'node:fs';

/**
 * Calls back once when the write-ahead log is written to, by whomever. It may miss writes and see some that mean
 * nothing, and where it cannot be had it calls back never: so it is good for looking early, and for nothing else.
 */
export class LogWatch {
  readonly #log: string;
  readonly #written: () => void;
  #watcher: FSWatcher | undefined;

  constructor(log: string, written: () => void) {
    this.#log = log;
    this.#written = written;
  }

  start(): void {
    if (this.#watcher) return;
    try {
      this.#watcher = watch(this.#log, { persistent: false }, () => {
        if (!this.#watcher) return;
        this.stop();
        this.#written();
      });
      this.#watcher.on('error', () => this.stop());
    } catch {
      // There is no log yet, or no more watches to be had.
    }
  }

  stop(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }
}

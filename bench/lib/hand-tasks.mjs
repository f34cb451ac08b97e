const VISIBILITY_MS = 30_000;

/** Tasks by hand in memory: copied and frozen, claimed with a deadline by a worker with so many hands, kept when done. */
export class HandTasks {
  #ready = [];
  #claims = new Map();
  #waiting = new Map();
  #made = 0;
  #wake = () => {};
  kept = new Map();

  async delegate({ from, to, type, payload }) {
    this.#made += 1;
    const id = `task_${String(this.#made).padStart(20, '0')}`;
    const task = Object.freeze({
      id,
      from,
      to,
      type,
      state: 'ready',
      payload: Object.freeze({ ...payload }),
      createdAt: Date.now(),
    });
    const output = new Promise((resolve) => this.#waiting.set(id, resolve));
    this.#ready.push(task);
    this.#wake();
    return { ...task, result: async () => output };
  }

  /** Answers a function that stops it. */
  work({ concurrency }, handler) {
    let running = 0;
    let stopped = false;
    const round = async () => {
      while (!stopped) {
        if (running === concurrency || this.#ready.length === 0) {
          await new Promise((resolve) => {
            this.#wake = resolve;
          });
          continue;
        }
        const deadline = Date.now() + VISIBILITY_MS;
        for (const task of this.#ready.splice(0, concurrency - running)) {
          this.#claims.set(task.id, { task: Object.freeze({ ...task, state: 'working', deadline }), deadline });
          running += 1;
          void this.#run(task, handler).then(() => {
            running -= 1;
            this.#wake();
          });
        }
      }
    };
    void round();
    return () => {
      stopped = true;
      this.#wake();
    };
  }

  async #run(task, handler) {
    const output = Object.freeze({ ...(await handler(task)) });
    const claim = this.#claims.get(task.id);
    if (claim === undefined || claim.deadline <= Date.now()) throw new Error('expected a claim that holds');
    this.#claims.delete(task.id);
    this.kept.set(task.id, Object.freeze({ ...claim.task, state: 'completed', output, endedAt: Date.now() }));
    const resolve = this.#waiting.get(task.id);
    this.#waiting.delete(task.id);
    resolve(output);
  }
}

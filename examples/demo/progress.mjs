// Keeps every event of the mesh, and shows while it runs how far the survey is.

const WIDTH = 24;
const SHOWN_EVERY_MS = 100;
const LINE_EVERY_MS = 1000;

export class Progress {
  /** Everything that was heard, in the one order that all processes hear. */
  events = [];
  #total = 0;
  #done = 0;
  #again = 0;
  #messages = 0;
  #alive = new Set();
  #shownAt = 0;
  #isTerminal = process.stderr.isTTY === true;

  constructor(mesh) {
    mesh.on('*', (event) => {
      this.events.push(event);
      this.#count(event);
      this.#show();
    });
  }

  end() {
    if (this.#isTerminal) process.stderr.write('\r\u001b[K');
  }

  #count({ name, step, session, reason }) {
    if (name === 'task_delegated' && step === 'survey') this.#total += 1;
    if (name === 'task_completed' && step === 'survey') this.#done += 1;
    if (name === 'task_retried' && reason === 'worker_lost') this.#again += 1;
    if (name === 'message_sent') this.#messages += 1;
    if (name === 'session_created' || name === 'session_online') this.#alive.add(session);
    if (name === 'session_offline' || name === 'session_ended' || name === 'agent_killed') this.#alive.delete(session);
  }

  #show() {
    const now = performance.now();
    if (now - this.#shownAt < (this.#isTerminal ? SHOWN_EVERY_MS : LINE_EVERY_MS)) return;
    this.#shownAt = now;
    const full = this.#total === 0 ? 0 : Math.floor((this.#done / this.#total) * WIDTH);
    const bar = '█'.repeat(full) + '░'.repeat(WIDTH - full);
    const parts = [`${this.#done}/${this.#total} files`, `${this.#alive.size} sessions`, `${this.#messages} messages`];
    if (this.#total === 0) parts.shift();
    if (this.#again > 0) parts.push(`${this.#again} redelivered`);
    const line = `${bar} ${parts.join(' · ')}`;
    process.stderr.write(this.#isTerminal ? `\r${line}\u001b[K` : `${line}\n`);
  }
}

// The processes of the demo, as the orchestrator sees them.
import { fork } from 'node:child_process';
import { on, once } from 'node:events';
import path from 'node:path';

const ALL = ['typescript', 'javascript', 'markdown', 'json', 'text'];

/** Who is good at what. Whoever is gone, there is somebody left for every language. */
export const WORKERS = {
  'worker-1': ['typescript', 'javascript', 'json', 'text'],
  'worker-2': ALL,
  'worker-3': ALL,
  'worker-4': ['typescript', 'javascript', 'markdown'],
};

/** A process of the team. Its key is issued once its session is there, and goes to it through a pipe of its own. */
export class Member {
  id;
  /** Whether its end is what is wanted. */
  mayGo = false;
  /** How the process ended: its exit code, or the signal that ended it. */
  exit;
  token;
  #mesh;
  #child;
  #messages;

  constructor(mesh, script, start) {
    this.id = start.id;
    this.#mesh = mesh;
    // What Node says about its own SQLite is of no use here.
    const options = { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], execArgv: ['--disable-warning=ExperimentalWarning'] };
    this.#child = fork(path.join(import.meta.dirname, `${script}.mjs`), [JSON.stringify(start)], options);
    this.#messages = on(this.#child, 'message');
    this.exit = once(this.#child, 'exit').then(([code, signal]) => signal ?? code);
  }

  get pid() {
    return this.#child.pid;
  }

  /** Waits until it has registered, gives it a key, and has it shown: whoever shows it is this session. */
  async admit() {
    await this.#message('hello');
    const { token } = await this.#mesh.keys.issue({ session: this.id, scopes: ['team:join', 'team:report'], ttlMs: 600_000 });
    this.token = token;
    this.#child.send({ kind: 'key', token });
    await this.#authenticate(await this.#message('show'), 'team:join');
  }

  begin(assignment = {}) {
    this.#child.send({ kind: 'go', assignment });
  }

  /** What it hands in at the end. It leaves only after that, for a session that has ended proves nothing any more. */
  async figures() {
    const message = await this.#message('figures');
    await this.#authenticate(message, 'team:report');
    this.#child.send({ kind: 'thanks' });
    return { session: this.id, ...message.figures };
  }

  kill(signal) {
    this.mayGo = true;
    this.#child.kill(signal);
  }

  async #authenticate({ token }, scope) {
    const { session } = await this.#mesh.keys.authenticate(token, { scope });
    if (session !== this.id) throw new Error(`expected the key of ${this.id}, got that of ${session}`);
  }

  async #message(kind) {
    const ended = this.exit.then((exit) => {
      throw new Error(`expected ${this.id} to say ${kind}, got its end (${exit})`);
    });
    const { value } = await Promise.race([this.#messages.next(), ended]);
    if (value[0].kind !== kind) throw new Error(`expected ${this.id} to say ${kind}, got ${value[0].kind}`);
    return value[0];
  }
}

// The orchestrator: starts the team, lets things go wrong, and brings the survey to its end.
import { setTimeout as sleep } from 'node:timers/promises';
import { patiently } from './mesh.mjs';
import { Member, WORKERS } from './team.mjs';

/** The parts of all files after which something happens. */
const KILL_AT = 0.15;
const STEER_AT = 0.3;
const CASCADE_AT = 0.45;

export class Survey {
  /** What it is at, for whoever asks why it takes so long. */
  doing = 'starting';
  #mesh;
  #place;
  #members = new Map();
  #done = 0;
  #wake = () => {};
  #fail = () => {};
  /** Rejects when a process ends that should not. */
  #failure = new Promise((_, reject) => {
    this.#fail = reject;
  });

  constructor(mesh, place) {
    this.#mesh = mesh;
    this.#place = place;
    mesh.hub.on('task_completed', () => this.#tick());
  }

  run() {
    return Promise.race([this.#run(), this.#failure]);
  }

  async #run() {
    const { registry, hub, memory } = this.#mesh;
    const startedAt = performance.now();
    const me = await registry.register({
      id: 'orchestrator',
      agent: { name: 'Orchestrator', type: 'demo' },
      metadata: { pid: process.pid },
    });
    const inbox = hub.inbox(me);
    await this.#start(me);

    this.doing = 'planning';
    this.#member('planner').begin({ only: this.#place.only });
    this.#member('reviewer').begin();
    const plan = await memory.waitFor('plan', (value) => value !== undefined);
    this.total = plan.total;

    this.doing = 'surveying';
    const [from, to = from] = [...plan.directories].sort((a, b) => b.files - a.files).map(({ directory }) => directory);
    // The one that is to be killed gets a task before the others, so that it has one in every tree.
    const held = this.#heard('task_updated', ({ session, change }) => session === 'worker-2' && change === 'progress');
    this.#member('worker-2').begin({ hold: true });
    const { task: lost } = await held;
    this.#member('worker-1').begin();
    this.#member('worker-3').begin({ directory: from });
    const scouting = this.#heard('session_created', ({ session }) => session === 'worker-4.scout');
    this.#member('worker-4').begin({ scout: true });

    await this.#reached(KILL_AT);
    const crashed = await this.#crash('worker-2');
    await this.#reached(STEER_AT);
    const steered = await this.#steer(me, 'worker-3', to, plan);
    await this.#reached(CASCADE_AT);
    await scouting;
    const full = await registry.topology();
    const cascade = await this.#cascade(me, 'worker-4');
    this.doing = 'missing worker-2';
    const crash = await this.#restart(crashed);

    this.doing = 'waiting for the last files';
    const [surveyed] = await inbox.receive({ timeoutMs: 60_000 });
    await surveyed.ack();

    this.doing = 'reviewing';
    const offer = await hub.offer({
      from: me,
      to: { capability: 'review' },
      type: 'final review',
      collaborationId: 'survey',
      step: 'review',
      timeoutMs: 30_000,
    });
    await offer.result();
    const overview = await memory.get('overview');
    const collaboration = await hub.getCollaboration('survey');
    await collaboration.complete({ by: me, summary: `${plan.total} files surveyed`, artifacts: { overview: 'overview' } });
    const elapsedMs = performance.now() - startedAt;
    const topology = { full, last: await registry.topology() };

    this.doing = 'finishing';
    const figures = await this.#finish(me);
    const conversation = overview.thread === undefined ? [] : await hub.conversation(overview.thread);
    await this.#mesh.settled();
    return { plan, overview, lost, crash, steered, cascade, figures, topology, conversation, elapsedMs };
  }

  killAll() {
    for (const member of this.#members.values()) member.kill('SIGKILL');
  }

  #member(id) {
    return this.#members.get(id);
  }

  #begin(script, start) {
    const member = new Member(this.#mesh, script, start);
    this.#members.set(start.id, member);
    void member.exit.then((exit) => {
      if (!member.mayGo) this.#fail(new Error(`expected ${start.id} to stay, got its end (${exit})`));
    });
    return member;
  }

  /** Starts everybody, and begins the collaboration with all whose keys are good. */
  async #start(me) {
    const { file, root } = this.#place;
    const team = { planner: { script: 'planner' }, reviewer: { script: 'reviewer' } };
    for (const [id, capabilities] of Object.entries(WORKERS)) team[id] = { script: 'worker', capabilities };
    for (const [id, { script, ...start }] of Object.entries(team)) {
      this.#begin(script, { id, file, root, ...start });
    }
    await this.#mesh.hub.createCollaboration({
      id: 'survey',
      initiator: me,
      participants: Object.entries(team).map(([session, { script }]) => ({ session, role: script })),
      steps: [
        { name: 'plan', requires: ['planner'] },
        { name: 'survey', requires: ['planner'], after: ['plan'] },
        { name: 'review', requires: ['reviewer'], after: ['survey'] },
      ],
      timeoutMs: 60_000,
    });
    await Promise.all([...this.#members.values()].map((member) => member.admit()));
  }

  /** As the power goes: no signal handler runs, and nobody is told. */
  async #crash(id) {
    const member = this.#member(id);
    const at = performance.now();
    member.kill('SIGKILL');
    return { member, exit: await member.exit, missed: this.#missed(id).then(() => performance.now() - at) };
  }

  async #steer(me, id, direction, { directories }) {
    const data = { directories: directories.map(({ directory }) => directory) };
    const directive = { direction, message: `more hands for ${direction}`, data, by: me };
    const receipt = await patiently(() => this.#mesh.registry.steer(id, directive));
    return { id, direction, ...(await receipt.settled()) };
  }

  /** A worker and the sub-agent below it, by one order. */
  async #cascade(me, id) {
    const { registry } = this.#mesh;
    const { items } = await registry.list({ parentId: id, state: 'all' });
    const member = this.#member(id);
    member.mayGo = true;
    const report = await registry.kill(id, { reason: 'its budget is spent', graceMs: 1000, by: me });
    await member.exit;
    this.#members.delete(id);
    return { id, token: member.token, pids: [member.pid, ...items.map(({ metadata }) => metadata.pid)], ...report };
  }

  /** Once everybody has missed the process, its id is free again; what it had in hand goes to whoever is free. */
  async #restart({ member: { id, pid, token }, exit, missed }) {
    const missedAfterMs = await missed;
    const { file, root } = this.#place;
    const member = this.#begin('worker', { id, file, root, capabilities: WORKERS[id] });
    await member.admit();
    member.begin();
    return { id, pid, token, exit, missedAfterMs };
  }

  /** Asked of the store, for the event may have been told before somebody listens. */
  async #missed(id) {
    while ((await this.#mesh.registry.get(id)).state === 'alive') await sleep(20);
  }

  /** Tells everybody to finish, and takes what they hand in. */
  async #finish(me) {
    for (const member of this.#members.values()) member.mayGo = true;
    await this.#mesh.hub.broadcast({ from: me, subject: 'finish' });
    const figures = await Promise.all([...this.#members.values()].map((member) => member.figures()));
    await Promise.all([...this.#members.values()].map((member) => member.exit));
    await me.end();
    return figures;
  }

  #heard(name, fits) {
    return new Promise((resolve) => {
      const listener = (event) => {
        if (event.name !== name || !fits(event)) return;
        this.#mesh.off('*', listener);
        resolve(event);
      };
      this.#mesh.on('*', listener);
    });
  }

  #tick() {
    this.#done += 1;
    this.#wake();
  }

  /** Waits until so large a part of the files is done; the one that is held does not count. */
  async #reached(part) {
    while (this.#done < Math.floor((this.total - 1) * part)) {
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

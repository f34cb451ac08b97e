import type { SessionRef, Task } from '../../../src/index.ts';
import { MeshError } from '../../../src/index.ts';
import { SessionHandle } from '../../../src/registry/session-handle.ts';
import type { SeededRandom } from '../../../src/testing/random.ts';
import type { SimulatedAction, SimulatedProcess } from '../../../src/testing/simulate.ts';
import type { KnownKey, Ledger } from './ledger.ts';

/** The handles that a process has got, those that hold no more too. */
export type Own = SessionHandle[];
type Process = SimulatedProcess<Ledger, Own>;
type Act = SimulatedAction<Ledger, Own>;

const SESSIONS = ['a', 'b', 'c', 'd', 'e'];
const CAPABILITIES = ['x', 'y'];
const GROUPS = ['g', 'h'];
const VISIBILITY_MS = 4000;

const some = (random: SeededRandom, from: readonly string[]): string[] => from.filter(() => random.chance(0.5));

/** A handle of this process, or an id. */
function actor({ own }: Process, random: SeededRandom): SessionRef {
  return own.length > 0 && random.chance(0.7) ? random.pick(own) : random.pick(SESSIONS);
}

/**
 * Does something in the name of a session. Whoever acted by a handle whose incarnation was over before must have been
 * refused; so must the handle of a session that was offline all the time.
 */
async function fenced<T>({ state, now }: Process, by: SessionRef | undefined, act: () => Promise<T>): Promise<T> {
  if (!(by instanceof SessionHandle)) return act();
  const wasOver = state.isOver(by);
  const wasOffline = !state.hasLease(by.id);
  const stint = state.session(by.id)?.stint;
  const began = now();
  const made = await act();
  // Who was told to stop gets nothing any more.
  if (by.signal.aborted && Array.isArray(made) && made.length === 0) return made;
  if (wasOver) throw new Error(`a handle of ${by.id} did something after its end`);
  const isSame = !state.hasLease(by.id) && state.session(by.id)?.stint === stint;
  if (wasOffline && isSame && now() - began < 1000) throw new Error(`a handle of ${by.id} did something while offline`);
  return made;
}

const register: Act = async ({ mesh, own }, random) => {
  const parentId = random.chance(0.4) ? random.pick(SESSIONS) : undefined;
  const options = {
    id: random.pick(SESSIONS),
    capabilities: some(random, CAPABILITIES),
    groups: some(random, GROUPS),
    ttlMs: 2000 + random.below(6000),
    retentionMs: 600_000,
    heartbeat: random.chance(0.5) ? ('auto' as const) : ('manual' as const),
    takeover: random.chance(0.6),
    ...(random.chance(0.3) && { user: 'u' }),
    ...(parentId !== undefined && { parentId }),
  };
  own.push(await mesh.registry.register(options));
};

const update: Act = async (process, random) => {
  const handle = random.pick([...process.own, undefined]);
  if (!handle) return process.mesh.registry.update(random.pick(SESSIONS), { status: 'idle' });
  return fenced(process, handle, () =>
    handle.update({ status: random.pick(['working', 'idle']), capabilities: some(random, CAPABILITIES), task: 't' }),
  );
};

const beat: Act = async (process, random) => {
  const handle = random.pick([...process.own, undefined]);
  if (!handle) return;
  const wasOver = process.state.isOver(handle);
  const { alive } = await handle.heartbeat();
  if (alive && wasOver) throw new Error(`${handle.id} was revived after its end`);
};

const end: Act = async (process, random) => {
  const handle = random.pick([...process.own, undefined]);
  if (handle) await fenced(process, handle, () => handle.end());
  else await process.mesh.registry.end(random.pick(SESSIONS));
};

const kill: Act = async ({ mesh }, random) => {
  const options = random.chance(0.5) ? { force: true } : { graceMs: random.below(3000) };
  await mesh.registry.kill(random.pick(SESSIONS), { ...options, timeoutMs: 8000 });
};

const steer: Act = ({ mesh }, random) => mesh.registry.steer(random.pick(SESSIONS), { direction: 'north' });

const content = (random: SeededRandom) => ({
  body: 'text',
  priority: random.pick(['low', 'medium', 'high', 'critical'] as const),
  type: random.pick(['request', 'notification'] as const),
  ...(random.chance(0.3) && { ttlMs: 1000 + random.below(5000) }),
  ...(random.chance(0.2) && { threadId: 'thread' }),
});

const send: Act = async (process, random) => {
  const from = actor(process, random);
  const to = random.chance(0.8) ? random.pick(SESSIONS) : random.pick([{ group: 'g' }, { capability: 'x' }]);
  const idempotencyKey = random.chance(0.2) ? `once-${random.below(3)}` : undefined;
  const { message, recipients } = await fenced(process, from, () =>
    process.mesh.hub.send({ from, to, ...content(random), ...(idempotencyKey !== undefined && { idempotencyKey }) }),
  );
  for (const { session } of recipients) process.state.sent.push([session, message.id]);
  if (idempotencyKey === undefined) return;
  const name = `${message.from} ${idempotencyKey}`;
  const known = process.state.onceKeys.get(name) ?? message.id;
  if (known !== message.id) throw new Error(`${name} made ${known} and ${message.id}`);
  process.state.onceKeys.set(name, message.id);
};

/** Reaches everybody who was alive, as one and the same, from before to after. */
const broadcast: Act = async (process, random) => {
  const { mesh, state } = process;
  const from = actor(process, random);
  const incarnations = (): Map<string, string> =>
    new Map(
      SESSIONS.filter((id) => state.hasLease(id)).map((id) => [
        id,
        `${state.session(id)?.incarnation} ${state.session(id)?.stint}`,
      ]),
    );
  const isStopping = (id: string): boolean => state.session(id)?.stopping !== undefined;
  const before = incarnations();
  for (const id of before.keys()) if (isStopping(id)) before.delete(id);
  const { message, recipients } = await fenced(process, from, () => mesh.hub.broadcast({ from, ...content(random) }));
  const reached = new Set(recipients.map(({ session }) => session));
  const after = incarnations();
  for (const [id, incarnation] of before) {
    if (id === message.from || reached.has(id) || after.get(id) !== incarnation || isStopping(id)) continue;
    throw new Error(`${id} was alive all the time, and was not reached`);
  }
  for (const session of reached) state.sent.push([session, message.id]);
};

/** A handle of this process that may still hold, or anybody. */
function holder(process: Process, random: SeededRandom): SessionRef {
  const holding = process.own.filter((handle) => !process.state.isOver(handle));
  return holding.length > 0 && random.chance(0.8) ? random.pick(holding) : actor(process, random);
}

const receive: Act = async (process, random) => {
  const { mesh, state, now } = process;
  const session = holder(process, random);
  const inbox = mesh.hub.inbox(session, { visibilityMs: VISIBILITY_MS });
  const began = now();
  const before = state.session(inbox.session)?.incarnation;
  const deliveries = await fenced(process, session, () => inbox.receive({ limit: 1 + random.below(4) }));
  const incarnation = state.session(inbox.session)?.incarnation ?? '';
  for (const delivery of deliveries) {
    const name = `${inbox.session} ${delivery.message.id}`;
    const held = state.held.get(name);
    if (held && !held.released && held.until > now() && held.incarnation === incarnation)
      throw new Error(`${name} has two claimants`);
    if (state.acked.has(name)) throw new Error(`${name} was delivered after its ack`);
    if ((delivery.message.expiresAt ?? Number.POSITIVE_INFINITY) <= began) throw new Error(`${name} was delivered too late`);
    // Of which incarnation the claim is, is not known when another came in between.
    state.held.set(name, { until: began + VISIBILITY_MS, incarnation, released: before !== incarnation });
    state.deliveries.push({ delivery, by: process.name, name });
  }
};

const settle: Act = async (process, random) => {
  const { state } = process;
  const isMine = ({ by, name }: { readonly by: string; readonly name: string }): boolean =>
    by === process.name && (!state.acked.has(name) || random.chance(0.1));
  const mine = state.deliveries.filter(isMine).slice(-6);
  if (mine.length === 0) return receive(process, random);
  const { delivery, name } = random.pick(mine);
  const held = state.held.get(name);
  const draw = random.next();
  if (draw < 0.5) {
    await delivery.ack();
    state.acked.set(name, (state.acked.get(name) ?? 0) + 1);
    if (state.acked.get(name) !== 1) throw new Error(`${name} was acked twice`);
    return;
  }
  // From here on it may be somebody else's, whether this succeeds or nobody knows.
  if (held) held.released = true;
  if (draw < 0.7) await delivery.nak({ delayMs: random.below(2) * 1000 });
  else if (draw < 0.8) await delivery.term('no');
  else if (draw < 0.9) await delivery.extend(1000 + random.below(5000));
  else {
    const from = delivery.message.to;
    if (typeof from !== 'string' || from === '*') return;
    const { message } = await process.mesh.hub.reply(delivery.message, { from, body: 'answer' });
    state.sent.push([delivery.message.from, message.id]);
  }
};

const letters: Act = async ({ mesh }, random) => {
  const session = random.pick(SESSIONS);
  const { items } = await mesh.hub.deadLetters({ session });
  const [letter] = items;
  if (letter) await mesh.hub.redrive(letter.message, { session });
  else if (random.chance(0.2)) await mesh.hub.purge(session);
};

const request: Act = (process, random) => {
  const from = actor(process, random);
  return process.mesh.hub.request({ from, to: random.pick(SESSIONS), body: '?', timeoutMs: 1000 + random.below(3000) });
};

const delegate: Act = async (process, random) => {
  const { mesh, state } = process;
  const from = actor(process, random);
  const given = {
    from,
    type: 'job',
    priority: random.pick(['low', 'high'] as const),
    timeoutMs: 2000 + random.below(30_000),
    retry: { maxRetries: random.below(3), delayMs: random.below(2) * 500 },
  };
  const to = random.chance(0.5) ? random.pick(SESSIONS) : { capability: random.pick(CAPABILITIES) };
  const task: Task = await fenced(process, from, () =>
    random.chance(0.8) ? mesh.hub.delegate({ ...given, to }) : mesh.hub.offer({ ...given, to: { group: 'g' } }),
  );
  state.tasks.add(task.id);
};

const claim: Act = async (process, random) => {
  const session = holder(process, random);
  const claimed = await fenced(process, session, () =>
    process.mesh.hub.claim(session, { capabilities: CAPABILITIES, limit: 1 + random.below(2) }),
  );
  process.state.assignments.push(...claimed);
};

const finish: Act = async (process, random) => {
  const { state } = process;
  if (state.assignments.length === 0) return claim(process, random);
  const assignment = random.pick(state.assignments.slice(-5));
  const draw = random.next();
  if (draw < 0.5) {
    await assignment.complete('done');
    const { id } = assignment.task;
    state.finished.set(id, (state.finished.get(id) ?? 0) + 1);
    if (state.finished.get(id) !== 1) throw new Error(`${id} was completed twice`);
  } else if (draw < 0.7) await assignment.fail('no');
  else if (draw < 0.8) await assignment.progress({ percent: 50 });
  else if (draw < 0.9) await assignment.release();
  else await assignment.handoff({ to: random.pick(SESSIONS) });
};

const decide: Act = async (process, random) => {
  const { hub } = process.mesh;
  const id = random.pick([...process.state.tasks, undefined]);
  if (id === undefined) return;
  const by = actor(process, random);
  const acts = [() => hub.cancel(id, { by }), () => hub.accept(id, { by }), () => hub.decline(id, { by })];
  await random.pick(acts)();
};

const count: Act = async (process, random) => {
  const key = random.pick(['n', 'm']);
  const by = random.chance(0.5) ? actor(process, random) : undefined;
  const counter = process.state.counters.get(key) ?? { begun: 0, done: 0 };
  process.state.counters.set(key, counter);
  counter.begun += 1;
  await fenced(process, by, () => process.mesh.memory.update<number>(key, (n) => (n ?? 0) + 1, by === undefined ? {} : { by }));
  counter.done += 1;
};

const remember: Act = async (process, random) => {
  const { memory } = process.mesh;
  const key = random.pick(['k', 'l']);
  const by = actor(process, random);
  await fenced(process, by, async () => {
    if (random.chance(0.2)) return memory.delete(key, { by });
    return memory.set(key, random.below(100), {
      by,
      tags: some(random, ['t', 'u']),
      ...(random.chance(0.4) && { ttlMs: 1000 + random.below(4000) }),
      ...(random.chance(0.3) && { untilSessionEnds: true }),
    });
  });
};

const issue: Act = async (process, random) => {
  const { mesh, state } = process;
  const session = random.chance(0.6) ? actor(process, random) : undefined;
  const parent = random.pick([...state.keys.filter(({ maxUses }) => maxUses === undefined), undefined]);
  const maxUses = random.chance(0.3) ? 1 + random.below(3) : undefined;
  const options = {
    ...(maxUses !== undefined && { maxUses }),
    ...(random.chance(0.3) && { ttlMs: 1000 + random.below(5000) }),
  };
  const { token, apiKey } = parent
    ? await mesh.keys.derive(parent.token, { ...options, scopes: ['s:read'] })
    : await fenced(process, session, () => mesh.keys.issue({ ...options, scopes: ['s:*'], ...(session && { session }) }));
  state.keys.push({ id: apiKey.id, token, maxUses, parent: parent?.id, passed: 0, uncertain: false, revoked: false });
};

/** Right when it is what the records say, before and after; never right once a revocation was acknowledged. */
const verify: Act = async ({ mesh, state }, random) => {
  const chosen = random.chance(0.5) ? state.keys.slice(-4) : state.keys.filter((known) => state.isRevoked(known));
  const key: KnownKey | undefined = chosen[random.below(Math.max(1, chosen.length))];
  if (!key) return;
  const isRevoked = state.isRevoked(key);
  const wasGood = state.isGood(key.id);
  const { token } = key;
  const wasCertain = !key.uncertain;
  const wrong = await mesh.keys.verify(`${token.slice(0, -1)}${token.endsWith('x') ? 'y' : 'x'}`);
  if (wrong.valid) throw new Error('a token with a wrong letter was accepted');
  const { valid } = await mesh.keys.verify(token, { scope: random.chance(0.5) ? 's:read' : undefined });
  if (valid && isRevoked) throw new Error(`${key.id} was accepted after its revocation`);
  if (valid) key.passed += 1;
  if (key.maxUses !== undefined && key.passed > key.maxUses) throw new Error(`${key.id} was used ${key.passed} times`);
  const isGood = state.isGood(key.id);
  if (valid && !wasGood && !isGood) throw new Error(`${key.id} was accepted, and is not good`);
  if (!valid && wasGood && isGood && wasCertain && !key.uncertain && key.token === token && key.maxUses === undefined)
    throw new Error(`${key.id} was refused, and is good`);
};

const revoke: Act = async ({ mesh, state }, random) => {
  const key = random.pick([...state.keys, undefined]);
  if (!key) return;
  if (random.chance(0.5)) {
    await mesh.keys.revoke(key.id);
    key.revoked = true;
    return;
  }
  // Of two rotations at a time nobody knows which was the last.
  if (key.uncertain) return;
  key.uncertain = true;
  const { token } = await mesh.keys.rotate(key.id);
  key.token = token;
  key.uncertain = false;
};

const collaborate: Act = async (process, random) => {
  const { mesh, state } = process;
  const id = random.pick(['c1', 'c2']);
  const known = state.contexts.get(id);
  if (!known) {
    const initiator = actor(process, random);
    await fenced(process, initiator, () =>
      mesh.hub.createCollaboration({
        id,
        initiator,
        participants: SESSIONS.slice(1, 3)
          .filter((session) => session !== (typeof initiator === 'string' ? initiator : initiator.id))
          .map((session) => ({ session, role: 'any' })),
        steps: [{ name: 'one' }, { name: 'two', after: ['one'] }],
        context: { n: 0 },
      }),
    ).catch((error: unknown) => {
      if (!MeshError.is(error, 'already_exists')) throw error;
    });
    state.contexts.set(id, state.contexts.get(id) ?? { begun: 0, done: 0 });
    return;
  }
  const collaboration = await mesh.hub.getCollaboration(id);
  if (!collaboration) throw new Error(`${id} is lost`);
  const by = actor(process, random);
  const draw = random.next();
  if (draw < 0.6) {
    known.begun += 1;
    await collaboration.updateContext<{ n: number }>(({ n }) => ({ n: n + 1 }));
    known.done += 1;
  } else if (draw < 0.75) await fenced(process, by, () => collaboration.completeStep(random.pick(['one', 'two']), { by }));
  else if (draw < 0.85) await fenced(process, by, () => collaboration.join({ session: by, role: 'any' }));
  else if (draw < 0.95) await collaboration.leave({ session: by });
  else await collaboration.terminate({ reason: 'enough' });
};

/** What processes do to all four classes at once. */
export const ACTIONS: Readonly<Record<string, readonly [weight: number, act: Act]>> = {
  register: [6, register],
  update: [3, update],
  beat: [4, beat],
  end: [1, end],
  kill: [1.5, kill],
  steer: [0.5, steer],
  send: [8, send],
  broadcast: [1.5, broadcast],
  receive: [8, receive],
  settle: [8, settle],
  letters: [1, letters],
  request: [1, request],
  delegate: [5, delegate],
  claim: [5, claim],
  finish: [5, finish],
  decide: [2, decide],
  count: [4, count],
  remember: [6, remember],
  issue: [3, issue],
  verify: [6, verify],
  revoke: [3, revoke],
  collaborate: [3, collaborate],
};

/** Each process begins with two sessions of its own, the second of which it has to keep alive by hand; some of them work. */
export async function start({ name, mesh, state, sleep }: Omit<Process, 'own'>, random: SeededRandom): Promise<Own> {
  const n = Number(name.slice(1)) - 1;
  const common = { capabilities: CAPABILITIES, groups: ['g'], takeover: true, retentionMs: 600_000 };
  const first = await mesh.registry.register({ ...common, id: SESSIONS[n] ?? 'a', ttlMs: 6000 });
  const second = await mesh.registry.register({ ...common, id: SESSIONS[n + 2] ?? 'a', ttlMs: 20_000, heartbeat: 'manual' });
  if (random.chance(0.3)) {
    mesh.hub.inbox(first, { visibilityMs: VISIBILITY_MS }).handle(
      async (message) => {
        if (state.acked.has(`${first.id} ${message.id}`)) throw new Error(`${message.id} came after its ack`);
        await sleep(random.below(3000));
        if (message.type === 'request') await mesh.hub.reply(message, { from: first, body: 'answer' });
        if (random.chance(0.3)) throw new Error('no');
      },
      { concurrency: 2 },
    );
  }
  if (random.chance(0.3)) {
    mesh.hub.work(first, { capabilities: CAPABILITIES, concurrency: 2 }, async (_task, { signal }) => {
      await sleep(random.below(3000));
      if (random.chance(0.2) && !signal.aborted) throw new Error('no');
      return 'done';
    });
  }
  return [first, second];
}

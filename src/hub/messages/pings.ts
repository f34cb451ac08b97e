import { abortedBy, holdProcess } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import { type SessionState, stateOf } from '../../registry/session.ts';
import type { Tenure } from '../../registry/tenure.ts';
import type { Address } from '../../storage/storage.ts';
import { setHubAlarm } from '../alarm.ts';
import type { Actor, HubCore } from '../hub-core.ts';
import { ANY_PING, pingTopic } from './events.ts';
import { assertNotOver, type Routes } from './routes.ts';

/** Whether the process of a session has answered, and if not why. */
export type PingResult =
  | { readonly reachable: true; readonly roundTripMs: number }
  | { readonly reachable: false; readonly reason: 'not_found' | 'timed_out' | Exclude<SessionState, 'alive' | 'stopping'> };

/** Asks whether a session's process answers. Whoever holds the session does, without any code of its user; mail is not touched. */
export class Pings {
  readonly #core: HubCore;
  readonly #routes: Routes;

  constructor(core: HubCore, routes: Routes) {
    this.#core = core;
    this.#routes = routes;
    core.holders.whileHolding(() =>
      core.engine.log.wakeOn(ANY_PING, (event) => {
        if (core.closed) return;
        for (const held of core.holders.of(String(event['session']))) void this.#answer(held, String(event['ping']));
      }),
    );
  }

  /** @throws MeshError `not_found` and `not_alive` (who pings), `aborted`, `closed` */
  async ping(actor: Actor, session: string, timeoutMs: number, signal: AbortSignal | undefined): Promise<PingResult> {
    const { engine, sessions } = this.#core;
    if (signal?.aborted) throw abortedBy(signal);
    if (!actor.tenure) assertNotOver(await this.#routes.standing(actor.id));
    const snapshot = await sessions.read(session);
    if (!snapshot) return { reachable: false, reason: 'not_found' };
    const state = stateOf(snapshot);
    if (state !== 'alive' && state !== 'stopping') return { reachable: false, reason: state };
    const ping = engine.generateId('ping');
    const address = pingAddress(session, ping);
    const at = engine.now();
    const alarm = setHubAlarm(this.#core, { topics: [pingTopic(ping)], signals: [signal], at: at + timeoutMs });
    const release = holdProcess();
    try {
      await this.#core.write(actor, (draft) => {
        draft.puts.push({ ...address, value: actor.id, ttlMs: timeoutMs });
        draft.puts.push(engine.log.put('ping_sent', { ping, from: actor.id, session }));
      });
      await alarm.ring;
      if (signal?.aborted) throw abortedBy(signal);
      this.#core.assertOpen();
      const roundTripMs = engine.now() - at;
      // The one who answers removes it; at the deadline it is gone by itself.
      const [unanswered] = await engine.storage.get([address]);
      if (!unanswered && roundTripMs < timeoutMs) return { reachable: true, roundTripMs };
      const after = await sessions.read(session);
      const stateAfter = after && stateOf(after);
      if (stateAfter === 'alive' || stateAfter === 'stopping') return { reachable: false, reason: 'timed_out' };
      return { reachable: false, reason: stateAfter ?? 'not_found' };
    } finally {
      release();
      alarm.cancel();
    }
  }

  async #answer(tenure: Tenure, ping: string): Promise<void> {
    const { engine } = this.#core;
    const address = pingAddress(tenure.id, ping);
    try {
      await this.#core.write({ id: tenure.id, tenure }, async (draft) => {
        const [asked] = await engine.storage.get([address]);
        if (!asked) return;
        draft.checks.push({ ...address, revision: asked.revision });
        draft.deletes.push(address);
        draft.puts.push(engine.log.put('ping_answered', { ping, session: tenure.id }));
      });
    } catch (error) {
      // A session that is lost does not answer.
      const isExpected = MeshError.is(error) && ['lease_lost', 'not_alive', 'closed'].includes(error.code);
      if (!isExpected) engine.report(error);
    }
  }
}

function pingAddress(session: string, ping: string): Address {
  return { partition: `pings/${session}`, key: ping };
}

import * as z from 'zod';
import type { Message, MessageType } from '../hub/messages/message.ts';
import { MESSAGE_TYPES } from '../hub/messages/message.ts';
import type { MessageContent } from '../hub/messages/message-inputs.ts';
import type { WorkHandler } from '../hub/tasks/job.ts';
import { MeshError } from '../kernel/errors.ts';
import { callback, parse } from '../kernel/inputs.ts';
import { createMesh, type Mesh } from '../mesh.ts';
import type { RegisterOptions } from '../registry/session-inputs.ts';
import { SessionRegistry } from '../registry/session-registry.ts';
import { meshPolicy } from './mesh-policy.ts';
import { Host } from './simulation/host.ts';

/** What it answers: nothing, so that the message is just settled, or the content of a reply. What it throws naks. */
export type ScriptedAnswer = (message: Message) => MessageContent | undefined | Promise<MessageContent | undefined>;

/** Options of `scriptedAgent`. */
export interface ScriptedAgentOptions extends Omit<RegisterOptions, 'heartbeat'> {
  /** By the type of a message. Messages of other types are settled without an answer. */
  readonly on?: { readonly [Type in MessageType]?: ScriptedAnswer } | undefined;
  /** Works on tasks of the session and its capabilities. */
  readonly work?: WorkHandler | undefined;
}

/** A session that answers by a script. */
export interface ScriptedAgent {
  readonly id: string;
  /** Every message that it was handed, oldest first; those that came again, again. */
  readonly received: readonly Message[];
  /** It is gone as if its power went: it never acts again, and its lease and claims lapse. */
  crash(): Promise<void>;
  /** It finishes what it has begun, ends its session and is gone. May be called again. */
  stop(): Promise<void>;
}

const OPTIONS = z.looseObject({
  on: z.partialRecord(z.enum(MESSAGE_TYPES), callback<ScriptedAnswer>()).default({}),
  work: callback<WorkHandler>().optional(),
  heartbeat: z.undefined().optional(),
});

/**
 * A session that answers by a script, on the storage of `mesh` but as in a process of its own: so it can crash without
 * anything else.
 *
 * ```ts
 * const reviewer = await scriptedAgent(mesh, { id: 'reviewer', on: { request: () => ({ body: 'looks good' }) } });
 * await mesh.hub.request({ from: planner, to: 'reviewer', body: 'well?' });
 * await reviewer.crash();
 * ```
 * @throws MeshError as `registry.register`
 */
export async function scriptedAgent(mesh: Mesh, options: ScriptedAgentOptions = {}): Promise<ScriptedAgent> {
  const { on, work, ...registration } = parse(OPTIONS, options, 'options') as ScriptedAgentOptions;
  const { engine } = SessionRegistry.partsOf(parse(meshPolicy, mesh, 'mesh').registry);
  const host = new Host({ storage: engine.storage });
  const own = createMesh({
    storage: host,
    closeStorage: false,
    generateId: engine.generateId,
    onError: (error) => {
      if (!host.isDead) engine.report(error);
    },
  });
  const received: Message[] = [];
  try {
    const session = await own.registry.register(registration);
    const consumer = own.hub.inbox(session).handle(async (message) => {
      received.push(message);
      const answer = await on?.[message.type]?.(message);
      if (answer && !host.isDead) await own.hub.reply(message, { from: session, ...answer });
    });
    const worker = work && own.hub.work(session, {}, work);
    let stopping: Promise<void> | undefined;
    const stop = async (): Promise<void> => {
      await Promise.all([consumer.stop(), worker?.stop()]);
      try {
        await session.end();
      } catch (error) {
        // Somebody else has ended it.
        if (!MeshError.is(error, 'lease_lost', 'not_alive')) throw error;
      } finally {
        await own.close();
      }
    };
    return {
      id: session.id,
      received,
      async crash() {
        host.dismiss();
        await own.close().catch(() => {});
      },
      stop() {
        if (!host.isDead) stopping ??= stop();
        return stopping ?? Promise.resolve();
      },
    };
  } catch (error) {
    await own.close();
    throw error;
  }
}

import type { SessionHandle } from '../../registry/session-handle.ts';
import type { SimulatedProcess, SimulateOptions } from './options.ts';

const CAPABILITY = 'work';
const NAMES = ['p1', 'p2', 'p3', 'p4'];

type Agent = SimulatedProcess<unknown, SessionHandle>;

/** What agents do on any day, for runs that are only to be looked at by invariants. */
export const ORDINARY: {
  readonly start: NonNullable<SimulateOptions['start']>;
  readonly actions: NonNullable<SimulateOptions['actions']>;
} = {
  async start({ name, mesh }) {
    const agent = await mesh.registry.register({ id: name, capabilities: [CAPABILITY], takeover: true });
    mesh.hub.inbox(agent).handle((message) => {
      if (message.type === 'request') return mesh.hub.reply(message, { from: agent, body: 'yes' });
    });
    mesh.hub.work(agent, {}, async ({ payload }) => payload);
    return agent;
  },
  actions: {
    send: (process, random) => {
      const { mesh, own } = process as Agent;
      return mesh.hub.send({ from: own, to: random.pick(NAMES), body: 'hello' });
    },
    request: (process, random) => {
      const { mesh, own } = process as Agent;
      return mesh.hub.request({ from: own, to: random.pick(NAMES), body: 'will you?', timeoutMs: 5000 });
    },
    delegate: async (process, random) => {
      const { mesh, own } = process as Agent;
      const task = await mesh.hub.delegate({
        from: own,
        to: { capability: CAPABILITY },
        type: 'echo',
        payload: random.below(100),
      });
      return task.result();
    },
    remember: (process) => {
      const { mesh, own } = process as Agent;
      return mesh.memory.update<number>('count', (count) => (count ?? 0) + 1, { by: own });
    },
    work: (process, random) => {
      const { own } = process as Agent;
      return own.update({ status: random.pick(['idle', 'working']) });
    },
  },
};

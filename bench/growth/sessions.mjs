import { onBoth, times } from '../lib/curves.mjs';
import { seeded } from '../lib/measure.mjs';
import { capabilitiesOf, idOf, populated } from '../lib/sessions.mjs';
import { contentOf, LASTING } from '../lib/talk.mjs';

const OPERATIONS = [
  { operation: 'register and unregister', count: 300 },
  { operation: 'get', count: 2000 },
  { operation: 'heartbeat of one', count: 300 },
  { operation: 'list by capability, 10', count: 300 },
  { operation: 'list all, a page of 50', count: 100 },
  { operation: 'specialists, 10', count: 30 },
  { operation: 'kill one by force', count: 100 },
  { operation: 'send → claim → ack', count: 200 },
];

async function sessions(size, options) {
  const mesh = await populated(size, LASTING, options);
  const { registry, hub } = mesh;
  const below = seeded(1);
  const any = () => idOf(below(size));
  const sender = await registry.register({ id: 'planner-001', ...LASTING });
  const recipient = await registry.register({ id: 'dev-001', ...LASTING });
  const inbox = hub.inbox(recipient);
  let made = 0;
  const one = () => registry.register({ id: `more-${made++}`, capabilities: capabilitiesOf(made), ...LASTING });
  return {
    operations: {
      'register and unregister': times(async () => registry.unregister((await one()).id)),
      get: times(() => registry.get(any())),
      'heartbeat of one': times(() => recipient.heartbeat()),
      'list by capability, 10': times((n) => registry.list({ capabilities: [capabilitiesOf(n)[0]], limit: 10 })),
      'list all, a page of 50': times(() => registry.list({ state: 'alive', limit: 50 })),
      'specialists, 10': times((n) => registry.specialists(capabilitiesOf(n)[0], { limit: 10 })),
      'kill one by force': times(async () => registry.kill((await one()).id, { force: true })),
      'send → claim → ack': times(async (n) => {
        await hub.send({ from: sender, to: 'dev-001', ...contentOf(n) });
        const [delivery] = await inbox.receive();
        await delivery.ack();
      }),
    },
    close: () => mesh.close(),
  };
}

export const curves = onBoth({
  name: 'sessions',
  about: 'by the number of live sessions of one process, three of fifty capabilities each',
  sizes: [100, 1000, 10_000, 100_000],
  operations: OPERATIONS,
  open: sessions,
});

import { inParts, onBoth, times } from '../lib/curves.mjs';
import { contentOf, pair } from '../lib/talk.mjs';

const CYCLE = 'send → claim → ack';
const TASK = 'delegate → claim → complete';

function cycleOf({ hub, planner, inbox }) {
  return times(async (n) => {
    await hub.send({ from: planner, to: 'dev-001', ...contentOf(n) });
    const [delivery] = await inbox.receive();
    await delivery.ack();
  });
}

/** So many messages wait in the mailbox that is sent to and claimed from. */
async function waiting(size, options) {
  const ours = await pair({ ...options, hub: { mailboxLimit: 100_000 } });
  const { mesh, hub, planner } = ours;
  await inParts(size, (n) => hub.send({ from: planner, to: 'dev-001', ...contentOf(n) }));
  return {
    operations: {
      [CYCLE]: cycleOf(ours),
      'look at 10 unread': times(() => hub.messages({ session: 'dev-001', unread: true, limit: 10 })),
    },
    close: () => mesh.close(),
  };
}

/** So many messages were received, acked and are kept. */
async function kept(size, options) {
  const ours = await pair(options);
  const { mesh, hub, planner, inbox } = ours;
  await inParts(size, async (n) =>
    hub.send({ from: planner, to: 'dev-001', ...contentOf(n) }).then(async () => {
      for (const delivery of await inbox.receive({ limit: 100 })) await delivery.ack();
    }),
  );
  return {
    operations: {
      [CYCLE]: cycleOf(ours),
      'look at the oldest 10': times(() => hub.messages({ session: 'dev-001', unread: false, limit: 10 })),
    },
    close: () => mesh.close(),
  };
}

/** So many tasks wait for the capability that a worker has. */
async function queued(size, options) {
  const { mesh, hub, planner } = await pair(options);
  const worker = await mesh.registry.register({
    id: 'worker-001',
    capabilities: ['build'],
    heartbeat: 'manual',
    ttlMs: 3_600_000,
  });
  const delegate = (n) => hub.delegate({ from: planner, to: { capability: 'build' }, type: 'build', payload: contentOf(n) });
  await inParts(size, delegate);
  return {
    operations: {
      [TASK]: times(async (n) => {
        await delegate(n);
        const [assignment] = await hub.claim(worker, { limit: 1 });
        await assignment.complete({ ok: true });
      }),
    },
    close: () => mesh.close(),
  };
}

const SIZES = [100, 1000, 10_000, 99_000];
const KINDS = [
  {
    name: 'a deep mailbox',
    about: 'by the number of messages that wait in the mailbox, which holds 100,000 at most',
    open: waiting,
    operations: [
      { operation: CYCLE, count: 200 },
      { operation: 'look at 10 unread', count: 100 },
    ],
  },
  {
    name: 'kept messages',
    about: 'by the number of messages that were acked and are kept',
    open: kept,
    operations: [
      { operation: CYCLE, count: 200 },
      { operation: 'look at the oldest 10', count: 100 },
    ],
  },
  {
    name: 'queued tasks',
    about: 'by the number of tasks that wait for one capability',
    open: queued,
    operations: [{ operation: TASK, count: 100 }],
  },
];

export const curves = KINDS.flatMap((kind) => onBoth({ ...kind, sizes: SIZES }));

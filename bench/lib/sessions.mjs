import { createMesh, InMemoryStorage } from '../../dist/index.js';
import { VirtualClock } from '../../dist/testing.js';

const CAPABILITIES = 50;
const TOGETHER = 500;

/** Three of fifty, so that each is that of six in a hundred sessions. */
export function capabilitiesOf(index) {
  return [0, 17, 31].map((step) => `capability-${(index + step) % CAPABILITIES}`);
}

export const idOf = (index) => `session-${String(index).padStart(7, '0')}`;
export const sessionOf = (index) => ({
  id: idOf(index),
  agent: { name: 'Worker', type: 'Claude' },
  capabilities: capabilitiesOf(index),
});

/** A mesh with so many sessions; `common` is said of each. */
export async function populated(count, common, options = {}) {
  const mesh = createMesh(options);
  await populate(mesh, count, common);
  return mesh;
}

export async function populate(mesh, count, common, from = 0) {
  const handles = [];
  for (let start = from; start < from + count; start += TOGETHER) {
    const size = Math.min(TOGETHER, from + count - start);
    const registering = Array.from({ length: size }, (_, index) =>
      mesh.registry.register({ ...sessionOf(start + index), ...common }),
    );
    handles.push(...(await Promise.all(registering)));
  }
  return handles;
}

/** The same in time that stands still until it is told to move. */
export async function populatedAtRest(count, common) {
  const clock = new VirtualClock();
  const storage = new InMemoryStorage({ clock });
  const mesh = await populated(count, common, { storage });
  await clock.settle();
  return { mesh, clock, storage };
}

/** A broker of Moleculer that knows so many nodes, which is what comes nearest to sessions there. */
export async function nodes(moleculer, count, services = () => []) {
  const broker = new moleculer.default.ServiceBroker({ logger: false });
  await broker.start();
  for (let index = 0; index < count; index++) broker.registry.processNodeInfo(nodeOf(index, services(index)));
  return broker;
}

export function nodeOf(index, services = []) {
  return {
    ver: '4',
    sender: idOf(index),
    instanceID: idOf(index),
    services,
    ipList: ['127.0.0.1'],
    hostname: 'localhost',
    client: { type: 'nodejs', version: '0.14', langVersion: 'v20' },
    config: {},
    metadata: {},
    seq: 1,
  };
}

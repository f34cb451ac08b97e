import assert from 'node:assert/strict';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createMesh } from '../../dist/index.js';
import { HandMailbox } from '../lib/hand-mailbox.mjs';
import { heapBytes, timed } from '../lib/measure.mjs';
import { notInstalled, peer, versioned } from '../lib/peers.mjs';
import { capabilitiesOf, idOf, nodeOf, nodes, populated, populatedAtRest, sessionOf } from '../lib/sessions.mjs';
import { contentOf, LASTING } from '../lib/talk.mjs';

const MOLECULER = 'Moleculer knows nodes, not sessions: no leases, epochs, states, events or storage';
const [FEW, MANY] = [1_000, 100_000];

/** Sessions by hand: records in a map, and for each capability the ids that have it. Answers are copies. */
class HandRegistry {
  records = new Map();
  byCapability = new Map();

  add(session, index) {
    const { id, agent, capabilities } = session;
    const record = { id, agent, capabilities, status: 'active', epoch: 1, registeredAt: index, expiresAt: index };
    this.records.set(id, record);
    for (const capability of capabilities) {
      const ids = this.byCapability.get(capability);
      if (ids) ids.add(id);
      else this.byCapability.set(capability, new Set([id]));
    }
  }

  async find(capability, limit) {
    const found = [];
    for (const id of this.byCapability.get(capability) ?? []) {
      const record = this.records.get(id);
      found.push({ ...record, agent: { ...record.agent }, capabilities: [...record.capabilities] });
      if (found.length === limit) break;
    }
    return found;
  }
}

function handRegistry(count) {
  const registry = new HandRegistry();
  for (let index = 0; index < count; index++) registry.add(sessionOf(index), index);
  return registry;
}

/** Asks for one capability after the other. */
function finding(times, find) {
  return () =>
    timed(times, async () => {
      for (let index = 0; index < times; index++) {
        const capability = `capability-${index % 50}`;
        const found = await find(capability);
        if (found.length !== 10 || !found[0].capabilities.includes(capability)) throw new Error('expected ten who can');
      }
    });
}

const ofOurs = (mesh) => async (capability) =>
  (await mesh.registry.list({ state: 'alive', capabilities: [capability], limit: 10 })).items;

const findCase = {
  name: 'list by capability, limit 10, among 100,000 (row 5)',
  about: 'reference: a map and an index by hand, ten copies',
  first: { time: 40 },
  goal: { time: 5 },
  async open() {
    const mesh = await populated(MANY, LASTING);
    const hand = handRegistry(MANY);
    return {
      ours: finding(500, ofOurs(mesh)),
      reference: finding(5000, (capability) => hand.find(capability, 10)),
      verify() {},
      close: () => mesh.close(),
    };
  },
};

const findGrowthCase = {
  name: 'list by capability, limit 10, 1,000 → 100,000 (row 5)',
  about: 'reference: the same among 1,000 sessions',
  first: { time: 1.5 },
  goal: { time: 1.2 },
  async open() {
    const [few, many] = [await populated(FEW, LASTING), await populated(MANY, LASTING)];
    return {
      ours: finding(500, ofOurs(many)),
      reference: finding(500, ofOurs(few)),
      verify() {},
      async close() {
        await few.close();
        await many.close();
      },
    };
  },
};

async function listAll({ registry }, size) {
  let count = 0;
  for (let after; ; ) {
    const { items, next } = await registry.list({ state: 'alive', limit: 1000, ...(after !== undefined && { after }) });
    count += items.length;
    if (next === undefined) break;
    after = next;
  }
  if (count !== size) throw new Error(`expected ${size} sessions, got ${count}`);
}

function listCase({ size, first, goal }) {
  const count = size.toLocaleString('en');
  // A turn lists as many sessions in each case: of one list of few, most would be what the other side has left in the caches.
  const lists = (4 * MANY) / size;
  const repeated = (list) =>
    timed(lists, async () => {
      for (let done = 0; done < lists; done++) await list();
    });
  return {
    name: `list all alive, ${count} (row 6)`,
    about: `pages of 1,000, the whole list, until 400,000 are listed; reference: Moleculer getNodeList of as many nodes. ${MOLECULER}`,
    first,
    goal,
    async open() {
      const moleculer = await peer(() => import('moleculer'));
      if (!moleculer) return notInstalled('moleculer');
      const mesh = await populated(size, LASTING);
      const broker = await nodes(moleculer, size);
      return {
        ours: () => repeated(() => listAll(mesh, size)),
        reference: () =>
          repeated(async () => {
            // Its own node is among them.
            const { length } = broker.registry.getNodeList({ onlyAvailable: true, withServices: false });
            assert.equal(length, size + 1);
          }),
        verify() {},
        notes: () => [versioned('moleculer')],
        async close() {
          await mesh.close();
          await broker.stop();
        },
      };
    },
  };
}

const pageCase = {
  name: 'list a page of 50 alive among 100,000 (row 6)',
  about: 'pages one after the other; reference: the same among 1,000, to show that it does not grow',
  goal: { value: 10 },
  async open() {
    const [few, many] = [await populated(FEW, LASTING), await populated(MANY, LASTING)];
    const pages = ({ registry }) => {
      let after;
      return () =>
        timed(200, async () => {
          for (let index = 0; index < 200; index++) {
            const { items, next } = await registry.list({ state: 'alive', limit: 50, ...(after !== undefined && { after }) });
            if (items.length === 0) throw new Error('expected a page');
            after = next;
          }
        });
    };
    return {
      ours: pages(many),
      reference: pages(few),
      verify() {},
      async close() {
        await few.close();
        await many.close();
      },
    };
  },
};

/** Everything that one third of the ttl brings, which is a heartbeat of each. */
const BEAT_MS = 10_000;
const AUTOMATIC = { heartbeat: 'auto', ttlMs: 30_000 };

const beatCase = {
  name: 'heartbeats of 100,000 sessions of one process (row 7)',
  about: `leases renewed together by the timer of the library, in time that is moved on; reference: Moleculer heartbeatReceived of as many nodes. ${MOLECULER}`,
  first: { rate: 0.35 },
  goal: { value: 1 },
  async open() {
    const moleculer = await peer(() => import('moleculer'));
    if (!moleculer) return notInstalled('moleculer');
    const { mesh, clock } = await populatedAtRest(MANY, AUTOMATIC);
    const broker = await nodes(moleculer, MANY);
    const ids = Array.from({ length: MANY }, (_, index) => idOf(index));
    return {
      ours: () => timed(MANY, () => clock.advance(BEAT_MS)),
      reference: () =>
        timed(MANY, async () => {
          for (const id of ids) broker.registry.discoverer.heartbeatReceived(id, { cpu: 10, seq: 1, instanceID: id });
        }),
      async verify() {
        assert.equal((await mesh.registry.stats()).alive, MANY);
      },
      notes: () => [versioned('moleculer')],
      async close() {
        await mesh.close();
        await broker.stop();
      },
    };
  },
};

const beatCommitsCase = {
  name: 'heartbeat commits of 10,000 sessions in a third of their ttl',
  about: 'reference: a commit for each session',
  unit: 'commits',
  goal: { value: 40 },
  async open() {
    const { mesh, clock, storage } = await populatedAtRest(10_000, AUTOMATIC);
    let commits = 0;
    const commit = storage.commit.bind(storage);
    storage.commit = (given) => {
      commits += 1;
      return commit(given);
    };
    return {
      async ours() {
        const before = commits;
        await clock.advance(BEAT_MS);
        return { value: commits - before };
      },
      reference: async () => ({ value: 10_000 }),
      async verify() {
        assert.equal((await mesh.registry.stats()).alive, 10_000);
      },
      close: () => mesh.close(),
    };
  },
};

const REGISTERED = 200;

/** Registers some more, one after the other, and removes them again, untimed. */
function registering(mesh, size) {
  return async () => {
    const sample = await timed(REGISTERED, async () => {
      for (let index = 0; index < REGISTERED; index++) await mesh.registry.register({ ...sessionOf(size + index), ...LASTING });
    });
    for (let index = 0; index < REGISTERED; index++) await mesh.registry.unregister(idOf(size + index));
    return sample;
  };
}

const registerCase = {
  name: 'register at 100,000 (row 8)',
  about: 'reference: the same at 1,000',
  first: { time: 2 },
  goal: { time: 1.5 },
  async open() {
    const [few, many] = [await populated(FEW, LASTING), await populated(MANY, LASTING)];
    return {
      ours: registering(many, MANY),
      reference: registering(few, FEW),
      async verify() {
        assert.equal((await many.registry.stats()).alive, MANY);
      },
      async close() {
        await few.close();
        await many.close();
      },
    };
  },
};

/** A node that offers three services is found by them, as a session by its capabilities. */
const servicesOf = (index) =>
  capabilitiesOf(index).map((name) => ({ name, fullName: name, settings: {}, metadata: {}, actions: {}, events: {} }));

const registerPeerCase = {
  name: 'register at 5,000, beside Moleculer (row 8)',
  about: `reference: a node with three services joins 5,000 others. ${MOLECULER}`,
  goal: { value: 10 },
  async open() {
    const moleculer = await peer(() => import('moleculer'));
    if (!moleculer) return notInstalled('moleculer');
    const size = 5_000;
    const mesh = await populated(size, LASTING);
    const brokers = [await nodes(moleculer, FEW, servicesOf), await nodes(moleculer, size, servicesOf)];
    const joining = (broker) => {
      let joined = 0;
      return async () => {
        const sample = await timed(20, async () => {
          for (let index = 0; index < 20; index++) {
            joined += 1;
            const at = 1_000_000 + joined;
            broker.registry.processNodeInfo(nodeOf(at, servicesOf(at)));
          }
        });
        return sample;
      };
    };
    const [few, many] = brokers.map(joining);
    const atFew = [];
    return {
      ours: registering(mesh, size),
      async reference() {
        atFew.push((await few()).value);
        return many();
      },
      verify() {},
      notes: () => [`${versioned('moleculer')}; at 1,000 nodes ${Math.min(...atFew).toFixed(0)} µs at the least`],
      async close() {
        await mesh.close();
        for (const broker of brokers) await broker.stop();
      },
    };
  },
};

const IDLE = 20_000;

const bytesCase = {
  name: 'bytes per idle session with three capabilities (row 9)',
  about:
    'registered, held by this process, in the store with its lease, index and event; reference: a record and an index by hand',
  unit: 'B',
  warmUps: 1,
  first: { time: 4 },
  goal: { time: 2 },
  async open() {
    return {
      async ours() {
        const before = heapBytes();
        const mesh = await populated(IDLE, LASTING);
        const value = (heapBytes() - before) / IDLE;
        assert.equal((await mesh.registry.stats()).alive, IDLE);
        await mesh.close();
        return { value };
      },
      async reference() {
        const before = heapBytes();
        const hand = handRegistry(IDLE);
        const value = (heapBytes() - before) / IDLE;
        assert.equal(hand.records.size, IDLE);
        return { value };
      },
      verify() {},
      async close() {},
    };
  },
};

const QUEUED = 20_000;
const PAYLOAD = JSON.stringify(contentOf(QUEUED)).length;

const messageBytesCase = {
  name: 'bytes per queued message (row 9)',
  about: `a body and a small object, ${PAYLOAD} bytes of JSON, of which the goal is 300 more; reference: the frozen copy in an array. A copied string shares its characters with what was sent on both sides`,
  unit: 'B',
  warmUps: 1,
  goal: { value: PAYLOAD + 300 },
  async open() {
    const mine = (index) => {
      const content = contentOf(index);
      // Characters of its own, as what comes from outside has.
      return { ...content, body: Buffer.from(content.body).toString() };
    };
    return {
      async ours() {
        const mesh = createMesh({ hub: { mailboxLimit: 100_000 } });
        const planner = await mesh.registry.register({ id: 'planner-001', ...LASTING });
        await mesh.registry.register({ id: 'dev-001', ...LASTING });
        const before = heapBytes();
        for (let index = 0; index < QUEUED; index++) await mesh.hub.send({ from: planner, to: 'dev-001', ...mine(index) });
        const value = (heapBytes() - before) / QUEUED;
        assert.equal((await mesh.hub.stats()).messages.ready, QUEUED);
        await mesh.close();
        return { value };
      },
      async reference() {
        const mailbox = new HandMailbox();
        const before = heapBytes();
        for (let index = 0; index < QUEUED; index++) await mailbox.send({ from: 'planner-001', to: 'dev-001', ...mine(index) });
        const value = (heapBytes() - before) / QUEUED;
        assert.equal(mailbox.ready.length, QUEUED);
        return { value };
      },
      verify() {},
      async close() {},
    };
  },
};

/** A tree in which everybody has ten children, killed from its root. */
function killing(size) {
  let round = 0;
  return async (mesh) => {
    round += 1;
    const name = (index) => `tree-${round}-${size}-${index}`;
    const root = await mesh.registry.register({ id: name(0), ...LASTING });
    for (let level = 1; level < size; level = level * 10 + 1) {
      const upTo = Math.min(size, level * 10 + 1);
      for (let start = level; start < upTo; start += 500) {
        const some = Array.from({ length: Math.min(500, upTo - start) }, (_, index) => start + index);
        await Promise.all(
          some.map((index) =>
            mesh.registry.register({ id: name(index), parentId: name(Math.floor((index - 1) / 10)), ...LASTING }),
          ),
        );
      }
    }
    const sample = await timed(size, async () => {
      const { killed, stopping } = await mesh.registry.kill(root.id, { reason: 'budget', force: true });
      if (killed.length !== size || stopping.length !== 0) throw new Error('expected all of the tree to be killed');
    });
    return sample;
  };
}

const killCase = {
  name: 'kill a tree of 10,000 sessions, each',
  about: 'by force, from the root; reference: a tree of 1,000',
  first: { time: 2 },
  warmUps: 1,
  async open() {
    const mesh = createMesh();
    const [many, few] = [killing(10_000), killing(1_000)];
    return { ours: () => many(mesh), reference: () => few(mesh), verify() {}, close: () => mesh.close() };
  },
};

const EXPIRING = { heartbeat: 'manual', ttlMs: 60_000, retentionMs: 3_600_000 };

/** A mesh of so many whose leases lapse in the same moment, and how long that took and blocked the event loop. */
async function expiry(count) {
  const { mesh, clock } = await populatedAtRest(count, EXPIRING);
  let heard = 0;
  mesh.on('session_offline', () => {
    heard += 1;
  });
  const delays = monitorEventLoopDelay({ resolution: 1 });
  delays.enable();
  const sample = await timed(count, async () => {
    await clock.advance(EXPIRING.ttlMs + 5_000);
    await mesh.settled();
  });
  delays.disable();
  const { alive } = await mesh.registry.stats();
  await mesh.close();
  assert.deepEqual([alive, heard], [0, count]);
  return { ...sample, blockMs: delays.max / 1e6 };
}

const expiryCase = {
  name: 'expiry of 100,000 sessions at once, each',
  about: 'until the last event of it has been heard; reference: of 1,000 sessions',
  warmUps: 0,
  async open() {
    const blocks = [];
    return {
      async ours() {
        const sample = await expiry(MANY);
        blocks.push(sample.blockMs);
        return sample;
      },
      reference: () => expiry(FEW),
      verify() {},
      notes: () => [`the event loop was never blocked for longer than ${Math.max(...blocks).toFixed(0)} ms`],
      async close() {},
    };
  },
};

export const cases = [
  findCase,
  findGrowthCase,
  listCase({ size: 10_000, first: { faster: 20 }, goal: { faster: 60 } }),
  listCase({ size: MANY, first: { faster: 10 }, goal: { faster: 20 } }),
  pageCase,
  beatCase,
  beatCommitsCase,
  registerCase,
  registerPeerCase,
  bytesCase,
  messageBytesCase,
  killCase,
  expiryCase,
];

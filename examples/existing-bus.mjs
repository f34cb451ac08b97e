// A program that has an event bus already: events of the mesh go to the bus, and what the program says on the bus goes to
// sessions. Both ways, without echoes, and nothing is missed when the program was down.
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { createMesh } from 'session-mesh';

/** Stands for the bus of the host program. */
const bus = new EventEmitter();

/**
 * Joins a bus and a mesh. `cursor` is where it stopped the last time: `''` is the beginning of the log, leave it out to
 * begin now. Keep `position()` to go on from there.
 */
async function bridge(bus, mesh, { id, cursor }) {
  const { registry, hub } = mesh;
  const me = await registry.register({ id, agent: { name: 'Bridge', type: 'bus' } });
  const stop = new AbortController();
  let position = cursor;

  // From the mesh to the bus. Events name ids; whoever wants what a message says reads it.
  const forwarding = (async () => {
    for await (const event of mesh.events({ ...(cursor !== undefined && { after: cursor }), signal: stop.signal })) {
      if (event.from !== id) bus.emit(`mesh:${event.name}`, event); // its own messages came from the bus
      position = event.cursor;
    }
  })().catch((error) => {
    if (!stop.signal.aborted) throw error;
  });

  // Mail for the bridge is mail for the bus: acked once every listener has had it.
  const consumer = hub.inbox(me).handle((message) => void bus.emit('agent:message', message));

  // From the bus to the mesh. The bus's own id makes a repeated event one message.
  const say = async ({ eventId, to, subject, data }) => {
    await hub.send({ from: me, to, subject, data, idempotencyKey: eventId }).catch((error) => bus.emit('agent:refused', error));
  };
  bus.on('agent:say', say);

  return {
    position: () => position,
    async stop() {
      bus.off('agent:say', say);
      await consumer.stop();
      stop.abort();
      await forwarding;
      await me.end();
    },
  };
}

const mesh = createMesh();
const coder = await mesh.registry.register({ id: 'coder' });
const told = [];
bus.on('mesh:session_created', ({ session }) => told.push(session));

const bridged = await bridge(bus, mesh, { id: 'bus', cursor: '' });

// An agent that has never heard of the bus answers what came from it.
mesh.hub.inbox(coder).handle((message) => mesh.hub.reply(message, { from: coder, body: `${message.data.files} files, done` }));
const answered = once(bus, 'agent:message');
for (let repeat = 0; repeat < 3; repeat++) {
  bus.emit('agent:say', { eventId: 'evt-1', to: 'coder', subject: 'Build', data: { files: 3 } });
}
const [answer] = await answered;
assert.equal(answer.body, '3 files, done');
assert.equal((await mesh.hub.messages({ session: 'coder' })).items.length, 1);

const refused = once(bus, 'agent:refused');
bus.emit('agent:say', { eventId: 'evt-2', to: 'nobody', subject: 'Build' });
assert.equal((await refused)[0].code, 'not_found');

await bridged.stop();
assert.deepEqual(told, ['coder', 'bus']);
assert.ok(bridged.position() > '');
await mesh.close();
console.log('the bus heard of', told.join(' and '), 'and got:', answer.body);

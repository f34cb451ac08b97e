// Three agents, each of them a process of its own. One is steered, then the whole tree is killed by one order. The library
// can't stop a process; `onKill` is where you do.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { createMesh, MeshError, toTree } from 'session-mesh';

const mesh = createMesh();
const { registry } = mesh;

// Some agent that is no concern of ours: it answers each line, and would run for ever.
const PROGRAM = `process.stdin.on('data', (line) => console.log('going ' + String(line).trim())); setInterval(() => {}, 1000)`;

/** A session that stands for a process, below its parent's. */
async function startAgent(id, parent) {
  const child = spawn(process.execPath, ['-e', PROGRAM], { stdio: ['pipe', 'pipe', 'inherit'] });
  const options = { id, onKill: ({ force }) => child.kill(force ? 'SIGKILL' : 'SIGTERM') };
  const session = parent ? await parent.spawn(options) : await registry.register(options);
  const exited = once(child, 'exit').then(async ([, signal]) => {
    await session.end({ reason: signal }).catch(() => {}); // killed by force: it is over already
    return signal;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { session, child, exited, lines };
}

const lead = await startAgent('lead');
const coder = await startAgent('coder', lead.session);
const helper = await startAgent('helper', coder.session);
console.log(toTree(await registry.topology()));

// Steering: the directive goes on to the process, and is settled when that has taken it.
const listening = (async () => {
  for await (const steer of coder.session.steers()) {
    if (steer.direction === undefined) await steer.rejected('expected a direction');
    else {
      coder.child.stdin.write(`${steer.direction}\n`);
      await steer.applied({ note: (await coder.lines.next()).value });
    }
  }
})();
const receipt = await registry.steer('coder', { direction: 'north', message: 'tests first', by: lead.session });
assert.deepEqual(await receipt.settled(), { outcome: 'applied', note: 'going north' });
const vague = await registry.steer('coder', { message: 'faster', by: lead.session });
assert.equal((await vague.settled()).outcome, 'rejected');

// One order for all that is below, too. Each has its grace to end by itself.
const report = await registry.kill('lead', { reason: 'budget', graceMs: 3_000 });
assert.deepEqual(report.killed.map(({ session }) => session).sort(), ['coder', 'helper', 'lead']);
assert.ok(report.killed.every(({ graceful }) => graceful));
assert.deepEqual(await Promise.all([lead.exited, coder.exited, helper.exited]), ['SIGTERM', 'SIGTERM', 'SIGTERM']);
await listening; // the loop ends with its session

// Nothing lands in the name of whoever is dead, and killing again changes nothing.
await assert.rejects(coder.session.update({ status: 'working' }), (error) => MeshError.is(error, 'lease_lost'));
await assert.rejects(registry.steer('coder', { direction: 'south' }), (error) => MeshError.is(error, 'not_alive'));
assert.equal((await registry.kill('lead')).killed.length, 3);
assert.equal((await registry.get('helper')).reason, 'budget');
await mesh.close();

// API keys for the boundaries of a program: an HTTP handler, a socket, another process. Bound to a session, limited in
// scope, time and number of uses.
import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { createMesh, MeshError } from 'session-mesh';

const mesh = createMesh();
const { registry, hub, memory, keys } = mesh;
const planner = await registry.register({ id: 'planner' });
const coder = await registry.register({ id: 'coder' });

// The token is shown here, once. Only a digest of it is stored.
const { token, apiKey } = await keys.issue({ session: coder, scopes: ['messages:send', 'memory:*'], ttlMs: 3_600_000 });

/** What a server does with `Authorization: Bearer …`: the token says who acts, not the body of the request. */
async function handle({ authorization, action, input }) {
  try {
    const { session } = await keys.authenticate(authorization.replace(/^Bearer /, ''), { scope: action });
    if (action === 'messages:send') await hub.send({ ...input, from: session });
    if (action === 'memory:set') await memory.set(input.key, input.value, { by: session });
    return 200;
  } catch (error) {
    if (MeshError.is(error, 'unauthorized')) return 401; // says nothing of why
    if (MeshError.is(error, 'forbidden')) return 403;
    throw error;
  }
}

const authorization = `Bearer ${token}`;
assert.equal(await handle({ authorization, action: 'messages:send', input: { to: 'planner', subject: 'hello' } }), 200);
assert.equal(await handle({ authorization, action: 'memory:set', input: { key: 'a', value: 1 } }), 200);
assert.equal(await handle({ authorization, action: 'sessions:kill', input: {} }), 403);
assert.equal(await handle({ authorization: 'Bearer guessed', action: 'memory:set', input: {} }), 401);
assert.equal((await hub.messages({ session: 'planner' })).items[0].from, 'coder');

// A key for one interaction: of ten that try at once, one passes.
const once = await keys.issue({ session: coder, scopes: ['deploy'], maxUses: 1 });
const tries = await Promise.all(Array.from({ length: 10 }, () => keys.verify(once.token, { scope: 'deploy' })));
assert.equal(tries.filter(({ valid }) => valid).length, 1);

// A sub-agent gets less than its parent has, and never more.
const derived = await keys.derive(token, { scopes: ['memory:read'], ttlMs: 60_000 });
assert.equal((await keys.verify(derived.token, { scope: 'memory:read' })).valid, true);
await assert.rejects(keys.derive(token, { scopes: ['sessions:kill'] }), (error) => MeshError.is(error, 'forbidden'));

// Rotation without a gap: for the overlap both are good. Derived keys stay good too.
const rotated = await keys.rotate(apiKey.id, { overlapMs: 60_000 });
assert.equal((await keys.verify(token)).valid, true);
assert.equal((await keys.verify(rotated.token)).valid, true);

// The end of the session is the end of its keys, in every process, at once. So is revocation.
await keys.revoke(derived.apiKey.id, { reason: 'done' });
assert.deepEqual(await keys.verify(derived.token), { valid: false, code: 'revoked' });
await registry.kill('coder', { force: true, by: planner });
assert.deepEqual(await keys.verify(rotated.token), { valid: false, code: 'session_ended' });

// No secret in anything that is listed, told or printed.
const shown = inspect([await keys.list({ session: 'coder' }), await keys.stats()], { depth: null });
for (const secret of [token, once.token, derived.token, rotated.token]) assert.ok(!shown.includes(secret));
await mesh.close();
console.log('six kinds of refusal, no secret told');

// The sub-agent of a worker: tells how long the longest line of a file is. Goes when its worker goes.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { leaveAtOnce, start, unlessGone } from './agent.mjs';
import { openMesh } from './mesh.mjs';

const { hub, registry } = await openMesh(start.file);
const me = await registry.register({
  id: start.id,
  parentId: start.parentId,
  agent: { name: 'Scout', type: 'demo' },
  ttlMs: 2000,
  metadata: { pid: process.pid },
  onKill: () => leaveAtOnce(me),
});
hub.inbox(me).handle(
  async (request) => {
    const text = await readFile(path.join(start.root, request.data.file), 'utf8').catch(() => '');
    const longest = Math.max(...text.split('\n').map(({ length }) => length));
    await unlessGone(() => hub.reply(request, { from: me, data: longest }));
  },
  { concurrency: 4, types: ['request'] },
);
process.send({ kind: 'ready' });

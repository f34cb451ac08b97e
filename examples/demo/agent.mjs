// What every process of the team does alike: it joins the mesh, shows its key, works until it is told to finish, and
// hands in what it did. The pipe to the orchestrator carries the key, which must not stand in the mesh.
import { once } from 'node:events';
import { MeshError } from 'session-mesh';
import { openMesh, patiently, warn } from './mesh.mjs';

// Whose orchestrator is gone has nothing to stay for.
process.on('disconnect', () => process.exit(1));

/** Registers, proves it by the key that the orchestrator issues, and waits until it may begin. */
export async function joinTeam({ id, root, file }, registration) {
  const mesh = await openMesh(file);
  const me = await mesh.registry.register({
    id,
    metadata: { pid: process.pid },
    onKill: () => leaveAtOnce(me),
    ...registration,
  });
  process.send({ kind: 'hello' });
  const { token } = await message('key');
  process.send({ kind: 'show', token });
  const { assignment } = await message('go');

  /** Resolves when the orchestrator has told everybody to finish. */
  let finish;
  const finished = new Promise((resolve) => {
    finish = resolve;
  });
  return {
    mesh,
    me,
    root,
    assignment,
    finished,
    /** Answers requests with `answer`, several at a time, until the end. */
    answer(answer) {
      return mesh.hub.inbox(me).handle(
        async (received, context) => {
          if (received.type === 'broadcast' && received.subject === 'finish') finish();
          if (received.type === 'request') await unlessGone(() => answer(received, context));
        },
        { concurrency: 8 },
      );
    },
    /** Ends the session, and the process with it. The key proves whose figures these are. */
    async leave(figures) {
      process.send({ kind: 'figures', token, figures });
      await message('thanks');
      await patiently(() => me.end({ result: figures }));
      await mesh.close();
      process.removeAllListeners('disconnect');
      process.disconnect();
    },
  };
}

/** Whoever asked may be gone before it has its answer, or may have got tired of waiting. */
export async function unlessGone(work) {
  try {
    return await work();
  } catch (error) {
    if (!MeshError.is(error, 'not_alive', 'not_found', 'lease_lost', 'timed_out', 'aborted')) throw error;
    return undefined;
  }
}

/** For `onKill`: ends the session while it has its grace, and the process in any case. */
export async function leaveAtOnce(me) {
  await unlessGone(() => me.end()).catch(warn);
  process.exit(0);
}

/** What the orchestrator started this process with. */
export const start = JSON.parse(process.argv[2]);

async function message(kind) {
  for (;;) {
    const [received] = await once(process, 'message');
    if (received.kind === kind) return received;
  }
}

// Owns a session in a file, works until it is told to stop, and reports what it hears.
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import { createMesh, type MeshError } from '../../../src/index.ts';

const [file, id, mode] = process.argv.slice(2) as [string, string, string];
const print = (text: string): void => void process.stdout.write(`${text}\n`);
const mesh = createMesh({ storage: await SqliteStorage.open(file), onError: () => {} });
const agent = await mesh.registry.register({
  id,
  ttlMs: 20_000,
  onKill: ({ reason, force }) => print(`onKill ${reason} ${force}`),
});
const isOver = new Promise<void>((resolve) => agent.signal.addEventListener('abort', () => resolve()));
print('registered');
if (mode === 'writes') {
  // As fast as it can, so that it has a write under way whenever it is stopped or killed.
  let done = 0;
  for (;;) {
    try {
      await agent.update({ task: `${done++}` });
    } catch (error) {
      print(`refused ${(error as MeshError).code}`);
      break;
    }
  }
} else {
  for await (const steer of agent.steers()) {
    print(`steered ${steer.message}`);
    await steer.applied({ note: `by ${process.pid}` });
  }
}
await isOver;
print(`aborted ${(agent.signal.reason as MeshError).code} ${String((agent.signal.reason as MeshError).details['reason'])}`);
if (mode === 'graceful') {
  await agent.end({ result: 'tidy' });
  print('ended');
}
await mesh.close();

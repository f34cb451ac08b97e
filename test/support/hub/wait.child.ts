// Waits in one of the calls that hold a process, or has waited in it, and prints what became of it.
import { createMesh } from '../../../src/mesh.ts';

const [what] = process.argv.slice(2);
const print = (text: string): void => void process.stdout.write(`${text}\n`);
const mesh = createMesh();
const { hub, registry } = mesh;
const agent = await registry.register({ id: 'agent', ttlMs: 60_000 });
const delegate = (timeoutMs: number) => hub.delegate({ from: agent, to: 'agent', type: 'run', timeoutMs });

switch (what) {
  case 'result': {
    const task = await delegate(400);
    print(
      await task.result().then(
        () => 'done',
        (error: { code: string }) => error.code,
      ),
    );
    break;
  }
  case 'work': {
    // This timer alone holds nothing.
    const worker = hub.work(agent, { signal: AbortSignal.timeout(400) }, () => {});
    await worker.done;
    print('stopped');
    break;
  }
  case 'left': {
    await delegate(60_000);
    const worker = hub.work(agent, {}, () => 1);
    await worker.stop();
    await delegate(60_000);
    print('left');
    break;
  }
}

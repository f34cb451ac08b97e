// Waits in one of the calls that hold a process, or has waited in it, and prints what became of it.
import { createMesh } from '../../../src/index.ts';

const [what] = process.argv.slice(2);
const print = (text: string): void => void process.stdout.write(`${text}\n`);
const mesh = createMesh();
const { registry } = mesh;
const agent = await registry.register({ id: 'agent', ttlMs: 60_000 });

switch (what) {
  case 'kill': {
    const report = await registry.kill('agent', { graceMs: 400 });
    print(`killed ${report.killed.length}`);
    break;
  }
  case 'settled': {
    const receipt = await registry.steer('agent', {});
    print(
      await receipt.settled({ timeoutMs: 400 }).then(
        () => 'settled',
        (error: { code: string }) => error.code,
      ),
    );
    break;
  }
  case 'steers': {
    const loop = agent.steers({ signal: AbortSignal.timeout(400) });
    // This timer alone holds nothing.
    print(
      await loop.next().then(
        () => 'got one',
        (error: { code: string }) => error.code,
      ),
    );
    break;
  }
  case 'worked': {
    // Between two steps of the loop nothing holds the process: it ends here, with the promise open.
    await registry.steer('agent', {});
    for await (const steer of agent.steers()) {
      print(`working on ${steer.id.slice(0, 5)}`);
      await new Promise(() => {});
    }
    break;
  }
  case 'left': {
    await registry.steer('agent', {});
    for await (const steer of agent.steers()) {
      await steer.applied();
      break;
    }
    await registry.kill('agent', { timeoutMs: 0, graceMs: 60_000 });
    print('left');
    break;
  }
}

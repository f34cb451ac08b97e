import { createMesh } from 'session-mesh';

const mesh = createMesh();
const { registry, hub, memory } = mesh;

const planner = await registry.register({ id: 'planner', capabilities: ['planning'] });
const coder = await registry.register({ id: 'coder', capabilities: ['typescript'] });
hub.work(coder, {}, async (task) => `${task.payload} is written`);

const task = await hub.delegate({ from: planner, to: { capability: 'typescript' }, type: 'code', payload: 'parser.ts' });
await memory.set('parser', await task.result(), { by: planner });
console.log(await memory.get('parser'));
// prints: parser.ts is written

await mesh.close();

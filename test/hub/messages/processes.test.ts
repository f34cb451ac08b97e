import { expect, it } from 'vitest';
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import { createMesh } from '../../../src/mesh.ts';
import { SeededRandom } from '../../../src/testing/random.ts';
import { type Child, startChild } from '../../support/children.ts';
import { eventsOf, mailOf } from '../../support/hub/post.ts';
import { temporaryFile } from '../../support/storages.ts';

const MESSAGES = 400;
const KILLS = 25;
const random = new SeededRandom(7);

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A consumer's process, and the next one whenever it was killed. */
class Consumers {
  readonly id: string;
  /** What they said that they had got, and had acked. */
  readonly got: string[] = [];
  readonly acked: string[] = [];
  readonly #file: string;
  #child: Child | undefined;
  kills = 0;

  constructor(file: string, id: string) {
    this.#file = file;
    this.id = id;
  }

  async start(): Promise<void> {
    const child = startChild('hub/consume', [this.#file, this.id]);
    this.#child = child;
    expect(await child.line()).toBe('ready');
    void this.#listen(child);
  }

  async kill(): Promise<void> {
    this.#child?.process.kill('SIGKILL');
    await this.#child?.ended;
    this.kills += 1;
  }

  async #listen(child: Child): Promise<void> {
    for (;;) {
      // It ends when it is killed.
      const line = await child.line().catch(() => undefined);
      if (line === undefined) return;
      const [what, body = ''] = line.split(' ');
      if (what === 'got') this.got.push(body);
      if (what === 'acked') this.acked.push(body);
    }
  }
}

// Real processes on a real file, so by the wall clock.

it(`loses none of ${MESSAGES} messages when consumers are killed ${KILLS} times, and acks each once`, async () => {
  const file = temporaryFile();
  const consumers = [0, 1, 2].map((n) => new Consumers(file, `consumer${n}`));
  await Promise.all(consumers.map((consumer) => consumer.start()));
  const sender = startChild('hub/send', [file, String(MESSAGES)]);
  expect(await sender.line()).toBe('ready');
  const sent: string[] = [];
  const sending = (async () => {
    for (let line = await sender.line(); line !== 'done'; line = await sender.line()) sent.push(line.replace('sent ', ''));
  })();
  for (let kill = 0; kill < KILLS; kill++) {
    await pause(random.below(60));
    const victim = random.pick(consumers);
    await victim.kill();
    await victim.start();
  }
  await sending;
  expect(sent).toHaveLength(MESSAGES);

  const storage = await SqliteStorage.open(file, { busyTimeoutMs: 5000 });
  const mesh = createMesh({ storage });
  const deadline = performance.now() + 60_000;
  const openCount = async (): Promise<number> => {
    const { ready, claimed } = (await mesh.hub.stats()).messages;
    return ready + claimed;
  };
  while ((await openCount()) > 0 && performance.now() < deadline) await pause(50);
  const mail = (await Promise.all(consumers.map(({ id }) => mailOf(mesh, id)))).flat();
  expect(mail.map(({ body }) => body).sort()).toEqual([...sent].sort());
  expect(mail.filter(({ state }) => state !== 'acked')).toEqual([]);
  // Recorded once, however often it was delivered.
  const acked = (await eventsOf(storage)).filter(({ name }) => name === 'message_acked').flatMap(({ messages }) => messages);
  expect(acked).toHaveLength(MESSAGES);
  expect(new Set(acked).size).toBe(MESSAGES);
  for (const consumer of consumers) {
    expect(new Set(consumer.acked).size).toBe(consumer.acked.length);
    // Only what was in hand at a kill came again.
    expect(consumer.got.length - new Set(consumer.got).size).toBeLessThanOrEqual(consumer.kills);
  }
  expect(consumers.reduce((sum, { kills }) => sum + kills, 0)).toBe(KILLS);
  await mesh.close();
});

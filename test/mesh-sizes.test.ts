import { describe, expect, it } from 'vitest';
import type { JsonValue } from '../src/index.ts';
import { jsonBytesAtMost, utf8Length } from '../src/kernel/json.ts';
import { createMesh } from '../src/mesh.ts';
import { InMemoryStorage } from '../src/storage/in-memory-storage.ts';
import { OwnPut } from '../src/storage/own-put.ts';
import type { Put } from '../src/storage/storage.ts';
import { member } from './support/hub/post.ts';
import { hooked } from './support/memory/observed.ts';

/** Texts of which each character takes as many bytes of JSON as there are: six, and three. */
const WORST = ['\u0007', '"', '\u2028', 'ж', '😀'];

describe('the sizes that a storage is told', () => {
  it('are at least what is written, whatever is said', async () => {
    const wrong: JsonValue[] = [];
    let seen = 0;
    const commit = ({ puts = [] }: { readonly puts?: readonly Put[] }): void => {
      for (const put of puts) {
        seen += 1;
        const atMost = OwnPut.bytesOf(put) ?? jsonBytesAtMost(put.value);
        if (atMost < utf8Length(JSON.stringify(put.value))) wrong.push(put.value);
      }
    };
    const { registry, hub, memory, keys } = createMesh({ storage: hooked(new InMemoryStorage(), { commit }) });
    const long = (first: string): string => first.padEnd(128, 'x');
    const [from, to] = [long('from'), long('to')];
    const sender = await member(registry, from, { groups: ['all'], capabilities: ['any'] });
    const recipient = await member(registry, to, { groups: ['all'], capabilities: ['any'] });
    const inbox = hub.inbox(recipient);
    for (const worst of WORST) {
      const text = worst.repeat(50);
      const said = {
        body: text,
        data: { [text]: [text, -0.000001055683489443, 1e21, true, null] },
        headers: { [text]: text },
        priority: 'medium' as const,
      };
      for (const target of [to, { group: 'all' }, { capability: 'any' }]) {
        await hub.send({ from: sender, to: target, ...said, subject: 'x'.repeat(300), ttlMs: 60_000, threadId: long('thread') });
      }
      await hub.broadcast({ from: sender, ...said, idempotencyKey: long(`key-${seen}-`) });
      const [delivery] = await inbox.receive({ limit: 100 });
      if (delivery) await hub.reply(delivery.message, { from: recipient, ...said });
      await memory
        .namespace(long('name'))
        .set('ж'.repeat(256), { [text]: text }, { by: sender, tags: [long('tag').slice(0, 64)] });
      await memory.namespace(long('name')).delete('ж'.repeat(256), { by: recipient });
    }
    await Promise.all(Array.from({ length: 300 }, () => hub.send({ from, to })));
    await Promise.all((await inbox.receive({ limit: 300 })).map((delivery) => delivery.ack()));
    await keys.issue({ session: sender, metadata: { text: '\u0007'.repeat(50) } });
    expect(wrong).toEqual([]);
    expect(seen).toBeGreaterThan(1000);
  });
});

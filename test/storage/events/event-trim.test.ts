import { describe, expect, it } from 'vitest';
import { createMesh } from '../../../src/mesh.ts';
import { Engine } from '../../../src/storage/engine.ts';
import { EventTrim } from '../../../src/storage/events/event-trim.ts';
import { InMemoryStorage } from '../../../src/storage/in-memory-storage.ts';
import { pagesOf } from '../../../src/storage/pages.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { storages } from '../../support/storages.ts';

async function fill(engine: Engine, from: number, count: number): Promise<void> {
  for (let n = from; n < from + count; n += 500) {
    await engine.commit({ puts: Array.from({ length: 500 }, (_, i) => engine.log.put('event', { n: n + i })) });
  }
}

async function kept(engine: Engine): Promise<unknown[]> {
  const numbers: unknown[] = [];
  let after = '';
  for (;;) {
    const page = await engine.log.reader.read(after);
    numbers.push(...page.map((event) => event['n']));
    if (page.length < 1000) return numbers;
    after = page[999]?.cursor ?? '';
  }
}

describe.each(storages)('trimming the event log on %s', (_name, open) => {
  it('keeps the newest events, give or take a thousand, also when it goes on later', async () => {
    const clock = new VirtualClock();
    const engine = new Engine({ storage: await open(clock) });
    const trim = new EventTrim({ storage: engine.storage, clock, maxEvents: 3000 });
    await fill(engine, 0, 5500);
    await trim.run();
    expect(await kept(engine)).toEqual(Array.from({ length: 3500 }, (_, n) => n + 2000));
    await fill(engine, 5500, 2000);
    await trim.run();
    expect(await kept(engine)).toEqual(Array.from({ length: 3500 }, (_, n) => n + 4000));
    await trim.run();
    expect((await kept(engine)).length).toBe(3500);
    await engine.close();
  });

  it('removes what is too old and nothing else', async () => {
    const clock = new VirtualClock();
    const engine = new Engine({ storage: await open(clock) });
    const trim = new EventTrim({ storage: engine.storage, clock, maxEvents: 100_000, maxAgeMs: 60_000 });
    await fill(engine, 0, 1500);
    await clock.advance(60_000);
    await fill(engine, 1500, 500);
    await trim.run();
    expect((await kept(engine)).length).toBe(2000);
    await clock.advance(1);
    await trim.run();
    expect(await kept(engine)).toEqual(Array.from({ length: 500 }, (_, n) => n + 1500));
    await engine.close();
  });

  it('tells a reader with a cursor older than the log so, and where to go on', async () => {
    const clock = new VirtualClock();
    const engine = new Engine({ storage: await open(clock) });
    const trim = new EventTrim({ storage: engine.storage, clock, maxEvents: 1000 });
    await fill(engine, 0, 500);
    const old = await engine.log.reader.tail();
    await fill(engine, 500, 3000);
    await trim.run();
    const oldest = await engine.log.reader.oldest();
    await expect(engine.log.follow({ after: old }).next()).rejects.toMatchObject({ code: 'not_found', details: { oldest } });
    expect((await engine.log.follow({ after: oldest }).next()).value?.['n']).toBe(2001);
    expect((await engine.log.follow({ after: '' }).next()).value?.['n']).toBe(2000);
    await engine.close();
  });

  it('lets two processes trim at once without removing more than one would', async () => {
    const clock = new VirtualClock();
    const engine = new Engine({ storage: await open(clock) });
    const trims = [1, 2].map(() => new EventTrim({ storage: engine.storage, clock, maxEvents: 2000 }));
    await fill(engine, 0, 4000);
    await Promise.all(trims.map((trim) => trim.run()));
    expect(await kept(engine)).toEqual(Array.from({ length: 2000 }, (_, n) => n + 2000));
    await engine.close();
  });
});

describe('a mesh in memory', () => {
  it('lets go of the events of a burst, although nothing happens behind it', async () => {
    const clock = new VirtualClock();
    const storage = new InMemoryStorage({ clock });
    const mesh = createMesh({ storage });
    for (let count = 0; count < 25_000; count++) await mesh.memory.set('count', count);
    await clock.advance(3000);
    let kept = 0;
    for await (const page of pagesOf(storage, 'events', { values: false })) kept += page.length;
    expect(kept).toBeGreaterThanOrEqual(10_000);
    expect(kept).toBeLessThan(11_001);
    await mesh.close();
  });
});

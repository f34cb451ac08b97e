import { describe, expect, it } from 'vitest';
import { Engine } from '../../src/storage/engine.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { gate, viewOf } from '../support/registry/views.ts';
import { storages } from '../support/storages.ts';

describe.each(storages)('what is due on %s', (_name, open) => {
  it('is handled when its time has come, not a millisecond before, in order of time', async () => {
    const clock = new VirtualClock();
    const engine = new Engine({ storage: await open(clock) });
    const handled: string[] = [];
    engine.due.handle('lease', ({ id, at, data }) => {
      handled.push(`${id}@${at - start}:${JSON.stringify(data)}`);
      return {};
    });
    const start = clock.now();
    await engine.commit({
      puts: [engine.due.put(start + 20, 'lease', 'b'), engine.due.put(start + 10, 'lease', 'a/x', { n: 1 })],
    });
    await clock.advance(9);
    expect(await engine.due.sweep()).toBe(0);
    await clock.advance(1);
    expect(await engine.due.sweep()).toBe(1);
    await clock.advance(10);
    expect(await engine.due.sweep()).toBe(1);
    expect(handled).toEqual(['a/x@10:{"n":1}', 'b@20:null']);
    expect(await engine.due.sweep()).toBe(0);
    await engine.close();
  });

  it('makes the change and removes the entry in one commit, so that many sweepers do it once', async () => {
    const clock = new VirtualClock();
    const storage = await open(clock);
    const engines = Array.from({ length: 8 }, () => new Engine({ storage }));
    for (const engine of engines) {
      engine.due.handle('lease', ({ id }) => ({ puts: [engine.log.put('expired', { id })] }));
    }
    const [first] = engines as [Engine];
    await first.commit({ puts: Array.from({ length: 250 }, (_, n) => first.due.put(clock.now(), 'lease', `s-${n}`)) });
    await Promise.all(engines.map((engine) => engine.due.sweep()));
    const events = await first.log.reader.read('');
    expect(events.length).toBe(250);
    expect(new Set(events.map((event) => event['id'])).size).toBe(250);
    await Promise.all(engines.map((engine) => engine.close()));
  });

  it('is told to whoever began to listen before, also while the store is asked for the end of the log', async () => {
    const clock = new VirtualClock();
    const storage = await open(clock);
    const asking = gate();
    const late = viewOf(storage, {
      list: async (partition, range) => {
        if (partition === 'events' && range?.reverse) await asking.wait();
      },
    });
    const engine = new Engine({ storage: late });
    engine.due.handle('lease', ({ id }) => ({ puts: [engine.log.put('expired', { id })] }));
    await engine.commit({ puts: [engine.due.put(clock.now(), 'lease', 'a')] });
    const heard: unknown[] = [];
    engine.log.subscribe((event) => heard.push(event['id']));
    const sweep = engine.due.sweep();
    await clock.settle();
    asking.open();
    await sweep;
    await engine.log.settled();
    expect(heard).toEqual(['a']);
    await engine.close();
  });

  it('moves an entry that was found too early', async () => {
    const clock = new VirtualClock();
    const engine = new Engine({ storage: await open(clock) });
    const renewedUntil = clock.now() + 500;
    const handled: number[] = [];
    engine.due.handle('lease', () => {
      if (clock.now() < renewedUntil) return { moveTo: renewedUntil };
      handled.push(clock.now());
      return {};
    });
    await engine.commit({ puts: [engine.due.put(clock.now() + 100, 'lease', 'a')] });
    await clock.advance(100);
    await engine.due.sweep();
    await clock.advance(399);
    await engine.due.sweep();
    expect(handled).toEqual([]);
    await clock.advance(1);
    await engine.due.sweep();
    expect(handled).toEqual([renewedUntil]);
    await engine.close();
  });

  it('keeps an entry whose change conflicts or whose handler fails, and reports the failure', async () => {
    const clock = new VirtualClock();
    const errors: unknown[] = [];
    const engine = new Engine({ storage: await open(clock), onError: (error) => errors.push(error) });
    let fail = true;
    engine.due.handle('conflict', () => ({ checks: fail ? [{ partition: 'p', key: 'k', revision: 9 }] : [] }));
    engine.due.handle('error', () => {
      if (fail) throw new Error('not today');
      return {};
    });
    engine.due.handle('fine', () => ({}));
    await engine.commit({ puts: ['conflict', 'error', 'fine'].map((kind) => engine.due.put(clock.now(), kind, 'a')) });
    expect(await engine.due.sweep()).toBe(3);
    expect(errors).toEqual([new Error('not today')]);
    fail = false;
    expect(await engine.due.sweep()).toBe(2);
    expect(await engine.due.sweep()).toBe(0);
    await engine.close();
  });

  it('passes over hundreds of entries that nobody here handles', async () => {
    const clock = new VirtualClock();
    const engine = new Engine({ storage: await open(clock) });
    let handled = 0;
    engine.due.handle('mine', () => {
      handled += 1;
      return {};
    });
    await engine.commit({ puts: Array.from({ length: 350 }, (_, n) => engine.due.put(clock.now(), 'foreign', `f-${n}`)) });
    await engine.commit({ puts: [engine.due.put(clock.now(), 'mine', 'a')] });
    await engine.due.sweep();
    expect(handled).toBe(1);
    expect(await engine.due.sweep()).toBe(350);
    await engine.close();
  });

  it('is looked at within the sweep interval, and no timer is left after close', async () => {
    const clock = new VirtualClock();
    const engine = new Engine({ storage: await open(clock), sweepIntervalMs: 1000 });
    const handledAt: number[] = [];
    engine.due.handle('lease', () => {
      handledAt.push(clock.now());
      return {};
    });
    engine.sweep();
    const start = clock.now();
    await engine.commit({ puts: [engine.due.put(start + 1500, 'lease', 'a')] });
    await clock.advance(5000);
    expect(handledAt).toEqual([start + 2000]);
    await engine.close();
    expect(clock.pending).toBe(0);
  });
});

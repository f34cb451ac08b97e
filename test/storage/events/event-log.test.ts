import { describe, expect, it } from 'vitest';
import { Engine } from '../../../src/storage/engine.ts';
import type { LoggedEvent } from '../../../src/storage/events/event-reader.ts';
import type { Storage } from '../../../src/storage/storage.ts';
import { withFaults } from '../../../src/testing/faults.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { storages } from '../../support/storages.ts';

const TIMEOUT_MS = 100;

function failTest(error: unknown): void {
  throw error;
}

async function write(engine: Engine, name: string, fields = {}): Promise<string> {
  const result = await engine.commit({ puts: [engine.log.put(name, fields)] });
  if (!result.committed) throw new Error('expected the event to be written');
  return engine.log.reader.tail();
}

async function take(events: AsyncIterable<LoggedEvent>, count: number): Promise<LoggedEvent[]> {
  const taken: LoggedEvent[] = [];
  for await (const event of events) {
    taken.push(event);
    if (taken.length === count) break;
  }
  return taken;
}

describe.each(storages)('the event log on %s', (_name, open) => {
  const engineOn = (storage: Storage): Engine => new Engine({ storage, onError: failTest, pollIntervalMs: TIMEOUT_MS });

  it('tells whoever joins while an event is told only what comes behind it, also where the tail takes a while', async () => {
    const clock = new VirtualClock();
    const inner = await open(clock);
    const engine = engineOn({
      durability: inner.durability,
      clock,
      reliableHints: true,
      now: () => inner.now(),
      get: (addresses) => inner.get(addresses),
      list: async (partition, range) => inner.list(partition, range),
      commit: (commit) => inner.commit(commit),
      watch: (listener) => inner.watch(listener),
      close: () => inner.close(),
    });
    const heard: string[] = [];
    const again = ({ name }: LoggedEvent): void => {
      heard.push(name);
      if (heard.length > 5) return;
      stop();
      stop = engine.log.subscribe(again);
    };
    let stop = engine.log.subscribe(again);
    engine.log.subscribe(() => {});
    const joined: string[] = [];
    await clock.advance(TIMEOUT_MS);
    await write(engine, 'first');
    await clock.advance(TIMEOUT_MS);
    // What was committed and acknowledged before is not for whoever comes now, though it was not told yet.
    await write(engine, 'second');
    engine.log.subscribe(({ name }) => joined.push(name));
    await write(engine, 'third');
    await clock.advance(TIMEOUT_MS);
    // When it came anew at the second, the third was there already.
    expect(heard).toEqual(['first', 'second']);
    expect(joined).toEqual(['third']);
    await engine.close();
  });

  it('tells listeners every event once, in commit order, with its fields, time and cursor', async () => {
    const clock = new VirtualClock();
    const engine = engineOn(await open(clock));
    const heard: LoggedEvent[] = [];
    engine.log.subscribe((event) => heard.push(event));
    const start = clock.now();
    await write(engine, 'first', { id: 'a' });
    await clock.advance(5);
    await engine.commit({ puts: [engine.log.put('second', { id: 'b' }), engine.log.put('third', { id: 'c' })] });
    await engine.log.settled();
    expect(heard).toEqual([
      { name: 'first', at: start, id: 'a', cursor: expect.stringMatching(/^\d{20}$/) },
      { name: 'second', at: start + 5, id: 'b', cursor: expect.any(String) },
      { name: 'third', at: start + 5, id: 'c', cursor: expect.any(String) },
    ]);
    expect(heard[1]?.cursor.slice(0, 16)).toBe(heard[2]?.cursor.slice(0, 16));
    expect(heard.map(({ cursor }) => cursor)).toEqual(heard.map(({ cursor }) => cursor).sort());
    expect(Object.isFrozen(heard[0])).toBe(true);
    await engine.close();
  });

  it('tells a listener only what is committed after it came', async () => {
    const engine = engineOn(await open(new VirtualClock()));
    const heard: string[] = [];
    await write(engine, 'before');
    engine.log.subscribe((event) => heard.push(`1:${event.name}`));
    await write(engine, 'between');
    engine.log.subscribe((event) => heard.push(`2:${event.name}`));
    await write(engine, 'after');
    await engine.log.settled();
    expect(heard).toEqual(['1:between', '1:after', '2:after']);
    await engine.close();
  });

  it('tells two processes the same sequence', async () => {
    const storage = await open(new VirtualClock());
    const [one, two] = [engineOn(storage), engineOn(storage)];
    const heard: [string[], string[]] = [[], []];
    one.log.subscribe(({ name }) => heard[0].push(name));
    two.log.subscribe(({ name }) => heard[1].push(name));
    await Promise.all(Array.from({ length: 100 }, (_, n) => write(n % 2 ? one : two, `event-${n}`)));
    await Promise.all([one.log.settled(), two.log.settled()]);
    expect(heard[0]).toHaveLength(100);
    expect(heard[1]).toEqual(heard[0]);
    await Promise.all([one.close(), two.close()]);
  });

  it('replays from a cursor and then follows, across page boundaries', async () => {
    const engine = engineOn(await open(new VirtualClock()));
    for (let batch = 0; batch < 5; batch++) {
      await engine.commit({ puts: Array.from({ length: 500 }, (_, n) => engine.log.put('event', { n: batch * 500 + n })) });
    }
    const all = await take(engine.log.follow({ after: '' }), 2500);
    expect(all.map((event) => event['n'])).toEqual(Array.from({ length: 2500 }, (_, n) => n));
    const tail = take(engine.log.follow({ after: all[2497]?.cursor }), 3);
    await write(engine, 'event', { n: 2500 });
    expect((await tail).map((event) => event['n'])).toEqual([2498, 2499, 2500]);
    await engine.close();
  });

  it('follows from the moment of the call, not of the first step', async () => {
    const engine = engineOn(await open(new VirtualClock()));
    await write(engine, 'before');
    const events = engine.log.follow();
    await write(engine, 'after');
    expect((await take(events, 1))[0]?.name).toBe('after');
    await engine.close();
  });

  it('ends a wait with aborted when the signal aborts, and the loop when the log is closed', async () => {
    const engine = engineOn(await open(new VirtualClock()));
    const controller = new AbortController();
    const aborted = engine.log.follow({ signal: controller.signal }).next();
    const closed = engine.log.follow().next();
    await new Promise(setImmediate);
    controller.abort(new Error('enough'));
    await expect(aborted).rejects.toMatchObject({ code: 'aborted', cause: new Error('enough') });
    await engine.close();
    expect(await closed).toEqual({ done: true, value: undefined });
    expect(
      await engine.log
        .follow({ after: '' })
        .next()
        .catch((error) => error.code),
    ).toEqual({ done: true, value: undefined });
  });

  it.each([7, 'abc', '1234', null])('refuses %o as a cursor', async (after) => {
    const engine = engineOn(await open(new VirtualClock()));
    expect(() => engine.log.follow({ after: after as string })).toThrow(expect.objectContaining({ code: 'invalid_input' }));
    await engine.close();
  });

  it('wakes the waiters that an event names, and no other', async () => {
    const engine = engineOn(await open(new VirtualClock()));
    engine.log.defineTopics('mail', (event) => [`mailbox/${event['to']}`]);
    const woken: string[] = [];
    engine.log.wakeOn('mailbox/a', (event) => woken.push(`a:${event['n']}`));
    const stop = engine.log.wakeOn('mailbox/b', (event) => woken.push(`b:${event['n']}`));
    for (const [n, to] of ['b', 'a', 'c', 'b'].entries()) await write(engine, 'mail', { to, n });
    await write(engine, 'other', { to: 'a' });
    await engine.log.settled();
    expect(woken).toEqual(['b:0', 'a:1', 'b:3']);
    stop();
    await write(engine, 'mail', { to: 'b', n: 4 });
    await engine.log.settled();
    expect(woken).toHaveLength(3);
    await engine.close();
  });

  it('reads the tail once for a thousand waiters', async () => {
    const storage = await open(new VirtualClock());
    let lists = 0;
    const counted = new Proxy(storage, {
      get(target, name) {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== 'function') return member;
        if (name !== 'list') return member.bind(target);
        return (...args: unknown[]) => {
          lists += 1;
          return member.apply(target, args);
        };
      },
    });
    const engine = engineOn(counted);
    engine.log.defineTopics('mail', (event) => [`mailbox/${event['to']}`]);
    let woken = 0;
    for (let n = 0; n < 1000; n++) engine.log.wakeOn(`mailbox/${n}`, () => woken++);
    await write(engine, 'mail', { to: 7 });
    lists = 0;
    await engine.log.settled();
    expect(woken).toBe(1);
    // One to know what to wait for, one to read it; a hint and `settled` may ask for the read at the same time.
    expect(lists).toBeLessThanOrEqual(3);
    await engine.close();
  });

  it('still hears everything within the poll interval when all hints are lost', async () => {
    const clock = new VirtualClock();
    const engine = engineOn(withFaults(await open(clock), { seed: 1, dropHints: true }));
    const heard: string[] = [];
    engine.log.subscribe(({ name }) => heard.push(name));
    await write(engine, 'quiet');
    await clock.advance(TIMEOUT_MS - 1);
    expect(heard).toEqual([]);
    await clock.advance(1);
    expect(heard).toEqual(['quiet']);
    await engine.close();
  });

  it('leaves no timer behind when nobody listens any more', async () => {
    const clock = new VirtualClock();
    const engine = engineOn(await open(clock));
    const stop = engine.log.subscribe(() => {});
    const events = engine.log.follow();
    const next = events.next();
    await write(engine, 'one');
    await next;
    await events.return();
    stop();
    await engine.close();
    expect(clock.pending).toBe(0);
  });

  it('reports a store that cannot be read once, and goes on without a gap when it can', async () => {
    const clock = new VirtualClock();
    const storage = await open(clock);
    let broken = false;
    const errors: unknown[] = [];
    const flaky = new Proxy(storage, {
      get(target, name) {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== 'function') return member;
        return (...args: unknown[]) => {
          if (broken && name === 'list') throw new Error('the disk is gone');
          return member.apply(target, args);
        };
      },
    });
    const engine = new Engine({ storage: flaky, onError: (error) => errors.push(error) });
    const heard: string[] = [];
    engine.log.subscribe(({ name }) => heard.push(name));
    await write(engine, 'before');
    await engine.log.settled();
    broken = true;
    await engine.commit({ puts: [engine.log.put('during', {})] });
    await clock.advance(1000);
    expect(errors).toEqual([new Error('the disk is gone')]);
    broken = false;
    await clock.advance(TIMEOUT_MS);
    expect(heard).toEqual(['before', 'during']);
    await engine.close();
  });
});

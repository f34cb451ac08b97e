import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { onAbort } from '../../src/kernel/on-abort.ts';
import { createMesh } from '../../src/mesh.ts';

const listeners = ({ signal }: AbortController): number => getEventListeners(signal, 'abort').length;

describe('onAbort', () => {
  it('calls everybody once, by one listener, and nobody who has called it off', () => {
    const controller = new AbortController();
    const called: string[] = [];
    const forget = onAbort(controller.signal, () => called.push('a'));
    onAbort(controller.signal, () => called.push('b'));
    onAbort(controller.signal, () => called.push('c'));
    expect(listeners(controller)).toBe(1);
    forget();
    forget();
    controller.abort();
    expect(called).toEqual(['b', 'c']);
    expect(listeners(controller)).toBe(0);
  });

  it('leaves no listener behind, and begins anew', () => {
    const controller = new AbortController();
    let called = 0;
    for (let n = 0; n < 3; n++) {
      const forget = onAbort(controller.signal, () => called++);
      expect(listeners(controller)).toBe(1);
      forget();
      expect(listeners(controller)).toBe(0);
    }
    onAbort(controller.signal, () => called++);
    controller.abort();
    expect(called).toBe(1);
  });

  it('does nothing without a signal, and for one that has aborted', () => {
    onAbort(undefined, () => expect.unreachable())();
    onAbort(AbortSignal.abort(), () => expect.unreachable())();
  });
});

it('many waits for one signal are no leak', async () => {
  const mesh = createMesh();
  const session = await mesh.registry.register({ id: 'a', heartbeat: 'manual' });
  await mesh.registry.register({ id: 'b', heartbeat: 'manual' });
  const controller = new AbortController();
  const { signal } = controller;
  const waits = Array.from({ length: 20 }, (_, n) => [
    mesh.hub.inbox(session).receive({ timeoutMs: 60_000, signal }),
    mesh.hub.request({ from: session, to: 'b', timeoutMs: 60_000, signal }),
    mesh.memory.waitFor(`key-${n}`, () => true, { timeoutMs: 60_000, signal }),
  ]).flat();
  const outcomes = Promise.allSettled(waits);
  await new Promise((resolve) => setImmediate(resolve));
  expect(listeners(controller)).toBe(1);
  expect(getEventListeners(session.signal, 'abort')).toHaveLength(1);
  controller.abort();
  for (const outcome of await outcomes)
    if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'aborted' });
  expect(listeners(controller)).toBe(0);
  await mesh.close();
});

import { expect, it } from 'vitest';
import { Emitter } from '../../src/kernel/emitter.ts';

type Events = { born: { id: string }; gone: { id: string } };

it('tells listeners by name in the order they came, and then those who hear everything', () => {
  const emitter = new Emitter<Events>(() => {});
  const heard: string[] = [];
  emitter.on('*', ({ id }) => heard.push(`*${id}`));
  emitter.on('born', ({ id }) => heard.push(`1${id}`));
  emitter.once('born', ({ id }) => heard.push(`2${id}`));
  emitter.emit('born', { id: 'a' });
  emitter.emit('born', { id: 'b' });
  emitter.emit('gone', { id: 'c' });
  expect(heard).toEqual(['1a', '2a', '*a', '1b', '*b', '*c']);
  expect(emitter.listenerCount).toBe(2);
});

it('removes listeners, also those added once, and one of two equal ones at a time', () => {
  const emitter = new Emitter<Events>(() => {});
  let count = 0;
  const listener = () => (count += 1);
  emitter.on('born', listener);
  emitter.on('born', listener);
  emitter.once('born', listener);
  emitter.off('gone', listener);
  emitter.off('born', listener);
  emitter.emit('born', { id: 'a' });
  expect(count).toBe(2);
  emitter.off('born', listener);
  emitter.emit('born', { id: 'a' });
  expect(count).toBe(2);
  expect(emitter.listenerCount).toBe(0);
});

it('reports what listeners throw or reject with, and lets nobody else feel it', async () => {
  const reported: unknown[] = [];
  const emitter = new Emitter<Events>((error) => reported.push(error));
  const heard: string[] = [];
  emitter.on('born', () => {
    throw new Error('thrown');
  });
  emitter.on('born', async () => {
    throw new Error('rejected');
  });
  emitter.on('born', ({ id }) => heard.push(id));
  emitter.emit('born', { id: 'a' });
  await undefined;
  expect(heard).toEqual(['a']);
  expect(reported).toEqual([new Error('thrown'), new Error('rejected')]);
});

import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createMesh, InMemoryStorage } from '../../src/index.ts';
import { attack, LISTED } from '../support/hostile/attack.ts';
import { expectRefused } from '../support/registry-kill/hostile.ts';
import { counted } from '../support/registry-kill/storages.ts';

const EVERY = Number(process.env['HOSTILE_EVERY'] ?? 3);

it('refuses bad input of every method with a typed error before the storage is asked, or accepts it', async () => {
  const { wrong, inputs, refused, accepted } = await attack(LISTED, { every: EVERY });
  expect(wrong).toEqual([]);
  expect(inputs).toBeGreaterThan(20_000 / EVERY);
  expect(refused).toBeGreaterThan(inputs / 2);
  expect(accepted).toBeGreaterThan(inputs / 50);
});

it('does so with whatever is generated', async () => {
  const made = fc.sample(
    fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withNullPrototype: true,
      withSparseArray: true,
      withTypedArray: true,
    }),
    { seed: 7, numRuns: 20 },
  );
  const { wrong } = await attack(
    made.map((value) => () => value),
    { every: EVERY },
  );
  expect(wrong).toEqual([]);
});

it.each(['', 'a b', 5, null, undefined, {}])('refuses %j for the session of an inbox', async (session) => {
  const { hub } = createMesh();
  expect(() => hub.inbox(session as never)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
});

it('refuses a key that could never be used before the storage is asked', async () => {
  const counter = counted(new InMemoryStorage());
  const { keys } = createMesh({ storage: counter.storage });
  const options = { ttlMs: 5000, notBefore: Number.MAX_SAFE_INTEGER };
  await expectRefused(counter, () => keys.issue({ session: 'a', ...options }), 'issue');
  await expectRefused(counter, () => keys.derive(`smk_${'0'.repeat(16)}_0`, options), 'derive');
});

// By the wall clock: what is walked through takes more than half a second, what is refused at sight next to nothing.
it('refuses a very long array for options without walking through it', async () => {
  const { hub, keys } = createMesh();
  const long = new Array(2 ** 24) as never;
  const began = performance.now();
  await expect(hub.send(long)).rejects.toEqual(expect.objectContaining({ code: 'invalid_input' }));
  await expect(keys.verify('token', long)).rejects.toEqual(expect.objectContaining({ code: 'invalid_input' }));
  expect(performance.now() - began).toBeLessThan(250);
});

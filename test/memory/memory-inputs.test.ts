import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MeshError } from '../../src/kernel/errors.ts';
import type { SetOptions } from '../../src/memory/memory-inputs.ts';
import { audit, dump } from '../support/memory/audit.ts';
import { outcomeOf, quiet, refusal, worldOn } from '../support/memory/worlds.ts';
import { storages } from '../support/storages.ts';

const MiB = 1024 * 1024;

/** Keys that mean something to JavaScript, to a store, to a shell or to this library. */
const STRANGE_KEYS = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  'valueOf',
  '__defineGetter__',
  'then',
  'length',
  'null',
  'undefined',
  'NaN',
  '0',
  '-1',
  ' ',
  '  ',
  'a b',
  '.',
  '..',
  '/',
  '../../etc/passwd',
  '*',
  '?',
  '[a]',
  '{a}',
  '\\',
  '%',
  '_',
  "'",
  '"',
  '`',
  ';',
  '--',
  "'; DROP TABLE records; --",
  '$(rm -rf)',
  '<script>',
  '>',
  '=',
  '|',
  'memory',
  'memory>a',
  'memory.gone=',
  '.history=key',
  'events',
  'due',
  '0000000000000001>key',
  '0000000000000001>',
  '1767225600000000/memory/\u00a0',
  '\u00a0',
  '\u200b',
  '\u202e',
  '\u2028',
  '\ufeff',
  '\ufffd',
  '\ufffe',
  '\uffff',
  '\ud7ff',
  '\ue000',
  '😀',
  '👩‍👩‍👧‍👦',
  '\u{10ffff}',
  'é',
  'e\u0301',
  'ﷺ',
  '日本語',
  'İ',
  'ß',
  'k'.repeat(512),
  'k'.repeat(170),
  'k'.repeat(171),
  'é'.repeat(256),
  '€'.repeat(170),
  '😀'.repeat(128),
];

const NO_KEYS: readonly unknown[] = [
  '',
  'k'.repeat(513),
  'é'.repeat(257),
  '€'.repeat(171),
  '😀'.repeat(129),
  'a\u0000',
  '\u0001',
  'a\nb',
  '\r',
  '\t',
  '\u001f',
  '\u007f',
  '\u0080',
  'a\u0085b',
  '\u009f',
  `${'é'.repeat(200)}\u009f`,
  '\ud800',
  'a\udc00',
  '\udc00\ud800',
  undefined,
  null,
  0,
  5,
  true,
  Number.NaN,
  10n,
  Symbol('key'),
  [],
  ['key'],
  {},
  { toString: () => 'key' },
  () => 'key',
  new String('key'),
];

const STRANGE_VALUES: readonly unknown[] = [
  null,
  false,
  true,
  0,
  -1.5,
  5e-324,
  Number.MAX_VALUE,
  2 ** 53,
  '',
  ' ',
  '\u0000',
  '\u007f\n\r\t',
  '"\\/',
  '😀',
  '\ufffe\uffff',
  '\u2028\u2029',
  [],
  {},
  [[]],
  [null, [null]],
  { '': '' },
  { a: { b: { c: [] } } },
  JSON.parse('{"__proto__": {"polluted": true}}'),
  { constructor: { prototype: { polluted: true } } },
  { toString: 'text', valueOf: null, hasOwnProperty: 1, then: 'no promise' },
  { length: 5, 0: 'a' },
  { deleted: true, version: 7 },
  { expiresAt: 1, owner: {} },
  Object.assign(Object.create(null), { bare: true }),
  ['__proto__', 'constructor'],
  nested(60),
  'x'.repeat(MiB - 2),
  [0.1, 1e21, 1e-7],
];

class Custom {
  field = 1;
}

const cycle: { self?: unknown } = {};
cycle.self = cycle;

const NO_VALUES: readonly unknown[] = [
  undefined,
  () => 1,
  Symbol('a'),
  10n,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  new Date(0),
  new Map(),
  new Set([1]),
  /a/,
  new Custom(),
  new String('a'),
  Object(1),
  new Uint8Array(2),
  new Error('no'),
  Promise.resolve(1),
  '\ud800',
  ['\udc00'],
  { '\ud800': 1 },
  { a: undefined },
  [undefined],
  [, 1],
  { a: { b: [() => 1] } },
  { [Symbol('a')]: 1 },
  cycle,
  nested(65),
  'x'.repeat(MiB - 1),
  '€'.repeat(MiB / 3),
  Object.defineProperty({}, 'a', { enumerable: true, get: () => 1 }),
  new Proxy(
    {},
    {
      ownKeys: () => {
        throw new Error('no');
      },
    },
  ),
  Object.assign([1], { extra: 1 }),
  Object.create({ inherited: 1 }),
  new WeakMap(),
  globalThis,
];

function nested(levels: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level++) value = level % 2 === 0 ? [value] : { a: value };
  return value;
}

/** Everything that JSON can say, under names that mean something to JavaScript. */
const json = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false, 0),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number + 0),
    fc.string({ unit: 'binary' }),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(
      fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('__proto__', 'constructor', 'toString')),
      tie('value'),
      { maxKeys: 4 },
    ),
  ),
})).value;

describe.each(storages)('a key on %s', (_name, open) => {
  it('comes back as it went in, whatever it is called', async () => {
    const { memory, seen } = await worldOn(open);
    for (const [n, key] of STRANGE_KEYS.entries()) {
      expect(await memory.set(key, 'old')).toMatchObject({ key, version: 1 });
      expect(await memory.update(key, () => n, { tags: ['tag'] })).toMatchObject({ key, version: 2 });
    }
    for (const [n, key] of STRANGE_KEYS.entries()) {
      expect([key, await memory.get(key)]).toEqual([key, n]);
      expect((await memory.history(key)).map(({ key: named, version }) => [named, version])).toEqual([
        [key, 2],
        [key, 1],
      ]);
      expect(await memory.waitFor(key, (value) => value === n)).toBe(n);
    }
    const found = (await memory.search({ limit: 1000 })).items.map(({ key }) => key);
    expect(found).toEqual([...STRANGE_KEYS].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
    expect((await memory.search({ tags: ['tag'], limit: 1000 })).items.map(({ key }) => key)).toEqual(found);
    for (const [n, key] of found.entries()) {
      expect((await memory.search({ after: key, limit: 1 })).items[0]?.key).toBe(found[n + 1]);
    }
    for (const [n, key] of STRANGE_KEYS.entries()) if (n % 2 === 0) expect(await memory.delete(key)).toBe(true);
    expect((await memory.stats()).entries).toBe(Math.floor(STRANGE_KEYS.length / 2));
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    expect(await audit(seen)).toEqual([]);
  });

  it('that breaks the rule is refused by every call, before anything is read or written', async () => {
    const { clock, memory, seen } = await worldOn(open);
    await memory.set('key', 1);
    const before = await dump(seen);
    seen.take();
    for (const bad of NO_KEYS) {
      const key = bad as string;
      const message = 'expected a key of 1 to 512 bytes of well-formed Unicode without control characters, got ';
      for (const call of [
        () => memory.set(key, 1),
        () => memory.get(key),
        () => memory.getEntry(key),
        () => memory.history(key),
        () => memory.update(key, () => 1),
        () => memory.delete(key),
        () => memory.waitFor(key, () => true),
      ]) {
        await expect(call()).rejects.toEqual(refusal('invalid_input', message));
      }
    }
    expect(seen.take()).toMatchObject({ get: 0, list: 0, commit: 0 });
    expect(await dump(seen)).toEqual(before);
    expect(clock.pending).toBeLessThan(10);
  });

  it('is accepted or refused, whatever is generated', async () => {
    const { memory, seen } = await worldOn(open);
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.string({ unit: 'binary', maxLength: 5 }), fc.string({ unit: 'grapheme', maxLength: 300 }), fc.string()),
        async (key) => {
          seen.take();
          const outcome = await outcomeOf(memory.set(key, key));
          if (typeof outcome === 'string') {
            expect(outcome).toBe('invalid_input');
            expect(seen.take()).toMatchObject({ get: 0, commit: 0 });
            return;
          }
          accepted += 1;
          expect(await memory.get(key)).toBe(key);
          expect(
            (await memory.search({ pattern: key.slice(0, 50).replace(/[*?]/g, '?').toWellFormed() })).items.length,
          ).toBeGreaterThanOrEqual(0);
        },
      ),
      { numRuns: 150, seed: 1 },
    );
    expect(accepted).toBeGreaterThan(50);
  });
});

describe.each(storages)('a value on %s', (_name, open) => {
  it('comes back as it went in, whatever is in it', async () => {
    const { memory } = await worldOn(open);
    for (const [n, value] of STRANGE_VALUES.entries()) {
      const text = JSON.stringify(value);
      const entry = await memory.set(`key${n}`, value);
      expect(JSON.stringify(entry.value)).toBe(text);
      expect(JSON.stringify(await memory.get(`key${n}`))).toBe(text);
      await memory.update(`key${n}`, (read) => read);
      await memory.update(`key${n}`, () => 'new');
      expect(
        (await memory.history(`key${n}`)).slice(1).map((version) => 'value' in version && JSON.stringify(version.value)),
      ).toEqual([text, text]);
    }
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });

  it('comes back as it went in, whatever is generated', async () => {
    const { memory } = await worldOn(open);
    await fc.assert(
      fc.asyncProperty(json, fc.dictionary(fc.string(), json, { maxKeys: 3 }), async (value, metadata) => {
        const before = JSON.stringify([value, metadata]);
        await memory.set('key', value, { metadata });
        const entry = await memory.getEntry('key');
        expect(JSON.stringify([entry?.value, entry?.metadata])).toBe(before);
        expect(JSON.stringify([value, metadata])).toBe(before);
      }),
      { numRuns: 150, seed: 2 },
    );
  });

  it('that is no plain JSON is refused before anything is read or written, and says where it is wrong', async () => {
    const { memory, seen } = await worldOn(open);
    await memory.set('key', 'old');
    const before = await dump(seen);
    for (const value of NO_VALUES) {
      seen.take();
      const error = await memory.set('key', value).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(MeshError);
      expect((error as MeshError).code).toMatch(/^(invalid_input|limit_exceeded)$/);
      expect((error as MeshError).message).toMatch(/expected .*, got /);
      expect(seen.take()).toMatchObject({ get: 0, commit: 0 });
      // Of an update undefined is an answer: nothing to write.
      if (value === undefined || value instanceof Promise) continue;
      await expect(memory.update('key', () => value)).rejects.toBeInstanceOf(MeshError);
      expect(seen.take()).toMatchObject({ commit: 0 });
      await expect(memory.set('key', 1, { metadata: { a: value } })).rejects.toBeInstanceOf(MeshError);
      expect(seen.take()).toMatchObject({ get: 0, commit: 0 });
    }
    expect(await dump(seen)).toEqual(before);
    await expect(memory.set('key', { a: [1, { b: undefined }] })).rejects.toEqual(refusal('invalid_input', 'value.a[1].b'));
    await expect(memory.set('key', 1, { metadata: { a: new Date(0) } })).rejects.toEqual(
      refusal('invalid_input', 'options.metadata.a'),
    );
  });

  it('is of a mebibyte at most, and so are all versions of it', async () => {
    const { memory } = await worldOn(open);
    const largest = 'x'.repeat(MiB - 2);
    const tags = Array.from({ length: 64 }, (_, n) => `t${n}`.padEnd(64, 'x'));
    const metadata = { m: 'x'.repeat(32 * 1024 - 8) };
    for (let version = 1; version <= 4; version++) {
      expect(await memory.set('k'.repeat(512), largest, { tags, metadata, by: 's'.repeat(128), ttlMs: 5000 })).toMatchObject({
        version,
      });
    }
    expect(await memory.get('k'.repeat(512))).toBe(largest);
    await expect(memory.set('key', `${largest}x`)).rejects.toEqual(
      refusal('limit_exceeded', 'expected value of at most 1048576 bytes of JSON'),
    );
    await expect(memory.set('key', '"'.repeat(MiB / 2))).rejects.toEqual(
      refusal('limit_exceeded', 'expected value of at most 1048576 bytes'),
    );
  });

  it('is of 64 levels at most, and 32,768 containers and names', async () => {
    const { memory, seen } = await worldOn(open);
    await memory.set('deep', nested(64));
    expect(await memory.get('deep')).toEqual(nested(64));
    const wide = Array.from({ length: 32_767 }, () => []);
    await memory.set('wide', wide);
    expect(await memory.get('wide')).toEqual(wide);
    seen.take();
    await expect(memory.set('key', nested(65))).rejects.toEqual(refusal('invalid_input', 'expected at most 64 levels'));
    await expect(memory.set('key', [...wide, []])).rejects.toEqual(
      refusal('limit_exceeded', 'with at most 32768 containers and names'),
    );
    expect(seen.take()).toMatchObject({ get: 0, commit: 0 });
  });
});

describe.each(storages)('options on %s', (_name, open) => {
  it.each<[unknown, string]>([
    [{ by: 'not an id' }, 'expected options.by to be the id of a session or its handle, got "not an id"'],
    [{ by: {} }, 'expected options.by to be the id of a session or its handle, got an object'],
    [{ by: null }, 'expected options.by to be the id of a session or its handle, got null'],
    [{ type: 'other' }, 'expected options.type to be one of "state", "fact"'],
    [{ tags: 'a' }, 'expected options.tags to be an array of at most 64 different names'],
    [{ tags: ['a', 'a'] }, 'expected options.tags to be an array of at most 64 different names'],
    [{ tags: Array.from({ length: 65 }, (_, n) => `t${n}`) }, 'expected options.tags'],
    [{ tags: ['a'.repeat(65)] }, 'expected options.tags'],
    [{ tags: [''] }, 'expected options.tags'],
    [{ tags: ['a=b'] }, 'expected options.tags'],
    [{ tags: [5] }, 'expected options.tags'],
    [{ ttlMs: 0 }, 'expected options.ttlMs to be a whole number between 1000 and 2592000000, got 0'],
    [{ metadata: 'text' }, 'expected options.metadata to be an object, got "text"'],
    [{ metadata: [1] }, 'expected options.metadata to be an object, got an array'],
    [{ metadata: null }, 'expected options.metadata to be an object, got null'],
    [{ metadata: new Date(0) }, 'options.metadata'],
    [{ ifVersion: -1 }, 'expected options.ifVersion to be a whole number between 0'],
    [{ ifVersion: 1.5 }, 'expected options.ifVersion'],
    [{ ifVersion: '1' }, 'expected options.ifVersion'],
    [{ untilSessionEnds: 'yes', by: 'agent' }, 'expected options.untilSessionEnds to be boolean'],
    [{ untilSessionEnds: true }, 'expected options.by beside untilSessionEnds, got none'],
    [{ ttl: 1000 }, 'expected options to have known options only, got "ttl"'],
    [{ session: 'agent' }, 'expected options to have known options only, got "session"'],
    [null, 'expected options to be an object, got null'],
    [5, 'expected options to be an object, got 5'],
    ['agent', 'expected options to be an object, got "agent"'],
    [[], 'expected options to be an object, got an array'],
  ])('like %j are refused before anything is read or written', async (options, message) => {
    const { memory, seen } = await worldOn(open);
    seen.take();
    await expect(memory.set('key', 1, options as SetOptions)).rejects.toEqual(refusal('invalid_input', message));
    expect(seen.take()).toMatchObject({ get: 0, commit: 0 });
    await expect(memory.update('key', () => 1, options as SetOptions)).rejects.toEqual(refusal('invalid_input', 'options'));
    expect(seen.take()).toMatchObject({ get: 0, commit: 0 });
  });

  it('that an operation does not know are refused by all', async () => {
    const { memory, registry, seen } = await worldOn(open);
    const agent = await quiet(registry, 'agent');
    seen.take();
    await expect(memory.update('key', () => 1, { ifVersion: 1 } as SetOptions)).rejects.toEqual(
      refusal('invalid_input', 'got "ifVersion"'),
    );
    await expect(memory.update('key', 5 as never)).rejects.toEqual(
      refusal('invalid_input', 'expected change to be a function, got 5'),
    );
    await expect(memory.update('key', undefined as never)).rejects.toEqual(
      refusal('invalid_input', 'expected change to be a function'),
    );
    for (const options of [{ tags: ['a'] }, { by: 5 }, { session: agent }, { session: '' }, null, 'agent']) {
      await expect(memory.delete('key', options as object)).rejects.toEqual(refusal('invalid_input', 'expected options'));
      await expect(memory.clear(options as object)).rejects.toEqual(refusal('invalid_input', 'expected options'));
    }
    for (const options of [{ after: 1 }, { limit: '1' }, null]) {
      await expect(memory.history('key', options as object)).rejects.toEqual(refusal('invalid_input', 'expected options'));
    }
    expect(seen.take()).toMatchObject({ get: 0, list: 0, commit: 0 });
  });

  it('may be given as undefined, and mean nothing then', async () => {
    const { memory } = await worldOn(open);
    const none = {
      by: undefined,
      type: undefined,
      tags: undefined,
      ttlMs: undefined,
      metadata: undefined,
      ifVersion: undefined,
      untilSessionEnds: undefined,
    };
    expect(await memory.set('key', 1, none)).toMatchObject({ version: 1, type: 'state', tags: [], metadata: {} });
    expect(await memory.set('key', 1, undefined)).toMatchObject({ version: 2 });
    expect(await memory.delete('key', { by: undefined, session: undefined })).toBe(true);
  });

  it('hold metadata of 32 KiB at most', async () => {
    const { memory } = await worldOn(open);
    await memory.set('key', 1, { metadata: { a: 'x'.repeat(32 * 1024 - 8) } });
    await expect(memory.set('key', 1, { metadata: { a: 'x'.repeat(32 * 1024 - 7) } })).rejects.toEqual(
      refusal('limit_exceeded', 'expected options.metadata of at most 32768 bytes of JSON'),
    );
  });

  it('cannot change a value that is being written by a getter', async () => {
    const { memory } = await worldOn(open);
    let reads = 0;
    const options = {
      get tags(): string[] {
        return [reads++ === 0 ? 'good' : 'not a tag!'];
      },
    };
    await memory.set('key', 1, options);
    expect((await memory.getEntry('key'))?.tags).toEqual(['good']);
  });
});

import { describe, expect, it } from 'vitest';
import type { DeriveOptions, IssueOptions, ListKeysOptions, RevokeAllOptions, VerifyOptions } from '../../src/index.ts';
import { counted, DAY_MS, errorOf, openWorld, outcomeOf, register, storages } from '../support/keys/world.ts';

const LONG = 'x'.repeat(65);
const cycle: Record<string, unknown> = {};
cycle['self'] = cycle;
const withAccessor = Object.defineProperty(['a'], 0, { get: () => 'a', enumerable: true });
class Fancy extends Array<string> {}

/** What nobody may ask for, in options that `issue` and `derive` share. */
const COMMON: readonly Record<string, unknown>[] = [
  ...[
    null,
    'a',
    5,
    {},
    [1],
    [null],
    [undefined],
    [''],
    ['*'],
    [':*'],
    ['a*'],
    ['a:*:b'],
    ['a:**'],
    ['-a'],
    ['a b'],
    ['é'],
    ['a\n'],
  ].map((scopes) => ({ scopes })),
  { scopes: [LONG] },
  { scopes: [`${'x'.repeat(63)}:*`] },
  { scopes: ['a', 'a'] },
  { scopes: Array.from({ length: 65 }, (_, n) => `s${n}`) },
  { scopes: Array.from({ length: 3_000_000 }, () => 'a') },
  { scopes: Object.assign([], { 1: 'a' }) },
  { scopes: withAccessor },
  { scopes: Fancy.from(['a']) },
  { scopes: { 0: 'a', length: 1 } },
  { scopes: [new String('a')] },
  ...[999, 0, -1, 1000.5, 366 * DAY_MS + 1, Number.NaN, Number.POSITIVE_INFINITY, '1000', null, 1000n].map((ttlMs) => ({
    ttlMs,
  })),
  ...[-1, 0.5, 2 ** 53, Number.NaN, '0', new Date(0), null].map((notBefore) => ({ notBefore })),
  ...[0, -1, 1.5, Number.POSITIVE_INFINITY, 2 ** 53, '1', null, true].map((maxUses) => ({ maxUses })),
  ...['', 'a\nb', '\0', 'x'.repeat(257), 'é'.repeat(129), '\ud800', 5, null, ['x']].map((name) => ({ name })),
  ...[
    null,
    5,
    'x',
    [],
    new Date(),
    new Map(),
    cycle,
    { a: undefined },
    { a: () => 1 },
    { a: 1n },
    { a: Number.NaN },
    { a: '\ud800' },
  ].map((metadata) => ({ metadata })),
  {
    metadata: {
      get a() {
        return 1;
      },
    },
  },
  { metadata: { a: 'x'.repeat(1024 * 1024) } },
  { scope: 'a' },
  { ttl: 1000 },
  { ancestors: [] },
  { incarnation: 'x' },
  { digest: 'x' },
  { parentId: 'x' },
  { expiresAt: 5 },
  { constructor: 5 },
  JSON.parse('{"__proto__": {"maxUses": 1}}') as Record<string, unknown>,
];

const NO_OPTIONS: readonly unknown[] = [null, 5, 'x', [], true, Symbol('x'), () => {}];

const NO_IDS: readonly unknown[] = [
  undefined,
  null,
  '',
  5,
  '0'.repeat(15),
  '0'.repeat(17),
  `${'0'.repeat(15)}_`,
  `${'0'.repeat(15)} `,
  '*'.repeat(16),
  '__proto__',
  {},
  [],
  ['0'.repeat(16)],
  new String('0'.repeat(16)),
  Symbol('x'),
];

/** A world in which nothing may be asked of the storage any more. */
async function openSilent(open: (typeof storages)[number][1]) {
  let take = (): object => ({});
  const world = await openWorld(open, (storage) => {
    const view = counted(storage);
    take = view.take;
    return view.storage;
  });
  await register(world.registry, 's');
  const { token, apiKey } = await world.keys.issue({ scopes: ['a', 'b:*'] });
  const before = await world.keys.list();
  return {
    ...world,
    token,
    id: apiKey.id,
    /** Each must be refused before anything else is done. */
    async allRefused(calls: readonly (() => Promise<unknown>)[], codes = ['invalid_input']): Promise<string[]> {
      take();
      const messages: string[] = [];
      for (const call of calls) {
        const error = await errorOf(call());
        expect(codes).toContain(error.code);
        expect(error.message).toMatch(/^expected .+, (got|at) .+/);
        messages.push(error.message);
      }
      expect(take()).toEqual({ get: 0, list: 0, commit: 0 });
      expect(await world.keys.list()).toEqual(before);
      return messages;
    },
  };
}

describe.each(storages)('hostile input on %s', (_name, open) => {
  it('is refused by issue before anything is asked of the storage', async () => {
    const { keys, token, allRefused } = await openSilent(open);
    const sessions = ['', 'a b', '-s', '*', 'x'.repeat(129), 5, null, {}, [], { id: 5 }, { id: '' }, token].map((session) => ({
      session,
    }));
    const bound = COMMON.slice(0, 20).map((options) => ({ ...options, session: 's' }));
    const options = [...NO_OPTIONS, ...COMMON, ...sessions, ...bound];
    await allRefused(
      options.map((one) => () => keys.issue(one as IssueOptions)),
      ['invalid_input', 'limit_exceeded'],
    );
  });

  it('is refused by derive before anything is asked of the storage, also the session that issue takes', async () => {
    const { keys, token, allRefused } = await openSilent(open);
    await allRefused(
      [...NO_OPTIONS, ...COMMON, { session: 's' }].map((one) => () => keys.derive(token, one as DeriveOptions)),
      ['invalid_input', 'limit_exceeded'],
    );
  });

  it('is refused by verify and authenticate before the token is looked at', async () => {
    const { keys, token, allRefused } = await openSilent(open);
    const scopes = ['', '*', ':*', LONG, 'a b', 'a*', 5, null, ['a'], {}, new String('a'), Symbol('a')].map((scope) => ({
      scope,
    }));
    const others = [
      { scopes: ['a'] },
      { scope: 'a', more: 1 },
      { Scope: 'a' },
      JSON.parse('{"__proto__": 1}'),
      JSON.parse('{"scope": "a", "__proto__": 1}'),
    ];
    const options = [...NO_OPTIONS, ...scopes, ...others] as VerifyOptions[];
    for (const shown of [token, 'malformed']) {
      await allRefused(options.map((one) => () => keys.verify(shown, one)));
      await allRefused(options.map((one) => () => keys.authenticate(shown, one)));
    }
    expect((await keys.stats()).refused).toEqual({});
  });

  it('is refused by rotate and revoke before anything is asked of the storage', async () => {
    const { keys, id, allRefused } = await openSilent(open);
    for (const one of NO_IDS) await allRefused([() => keys.rotate(one as string), () => keys.revoke(one as string)]);
    const overlaps = [-1, 0.5, 366 * DAY_MS + 1, Number.NaN, '5', null].map((overlapMs) => ({ overlapMs }));
    await allRefused(
      [...NO_OPTIONS, ...overlaps, { overlap: 5 }].map((one) => () => keys.rotate(id, one as { overlapMs: number })),
    );
    const reasons = ['x'.repeat(1025), 'é'.repeat(513), '\ud800', 5, null, {}].map((reason) => ({ reason }));
    await allRefused(
      [...NO_OPTIONS, ...reasons, { because: 'x' }].map((one) => () => keys.revoke(id, one as { reason: string })),
    );
  });

  it('is refused by revokeAll and list before anything is asked of the storage', async () => {
    const { keys, token, allRefused } = await openSilent(open);
    const all = [
      ...NO_OPTIONS,
      undefined,
      {},
      { session: undefined },
      { session: 5 },
      { session: 'a b' },
      { session: token },
      { session: 's', x: 1 },
    ];
    await allRefused(all.map((one) => () => keys.revokeAll(one as RevokeAllOptions)));
    const limits = [0, 1001, 1.5, -1, Number.NaN, '5', null].map((limit) => ({ limit }));
    const afters = ['', 5, null, 'x', token, '0'.repeat(17), '\0'].map((after) => ({ after }));
    const lists = [...NO_OPTIONS, ...limits, ...afters, { session: '' }, { session: token }, { state: 'all' }];
    await allRefused(lists.map((one) => () => keys.list(one as ListKeysOptions)));
  });

  it('that is a token in the place of an id is not told, nor any part of its secret', async () => {
    const { keys, token, allRefused } = await openSilent(open);
    const secret = token.slice(21);
    const pieces = [
      token,
      token.slice(0, 40),
      token.slice(0, 30),
      secret,
      secret.slice(0, 20),
      token.slice(4),
      ` ${token}`,
      `${token}\n`,
    ];
    const messages = await allRefused(pieces.flatMap((piece) => [() => keys.rotate(piece), () => keys.revoke(piece)]));
    messages.push(...(await allRefused([token, secret].map((piece) => () => keys.list({ after: piece })))));
    messages.push(
      ...(await allRefused([
        () => keys.list({ session: token }),
        () => keys.revokeAll({ session: token }),
        () => keys.issue({ session: token }),
        () => keys.verify(token, { scope: token }),
      ])),
    );
    for (const message of messages) expect(message).not.toContain(secret.slice(0, 6));
  });
});

describe('input that is strange and allowed', () => {
  const memory = (storages[0] as (typeof storages)[number])[1];

  it('comes back as it went in: __proto__, constructor and toString in metadata are data', async () => {
    const { keys } = await openWorld(memory);
    const text = '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},"toString":"x"}';
    const { token, apiKey } = await keys.issue({ metadata: JSON.parse(text) });
    expect(JSON.stringify(apiKey.metadata)).toBe(text);
    expect(JSON.stringify((await keys.list()).items[0]?.metadata)).toBe(text);
    const verification = await keys.verify(token);
    expect(JSON.stringify(verification.valid && verification.principal.metadata)).toBe(text);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('is taken at the bounds of what is allowed', async () => {
    const { keys } = await openWorld(memory);
    const scopes = [`${'x'.repeat(62)}:*`, '#', 'a:', 'x'.repeat(64), ...Array.from({ length: 60 }, (_, n) => `s:${n}`)];
    const { token, apiKey } = await keys.issue({ scopes, name: 'x'.repeat(256), maxUses: Number.MAX_SAFE_INTEGER, notBefore: 0 });
    expect(apiKey.scopes).toEqual(scopes);
    for (const scope of [...scopes, `${'x'.repeat(62)}:`, `${'x'.repeat(62)}:y`])
      expect(await outcomeOf(keys.verify(token, { scope }))).toBe('valid');
    for (const options of [{}, undefined, { scope: undefined }])
      expect(await outcomeOf(keys.verify(token, options))).toBe('valid');
    await keys.revoke(apiKey.id, { reason: 'x'.repeat(1024) });
    expect((await keys.list({ limit: 1000 })).items[0]?.revokeReason).toHaveLength(1024);
  });

  it('is read once where it is looked at and used', async () => {
    const { keys } = await openWorld(memory);
    const { token } = await keys.issue({ scopes: ['a'] });
    const answers = ['a', 'admin', 'admin', 'admin', 'admin'];
    const tricky = {
      get scope() {
        return answers.shift() as string;
      },
    };
    expect(await outcomeOf(keys.verify(token, tricky))).toBe('valid');
    const flips = ['b', 'a', 'a', 'a'];
    const other = {
      get scope() {
        return flips.shift() as string;
      },
    };
    expect(await outcomeOf(keys.verify(token, other))).toBe('insufficient_scope');
  });

  it('is left as it was, also when it is frozen', async () => {
    const { keys, registry } = await openWorld(memory);
    const session = await register(registry, 's');
    const deepFreeze = <T extends object>(value: T): T => {
      for (const member of Object.values(value)) if (typeof member === 'object' && member !== null) deepFreeze(member as object);
      return Object.freeze(value);
    };
    const options = deepFreeze({ scopes: ['a', 'b'], metadata: { deep: [{ x: 1 }] }, name: 'n', ttlMs: 5000 });
    const { token, apiKey } = await keys.issue({ ...options, session });
    await keys.derive(token, options);
    await keys.verify(token, Object.freeze({ scope: 'a' }));
    await keys.rotate(apiKey.id, Object.freeze({ overlapMs: 5 }));
    await keys.revokeAll(Object.freeze({ session: 's', reason: 'x' }));
    expect(options).toEqual({ scopes: ['a', 'b'], metadata: { deep: [{ x: 1 }] }, name: 'n', ttlMs: 5000 });
  });

  it('is refused when a key could never be good: it would begin when it has expired', async () => {
    const { clock, keys } = await openWorld(memory);
    const start = clock.now();
    const error = await errorOf(keys.issue({ ttlMs: 5000, notBefore: start + 5000 }));
    expect([error.code, error.details]).toEqual(['invalid_input', { path: 'options.notBefore' }]);
    expect(error.message).toBe(`expected options.notBefore before the key expires at ${start + 5000}, got ${start + 5000}`);
    const { token } = await keys.issue({ ttlMs: 5000, notBefore: start + 4999 });
    clock.set(start + 4999);
    expect(await outcomeOf(keys.verify(token))).toBe('valid');
  });
});

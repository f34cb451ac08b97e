import { describe, expect, it } from 'vitest';
import type { Message } from '../../../src/hub/messages/message.ts';
import { MeshError } from '../../../src/kernel/errors.ts';
import { only, type Post, postOn, toldOf } from '../../support/hub/post.ts';
import { storages } from '../../support/storages.ts';

const ID = 'bob!00000000000000010000';
const BAD_IDS: readonly unknown[] = ['', 'a b', '-rf', '*', '🙂', 1, null, {}, [], new String('bob'), 'x'.repeat(129), 'a\u0000'];
const BAD_TEXTS: readonly unknown[] = [1, null, {}, ['x'], '\ud800', 'ü'.repeat(600_000)];
const BAD_TTLS: readonly unknown[] = [0, 999, 1.5, Number.NaN, -1, 30 * 86_400_000 + 1, '1000', null];
const cycle: Record<string, unknown> = {};
cycle['self'] = cycle;
const BAD_DATA: readonly unknown[] = [
  Number.NaN,
  { a: undefined },
  1n,
  new Date(),
  cycle,
  new Map(),
  '\ud800',
  Symbol('x'),
  [, 1],
];
const BAD_HEADERS: readonly unknown[] = [1, 'x', [1], null, new Map(), { a: undefined }];
const thrower = new Proxy(
  {},
  {
    get: () => {
      throw new Error('secret');
    },
    ownKeys: () => {
      throw new Error('secret');
    },
  },
);

const posting: Record<string, readonly unknown[]> = {
  from: [...BAD_IDS, undefined],
  type: ['nonsense', 1, null, ''],
  subject: [...BAD_TEXTS, '', 'two\nlines', 'x'.repeat(1025)],
  body: BAD_TEXTS,
  data: BAD_DATA,
  priority: ['urgent', 1, null],
  headers: BAD_HEADERS,
  idempotencyKey: ['', 1, null, 'x'.repeat(257), 'a\nb', '\ud800'],
  ttlMs: BAD_TTLS,
  threadId: ['', 1, null, 'x'.repeat(193), 'a\tb'],
  unknown: [1],
};
const { type: _type, idempotencyKey, ttlMs: _ttlMs, ...asked } = posting;
const signal = [1, {}, 'x', null];
const timeoutMs = [0, -1, 1.5, 2 ** 31, '1', Number.NaN, null];
const page = { limit: [0, 1001, 1.5, '1', null], after: [1, null, 'x', ''] };
const types = [[], 'request', ['nonsense'], [1], null];

/** Good options of each call, and what is wrong for each of them. */
const CALLS: readonly (readonly [string, (post: Post, options: never) => unknown, object, Record<string, readonly unknown[]>])[] =
  [
    [
      'send',
      ({ hub }, options) => hub.send(options),
      { from: 'ann', to: 'bob' },
      {
        ...posting,
        to: [
          ...BAD_IDS,
          undefined,
          { group: '' },
          { group: 'a b' },
          { group: 1 },
          { capability: null },
          { group: 'a', capability: 'b' },
        ],
        requireAlive: [1, 'yes', null],
      },
    ],
    ['broadcast', ({ hub }, options) => hub.broadcast(options), { from: 'ann' }, { ...posting, to: ['bob'] }],
    [
      'reply',
      ({ hub }, options) => hub.reply(ID, options),
      { from: 'bob' },
      { ...asked, type: ['x', 1], idempotencyKey: idempotencyKey ?? [], threadId: ['x'], ttlMs: [1000] },
    ],
    [
      'request',
      ({ hub }, options) => hub.request(options),
      { from: 'ann', to: 'bob' },
      { ...asked, to: BAD_IDS, timeoutMs, signal },
    ],
    [
      'ping',
      ({ hub }, options) => hub.ping(options),
      { from: 'ann', to: 'bob' },
      { from: BAD_IDS, to: BAD_IDS, timeoutMs, signal, x: [1] },
    ],
    [
      'messages',
      ({ hub }, options) => hub.messages(options),
      { session: 'bob' },
      {
        ...page,
        session: [...BAD_IDS, undefined],
        type: ['x', 1],
        from: BAD_IDS,
        unread: [1, null],
        includeBroadcasts: [1, null],
        x: [1],
      },
    ],
    ['deadLetters', ({ hub }, options) => hub.deadLetters(options), {}, { ...page, session: BAD_IDS, x: [1] }],
    ['redrive', ({ hub }, options) => hub.redrive(ID, options), {}, { session: BAD_IDS, x: [1] }],
    ['purge', ({ hub }, options) => hub.purge('bob', options), {}, { types, x: [1] }],
    ['inbox', ({ hub }, options) => hub.inbox('bob', options), {}, { visibilityMs: BAD_TTLS, signal, x: [1] }],
    [
      'receive',
      ({ hub }, options) => hub.inbox('bob').receive(options),
      {},
      { limit: page.limit, timeoutMs: [-1, 1.5, 2 ** 31, '1', null], types, signal, x: [1] },
    ],
    [
      'handle',
      ({ hub }, options) => hub.inbox('bob').handle(() => {}, options),
      {},
      { concurrency: [0, 1001, '1', null], types, signal, x: [1] },
    ],
  ];

/** The code of a refusal, thrown or rejected; and what was asked of the storage until then. */
async function refusalOf(post: Post, call: () => unknown): Promise<{ code: string; calls: number; message: string }> {
  post.seen.take();
  try {
    await call();
    return { code: 'nothing', calls: 0, message: '' };
  } catch (error) {
    const { get, list, commit } = post.seen.take();
    if (!MeshError.is(error)) throw error;
    return { code: error.code, calls: get + list + commit, message: error.message };
  }
}

describe.each(storages)('hostile input on %s', (_name, open) => {
  it.each(CALLS)('of %s is refused before the storage is asked anything', async (_call, call, good, bad) => {
    const post = await postOn(open);
    const told = await toldOf(post.storage);
    for (const [name, values] of Object.entries(bad)) {
      for (const value of values) {
        const { code, calls, message } = await refusalOf(post, () => call(post, { ...good, [name]: value } as never));
        expect([name, value, code, calls]).toEqual([name, value, expect.stringMatching(/^(invalid_input|limit_exceeded)$/), 0]);
        expect(message).toMatch(/^expected .*, got /);
        expect(message).not.toContain('secret');
      }
    }
    for (const options of [null, 1, 'x', [], thrower, () => {}]) {
      const { code, calls, message } = await refusalOf(post, () => call(post, options as never));
      expect([options === thrower ? 'thrower' : options, code, calls]).toEqual([
        options === thrower ? 'thrower' : options,
        'invalid_input',
        0,
      ]);
      expect(message).not.toContain('secret');
    }
    expect(await toldOf(post.storage)).toEqual(told);
  });

  it('in place of an id or a session is refused in the same way', async () => {
    const post = await postOn(open);
    const { hub } = post;
    const bad: readonly unknown[] = [...BAD_IDS, `bob!${'1'.repeat(19)}`, `a b!${'1'.repeat(20)}`, { id: 1 }, thrower, undefined];
    for (const id of bad) {
      for (const call of [
        () => hub.getMessage(id as string),
        () => hub.conversation(id as string),
        () => hub.redrive(id as string),
        () => hub.reply(id as string, { from: 'bob' }),
      ]) {
        expect(await refusalOf(post, call)).toMatchObject({ code: 'invalid_input', calls: 0 });
      }
    }
    for (const session of [...BAD_IDS, undefined, thrower, { id: 1 }]) {
      expect(await refusalOf(post, () => hub.inbox(session as string))).toMatchObject({ code: 'invalid_input', calls: 0 });
      expect(await refusalOf(post, () => hub.purge(session as string))).toMatchObject({ code: 'invalid_input', calls: 0 });
    }
    for (const handler of [undefined, null, 1, {}, 'x']) {
      const call = () => hub.inbox('bob').handle(handler as never);
      expect(await refusalOf(post, call)).toMatchObject({ code: 'invalid_input', calls: 0 });
    }
  });

  it('to a delivery is refused, and leaves it as it was', async () => {
    const post = await postOn(open);
    await post.send('one');
    const delivery = only(await post.receive());
    for (const call of [
      ...[0, -1, 1.5, '1', null, undefined, 30 * 86_400_000 + 1].map((ms) => () => delivery.extend(ms as number)),
      ...[1, null, 'x'.repeat(1025), '\ud800'].map((reason) => () => delivery.term(reason as string)),
      ...[1, null, { delayMs: -1 }, { delayMs: '1' }, { reason: 1 }, { x: 1 }, thrower].map(
        (options) => () => delivery.nak(options as never),
      ),
    ]) {
      expect(await refusalOf(post, call)).toMatchObject({ code: 'invalid_input', calls: 0 });
    }
    await delivery.ack();
  });

  it('that is odd but right is stored, and read back unchanged', async () => {
    const { hub, receive } = await postOn(open);
    const data = JSON.parse(
      '{"__proto__":{"polluted":1},"constructor":[null,"\\u0001"],"toString":"ü🙂","":0,"n":-1.5e300}',
    ) as unknown;
    const odd = [
      { body: '' },
      { body: '\u0001\n\t\u007f"\\ü🙂\uffff' },
      { subject: 'ü'.repeat(512) },
      { data: null },
      { data: [] },
      { data },
      { headers: {} },
      { headers: JSON.parse('{"__proto__":1}') as unknown, priority: 'critical' },
      { threadId: '🙂 ü > ! *', body: 'thread' },
      { threadId: 'x'.repeat(192), idempotencyKey: 'ü'.repeat(128) },
      { body: 'x'.repeat(1024 * 1024) },
      { data: 'x'.repeat(1024 * 1024 - 2) },
    ] as const;
    for (const options of odd) {
      const { message } = await hub.send({ from: 'ann', to: 'bob', ...options });
      expect(message).toMatchObject(Object.fromEntries(Object.entries(options).filter(([key]) => key !== 'idempotencyKey')));
      expect(only(await receive()).message).toEqual(message);
      expect(JSON.stringify((await hub.getMessage(message.id)) as Message)).toBe(JSON.stringify(message));
    }
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  it('that is a getter of a class counts as any other', async () => {
    const { hub, ann, bob } = await postOn(open);
    class Options {
      from = bob;
      body = 'once';
      get idempotencyKey() {
        return 'key';
      }
    }
    class Sent extends Options {
      to = ann;
    }
    const { message } = await hub.send({ from: ann, to: bob });
    const replies = [await hub.reply(message, new Options()), await hub.reply(message, new Options())];
    expect(new Set(replies.map((result) => result.message.id)).size).toBe(1);
    class Fresh extends Sent {
      override get idempotencyKey() {
        return 'other';
      }
    }
    const sent = [await hub.send(new Fresh()), await hub.send(new Fresh())];
    expect(new Set(sent.map((result) => result.message.id)).size).toBe(1);
  });

  it('that is too large is refused before the storage is asked anything', async () => {
    const post = await postOn(open);
    const mib = 1024 * 1024;
    for (const more of [
      { body: 'x'.repeat(mib + 1) },
      { data: 'x'.repeat(mib) },
      { body: 'x'.repeat(mib - 100), data: 'x'.repeat(200) },
      { body: '\u0001'.repeat(mib / 2) },
      { headers: { a: 'ü'.repeat(8192) } },
    ]) {
      for (const call of [
        () => post.hub.send({ from: 'ann', to: 'bob', ...more }),
        () => post.hub.broadcast({ from: 'ann', ...more }),
        () => post.hub.request({ from: 'ann', to: 'bob', ...more }),
        () => post.hub.reply(ID, { from: 'bob', ...more }),
      ]) {
        const { code, calls } = await refusalOf(post, call);
        expect([Object.keys(more), code, calls]).toEqual([
          Object.keys(more),
          expect.stringMatching(/^(invalid_input|limit_exceeded)$/),
          0,
        ]);
      }
    }
    expect(await toldOf(post.storage)).toEqual([]);
  });
});

import { createMesh, InMemoryStorage, MeshError } from '../../../src/index.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { type Counted, counted } from '../registry-kill/storages.ts';
import { METHODS, type Method, type Place } from './methods.ts';

const deep = (levels: number): unknown => {
  let value: unknown = 1;
  for (let n = 0; n < levels; n++) value = [value];
  return value;
};
const cycle: Record<string, unknown> = {};
cycle['self'] = cycle;
/** Made once: to collect many of them would be taken for a slow call. */
const LONG_ARRAY = new Array(2 ** 24);
const LONG_TEXT = 'a'.repeat(1024 * 1024 + 1);
class Own {
  readonly a = 1;
}

/** What is wrong nearly everywhere, or is to come back as it went in. */
export const LISTED: readonly (() => unknown)[] = [
  () => undefined,
  () => null,
  () => true,
  () => 0,
  () => -1,
  () => -0,
  () => 0.5,
  () => Number.NaN,
  () => Number.POSITIVE_INFINITY,
  () => 2 ** 31,
  () => Number.MAX_SAFE_INTEGER,
  () => 2 ** 60,
  () => 1n,
  () => Symbol('x'),
  () => () => 1,
  () => async () => 1,
  () => '',
  () => ' ',
  () => 'a b',
  () => '*',
  () => '-rf',
  () => '../x',
  () => 'a\u0000b',
  () => 'a\nb',
  () => '\ud800',
  () => '👾',
  () => 'x'.repeat(200),
  () => 'x'.repeat(70_000),
  () => LONG_TEXT,
  () => '__proto__',
  () => 'constructor',
  () => 'toString',
  () => new String('a'),
  () => new Number(5),
  () => [],
  () => ['a', 'a'],
  () => [undefined],
  () => new Array(5),
  () => LONG_ARRAY,
  () => Array.from({ length: 65 }, (_, n) => `n${n}`),
  () => ({}),
  () => ({ unknown: 1 }),
  () => JSON.parse('{"__proto__":{"polluted":true}}'),
  () => JSON.parse('{"constructor":{"prototype":{"polluted":true}}}'),
  () => Object.create(null),
  () => Object.create({ limit: 5, session: 'a' }),
  () => ({ id: 'a' }),
  () => ({ then: (resolve: (value: string) => void) => resolve('a') }),
  () => ({ toString: () => 'a', valueOf: () => 5, toJSON: () => 'a' }),
  () => ({
    get a() {
      throw new Error('read');
    },
  }),
  () =>
    new Proxy(
      {},
      {
        get() {
          throw new Error('trap');
        },
        ownKeys() {
          throw new Error('trap');
        },
      },
    ),
  () => cycle,
  () => deep(65),
  () => deep(5000),
  () => new Date(0),
  () => new Map([['a', 1]]),
  () => new Own(),
  () => new Error('a'),
  () => /a/,
  () => new Uint8Array(5),
  () => Promise.resolve('a'),
  () => new AbortController().signal,
  () => globalThis,
];

export interface Attacked {
  inputs: number;
  refused: number;
  accepted: number;
  /** Calls that held up the event loop for more than 50 ms. */
  readonly slow: string[];
  readonly wrong: string[];
}

async function placeOn(counter: Counted): Promise<Place> {
  const mesh = createMesh({ storage: counter.storage, onError: () => {} });
  const manual = { heartbeat: 'manual' as const, ttlMs: 300_000, capabilities: ['x'], groups: ['g'] };
  const agent = await mesh.registry.register({ id: 'a', ...manual });
  await mesh.registry.register({ id: 'b', ...manual });
  const collaboration = await mesh.hub.createCollaboration({
    id: 'c',
    initiator: 'a',
    participants: [{ session: 'b' }],
    steps: [{ name: 'one' }],
  });
  await mesh.hub.send({ from: 'a', to: 'b', type: 'request' });
  const [delivery] = await mesh.hub.inbox('b').receive();
  await mesh.hub.delegate({ from: 'a', to: 'b', type: 'job' });
  const [assignment] = await mesh.hub.claim('b');
  const { token, apiKey } = await mesh.keys.issue({ scopes: ['s:*'] });
  if (!delivery || !assignment) throw new Error('expected a delivery and an assignment, got none');
  return { mesh, agent, collaboration, delivery, assignment, token, keyId: apiKey.id };
}

/** Paths to every part of the arguments: `[]` leads to the list of arguments itself. */
function* pathsOf(value: unknown, path: readonly string[] = []): Generator<readonly string[]> {
  if (path.length > 0) yield path;
  if (typeof value !== 'object' || value === null || path.length > 4) return;
  for (const [key, part] of Object.entries(value)) yield* pathsOf(part, [...path, key]);
}

function replaced(value: unknown, [key, ...rest]: readonly string[], by: unknown): unknown {
  if (key === undefined) return by;
  const copy: Record<string, unknown> | unknown[] = Array.isArray(value) ? [...value] : { ...(value as object) };
  (copy as Record<string, unknown>)[key] = replaced((value as Record<string, unknown>)[key], rest, by);
  return copy;
}

/** Calls every method with each part of its arguments replaced by each bad value, and by some that are made. */
export async function attack(
  values: readonly (() => unknown)[],
  {
    methods = METHODS,
    every = 1,
    offset = 0,
  }: { readonly methods?: readonly Method[]; readonly every?: number; readonly offset?: number } = {},
): Promise<Attacked> {
  const attacked: Attacked = { inputs: 0, refused: 0, accepted: 0, slow: [], wrong: [] };
  const prototype = Object.getOwnPropertyNames(Object.prototype).join();
  const onUnhandled = (reason: unknown): void => void attacked.wrong.push(`unhandled: ${String(reason)}`);
  process.on('unhandledRejection', onUnhandled);
  let n = offset;
  for (const method of methods) {
    const counter = counted(new InMemoryStorage({ clock: new VirtualClock() }));
    const place = await placeOn(counter);
    const paths = [...pathsOf(method.args(place))];
    for (const path of paths) {
      for (const value of values) if (n++ % every === 0) await attempt(attacked, counter, place, method, path, value);
    }
    await place.mesh.close().catch(() => {});
  }
  await new Promise((resolve) => setImmediate(resolve));
  process.off('unhandledRejection', onUnhandled);
  if (Object.getOwnPropertyNames(Object.prototype).join() !== prototype || 'polluted' in {})
    attacked.wrong.push('Object.prototype was changed');
  return attacked;
}

async function attempt(
  attacked: Attacked,
  counter: Counted,
  place: Place,
  { name, of, args }: Method,
  path: readonly string[],
  make: () => unknown,
): Promise<void> {
  const value = make();
  const what = `${name} ${path.join('.')} = ${shown(value)}`;
  const given = replaced(args(place), path, value) as unknown[];
  const target = of(place) as Record<string, (...given: unknown[]) => unknown>;
  counter.take();
  attacked.inputs += 1;
  const call = (): unknown => target[name]?.(...given);
  const began = performance.now();
  let outcome: unknown = PENDING;
  try {
    const answer = call();
    hold(attacked, began, what, call);
    if (answer instanceof Promise)
      await Promise.race([
        answer.then(
          () => (outcome = undefined),
          (error: unknown) => (outcome = error ?? 'nothing'),
        ),
        turns(),
      ]);
    else outcome = undefined;
    // A loop or a consumer was begun; it is not waited for.
    void Promise.resolve((answer as { done?: Promise<unknown> } | undefined)?.done).catch(() => {});
    (answer as { stop?: () => unknown } | undefined)?.stop?.();
  } catch (error) {
    outcome = error;
    hold(attacked, began, what, call);
  }
  if (outcome === undefined || outcome === PENDING) {
    attacked.accepted += 1;
    return;
  }
  attacked.refused += 1;
  if (!(outcome instanceof MeshError)) attacked.wrong.push(`${what}: ${String(outcome)}`);
  else if (outcome.code === 'invalid_input' && !OF_THE_STORE.test(outcome.message)) {
    const { get, list, commit } = counter.take();
    if (get + list + commit > 0) attacked.wrong.push(`${what}: the storage was asked before it was refused: ${outcome.message}`);
  }
}

const BLOCK_MS = 50;
const PENDING = Symbol('pending');
/** Only what is stored, or what a callback answers to it, can tell that these are wrong. */
const OF_THE_STORE =
  /descend|went to many|a step of|an open step|known step|of this collaboration|participant|^expected context /;

async function turns(): Promise<void> {
  for (let n = 0; n < 20; n++) await new Promise((resolve) => setImmediate(resolve));
}

/** What is slow each time is slow by itself, and not because the machine had something else to do. */
function hold(attacked: Attacked, began: number, what: string, again: () => unknown): void {
  let ms = performance.now() - began;
  for (let n = 0; n < 3 && ms > BLOCK_MS; n++) {
    const start = performance.now();
    try {
      void Promise.resolve(again()).catch(() => {});
    } catch {
      // As before.
    }
    ms = Math.min(ms, performance.now() - start);
  }
  if (ms > BLOCK_MS) attacked.slow.push(`${what}: ${ms.toFixed(1)} ms`);
}

function shown(value: unknown): string {
  try {
    if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}… (${value.length})` : value);
    return Object.prototype.toString.call(value) + (typeof value === 'object' ? '' : ` ${String(value)}`);
  } catch {
    return 'something that throws';
  }
}

import * as z from 'zod';
import { MAX_TIMER_MS } from '../kernel/clock.ts';
import { abortSignal, callback, id, line, MAX_TTL_MS, MIN_TTL_MS, names, policy, text, wholeNumber } from '../kernel/inputs.ts';
import type { LoadOf } from './search.ts';
import { SESSION_STATES, type Session, type SessionState, type SessionStatus } from './session.ts';
import { SessionHandle } from './session-handle.ts';
import type { TalkEdges } from './topology.ts';

const NAME_BYTES = 256;
const TEXT_BYTES = 1024;
const PAGE = 1000;

/**
 * A session named by its id, which is the host's authority, or by its handle, which is fenced. What `registry.get` and
 * `list` answer stands for its id. Nothing else does: a copy of a handle must not act where the handle no longer may.
 */
export type SessionRef = string | SessionHandle | Session;

const SNAPSHOT = z.object({
  id,
  epoch: wholeNumber(1, Number.MAX_SAFE_INTEGER),
  state: z.enum(SESSION_STATES),
  agent: z.object(),
});

function refOf(value: unknown): SessionRef | undefined {
  if (SessionHandle.isHandle(value)) return value;
  if (typeof value === 'string') return id.safeParse(value).data;
  return SNAPSHOT.safeParse(value).data?.id;
}

export const sessionRef: z.ZodType<SessionRef> = z.unknown().transform((value, { issues }) => {
  try {
    const ref = refOf(value);
    if (ref !== undefined) return ref;
  } catch {
    // An accessor or a proxy that throws.
  }
  issues.push({ code: 'custom', message: 'the id of a session or its handle', input: value });
  return z.NEVER;
});

/** One capability or group. */
export const name: z.ZodType<string> = policy(
  (value): value is string => names.safeParse([value]).success,
  'a name (letters, digits and . _ : / @ + - #, 1 to 64 characters)',
);

const status = z.enum(['active', 'idle', 'working', 'waiting']);
const task = text(TEXT_BYTES);

const AGENT = z.strictObject({ name: line(NAME_BYTES), type: line(NAME_BYTES), framework: line(NAME_BYTES).optional() });

/** What `onKill` is told. */
export interface KillNotice {
  readonly reason: string;
  readonly force: boolean;
  /** Through this millisecond of the store's clock the session may still write; absent when it is dead already. */
  readonly deadline?: number;
}
/** The hook of the host that stops what Node cannot: a process, a worker. What it throws goes to `onError`. */
export type OnKill = (notice: KillNotice) => unknown;

/** A policy for each of the options, and for nothing else. */
type Policies<Options> = { readonly [Name in keyof Required<Options>]: z.ZodType };

/** Who a session is. Everything has a default. */
export interface RegisterOptions {
  /** Default: `session_` and 21 random letters or digits. */
  readonly id?: string | undefined;
  /** Default: name and type `agent`. */
  readonly agent?: { readonly name: string; readonly type: string; readonly framework?: string | undefined } | undefined;
  /** The human it works for. */
  readonly user?: string | undefined;
  /** What it can do: at most 64. */
  readonly capabilities?: readonly string[] | undefined;
  /** At most 64. Whoever registers an id that is offline is in its groups as well. */
  readonly groups?: readonly string[] | undefined;
  /** Any JSON object of at most 1 MiB. */
  readonly metadata?: unknown;
  /** A session that is alive, whose child this one is. */
  readonly parentId?: string | undefined;
  /** Default `active`. */
  readonly status?: SessionStatus | undefined;
  /** What it works on: at most 1 KiB. */
  readonly task?: string | undefined;
  /** How much work it takes at a time, by which its load is divided. Default 1. */
  readonly capacity?: number | undefined;
  /** `auto`, the default: this process renews the lease every third of its ttl. */
  readonly heartbeat?: 'auto' | 'manual' | undefined;
  /** How long it counts as alive without a heartbeat: 1 s … 30 days. Default 30 s, with manual heartbeats 300 s. */
  readonly ttlMs?: number | undefined;
  /** How long it is kept once it is offline, ended or killed: 1 s … 30 days. Default 24 h. */
  readonly retentionMs?: number | undefined;
  /** Takes the id also from a session that is alive, and one that was killed. */
  readonly takeover?: boolean | undefined;
  /**
   * Called when the session is told to stop, again whenever a later order leaves it less time, and when it is killed: to
   * end what only the host can, a process or a worker.
   */
  readonly onKill?: OnKill | undefined;
}

export const REGISTER = z.strictObject({
  id: id.optional(),
  agent: AGENT.default({ name: 'agent', type: 'agent' }),
  user: line(NAME_BYTES).optional(),
  capabilities: names.default([]),
  groups: names.default([]),
  metadata: z.unknown().optional(),
  parentId: id.optional(),
  status: status.default('active'),
  task: task.optional(),
  capacity: wholeNumber(1, 1_000_000).default(1),
  heartbeat: z.enum(['auto', 'manual']).default('auto'),
  ttlMs: wholeNumber(MIN_TTL_MS, MAX_TTL_MS).optional(),
  retentionMs: wholeNumber(MIN_TTL_MS, MAX_TTL_MS).default(86_400_000),
  takeover: z.boolean().default(false),
  onKill: callback<OnKill>().optional(),
} satisfies Policies<RegisterOptions>);
export type Registration = z.output<typeof REGISTER>;

/** The same for a child: its parent is known. */
export type SpawnOptions = Omit<RegisterOptions, 'parentId'>;
export const SPAWN = REGISTER.omit({ parentId: true });

/** What a session says of itself anew; what is left out stays. */
export interface SessionUpdate {
  readonly status?: SessionStatus | undefined;
  /** `null` clears it. */
  readonly task?: string | null | undefined;
  readonly capabilities?: readonly string[] | undefined;
  readonly groups?: readonly string[] | undefined;
  /** Takes the place of all that was there. */
  readonly metadata?: unknown;
  readonly capacity?: number | undefined;
}

export const UPDATE = z.strictObject({
  status: status.optional(),
  task: policy(
    (value): value is string | null => value === null || task.safeParse(value).success,
    `null or at most ${TEXT_BYTES} bytes of well-formed Unicode`,
  ).optional(),
  capabilities: names.optional(),
  groups: names.optional(),
  metadata: z.unknown().optional(),
  capacity: wholeNumber(1, 1_000_000).optional(),
} satisfies Policies<SessionUpdate>);

/** What is noted of the end of a session. */
export interface EndOptions {
  /** What came of it: any JSON of at most 1 MiB. */
  readonly result?: unknown;
  /** At most 1 KiB. */
  readonly reason?: string | undefined;
}

export const END = z.strictObject({
  result: z.unknown().optional(),
  reason: text(TEXT_BYTES).optional(),
} satisfies Policies<EndOptions>);

/** Conditions that must all be met. Sessions they name need not exist. */
export interface ListOptions {
  /** `active` means `alive`, which is the default; `all` is any state. */
  readonly state?: SessionState | 'active' | 'all' | undefined;
  readonly capabilities?: readonly string[] | undefined;
  /** Whether all of the capabilities, which is the default, or any of them. */
  readonly match?: 'all' | 'any' | undefined;
  readonly status?: SessionStatus | undefined;
  readonly agentType?: string | undefined;
  readonly user?: string | undefined;
  readonly group?: string | undefined;
  readonly parentId?: string | undefined;
  /** 1 … 1,000. Default 100. */
  readonly limit?: number | undefined;
  /** The `next` of the page before. */
  readonly after?: string | undefined;
}

export const LIST = z.strictObject({
  state: z.enum([...SESSION_STATES, 'active', 'all']).default('alive'),
  capabilities: names.optional(),
  match: z.enum(['all', 'any']).default('all'),
  status: status.optional(),
  agentType: line(NAME_BYTES).optional(),
  user: line(NAME_BYTES).optional(),
  group: name.optional(),
  parentId: id.optional(),
  limit: wholeNumber(1, PAGE).default(100),
  after: id.optional(),
} satisfies Policies<ListOptions>);

/** What `registry.specialists` is told besides the capability. */
export interface SpecialistsOptions {
  /** 1 … 64. Default 10. */
  readonly limit?: number | undefined;
}

export const SPECIALISTS = z.strictObject({
  limit: wholeNumber(1, 64).default(10),
} satisfies Policies<SpecialistsOptions>);

export const STEERS = z.strictObject({ signal: abortSignal.optional() });

/** What others count for the registry. */
export interface Providers {
  readonly loadOf?: LoadOf | undefined;
  readonly talkEdges?: TalkEdges | undefined;
}

export const PROVIDERS = z.strictObject({
  loadOf: callback<LoadOf>().optional(),
  talkEdges: callback<TalkEdges>().optional(),
} satisfies Policies<Providers>);

/** How to kill. */
export interface KillOptions {
  /** At most 1 KiB. Default `killed`. */
  readonly reason?: string | undefined;
  /** How long each session has to end by itself, at most what its lease has left. Default 5,000. */
  readonly graceMs?: number | undefined;
  /** Gives no grace. */
  readonly force?: boolean | undefined;
  /** Whether everything below goes with it, which is the default. */
  readonly cascade?: boolean | undefined;
  /** Who orders it. */
  readonly by?: SessionRef | undefined;
  /** Ends the wait, and not the order. Default: none. */
  readonly timeoutMs?: number | undefined;
  /** Ends the wait, and not the order. */
  readonly signal?: AbortSignal | undefined;
}

export const KILL = z.strictObject({
  reason: text(TEXT_BYTES).default('killed'),
  graceMs: wholeNumber(0, MAX_TIMER_MS).default(5000),
  force: z.boolean().default(false),
  cascade: z.boolean().default(true),
  by: sessionRef.optional(),
  timeoutMs: wholeNumber(0, MAX_TIMER_MS).optional(),
  signal: abortSignal.optional(),
} satisfies Policies<KillOptions>);

/** What a session is told to do: at most 1 MiB and 63 KiB of JSON together. */
export interface SteerOptions {
  /** Free text of at most 1 KiB, such as `"north"`. */
  readonly direction?: string | undefined;
  /** At most 64 KiB. */
  readonly message?: string | undefined;
  /** Any JSON of at most 1 MiB. */
  readonly data?: unknown;
  /** Who steers. */
  readonly by?: SessionRef | undefined;
}

export const STEER = z.strictObject({
  direction: text(TEXT_BYTES).optional(),
  message: text(64 * 1024).optional(),
  data: z.unknown().optional(),
  by: sessionRef.optional(),
} satisfies Policies<SteerOptions>);

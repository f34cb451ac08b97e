import * as z from 'zod';
import { MAX_TIMER_MS } from '../kernel/clock.ts';
import { describe } from '../kernel/describe.ts';
import { MeshError } from '../kernel/errors.ts';
import {
  abortSignal,
  id,
  jsonObject,
  jsonValue,
  line,
  MAX_TTL_MS,
  MIN_TTL_MS,
  names,
  parse,
  policy,
  wholeNumber,
} from '../kernel/inputs.ts';
import { type JsonObject, toJson } from '../kernel/json.ts';
import { type SessionRef, sessionRef } from '../registry/session-inputs.ts';
import { LIMITS } from '../storage/checked.ts';
import { type Content, type EntryRecord, MEMORY_TYPES, type MemoryType } from './entry.ts';

const KEY_BYTES = 512;
const PATTERN_BYTES = 256;
/** Beside a value of 1 MiB, so much still fits into a record. */
const METADATA_BYTES = 32 * 1024;
/** A history's partition is called by the names of a namespace and a key, beside which a mesh may have a name of 128. */
const NAMESPACE_BYTES = 360;
const PAGE = 1000;
const MAX_HISTORY = 10_000;

const keyPolicy = line(KEY_BYTES);
const type = z.enum(MEMORY_TYPES);
const patternLine = line(PATTERN_BYTES);
const isPattern = (value: unknown): value is string => patternLine.safeParse(value).success;
const pattern = policy(isPattern, `a pattern of 1 to ${PATTERN_BYTES} bytes without control characters`);

/** What belongs to a version besides its value, and what must hold for it to be written. */
export interface SetOptions {
  /** Who writes: an id, or a handle, which is fenced. */
  readonly by?: SessionRef | undefined;
  /** Default `state`; `update` keeps the type. */
  readonly type?: MemoryType | undefined;
  /** Default none; `update` keeps the tags. */
  readonly tags?: readonly string[] | undefined;
  /** 1 s … 30 days. Default: for ever; `update` keeps the time at which the entry expires. */
  readonly ttlMs?: number | undefined;
  /** An object of at most 32 KiB. Default empty; `update` keeps it. */
  readonly metadata?: unknown;
  /** Only if the newest version is this one; 0: only if there is none. */
  readonly ifVersion?: number | undefined;
  /** The entry vanishes when the session of `by` ends, is killed or taken over; `update` keeps with whose. */
  readonly untilSessionEnds?: boolean | undefined;
}

/** The same, accepted: what is in it is the library's own. */
export interface AcceptedOptions extends SetOptions {
  readonly metadata?: JsonObject | undefined;
}

const SET = z.strictObject({
  by: sessionRef.optional(),
  type: type.optional(),
  tags: names.optional(),
  ttlMs: wholeNumber(MIN_TTL_MS, MAX_TTL_MS).optional(),
  metadata: z.unknown().optional(),
  ifVersion: wholeNumber(0, Number.MAX_SAFE_INTEGER).optional(),
  untilSessionEnds: z.boolean().optional(),
});

export const SET_OPTIONS: z.ZodType<SetOptions> = SET;
export const UPDATE_OPTIONS: z.ZodType<SetOptions> = SET.omit({ ifVersion: true });

const NONE: AcceptedOptions = {};

/**
 * Options of a write. None are not parsed.
 * @throws MeshError `invalid_input`, `limit_exceeded`
 */
export function acceptOptions(schema: z.ZodType<SetOptions>, options: SetOptions | undefined): AcceptedOptions {
  if (options === undefined) return NONE;
  const { by, type, tags, ttlMs, metadata, ifVersion, untilSessionEnds } = parse(schema, options, 'options');
  if (untilSessionEnds && by === undefined) {
    throw new MeshError('invalid_input', 'expected options.by beside untilSessionEnds, got none', {
      details: { path: 'options.by' },
    });
  }
  return {
    by,
    type,
    tags,
    ttlMs,
    metadata: metadata === undefined ? undefined : metadataOf(metadata),
    ifVersion,
    untilSessionEnds,
  };
}

const NO_TAGS = toJson([], 'tags', LIMITS.valueBytes) as readonly string[];
const NO_METADATA = toJson({}, 'metadata', LIMITS.valueBytes) as JsonObject;

/**
 * What a new version is made of; what is not given is that of the version before.
 * @throws MeshError `invalid_input`, `limit_exceeded`
 */
export function acceptContent(value: unknown, given: AcceptedOptions, before?: EntryRecord): Content {
  return {
    value: jsonValue(value, 'value'),
    type: given.type ?? before?.type ?? 'state',
    tags: given.tags ?? before?.tags ?? NO_TAGS,
    metadata: given.metadata ?? before?.metadata ?? NO_METADATA,
  };
}

function metadataOf(metadata: unknown): JsonObject {
  jsonObject(metadata, 'options.metadata');
  return toJson(metadata, 'options.metadata', METADATA_BYTES) as JsonObject;
}

/** What `memory.delete` is told besides the key. */
export interface DeleteOptions {
  /** Who deletes: an id, or a handle, which is fenced. */
  readonly by?: SessionRef | undefined;
  /** Only what this session has written. */
  readonly session?: string | undefined;
}
/** What `memory.clear` is told. */
export type ClearOptions = DeleteOptions;

export const DELETE: z.ZodType<DeleteOptions> = z.strictObject({ by: sessionRef.optional(), session: id.optional() });

/** How much `memory.history` tells. */
export interface HistoryOptions {
  /** 1 … 10,000. Default 100. */
  readonly limit?: number | undefined;
}

export const HISTORY = z.strictObject({ limit: wholeNumber(1, MAX_HISTORY).default(100) });

/** Conditions that must all be met, and paging. */
export interface SearchOptions {
  /** What the key is like: `*` is any run of characters, `?` one, everything else itself. At most 256 bytes. */
  readonly pattern?: string | undefined;
  readonly tags?: readonly string[] | undefined;
  /** Whether an entry has all of the tags or any of them. Default `all`. */
  readonly match?: 'all' | 'any' | undefined;
  /** Who wrote the newest version. */
  readonly session?: string | undefined;
  readonly type?: MemoryType | undefined;
  /** 1 … 1,000. Default 100. */
  readonly limit?: number | undefined;
  /** The `next` of the page before. */
  readonly after?: string | undefined;
}

export const SEARCH = z.strictObject({
  pattern: pattern.optional(),
  tags: names.optional(),
  match: z.enum(['all', 'any']).default('all'),
  session: id.optional(),
  type: type.optional(),
  limit: wholeNumber(1, PAGE).default(100),
  after: keyPolicy.optional(),
});

/** From where `memory.watch` follows, and until when. */
export interface WatchOptions {
  /** The cursor of the last change already seen; `''`: all that the log still has. Default: what comes from now on. */
  readonly after?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export const PATTERN = pattern;
export const WATCH: z.ZodType<WatchOptions> = z.strictObject({ after: z.string().optional(), signal: abortSignal.optional() });

/** How `memory.waitFor` waits. */
export interface WaitOptions {
  /** 0 (look once) … 2,147,483,647. Default 30,000. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export const WAIT = z.strictObject({ timeoutMs: wholeNumber(0, MAX_TIMER_MS).default(30_000), signal: abortSignal.optional() });

/** What a shared memory has of its own, beside the storage. */
export interface MemoryOptions {
  /** How many versions of a key stay, the newest included: 1 … 10,000. Default 100. */
  readonly historyPerKey?: number | undefined;
}

export const MEMORY_OPTIONS = z.strictObject({ historyPerKey: wholeNumber(1, MAX_HISTORY).default(100) });

/**
 * The path of a namespace within another.
 * @throws MeshError `invalid_input`, `limit_exceeded`
 */
export function namespacePath(outer: string, name: unknown): string {
  const inner = parse(id, name, 'name');
  const path = outer === '' ? inner : `${outer}>${inner}`;
  if (path.length <= NAMESPACE_BYTES) return path;
  throw new MeshError(
    'limit_exceeded',
    `expected names of nested namespaces of at most ${NAMESPACE_BYTES} characters together, got ${path.length}`,
  );
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it is for
const PLAIN_KEY = /^[^\u0000-\u001f\u007f-\u009f\ud800-\udfff]{1,170}$/;

/**
 * A key: 1 to 512 UTF-8 bytes of well-formed Unicode without control characters.
 * @throws MeshError `invalid_input`
 */
export function checkKey(key: unknown): string {
  if (typeof key === 'string' && (PLAIN_KEY.test(key) || keyPolicy.safeParse(key).success)) return key;
  throw new MeshError(
    'invalid_input',
    `expected a key of 1 to ${KEY_BYTES} bytes of well-formed Unicode without control characters, got ${describe(key)}`,
  );
}

/** @throws MeshError `invalid_input` */
export function checkCallback(callback: unknown, name: string): void {
  if (typeof callback !== 'function')
    throw new MeshError('invalid_input', `expected ${name} to be a function, got ${describe(callback)}`);
}

import type * as z from 'zod';
import { MAX_TIMER_MS } from '../../kernel/clock.ts';
import { MeshError } from '../../kernel/errors.ts';
import { ID_PATTERN, jsonObject, jsonValue, parse } from '../../kernel/inputs.ts';
import { type JsonObject, type JsonValue, jsonBytesAtMost, utf8Length } from '../../kernel/json.ts';
import { SessionHandle } from '../../registry/session-handle.ts';
import type { SessionRef } from '../../registry/session-inputs.ts';
import { PRIORITIES, type Priority } from '../priority.ts';
import { MESSAGE_TYPES, type MessageRecord, type MessageType } from './message.ts';
import { BODY_BYTES, type MessageContent, REPLY, REQUEST, REQUEST_TIMEOUT_MS, SEND } from './message-inputs.ts';

const HEADERS_BYTES = 16 * 1024;

/** What is stored of a content. */
export interface AcceptedContent {
  readonly subject: string | undefined;
  readonly body: string | undefined;
  readonly data: JsonValue | undefined;
  readonly priority: Priority;
  readonly headers: JsonObject | undefined;
}

/**
 * Copies and freezes what a message says.
 * @throws MeshError `invalid_input`, `limit_exceeded`
 */
export function acceptContent({ subject, body, data, priority = 'medium', headers }: MessageContent): AcceptedContent {
  const accepted = data === undefined ? undefined : jsonValue(data, 'options.data');
  const head = headers === undefined ? undefined : jsonObject(headers, 'options.headers');
  assertFits(body, accepted);
  if (head && utf8Length(JSON.stringify(head)) > HEADERS_BYTES) {
    throw new MeshError('limit_exceeded', `expected headers of at most ${HEADERS_BYTES} bytes, got more`);
  }
  return { subject, body, data: accepted, priority, headers: head };
}

/** A message in the making, with what it says. */
export function messageRecord(
  { from, to, type, at }: Pick<MessageRecord, 'from' | 'to' | 'type' | 'at'>,
  { subject, body, data, priority, headers }: AcceptedContent,
): { -readonly [Field in keyof MessageRecord]: MessageRecord[Field] } {
  let record: { -readonly [Field in keyof MessageRecord]: MessageRecord[Field] };
  if (subject !== undefined && body !== undefined && data !== undefined) {
    // Most have all of these: an object that is made with its fields has room for just them, and others for more.
    record = { from, to, type, priority, at, subject, body, data };
  } else {
    record = { from, to, type, priority, at };
    if (subject !== undefined) record.subject = subject;
    if (body !== undefined) record.body = body;
    if (data !== undefined) record.data = data;
  }
  if (headers !== undefined) record.headers = headers;
  return record;
}

/** Body and data are stored in one record; only what may be too much is measured. */
function assertFits(body: string | undefined, data: JsonValue | undefined): void {
  const atMost = (value: JsonValue | undefined): number => (value === undefined ? 0 : jsonBytesAtMost(value));
  if (atMost(body) + atMost(data) <= BODY_BYTES) return;
  const bodyBytes = body === undefined ? 0 : utf8Length(JSON.stringify(body)) - 2;
  const dataBytes = data === undefined ? 0 : utf8Length(JSON.stringify(data));
  if (bodyBytes + dataBytes <= BODY_BYTES) return;
  throw new MeshError(
    'limit_exceeded',
    `expected body and data of at most ${BODY_BYTES} bytes of JSON, got ${bodyBytes + dataBytes}`,
  );
}

type Fields = Readonly<Record<string, true>>;
const CONTENT_FIELDS: Fields = { subject: true, body: true, data: true, priority: true };
const SEND_FIELDS: Fields = { from: true, to: true, type: true, ...CONTENT_FIELDS };
const REQUEST_FIELDS: Fields = { from: true, to: true, timeoutMs: true, ...CONTENT_FIELDS };
const REPLY_FIELDS: Fields = { from: true, type: true, ...CONTENT_FIELDS };
const PLAIN_LINE = /^[\x20-\x7e]{1,300}$/;
const TYPES: ReadonlySet<unknown> = new Set(MESSAGE_TYPES);
const ALL_PRIORITIES: ReadonlySet<unknown> = new Set(PRIORITIES);

/**
 * What `parse(SEND, …)` answers, by hand for what is sent most: the policies cost more than all else that a send does.
 * @throws MeshError `invalid_input`
 */
export function acceptSend(options: unknown): z.output<typeof SEND> {
  const common = commonOptions(options, SEND_FIELDS);
  if (!common || common.to === undefined) return parse(SEND, options, 'options');
  const { from, to, type, subject, body, data, priority } = common;
  return { from, to, type, subject, body, data, priority, requireAlive: false };
}

/**
 * What `parse(REQUEST, …)` answers.
 * @throws MeshError `invalid_input`
 */
export function acceptRequest(options: unknown): z.output<typeof REQUEST> {
  const common = commonOptions(options, REQUEST_FIELDS);
  if (!common || common.to === undefined) return parse(REQUEST, options, 'options');
  const { from, to, subject, body, data, priority, timeoutMs = REQUEST_TIMEOUT_MS } = common;
  return { from, to, timeoutMs, subject, body, data, priority };
}

/**
 * What `parse(REPLY, …)` answers.
 * @throws MeshError `invalid_input`
 */
export function acceptReply(options: unknown): z.output<typeof REPLY> {
  const common = commonOptions(options, REPLY_FIELDS);
  if (!common) return parse(REPLY, options, 'options');
  const { from, type = 'response', subject, body, data, priority } = common;
  return { from, type, subject, body, data, priority };
}

interface CommonOptions {
  readonly from: SessionRef;
  readonly to: SessionRef | undefined;
  readonly type: MessageType | undefined;
  readonly subject: string | undefined;
  readonly body: string | undefined;
  readonly data: unknown;
  readonly priority: Priority;
  readonly timeoutMs: number | undefined;
}

/** Each field read once, by whoever would read it; nothing for what the policies are to judge. */
function commonOptions(options: unknown, fields: Fields): CommonOptions | undefined {
  try {
    // A long array takes long to be walked, and is nothing that is sent.
    if (typeof options !== 'object' || options === null || Array.isArray(options)) return undefined;
    for (const field in options) if (fields[field] !== true) return undefined;
    const { from, to, type, subject, body, data, priority = 'medium', timeoutMs } = options as Record<string, unknown>;
    // A field that is not enumerable, such as the getter of a class, is read by the policies too.
    const { idempotencyKey, ttlMs, threadId, headers, requireAlive, signal } = options as Record<string, unknown>;
    if (idempotencyKey !== undefined || ttlMs !== undefined || threadId !== undefined) return undefined;
    if (headers !== undefined || requireAlive !== undefined || signal !== undefined) return undefined;
    if (!isCommonRef(from) || (to !== undefined && !isCommonRef(to))) return undefined;
    if (type !== undefined && !TYPES.has(type)) return undefined;
    if (subject !== undefined && !(typeof subject === 'string' && PLAIN_LINE.test(subject))) return undefined;
    if (body !== undefined && !(typeof body === 'string' && body.length * 3 <= BODY_BYTES && body.isWellFormed()))
      return undefined;
    if (!ALL_PRIORITIES.has(priority)) return undefined;
    if (
      timeoutMs !== undefined &&
      !(Number.isInteger(timeoutMs) && (timeoutMs as number) >= 1 && (timeoutMs as number) <= MAX_TIMER_MS)
    )
      return undefined;
    return { from, to, type, subject, body, data, priority, timeoutMs } as CommonOptions;
  } catch {
    // An accessor or a proxy that throws is refused by the policies.
    return undefined;
  }
}

function isCommonRef(value: unknown): value is SessionRef {
  return typeof value === 'string' ? ID_PATTERN.test(value) : SessionHandle.isHandle(value);
}

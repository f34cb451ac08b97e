import type * as z from 'zod';
import { MeshError } from '../../kernel/errors.ts';
import { ID_PATTERN, jsonObject, jsonValue, parse } from '../../kernel/inputs.ts';
import { type JsonObject, type JsonValue, jsonBytesAtMost, utf8Length } from '../../kernel/json.ts';
import { SessionHandle } from '../../registry/session-handle.ts';
import type { SessionRef } from '../../registry/session-inputs.ts';
import { PRIORITIES, type Priority } from '../priority.ts';
import { MESSAGE_TYPES, type MessageRecord } from './message.ts';
import { BODY_BYTES, type MessageContent, SEND } from './message-inputs.ts';

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

const SEND_FIELDS: Readonly<Record<string, true>> = {
  from: true,
  to: true,
  type: true,
  subject: true,
  body: true,
  data: true,
  priority: true,
};
const PLAIN_LINE = /^[\x20-\x7e]{1,300}$/;
const TYPES: ReadonlySet<unknown> = new Set(MESSAGE_TYPES);
const ALL_PRIORITIES: ReadonlySet<unknown> = new Set(PRIORITIES);

/**
 * What `parse(SEND, …)` answers, by hand for what is sent most: the policies cost more than all else that a send does.
 * @throws MeshError `invalid_input`
 */
export function acceptSend(options: unknown): z.output<typeof SEND> {
  return commonSend(options) ?? parse(SEND, options, 'options');
}

function commonSend(options: unknown): z.output<typeof SEND> | undefined {
  try {
    // A long array takes long to be walked, and is nothing that is sent.
    if (typeof options !== 'object' || options === null || Array.isArray(options)) return undefined;
    for (const field in options) if (SEND_FIELDS[field] !== true) return undefined;
    const { from, to, type, subject, body, data, priority } = options as Record<string, unknown>;
    if (!isCommonRef(from) || !isCommonRef(to)) return undefined;
    if (type !== undefined && !TYPES.has(type)) return undefined;
    if (subject !== undefined && !(typeof subject === 'string' && PLAIN_LINE.test(subject))) return undefined;
    if (body !== undefined && !(typeof body === 'string' && body.length * 3 <= BODY_BYTES && body.isWellFormed()))
      return undefined;
    if (priority !== undefined && !ALL_PRIORITIES.has(priority)) return undefined;
    const accepted = { from, to, type, subject, body, data, priority: priority ?? 'medium', requireAlive: false };
    return accepted as z.output<typeof SEND>;
  } catch {
    // An accessor or a proxy that throws is refused by the policies.
    return undefined;
  }
}

function isCommonRef(value: unknown): value is SessionRef {
  return typeof value === 'string' ? ID_PATTERN.test(value) : SessionHandle.isHandle(value);
}

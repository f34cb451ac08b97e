import { MeshError } from '../../kernel/errors.ts';
import { type JsonValue, parseAccepted } from '../../kernel/json.ts';
import type { StoredRecord } from '../../storage/storage.ts';

export function recordOf(
  partition: string,
  key: string,
  value: JsonValue,
  revision: number,
  expires: number | null,
): StoredRecord {
  if (expires === null) return { partition, key, value, revision };
  return { partition, key, value, revision, expiresAt: expires };
}

/** @throws MeshError `corrupt` when the file holds what no commit wrote */
export function parsedValue(text: unknown): JsonValue {
  try {
    if (typeof text === 'string') return parseAccepted(text);
  } catch {
    // Refused below: what a parser says of a text quotes it.
  }
  throw new MeshError('corrupt', 'expected a record with a value in JSON, got something else');
}

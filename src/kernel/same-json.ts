import type { JsonValue } from './json.ts';

/** Whether two values are the same data, whatever the order of their names; nothing is the same as nothing. */
export function sameJson(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const [names, others] = [Object.keys(a), Object.keys(b)];
  if (Array.isArray(a) !== Array.isArray(b) || names.length !== others.length) return false;
  return names.every((name) => Object.hasOwn(b, name) && sameJson(memberOf(a, name), memberOf(b, name)));
}

function memberOf(container: JsonValue, name: string): JsonValue {
  return (container as Readonly<Record<string, JsonValue>>)[name] as JsonValue;
}

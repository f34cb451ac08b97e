/** What a value is, for an error message: short, and never its whole content. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return value.length <= 40 ? JSON.stringify(value) : `a string of ${value.length} characters`;
  if (typeof value === 'bigint') return 'a bigint';
  if (typeof value === 'symbol') return 'a symbol';
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return String(value);
  try {
    if (Array.isArray(value)) return 'an array';
    const prototype = Object.getPrototypeOf(value) as { constructor?: { name?: unknown } } | null;
    const maker = prototype?.constructor?.name;
    return typeof maker === 'string' && maker !== 'Object' ? `an instance of ${maker.slice(0, 40).toWellFormed()}` : 'an object';
  } catch {
    // A revoked proxy, or a class that throws when it is asked for its name.
    return 'an object';
  }
}

/** What somebody threw says of itself, cut to so many characters of well-formed text. It may be anything, and never throws. */
export function saidBy(thrown: unknown, length: number): string {
  return (textOf(thrown) ?? describe(thrown)).slice(0, length).toWellFormed();
}

function textOf(thrown: unknown): string | undefined {
  if (typeof thrown === 'string') return thrown;
  try {
    if (!(thrown instanceof Error)) return undefined;
    const { message, name } = thrown as { readonly message: unknown; readonly name: unknown };
    if (typeof message === 'string' && message !== '') return message;
    return typeof name === 'string' && name !== '' ? name : undefined;
  } catch {
    // An accessor or a proxy that throws.
    return undefined;
  }
}

/** What may be thrown, besides errors like all others: some of it can't even be read. */
export function oddErrors(): [string, unknown][] {
  const throwing = (name: string): Error =>
    Object.defineProperty(new Error('unread'), name, {
      get() {
        throw new Error(`nobody reads ${name}`);
      },
    });
  const { proxy, revoke } = Proxy.revocable(new Error('gone'), {});
  revoke();
  const cyclic = new Error('cyclic');
  cyclic.cause = cyclic;
  const nameless = new Error('');
  (nameless as { name: unknown }).name = 5;
  return [
    ['a message that is an object', Object.assign(new Error('x'), { message: { code: 'E_MODEL' } })],
    ['a message that is a number', Object.assign(new Error('x'), { message: 42 })],
    ['a message that is a symbol', Object.assign(new Error('x'), { message: Symbol('x') })],
    ['a name that is a number', nameless],
    ['a message that throws', throwing('message')],
    ['a name that throws', throwing('name')],
    ['a stack that throws', throwing('stack')],
    ['a revoked proxy', proxy],
    ['itself as its cause', cyclic],
    ['a lone surrogate', new Error('\ud800')],
    ['undefined', undefined],
    ['null', null],
    ['a text', 'broken'],
    ['a bigint', 7n],
    ['an object', { toString: null }],
  ];
}

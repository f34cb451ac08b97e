import type { Delivery } from '../../../src/hub/messages/delivery.ts';
import type { Assignment } from '../../../src/hub/tasks/assignment.ts';
import type { Collaboration, Mesh, SessionHandle } from '../../../src/index.ts';

/** What the methods are called on: fresh for each of them. */
export interface Place {
  readonly mesh: Mesh;
  readonly agent: SessionHandle;
  readonly collaboration: Collaboration;
  readonly delivery: Delivery;
  readonly assignment: Assignment;
  readonly token: string;
  readonly keyId: string;
}

export interface Method {
  readonly name: string;
  readonly of: (place: Place) => object;
  /** Arguments that are right, of which each part is to be replaced by something else. */
  readonly args: (place: Place) => readonly unknown[];
}

const method = (of: Method['of'], name: string, args: Method['args']): Method => ({ name, of, args });
const registry = (name: string, args: Method['args']): Method => method(({ mesh }) => mesh.registry, name, args);
const hub = (name: string, args: Method['args']): Method => method(({ mesh }) => mesh.hub, name, args);
const memory = (name: string, args: Method['args']): Method => method(({ mesh }) => mesh.memory, name, args);
const keys = (name: string, args: Method['args']): Method => method(({ mesh }) => mesh.keys, name, args);
const together = (name: string, args: Method['args']): Method => method(({ collaboration }) => collaboration, name, args);
const handle = (name: string, args: Method['args']): Method => method(({ agent }) => agent, name, args);
const delivery = (name: string, args: Method['args']): Method => method((place) => place.delivery, name, args);
const assignment = (name: string, args: Method['args']): Method => method((place) => place.assignment, name, args);

const SESSION = {
  agent: { name: 'Agent', type: 'test', framework: 'none' },
  user: 'u',
  capabilities: ['x'],
  groups: ['g'],
  status: 'idle',
  task: 't',
  metadata: { a: 1 },
  capacity: 2,
};
const CONTENT = { subject: 's', body: 'b', data: { a: 1 }, priority: 'high', headers: { h: 'x' } };
const POSTING = { from: 'a', type: 'request', idempotencyKey: 'k', ttlMs: 5000, threadId: 't', ...CONTENT };
const TASK = {
  from: 'a',
  type: 'job',
  title: 't',
  payload: [1],
  priority: 'low',
  timeoutMs: 5000,
  retry: { maxRetries: 1, backoff: 'linear', delayMs: 5 },
  retainMs: 5000,
  headers: {},
  idempotencyKey: 'k',
};
const PAGE = { limit: 10 };

/** Every public method that takes something. */
export const METHODS: readonly Method[] = [
  registry('register', () => [
    {
      id: 'new',
      ...SESSION,
      parentId: 'a',
      ttlMs: 5000,
      retentionMs: 5000,
      heartbeat: 'manual',
      takeover: true,
      onKill: () => {},
    },
  ]),
  registry('get', () => ['a']),
  registry('list', () => [
    {
      state: 'alive',
      capabilities: ['x'],
      match: 'all',
      status: 'idle',
      agentType: 't',
      user: 'u',
      group: 'g',
      parentId: 'a',
      ...PAGE,
    },
  ]),
  registry('heartbeat', () => ['a']),
  registry('update', () => ['a', { status: 'idle', task: 't', capabilities: ['x'], groups: ['g'], metadata: {} }]),
  registry('specialize', () => ['a', ['x']]),
  registry('specialists', () => ['x', PAGE]),
  registry('topology', () => [{ root: 'a' }]),
  registry('steer', () => ['a', { direction: 'north', message: 'm', data: 1, by: 'b' }]),
  registry('kill', () => ['b', { reason: 'r', graceMs: 5, force: false, cascade: true, by: 'a', timeoutMs: 0 }]),
  registry('end', () => ['b', { result: 1, reason: 'r' }]),
  handle('update', () => [{ status: 'idle', task: 't', capabilities: ['x'], groups: ['g'], metadata: {} }]),
  handle('spawn', () => [{ ...SESSION, ttlMs: 5000, heartbeat: 'manual' }]),
  handle('end', () => [{ result: 1, reason: 'r' }]),
  hub('send', () => [{ ...POSTING, to: 'b', requireAlive: false }]),
  hub('send', () => [{ ...POSTING, to: { group: 'g' } }]),
  hub('send', () => [{ ...POSTING, to: { capability: 'x' } }]),
  hub('broadcast', () => [POSTING]),
  hub('reply', ({ delivery: { message } }) => [message.id, { from: 'b', type: 'response', idempotencyKey: 'k', ...CONTENT }]),
  hub('request', () => [{ from: 'a', to: 'b', threadId: 't', timeoutMs: 5, ...CONTENT }]),
  hub('ping', () => [{ from: 'a', to: 'b', timeoutMs: 5 }]),
  hub('inbox', () => ['b', { visibilityMs: 5000 }]),
  method(
    ({ mesh }) => mesh.hub.inbox('b'),
    'receive',
    () => [{ limit: 1, timeoutMs: 0, types: ['request'] }],
  ),
  method(
    ({ mesh }) => mesh.hub.inbox('b'),
    'handle',
    () => [() => {}, { concurrency: 1, types: ['request'] }],
  ),
  hub('messages', () => [{ session: 'b', type: 'request', from: 'a', unread: true, includeBroadcasts: true, ...PAGE }]),
  hub('getMessage', ({ delivery: { message } }) => [message.id]),
  hub('conversation', ({ delivery: { message } }) => [message.id]),
  hub('deadLetters', () => [{ session: 'b', ...PAGE }]),
  hub('redrive', ({ delivery: { message } }) => [message.id, { session: 'b' }]),
  hub('purge', () => ['b', { types: ['request'] }]),
  delivery('nak', () => [{ delayMs: 5, reason: 'r' }]),
  delivery('term', () => ['r']),
  delivery('extend', () => [5000]),
  hub('delegate', () => [{ ...TASK, to: 'b' }]),
  hub('delegate', () => [{ ...TASK, to: { capability: 'x' } }]),
  hub('offer', () => [{ ...TASK, to: { group: 'g' } }]),
  hub('work', () => ['b', { capabilities: ['x'], types: ['job'], concurrency: 1 }, () => {}]),
  hub('claim', () => ['b', { capabilities: ['x'], types: ['job'], limit: 1 }]),
  hub('complete', ({ assignment: { task } }) => [task.id, { by: 'b', result: 1 }]),
  hub('fail', ({ assignment: { task } }) => [task.id, { by: 'b', reason: 'r' }]),
  hub('accept', ({ assignment: { task } }) => [task.id, { by: 'b' }]),
  hub('decline', ({ assignment: { task } }) => [task.id, { by: 'b', reason: 'r' }]),
  hub('provideInput', ({ assignment: { task } }) => [task.id, { by: 'b', input: 1 }]),
  hub('handoff', ({ assignment: { task } }) => [task.id, { by: 'b', to: 'a', context: 1 }]),
  hub('cancel', ({ assignment: { task } }) => [task.id, { by: 'b', reason: 'r' }]),
  hub('getTask', ({ assignment: { task } }) => [task.id]),
  hub('tasks', () => [{ session: 'b', state: 'open', type: 'job', collaborationId: 'c', ...PAGE }]),
  assignment('complete', () => [{ a: 1 }]),
  assignment('fail', () => ['r']),
  assignment('reject', () => ['r']),
  assignment('progress', () => [{ percent: 5, message: 'm', data: 1 }]),
  assignment('handoff', () => [{ to: 'a', context: 1 }]),
  assignment('ask', () => [1]),
  hub('createCollaboration', () => [
    {
      id: 'new',
      initiator: 'a',
      maxParticipants: 5,
      timeoutMs: 5000,
      participants: [{ session: 'b', role: 'r' }],
      steps: [
        { name: 'one', requires: ['b'] },
        { name: 'two', after: ['one'] },
      ],
      context: { a: 1 },
      metadata: { b: 1 },
    },
  ]),
  hub('getCollaboration', () => ['c']),
  hub('collaborations', () => [{ state: 'active', session: 'a', ...PAGE }]),
  together('join', () => [{ session: 'b', role: 'r' }]),
  together('leave', () => [{ session: 'b' }]),
  together('completeStep', () => ['one', { by: 'a', output: 1 }]),
  together('output', () => ['one']),
  together('updateContext', () => [(context: object) => ({ ...context, b: 1 }), { by: 'a' }]),
  together('delegate', () => [{ ...TASK, to: 'b', step: 'one' }]),
  together('summary', () => [{}]),
  together('complete', () => [{ summary: 's', artifacts: [1], by: 'a' }]),
  together('terminate', () => [{ reason: 'r', details: { a: 1 }, by: 'a' }]),
  memory('set', () => [
    'k',
    { a: [1, { b: null }] },
    { by: 'a', type: 'state', tags: ['t'], ttlMs: 5000, metadata: {}, ifVersion: 0, untilSessionEnds: true },
  ]),
  memory('get', () => ['k']),
  memory('getEntry', () => ['k']),
  memory('history', () => ['k', PAGE]),
  memory('update', () => ['k', () => 1, { by: 'a' }]),
  memory('search', () => [{ pattern: 'k*', tags: ['t'], match: 'any', session: 'a', type: 'state', ...PAGE }]),
  memory('delete', () => ['k', { by: 'a', session: 'a' }]),
  memory('clear', () => [{ session: 'a' }]),
  memory('watch', () => ['k*', {}]),
  method(
    ({ mesh }) => mesh,
    'events',
    () => [{}],
  ),
  memory('waitFor', () => ['k', () => true, { timeoutMs: 0 }]),
  memory('namespace', () => ['n']),
  keys('issue', () => [{ session: 'a', scopes: ['s:*'], ttlMs: 5000, notBefore: 0, maxUses: 1, name: 'n', metadata: {} }]),
  keys('verify', ({ token }) => [token, { scope: 's:a' }]),
  keys('authenticate', ({ token }) => [token, { scope: 's:a' }]),
  keys('derive', ({ token }) => [token, { scopes: ['s:a'], ttlMs: 5000, notBefore: 0, name: 'n', metadata: {} }]),
  keys('rotate', ({ keyId }) => [keyId, { overlapMs: 5 }]),
  keys('revoke', ({ keyId }) => [keyId, { reason: 'r' }]),
  keys('revokeAll', () => [{ session: 'b', reason: 'r' }]),
  keys('list', () => [{ session: 'a', ...PAGE }]),
];

import type { CollaborationRecord } from '../../../src/hub/collaborations/collaboration-record.ts';
import { stampAt, stampOfReference } from '../../../src/hub/messages/mailbox.ts';
import { isShared, type MailRecord, messageIdOf, SHARED } from '../../../src/hub/messages/message.ts';
import type { TaskRecord } from '../../../src/hub/tasks/task.ts';
import { MeshError } from '../../../src/index.ts';
import type { KeyRecord } from '../../../src/keys/api-key.ts';
import type { EntryRecord } from '../../../src/memory/entry.ts';
import type { SessionRecord } from '../../../src/registry/session.ts';
import { eventOf, type LoggedEvent } from '../../../src/storage/events/event-reader.ts';
import type { StoredRecord } from '../../../src/storage/storage.ts';
import type { SimulatedWorld } from '../../../src/testing/simulate.ts';
import { auditTasks, isOfTasks } from '../hub/task-audit.ts';
import { audit as auditMemory } from '../memory/audit.ts';
import type { Ledger } from './ledger.ts';
import type { Mirror } from './mirror.ts';

type World = SimulatedWorld<Ledger>;

/** What every invariant looks at first: it also tells what has changed, once for all that are checked in this step. */
let changed: ReadonlySet<string> = new Set();
const touches = (fits: (partition: string) => boolean): boolean => [...changed].some(fits);

function assertNothing(wrong: readonly string[]): void {
  if (wrong.length > 0) throw new Error(wrong.slice(0, 5).join('; '));
}

const contentOf = <T>({ value }: StoredRecord): T => value as unknown as T;

/** The indexes of every collection, as they follow from its records. */
const INDEXES: readonly (readonly [collection: string, index: string, of: (value: never) => readonly (string | undefined)[]])[] =
  [
    ['sessions', 'capability', ({ capabilities }: SessionRecord) => capabilities],
    ['sessions', 'group', ({ groups }: SessionRecord) => groups],
    ['sessions', 'parent', ({ parentId }: SessionRecord) => [parentId]],
    ['sessions', 'type', ({ agent }: SessionRecord) => [agent.type]],
    ['sessions', 'user', ({ user }: SessionRecord) => [user]],
    ['keys', 'session', ({ session }: KeyRecord) => [session]],
    ['keys', 'parent', ({ ancestors }: KeyRecord) => [ancestors[0]]],
    ['collaborations', 'session', ({ participants }: CollaborationRecord) => participants.map(({ session }) => session)],
    ['memory', 'tag', ({ tags }: EntryRecord) => tags],
    ['memory', 'session', ({ session }: EntryRecord) => [session]],
    ['tasks', 'collaboration', ({ collaborationId }: TaskRecord) => [collaborationId]],
  ];

function indexesWrong(mirror: Mirror): string[] {
  const wrong: string[] = [];
  for (const [collection, index, of] of INDEXES) {
    const prefix = `${collection}.${index}=`;
    if (!touches((partition) => partition === collection || partition.startsWith(prefix))) continue;
    const expected = new Set<string>();
    for (const record of mirror.at(collection))
      for (const value of of(record.value as never)) if (value !== undefined) expected.add(`${prefix}${value} ${record.key}`);
    for (const partition of mirror.partitions) {
      if (!partition.startsWith(prefix)) continue;
      for (const { key } of mirror.at(partition))
        if (!expected.delete(`${partition} ${key}`)) wrong.push(`too much: ${partition} ${key}`);
    }
    for (const entry of expected) wrong.push(`missing: ${entry}`);
  }
  return wrong;
}

/** Every message is in exactly one state, and those that were acknowledged are there. */
function mailWrong({ mirror, sent }: Ledger): string[] {
  const wrong: string[] = [];
  const fates = new Map<string, string[]>();
  const note = (mailbox: string, stamp: string, fate: string): void => {
    const name = `${mailbox}!${stamp}`;
    const known = fates.get(name);
    if (known) known.push(fate);
    else fates.set(name, [fate]);
  };
  const ids = new Map<string, string>();
  for (const partition of mirror.partitions) {
    const [kind, mailbox = ''] = partition.split(/\/(.*)/s);
    for (const { key, value, revision } of mirror.at(partition)) {
      if (kind === 'ready' || kind === 'claimed') note(mailbox, stampOfReference(key), kind);
      if (kind === 'fates') note(mailbox, key, String(value));
      if (kind !== 'mail' || mailbox === SHARED) continue;
      const mail = value as unknown as MailRecord;
      const shared = isShared(mail) && (typeof mail.shared === 'number' ? stampAt(revision, mail.shared) : mail.shared);
      ids.set(`${mailbox}!${key}`, shared === false ? `${mailbox}!${key}` : messageIdOf({ mailbox: SHARED, stamp: shared }));
      if (!isShared(mail) && mail.settled) note(mailbox, key, 'answer');
    }
  }
  for (const { key } of mirror.at('dead')) fates.set(key, [...(fates.get(key) ?? []), 'dead']);
  const told = new Map<string, string>();
  for (const record of mirror.at('events')) {
    const { name, session, messages } = eventOf(record) as LoggedEvent & { messages?: string[] };
    if (!messages || name === 'message_released') continue;
    for (const id of messages) {
      const entry = `${String(session)} ${id}`;
      const before = told.get(entry);
      if (name === 'message_redriven') {
        if (before !== 'dead') wrong.push(`${entry} was redriven, having been ${before}`);
        told.delete(entry);
        continue;
      }
      if (before !== undefined) wrong.push(`${entry}: ${name} after ${before}`);
      told.set(entry, name.slice('message_'.length));
    }
  }
  for (const [name, id] of ids) {
    const mailbox = name.slice(0, name.lastIndexOf('!'));
    const fate = fates.get(name) ?? [];
    if (fate.length > 1) wrong.push(`${name} is ${fate.join(' and ')}`);
    const end = told.get(`${mailbox} ${id}`);
    const is = fate[0] ?? 'acked';
    const expected = is === 'ready' || is === 'claimed' || is === 'answer' ? undefined : is;
    if (end !== expected) wrong.push(`${name} is ${is}, of which was told: ${end}`);
  }
  for (const name of fates.keys()) if (!ids.has(name)) wrong.push(`${name} is ${fates.get(name)}, and no message`);
  for (const [mailbox, id] of sent) {
    if (id.startsWith(`${SHARED}!`) ? ![...ids].some(([name, of]) => of === id && name.startsWith(`${mailbox}!`)) : !ids.has(id))
      wrong.push(`${id} was acknowledged, and is not in ${mailbox}`);
  }
  return wrong;
}

/** What the log tells of sessions, keys and entries is what there is. */
function storyWrong(mirror: Mirror): string[] {
  const wrong: string[] = [];
  const sessions = new Map<string, string>();
  const versions = new Map<string, unknown>();
  const revoked = new Set<string>();
  const ends = new Map<string, string>();
  for (const record of mirror.at('events')) {
    const event = contentOf<LoggedEvent>(record);
    const { name, session, epoch, key, version, collaboration } = event;
    if (name === 'session_created') {
      if (sessions.get(`${String(session)} ${String(epoch)}`))
        wrong.push(`${String(session)} was created twice in ${String(epoch)}`);
      sessions.set(String(session), 'alive');
    }
    if (name === 'session_ended' || name === 'agent_killed') {
      if (sessions.get(String(session)) !== 'alive') wrong.push(`${name} of ${String(session)}, which was over`);
      sessions.set(String(session), name === 'session_ended' ? 'ended' : 'killed');
    }
    if (name === 'session_offline' && sessions.get(String(session)) !== 'alive')
      wrong.push(`${String(session)} is offline after its end`);
    if (name.startsWith('memory_')) {
      const before = (versions.get(String(key)) as number | undefined) ?? 0;
      if (version !== before + 1) wrong.push(`version ${String(version)} of ${String(key)} after ${before}`);
      versions.set(String(key), version);
    }
    if (name === 'key_revoked') {
      if (revoked.has(String(key))) wrong.push(`${String(key)} was revoked twice`);
      revoked.add(String(key));
    }
    if (name === 'collaboration_completed' || name === 'collaboration_terminated') {
      if (ends.has(String(collaboration))) wrong.push(`${String(collaboration)} ended twice`);
      ends.set(String(collaboration), name);
    }
  }
  for (const record of mirror.at('sessions')) {
    const { ending } = contentOf<SessionRecord>(record);
    const expected = ending?.kind ?? 'alive';
    if (sessions.get(record.key) !== expected) wrong.push(`${record.key} is ${expected}, told as ${sessions.get(record.key)}`);
  }
  for (const partition of ['memory', 'memory.gone=']) {
    for (const record of mirror.at(partition)) {
      const { version } = contentOf<EntryRecord>(record);
      if (versions.get(record.key) !== version)
        wrong.push(`${record.key} has version ${version}, told ${String(versions.get(record.key))}`);
    }
  }
  for (const record of mirror.at('keys'))
    if ((contentOf<KeyRecord>(record).revoked !== undefined) !== revoked.has(record.key))
      wrong.push(`${record.key} is not as told`);
  return wrong;
}

/** Who was killed has no descendant that lives, once no order is under way. */
function survivors(ledger: Ledger): string[] {
  const { mirror } = ledger;
  if (mirror.raw.list('kills', { limit: 1 }).length > 0) return [];
  return mirror.at('sessions').flatMap((record) => {
    const { parentId, ending, registeredAt } = contentOf<SessionRecord>(record);
    if (parentId === undefined || ending || !ledger.hasLease(record.key)) return [];
    const parent = mirror.of('sessions', parentId)?.value as unknown as SessionRecord | undefined;
    const isOrphan = parent?.ending?.kind === 'killed' && registeredAt <= parent.ending.at;
    return isOrphan ? [`${record.key} lives below ${parentId}, which was killed`] : [];
  });
}

/** Nobody can be heard to say these, while others do something else or a process goes. */
const REPORTED = ['not_alive', 'lease_lost', 'stale_receipt', 'closed', 'unavailable', 'commit_unknown', 'not_found'] as const;

export const INVARIANTS: Readonly<Record<string, (world: World) => void | Promise<void>>> = {
  'nothing unexpected is reported': ({ errors, state: { mirror } }) => {
    changed = mirror.refresh();
    const strange = errors.filter((error) => !MeshError.is(error, ...REPORTED));
    if (strange.length > 0) throw strange[0];
  },
  'messages are conserved': ({ state }) => {
    const isOfMail = (partition: string): boolean => /^(mail|ready|claimed|fates)\/|^dead$/.test(partition);
    if (touches(isOfMail)) assertNothing(mailWrong(state));
  },
  'tasks are in one place and end once': ({ state: { mirror, tasks } }) => {
    if (!touches((partition) => isOfTasks(partition) && partition !== 'events' && partition !== 'due')) return;
    assertNothing(auditTasks(mirror.records));
    for (const id of tasks) if (!mirror.at('tasks').some(({ key }) => key === id)) throw new Error(`${id} is lost`);
  },
  'indexes are what follows from the records': ({ state: { mirror } }) => assertNothing(indexesWrong(mirror)),
  'shared memory is of one piece': async ({ state: { mirror } }) => {
    if (!touches((partition) => /^memory/.test(partition))) return;
    const { storage, partitions } = mirror;
    assertNothing(await auditMemory({ storage, partitions, take: () => Object.create(null) }));
  },
  'no update is lost': ({ state: { mirror, counters, contexts } }) => {
    for (const [key, { begun, done }] of counters) {
      const count = Number(
        mirror.of('memory', key)?.value && contentOf<EntryRecord>(mirror.of('memory', key) as StoredRecord).value,
      );
      if (!(count >= done && count <= begun) && done > 0)
        throw new Error(`${done} of ${begun} updates of ${key} came to ${count}`);
    }
    for (const [id, { begun, done }] of contexts) {
      const record = mirror.of('collaborations.context', id);
      const n = record && contentOf<{ value: { n: number } }>(record).value.n;
      if (n === undefined || n < done || n > begun) throw new Error(`${done} of ${begun} updates of ${id} came to ${n}`);
    }
  },
  'nobody survives a cascade': ({ state }) => {
    if (touches((partition) => partition === 'sessions' || partition === 'kills' || partition === 'leases'))
      assertNothing(survivors(state));
  },
  'events tell what is': ({ state: { mirror } }) => {
    if (touches((partition) => partition === 'events')) assertNothing(storyWrong(mirror));
  },
};

/** What holds once everything had time to come to its end. */
export const EVENTUALLY: Readonly<Record<string, (world: World) => void>> = {
  'nothing is left half done': ({ state: { mirror } }) => {
    const { raw } = mirror;
    const open = mirror.at('tasks').filter((record) => contentOf<TaskRecord>(record).endedAt === undefined);
    assertNothing(open.map((record) => `${record.key} is still ${contentOf<TaskRecord>(record).state}`));
    if (raw.list('kills', { limit: 1 }).length > 0) throw new Error('a kill is under way');
    const late = raw.list('due', { limit: 1 })[0];
    if (late && Number(late.key.slice(0, 16)) < raw.now() - 10_000) throw new Error(`${late.key} was due`);
  },
};

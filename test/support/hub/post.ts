import type { CollaborationHub } from '../../../src/hub/collaboration-hub.ts';
import type { MailboxMessage } from '../../../src/hub/messages/browsing.ts';
import type { Delivery } from '../../../src/hub/messages/delivery.ts';
import type { MessageState } from '../../../src/hub/messages/message.ts';
import type { SendOptions } from '../../../src/hub/messages/message-inputs.ts';
import type { Mesh, MeshOptions } from '../../../src/mesh.ts';
import type { SessionHandle } from '../../../src/registry/session-handle.ts';
import type { RegisterOptions } from '../../../src/registry/session-inputs.ts';
import type { SessionRegistry } from '../../../src/registry/session-registry.ts';
import { EventReader, type LoggedEvent } from '../../../src/storage/events/event-reader.ts';
import type { Storage } from '../../../src/storage/storage.ts';
import { recordsOf } from '../memory/observed.ts';
import { quiet, type World, worldOn } from '../memory/worlds.ts';
import type { OpenStorage } from '../storages.ts';

export interface Post extends World {
  readonly hub: CollaborationHub;
  /** Two sessions of the first mesh, whose leases nobody renews. */
  readonly ann: SessionHandle;
  readonly bob: SessionHandle;
  /** From ann to bob, unless said otherwise. */
  send(body: string, options?: Partial<SendOptions>): Promise<string>;
  /** What bob gets at this moment. */
  receive(limit?: number): Promise<Delivery[]>;
}

/** Sessions that write to each other on a fresh storage. */
export async function postOn(open: OpenStorage, options: MeshOptions = {}): Promise<Post> {
  const world = await worldOn(open, options);
  const { hub } = world.mesh;
  const ann = await quiet(world.registry, 'ann');
  const bob = await quiet(world.registry, 'bob');
  const inbox = hub.inbox(bob);
  return {
    ...world,
    hub,
    ann,
    bob,
    send: async (body, more = {}) => (await hub.send({ from: 'ann', to: 'bob', body, ...more })).message.id,
    receive: (limit = 1000) => inbox.receive({ limit }),
  };
}

/** A session that lives long and says more of itself. */
export function member(registry: SessionRegistry, id: string, options: RegisterOptions = {}): Promise<SessionHandle> {
  return registry.register({ id, heartbeat: 'manual', ttlMs: 300_000, takeover: true, ...options });
}

export function bodiesOf(deliveries: readonly Delivery[]): (string | undefined)[] {
  return deliveries.map(({ message }) => message.body);
}

/** The only delivery there is. */
export function only(deliveries: readonly Delivery[]): Delivery {
  if (deliveries.length !== 1) throw new Error(`expected one delivery, got ${deliveries.length}`);
  return deliveries[0] as Delivery;
}

/** All messages of a mailbox. */
export async function mailOf({ hub }: Pick<Mesh, 'hub'>, session: string): Promise<MailboxMessage[]> {
  const all: MailboxMessage[] = [];
  let after: string | undefined;
  do {
    const page = await hub.messages({ session, limit: 1000, ...(after !== undefined && { after }) });
    all.push(...page.items);
    after = page.next;
  } while (after !== undefined);
  return all;
}

/** What became of each message of a mailbox, by what it says. */
export async function statesOf(mesh: Pick<Mesh, 'hub'>, session = 'bob'): Promise<Record<string, MessageState>> {
  const mail = await mailOf(mesh, session);
  return Object.fromEntries(mail.map(({ body, id, state }) => [body ?? id, state]));
}

/** Events about messages so far, each without what it shares with all others. */
export async function eventsOf(storage: Storage): Promise<Record<string, unknown>[]> {
  const events: LoggedEvent[] = [];
  const reader = new EventReader(storage);
  for (let page = await reader.read(''); page.length > 0; page = await reader.read(events[events.length - 1]?.cursor ?? '')) {
    events.push(...page);
  }
  return events.filter(({ name }) => /^(message|ping)_/.test(name)).map(({ at: _at, cursor: _cursor, ...event }) => event);
}

/** The same as `acked bob`, and how many it names when these are several. */
export async function toldOf(storage: Storage): Promise<string[]> {
  return (await eventsOf(storage)).map((event) => {
    const { name, session, to, messages, reason } = event as Record<string, string> & { messages?: string[] };
    const whom = session ?? (typeof to === 'string' ? to : JSON.stringify(to));
    const count = messages && messages.length > 1 ? [`${messages.length}`] : [];
    return [String(name).replace('message_', ''), whom, ...count, ...(reason === undefined ? [] : [reason])].join(' ');
  });
}

const OF_MESSAGES = /^(mail|ready|claimed|fates|threads|sent-once|pings)\/|^(dead|mailboxes|talks|fan-outs)$/;

/** What the storage has of messages, by partition; keys only. */
export async function leftOf({ seen }: World): Promise<Record<string, string[]>> {
  const left: Record<string, string[]> = {};
  for (const partition of [...seen.partitions].sort()) {
    if (!OF_MESSAGES.test(partition) && partition !== 'due') continue;
    const keys = (await recordsOf(seen.storage, partition)).map(({ key }) => key);
    const kept = partition === 'due' ? keys.filter((key) => /\/(mail|mailbox|talk|fan-out)\//.test(key)) : keys;
    if (kept.length > 0) left[partition] = kept;
  }
  return left;
}

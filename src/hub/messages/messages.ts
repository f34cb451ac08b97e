import { MeshError } from '../../kernel/errors.ts';
import { id as idPolicy, parse } from '../../kernel/inputs.ts';
import { type SessionRef, sessionRef } from '../../registry/session-inputs.ts';
import { pagesOf } from '../../storage/pages.ts';
import type { Page } from '../../storage/query.ts';
import type { MaybePromise } from '../../storage/storage.ts';
import type { Actor, HubCore } from '../hub-core.ts';
import { acceptContent, acceptReply, acceptRequest, acceptSend, messageRecord } from './accept-message.ts';
import { Bodies } from './bodies.ts';
import { Browsing, type MailboxMessage } from './browsing.ts';
import { Claims } from './claims.ts';
import { type DeadLetter, DeadLetters } from './dead-letters.ts';
import { MESSAGE_EVENTS, topicsOf } from './events.ts';
import { FanOut } from './fan-out.ts';
import { Inbox } from './inbox.ts';
import { MailCare } from './mail-care.ts';
import { claimedPartition, DEAD, MARKERS, readyPartition } from './mailbox.ts';
import { type Message, type MessageRecord, type MessageTarget, SHARED } from './message.ts';
import {
  BROADCAST,
  type BroadcastOptions,
  DEAD_LETTERS,
  type DeadLettersOptions,
  INBOX,
  type InboxOptions,
  MESSAGES,
  type MessageContent,
  type MessageRef,
  type MessagesOptions,
  messageIdFrom,
  PING,
  type PingOptions,
  PURGE,
  type PurgeOptions,
  REDRIVE,
  type RedriveOptions,
  type ReplyOptions,
  type RequestOptions,
  type SendOptions,
} from './message-inputs.ts';
import { Once } from './once.ts';
import { OpenClaims } from './open-claims.ts';
import { type PingResult, Pings } from './pings.ts';
import { References } from './references.ts';
import { Replies } from './replies.ts';
import { Requests } from './requests.ts';
import { Routes, TALKS } from './routes.ts';
import { type Outgoing, Sending, type SendResult } from './sending.ts';
import { Settling } from './settling.ts';

export interface MessageRules {
  readonly mailboxLimit: number;
  readonly maxDeliveries: number;
  readonly visibilityMs: number;
  readonly retainMs: number;
}

/** Counts of mailboxes and messages. */
export interface MessageStats {
  /** Mailboxes that somebody has written to. */
  readonly mailboxes: number;
  /** Waiting to be claimed. */
  readonly ready: number;
  readonly claimed: number;
  readonly dead: number;
}

/** What callers say of a message besides its type and target. */
interface Given extends MessageContent {
  readonly threadId?: string | undefined;
  readonly ttlMs?: number | undefined;
}

const COUNTED = 100;

/** The part of the hub that carries messages. */
export class Messages {
  readonly #core: HubCore;
  readonly #rules: MessageRules;
  readonly #bodies: Bodies;
  readonly #routes: Routes;
  readonly #sending: Sending;
  readonly #fanOut: FanOut;
  readonly #claims: Claims;
  readonly #replies: Replies;
  readonly #requests: Requests;
  readonly #pings: Pings;
  readonly #browsing: Browsing;
  readonly #deadLetters: DeadLetters;
  readonly #care: MailCare;
  readonly #open = new OpenClaims();
  #sharedIsOpen: Promise<void> | undefined;

  constructor(core: HubCore, rules: MessageRules) {
    this.#core = core;
    this.#rules = rules;
    this.#bodies = new Bodies(core);
    this.#routes = new Routes(core, rules.retainMs);
    const once = new Once(core);
    const references = new References(core);
    this.#sending = new Sending(core, this.#routes, once, rules.mailboxLimit);
    this.#fanOut = new FanOut(core, this.#routes, this.#sending, once);
    this.#claims = new Claims(core, this.#bodies, this.#routes, rules.maxDeliveries);
    this.#requests = new Requests(core, this.#bodies, this.#routes, this.#sending);
    this.#replies = new Replies(core, this.#bodies, references, this.#sending, this.#fanOut, this.#requests, this.#open);
    this.#pings = new Pings(core, this.#routes);
    this.#browsing = new Browsing(core, this.#bodies, references);
    this.#deadLetters = new DeadLetters(core, this.#bodies, this.#routes, this.#sending);
    this.#care = new MailCare(core, this.#bodies, references, this.#routes, rules.retainMs);
    for (const name of MESSAGE_EVENTS) core.engine.log.defineTopics(name, topicsOf);
  }

  send(options: SendOptions): Promise<SendResult> {
    try {
      const sent = this.#send(options);
      return sent instanceof Promise ? sent : Promise.resolve(sent);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #send(options: SendOptions): MaybePromise<SendResult> {
    const given = acceptSend(options);
    const { from, to, requireAlive, idempotencyKey } = given;
    const actor = this.#actor(from);
    const type = given.type ?? 'notification';
    if (typeof to === 'object' && 'group' in to) {
      const record = this.#record(actor, Object.freeze({ group: to.group }), type, given);
      return this.#inThread(record, (placed) => this.#spread(actor, placed, to.group, idempotencyKey));
    }
    if (typeof to === 'object' && 'capability' in to) {
      const record = this.#record(actor, Object.freeze({ capability: to.capability }), type, given);
      return this.#inThread(record, (placed) => this.#sendToSpecialist(actor, placed, to.capability, idempotencyKey));
    }
    const session = this.#core.fence.nameOf(to);
    const record = this.#record(actor, session, type, given);
    const outgoing: Outgoing = { actor, session, record, queued: true, requireAlive, idempotencyKey };
    if (record.threadId === undefined && idempotencyKey === undefined) return this.#sending.post(outgoing);
    return this.#inThread(record, (placed) => this.#sendOnce({ ...outgoing, record: placed }));
  }

  /** A message that was sent before under its idempotency key is what is answered. */
  async #sendOnce(outgoing: Outgoing): Promise<SendResult> {
    const { actor, record, idempotencyKey } = outgoing;
    const again = idempotencyKey === undefined ? undefined : await this.#fanOut.repeated(actor, record, idempotencyKey);
    return again ?? this.#sending.post(outgoing);
  }

  async broadcast(options: BroadcastOptions): Promise<SendResult> {
    const { from, idempotencyKey, ...rest } = parse(BROADCAST, options, 'options');
    const actor = this.#actor(from);
    const record = this.#record(actor, SHARED, rest.type ?? 'broadcast', rest);
    return this.#inThread(record, (placed) => this.#spread(actor, placed, undefined, idempotencyKey));
  }

  async reply(message: MessageRef, options: ReplyOptions): Promise<SendResult> {
    const id = messageIdFrom(message, 'message');
    const accepted = acceptReply(options);
    const { from, type, idempotencyKey } = accepted;
    return this.#replies.reply(id, { actor: this.#actor(from), type, content: acceptContent(accepted), idempotencyKey });
  }

  async request(options: RequestOptions): Promise<Message> {
    const given = acceptRequest(options);
    const { from, to, threadId, timeoutMs, signal } = given;
    const accepted = acceptContent(given);
    const actor = this.#actor(from);
    const session = this.#core.fence.nameOf(to);
    const thread = threadId === undefined ? undefined : await this.#bodies.threadOf(threadId);
    return this.#requests.request({ actor, session, content: accepted, threadId: thread, timeoutMs, signal });
  }

  async ping(options: PingOptions): Promise<PingResult> {
    const { from, to, timeoutMs, signal } = parse(PING, options, 'options');
    return this.#pings.ping(this.#actor(from), this.#core.fence.nameOf(to), timeoutMs, signal);
  }

  inbox(session: SessionRef, options: InboxOptions = {}): Inbox {
    const { visibilityMs = this.#rules.visibilityMs, signal } = parse(INBOX, options, 'options');
    const actor = this.#actor(parse(sessionRef, session, 'session'));
    const settling = new Settling(this.#core, actor, this.#open, this.#rules.maxDeliveries);
    return new Inbox({ core: this.#core, actor, claims: this.#claims, settling, visibilityMs, signal });
  }

  messages(options: MessagesOptions): Promise<Page<MailboxMessage>> {
    return this.#browsing.messages(parse(MESSAGES, options, 'options'));
  }

  get(id: string): Promise<Message | undefined> {
    return this.#browsing.get(messageIdFrom(id, 'id'));
  }

  conversation(message: MessageRef): Promise<Message[]> {
    return this.#browsing.conversation(messageIdFrom(message, 'message'));
  }

  deadLetters(options: DeadLettersOptions): Promise<Page<DeadLetter>> {
    const { session, limit, after } = parse(DEAD_LETTERS, options, 'options');
    return this.#deadLetters.list(session, limit, after);
  }

  redrive(message: MessageRef, options: RedriveOptions): Promise<void> {
    return this.#deadLetters.redrive(messageIdFrom(message, 'message'), parse(REDRIVE, options, 'options').session);
  }

  purge(session: string, options: PurgeOptions): Promise<number> {
    return this.#care.purge(parse(idPolicy, session, 'session'), parse(PURGE, options, 'options').types);
  }

  /** Goes through all mailboxes; the loop is yielded between them. */
  async stats(): Promise<MessageStats> {
    let mailboxes = 0;
    let ready = 0;
    let claimed = 0;
    for await (const { key } of this.#entries(MARKERS)) {
      if (key === SHARED) continue;
      mailboxes += 1;
      for await (const _ of this.#entries(readyPartition(key))) ready += 1;
      for await (const _ of this.#entries(claimedPartition(key))) claimed += 1;
    }
    let dead = 0;
    for await (const _ of this.#entries(DEAD)) dead += 1;
    return { mailboxes, ready, claimed, dead };
  }

  /** Mail that each of these has on its hands, up to a hundred waiting and a hundred claimed. */
  async loadOf(sessions: readonly string[]): Promise<number[]> {
    const { storage } = this.#core.engine;
    const range = { limit: COUNTED, values: false };
    return Promise.all(
      sessions.map(async (session) => {
        const ready = await storage.list(readyPartition(session), range);
        const claimed = await storage.list(claimedPartition(session), range);
        return ready.length + claimed.length;
      }),
    );
  }

  /** Who has written to whom. */
  async talks(): Promise<{ readonly from: string; readonly to: string }[]> {
    const talks: { readonly from: string; readonly to: string }[] = [];
    for await (const { key } of this.#entries(TALKS)) {
      const [from = '', to = ''] = key.split('>');
      talks.push({ from, to });
    }
    return talks;
  }

  /** Gives back what this process has claimed, as if it had not been delivered. */
  close(): Promise<void> {
    return this.#open.releaseAll();
  }

  #actor(ref: SessionRef): Actor {
    this.#core.assertOpen();
    const actor = this.#core.actor(ref);
    if (actor.tenure?.end) throw actor.tenure.end;
    return actor;
  }

  #record(actor: Actor, to: MessageTarget, type: MessageRecord['type'], given: Given): MessageRecord {
    const at = this.#core.engine.now();
    const { threadId, ttlMs } = given;
    const record = messageRecord({ from: actor.id, to, type, at }, acceptContent(given));
    if (threadId !== undefined) record.threadId = threadId;
    if (ttlMs !== undefined) record.expiresAt = at + ttlMs;
    return record;
  }

  /** Whoever names a conversation may do so by any message in it. */
  #inThread(record: MessageRecord, post: (placed: MessageRecord) => MaybePromise<SendResult>): MaybePromise<SendResult> {
    if (record.threadId === undefined) return post(record);
    return this.#bodies.threadOf(record.threadId).then((threadId) => post({ ...record, threadId }));
  }

  async #spread(
    actor: Actor,
    record: MessageRecord,
    group: string | undefined,
    idempotencyKey: string | undefined,
  ): Promise<SendResult> {
    const again = idempotencyKey === undefined ? undefined : await this.#fanOut.repeated(actor, record, idempotencyKey);
    if (again) return again;
    this.#sharedIsOpen ??= this.#care.openShared().catch((error: unknown) => {
      this.#sharedIsOpen = undefined;
      throw error;
    });
    await this.#sharedIsOpen;
    return this.#fanOut.send(actor, record, group, idempotencyKey);
  }

  /** Exactly one specialist: alive, least loaded. Who is gone or full by the time of the commit is passed over. */
  async #sendToSpecialist(
    actor: Actor,
    record: MessageRecord,
    capability: string,
    idempotencyKey: string | undefined,
  ): Promise<SendResult> {
    const again = idempotencyKey === undefined ? undefined : await this.#fanOut.repeated(actor, record, idempotencyKey);
    if (again) return again;
    const passed = new Set([actor.id]);
    let full: unknown;
    for (;;) {
      // One more than those that were passed over, so that there is another if there is one at all.
      const limit = Math.min(64, passed.size + 1);
      const specialists = await this.#core.registry.specialists(capability, { limit });
      const chosen = specialists.find(({ id }) => !passed.has(id));
      if (!chosen) {
        throw (
          full ??
          new MeshError('not_found', `expected an alive session with the capability ${capability}, got none`, {
            details: { capability },
          })
        );
      }
      passed.add(chosen.id);
      try {
        return await this.#sending.post({ actor, session: chosen.id, record, queued: true, requireAlive: true, idempotencyKey });
      } catch (error) {
        if (!MeshError.is(error) || error.details['session'] !== chosen.id) throw error;
        if (error.code === 'mailbox_full') full ??= error;
      }
    }
  }

  async *#entries(partition: string): AsyncGenerator<{ readonly key: string }, void, undefined> {
    for await (const page of pagesOf(this.#core.engine.storage, partition, { values: false })) yield* page;
  }
}

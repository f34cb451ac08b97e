import { MeshError } from '../../kernel/errors.ts';
import type { JsonValue } from '../../kernel/json.ts';
import type { Session } from '../../registry/session.ts';
import { Draft } from '../../storage/draft.ts';
import type { DueOutcome } from '../../storage/due.ts';
import { stampedField } from '../../storage/events/event-reader.ts';
import type { Address } from '../../storage/storage.ts';
import type { Actor, HubCore } from '../hub-core.ts';
import { mailAddress, mailOf, readyPartition, stampAt } from './mailbox.ts';
import { type MessageRecord, messageIdOf, messageIdPrefix, SHARED, type SharedRecord, viewOf } from './message.ts';
import type { Once } from './once.ts';
import { stageMail } from './post.ts';
import { assertReachable, type Routes, type Standing } from './routes.ts';
import type { Sending, SendResult } from './sending.ts';

/** A message to many that is under way: any process can go on with it. */
interface Intent {
  /** Of the message; while nobody has been reached, its position in the commit that put both. */
  readonly stamp?: string;
  readonly position?: number;
  readonly sender: string;
  readonly group?: string;
  /** Everybody up to this id has got it. */
  readonly after: string;
}

/** Recipients of one commit: each takes up to five writes and four checks. */
const AT_ONCE = 150;
const SHOWN = 100;
const FAN_OUT_DUE = 'fan-out';
/** A process that does not go on for so long is taken to have died. */
const TAKEN_OVER_MS = 5000;
const ATTEMPTS = 1000;

/** Messages to a group or to all: stored once, with a reference in each mailbox. */
export class FanOut {
  readonly #core: HubCore;
  readonly #routes: Routes;
  readonly #sending: Sending;
  readonly #once: Once;

  constructor(core: HubCore, routes: Routes, sending: Sending, once: Once) {
    this.#core = core;
    this.#routes = routes;
    this.#sending = sending;
    this.#once = once;
    core.engine.due.handle(FAN_OUT_DUE, ({ id }) => this.#resume(id));
  }

  /**
   * Sends to all that are alive, or all of a group, without the sender. Up to 150 are reached in one commit; of more,
   * some process reaches the rest if this one dies. A mailbox that is full is left out.
   * @throws MeshError as `Sending.post`, without `mailbox_full`
   */
  async send(
    actor: Actor,
    record: MessageRecord,
    group: string | undefined,
    idempotencyKey: string | undefined,
  ): Promise<SendResult> {
    const audience = await this.#audience(actor.id, group);
    if (audience.length > AT_ONCE) return this.#sendInParts(actor, record, group, idempotencyKey, audience);
    let recipients = audience.map(({ id }) => id);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (actor.tenure?.end) throw actor.tenure.end;
      const draft = new Draft();
      const position = stageMail(draft, this.#core.engine, SHARED, record, false);
      const standings = await this.#reachable(recipients);
      const copy = { shared: position, ...copyOf(record) };
      for (const standing of standings) this.#stageCopy(draft, standing, copy);
      this.#stageSent(draft, record, position, standings.length);
      if (idempotencyKey !== undefined) {
        const shown = standings.slice(0, SHOWN).map(({ session }) => session);
        this.#once.stage(draft, actor.id, idempotencyKey, {
          mailbox: SHARED,
          position,
          recipients: shown,
          total: standings.length,
        });
      }
      await this.#sending.stageSender(draft, actor);
      const result = await this.#core.engine.commit(draft);
      if (result.committed) {
        this.#forgetNew(standings);
        const id = messageIdOf({ mailbox: SHARED, stamp: stampAt(result.revision, position) });
        const shown = standings.slice(0, SHOWN).map(({ session, state }) => ({ session, state }));
        return { message: viewOf(id, record), recipients: shown, total: standings.length };
      }
      const repeated = idempotencyKey === undefined ? undefined : await this.repeated(actor, record, idempotencyKey);
      if (repeated) return repeated;
      recipients = await this.#withoutFull(recipients, result.conflicts);
      await this.#sending.learn({ committed: false, conflicts: withoutBounds(result.conflicts) }, actor, recipients);
    }
    throw new MeshError('conflict', `expected a message to be sent, got ${ATTEMPTS} conflicts`);
  }

  /** What was sent before under this idempotency key. */
  async repeated(actor: Actor, record: MessageRecord, idempotencyKey: string): Promise<SendResult | undefined> {
    const found = await this.#once.find(actor.id, idempotencyKey, record);
    if (!found) return undefined;
    const { recipients, total } = found.first;
    // As they are now, which nothing else is going to check.
    for (const session of recipients) this.#routes.forget(session);
    const standings = await this.#routes.standings(recipients);
    return {
      message: Object.freeze(found.message),
      recipients: recipients.map((session, n) => ({ session, state: standings[n]?.state ?? 'ended' })),
      total,
    };
  }

  /** The message and the intent come first; from then on it will reach everybody, whoever dies. */
  async #sendInParts(
    actor: Actor,
    record: MessageRecord,
    group: string | undefined,
    idempotencyKey: string | undefined,
    audience: readonly Session[],
  ): Promise<SendResult> {
    const { engine } = this.#core;
    const intentId = engine.generateId('fanout');
    const shown = audience.slice(0, SHOWN).map(({ id, state }) => ({ session: id, state }));
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const draft = new Draft();
      const position = stageMail(draft, engine, SHARED, record, false);
      const intent: Intent = { position, sender: actor.id, ...(group !== undefined && { group }), after: '' };
      draft.puts.push(
        { ...intentAddress(intentId), value: intent as unknown as JsonValue },
        engine.due.put(engine.now() + TAKEN_OVER_MS, FAN_OUT_DUE, intentId),
      );
      this.#stageSent(draft, record, position, audience.length);
      if (idempotencyKey !== undefined) {
        const first = { mailbox: SHARED, position, recipients: shown.map(({ session }) => session), total: audience.length };
        this.#once.stage(draft, actor.id, idempotencyKey, first);
      }
      await this.#sending.stageSender(draft, actor);
      const result = await engine.commit(draft);
      if (result.committed) {
        const stamp = stampAt(result.revision, position);
        await this.#reachAll(intentId);
        return {
          message: viewOf(messageIdOf({ mailbox: SHARED, stamp }), record),
          recipients: shown,
          total: audience.length,
        };
      }
      const repeated = idempotencyKey === undefined ? undefined : await this.repeated(actor, record, idempotencyKey);
      if (repeated) return repeated;
      await this.#sending.learn(result, actor, []);
    }
    throw new MeshError('conflict', `expected a message to be sent, got ${ATTEMPTS} conflicts`);
  }

  /** The message is sent: what fails from now on is no failure of the send, and is done later by what is due. */
  async #reachAll(intentId: string): Promise<void> {
    try {
      while (await this.#reachNext(intentId)) await this.#core.nextTurn();
    } catch (error) {
      if (!this.#core.closed) this.#core.engine.report(error);
    }
  }

  /** Another process goes on where one has stopped, unless it is still at it. */
  async #resume(intentId: string): Promise<DueOutcome> {
    const [before] = await this.#core.engine.storage.get([intentAddress(intentId)]);
    if (!before) return {};
    for (let part = 0; part < 20; part++) if (!(await this.#reachNext(intentId))) return {};
    return { moveTo: this.#core.engine.now() + 1 };
  }

  /** Reaches the next recipients, in the order of their ids; the intent's revision lets each be reached once. */
  async #reachNext(intentId: string): Promise<boolean> {
    const { engine, registry } = this.#core;
    const address = intentAddress(intentId);
    const [stored] = await engine.storage.get([address]);
    if (!stored) return false;
    const value = stored.value as unknown as Intent;
    const stamp = value.stamp ?? stampAt(stored.revision, value.position ?? 0);
    const { sender, group, after } = value;
    const page = await registry.list({ group, limit: AT_ONCE, ...(after !== '' && { after }) });
    const [mail] = await engine.storage.get([mailAddress(SHARED, stamp)]);
    // Once the message itself is gone, its retention being over, there is nothing left to reach anybody with.
    const record = mail && (mailOf(mail) as MessageRecord);
    let recipients = record ? page.items.map(({ id }) => id).filter((id) => id !== sender) : [];
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const draft = new Draft();
      draft.checks.push({ ...address, revision: stored.revision });
      const standings = await this.#reachable(recipients);
      if (record) {
        const copy = { shared: stamp, ...copyOf(record) };
        for (const standing of standings) this.#stageCopy(draft, standing, copy);
        // Who waits for mail is told of each part: the event of the send came before the copies.
        if (standings.length > 0) draft.puts.push(this.#deliveredEvent(record, stamp, standings.length));
      }
      if (page.next === undefined || !record) draft.deletes.push(address);
      else {
        const next: Intent = { stamp, sender, ...(group !== undefined && { group }), after: page.next };
        draft.puts.push({ ...address, value: next as unknown as JsonValue });
      }
      const result = await engine.commit(draft);
      if (result.committed) {
        this.#forgetNew(standings);
        return page.next !== undefined && record !== undefined;
      }
      // Another process has reached them.
      if (result.conflicts.some(({ partition }) => partition === address.partition)) return true;
      recipients = await this.#withoutFull(recipients, result.conflicts);
      for (const session of recipients) this.#routes.forget(session);
    }
    return true;
  }

  async #audience(sender: string, group: string | undefined): Promise<Session[]> {
    const page = await this.#core.registry.list({ group, limit: 1000 });
    const audience = page.items.filter(({ id }) => id !== sender);
    let { next } = page;
    while (next !== undefined) {
      const more = await this.#core.registry.list({ group, limit: 1000, after: next });
      for (const session of more.items) if (session.id !== sender) audience.push(session);
      next = more.next;
    }
    return audience;
  }

  /** Who can be written to at this moment; whoever went since is not reached. */
  async #reachable(recipients: readonly string[]): Promise<Standing[]> {
    for (const session of recipients) this.#routes.forgetOffline(session);
    const standings = await this.#routes.standings(recipients);
    return standings.filter((standing): standing is Standing => {
      if (!standing) return false;
      try {
        assertReachable(standing, true);
        return true;
      } catch {
        return false;
      }
    });
  }

  #stageCopy(draft: Draft, standing: Standing, copy: SharedRecord): void {
    this.#routes.stageRecipient(draft, standing);
    this.#sending.stageBound(draft, standing.session);
    stageMail(draft, this.#core.engine, standing.session, copy, true);
  }

  #stageSent(draft: Draft, { from, to, type }: MessageRecord, position: number, recipients: number): void {
    const fields = { from, to: to as JsonValue, type, recipients };
    draft.puts.push(
      this.#core.engine.log.put('message_sent', fields, stampedField('message', messageIdPrefix(SHARED), position)),
    );
  }

  #deliveredEvent({ from, to, type }: MessageRecord, stamp: string, recipients: number) {
    const message = messageIdOf({ mailbox: SHARED, stamp });
    return this.#core.engine.log.put('message_delivered', { message, from, to: to as JsonValue, type, recipients });
  }

  async #withoutFull(recipients: readonly string[], conflicts: readonly Address[]): Promise<string[]> {
    const kept: string[] = [];
    for (const session of recipients) {
      const isBound = conflicts.some(({ partition }) => partition === readyPartition(session));
      if (!isBound || !(await this.#sending.isFull(session))) kept.push(session);
    }
    return kept;
  }

  #forgetNew(standings: readonly Standing[]): void {
    for (const { session, marker } of standings) if (marker === null) this.#routes.forget(session);
  }
}

function intentAddress(id: string): Address {
  return { partition: 'fan-outs', key: id };
}

/** What a copy in a mailbox tells of the message itself. */
function copyOf({ at, priority, expiresAt }: MessageRecord): Omit<SharedRecord, 'shared'> {
  return { at, priority, ...(expiresAt !== undefined && { expiresAt }) };
}

/** A full mailbox is no reason to refuse a message to many. */
function withoutBounds(conflicts: readonly Address[]): Address[] {
  return conflicts.filter(({ partition }) => !partition.startsWith('ready/'));
}

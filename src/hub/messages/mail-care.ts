import { isTerminal, stateOf } from '../../registry/session.ts';
import { Draft } from '../../storage/draft.ts';
import type { DueOutcome } from '../../storage/due.ts';
import type { StoredRecord } from '../../storage/storage.ts';
import type { HubCore } from '../hub-core.ts';
import type { Bodies } from './bodies.ts';
import {
  claimedPartition,
  deadAddress,
  fateAddress,
  mailAddress,
  mailOf,
  mailPartition,
  markerAddress,
  readyAddress,
  readyPartition,
  stampOfReference,
  tallyOf,
} from './mailbox.ts';
import { isShared, type MessageType, SHARED } from './message.ts';
import { type Open, stageDead, stageExpired, stagePurged } from './outcomes.ts';
import { expiringPlace, MAIL_DUE, threadDelete } from './post.ts';
import type { References } from './references.ts';
import { MAILBOX_DUE, type Routes, TALK_DUE } from './routes.ts';

const AT_ONCE = 100;
const PARTS_AT_ONCE = 20;

/** What happens to mail when nobody reads it: it expires, goes to the dead letters with its session, and is removed in the end. */
export class MailCare {
  readonly #core: HubCore;
  readonly #bodies: Bodies;
  readonly #references: References;
  readonly #routes: Routes;
  readonly #retainMs: number;

  constructor(core: HubCore, bodies: Bodies, references: References, routes: Routes, retainMs: number) {
    this.#core = core;
    this.#bodies = bodies;
    this.#references = references;
    this.#routes = routes;
    this.#retainMs = retainMs;
    core.engine.due.handle(MAIL_DUE, ({ id }) => this.#expire(id));
    core.engine.due.handle(MAILBOX_DUE, ({ id }) => this.#retain(id));
    core.engine.due.handle(TALK_DUE, ({ id }) => routes.endTalk(id));
    core.sessions.aftermath.add((session, incarnation) => this.#bury(session, incarnation));
  }

  /** Removes what waits in a mailbox, or only some types of it. Answers how many. */
  async purge(session: string, types: readonly MessageType[] | undefined): Promise<number> {
    let purged = 0;
    const ready = await this.#references.all(readyPartition(session));
    for (let start = 0; start < ready.length; start += AT_ONCE) {
      const opens = await this.#opens(session, ready.slice(start, start + AT_ONCE));
      const wanted = opens.filter(({ open }) => !types || (open.message && types.includes(open.message.type)));
      purged += await this.#removeEach(session, wanted);
      await this.#core.nextTurn();
    }
    return purged;
  }

  /** Who follows the log of all shared messages: made once, by whoever sends the first one. */
  async openShared(): Promise<void> {
    const { engine } = this.#core;
    const address = markerAddress(SHARED);
    await this.#core.write(undefined, async (draft) => {
      const [marker] = await engine.storage.get([address]);
      if (marker) return;
      draft.checks.push({ ...address, revision: null });
      draft.puts.push({ ...address, value: null }, engine.due.put(engine.now() + this.#retainMs, MAILBOX_DUE, SHARED));
    });
  }

  /** Those that were claimed or settled since they were listed stay as they are. */
  async #removeEach(session: string, given: readonly { readonly record: StoredRecord; readonly open: Open }[]): Promise<number> {
    let rest = given;
    while (rest.length > 0) {
      const draft = new Draft();
      for (const { record } of rest) stageRemoved(draft, record);
      const purged = stagePurged(
        draft,
        this.#core.engine,
        session,
        rest.map(({ open }) => open),
      );
      const result = await this.#core.engine.commit(draft);
      if (result.committed) return purged;
      rest = await this.#unchanged(rest);
    }
    return 0;
  }

  async #unchanged<T extends { readonly record: StoredRecord }>(given: readonly T[]): Promise<T[]> {
    const found = await this.#core.engine.storage.get(
      given.map(({ record }) => ({ partition: record.partition, key: record.key })),
    );
    return given.filter(({ record }, n) => found[n]?.revision === record.revision);
  }

  async #expire(dueId: string): Promise<DueOutcome> {
    const { mailbox, stamp } = expiringPlace(dueId);
    const [mail] = await this.#core.engine.storage.get([mailAddress(mailbox, stamp)]);
    const found = mail && (await this.#references.of(mailbox, stamp, mailOf(mail)));
    if (!found) return {};
    const [opened] = await this.#opens(mailbox, [found.record]);
    const draft = new Draft();
    stageRemoved(draft, found.record);
    if (opened) stageExpired(draft, this.#core.engine, mailbox, [opened.open], true);
    return draft;
  }

  /** Mail of a session that has ended goes to the dead letters; that of one which only has a new owner stays. */
  async #bury(session: string, incarnation: string): Promise<void> {
    const { engine, sessions } = this.#core;
    this.#routes.forget(session);
    for (;;) {
      const snapshot = await sessions.read(session);
      if (snapshot && !(snapshot.record.incarnation === incarnation && isTerminal(stateOf(snapshot)))) return;
      const ready = await engine.storage.list(readyPartition(session), { limit: AT_ONCE });
      const claimed = await engine.storage.list(claimedPartition(session), { limit: AT_ONCE });
      const opens = await this.#opens(session, [...ready, ...claimed]);
      if (opens.length === 0) break;
      const draft = new Draft();
      // Whoever takes the id next has mail of its own.
      draft.checks.push({ ...sessions.collection.address(session), revision: snapshot?.revision ?? null });
      draft.checks.push(sessions.leaseCheck(session, snapshot?.lease?.revision ?? null));
      for (const { record } of opens) stageRemoved(draft, record);
      stageDead(
        draft,
        engine,
        session,
        'session_over',
        opens.map(({ open }) => open),
      );
      await engine.commit(draft);
      await this.#core.nextTurn();
    }
  }

  /** Removes mail that has been kept for long enough, from its old end. What nobody has settled by then is purged. */
  async #retain(session: string): Promise<DueOutcome> {
    const { engine } = this.#core;
    for (let part = 0; part < PARTS_AT_ONCE; part++) {
      const page = await engine.storage.list(mailPartition(session), { limit: AT_ONCE });
      const now = engine.now();
      const old = page.filter((record) => mailOf(record).at + this.#retainMs <= now);
      const next = page[old.length];
      if (old.length > 0) await this.#remove(session, old);
      else if (next) return { moveTo: mailOf(next).at + this.#retainMs };
      else return this.#close(session);
      await this.#core.nextTurn();
    }
    return { moveTo: engine.now() + 1 };
  }

  async #remove(session: string, old: readonly StoredRecord[]): Promise<void> {
    const { engine } = this.#core;
    const ready = await engine.storage.get(old.map((record) => readyAddress(session, record.key, mailOf(record).priority)));
    const claimed = new Map(
      (await this.#references.all(claimedPartition(session))).map((record) => [stampOfReference(record.key), record]),
    );
    const draft = new Draft();
    const left: StoredRecord[] = [];
    old.forEach((mail, n) => {
      const { key, revision } = mail;
      const open = ready[n] ?? claimed.get(key);
      draft.checks.push({ ...mailAddress(session, key), revision });
      if (open) {
        stageRemoved(draft, open);
        left.push(open);
      } else draft.checks.push({ ...readyAddress(session, key, mailOf(mail).priority), revision: null });
      draft.deletes.push(mailAddress(session, key), deadAddress(session, key));
      if (!open) draft.deletes.push(fateAddress(session, key));
      const record = mailOf(mail);
      const queued = session !== SHARED && !(!isShared(record) && record.settled);
      const thread = threadDelete(key, record, queued);
      if (thread) draft.deletes.push(thread);
    });
    const opens = await this.#opens(session, left);
    if (opens.length > 0) {
      stagePurged(
        draft,
        engine,
        session,
        opens.map(({ open }) => open),
        true,
      );
    }
    await engine.commit(draft);
  }

  /** Nothing is left: whoever writes next puts the marker anew. */
  async #close(session: string): Promise<DueOutcome> {
    if (session === SHARED) return { moveTo: this.#core.engine.now() + this.#retainMs };
    const [marker] = await this.#core.engine.storage.get([markerAddress(session)]);
    if (!marker) return {};
    // Whoever has taken it up relies on the marker, that its claims are told from those of its successors.
    const owner = marker.value as { readonly incarnation: string } | null;
    const snapshot = owner && (await this.#core.sessions.read(session));
    if (snapshot && !isTerminal(stateOf(snapshot))) return { moveTo: this.#core.engine.now() + this.#retainMs };
    return {
      checks: [
        { ...markerAddress(session), revision: marker.revision },
        { partition: mailPartition(session), fewerThan: 1 },
        { partition: readyPartition(session), fewerThan: 1 },
        { partition: claimedPartition(session), fewerThan: 1 },
      ],
      deletes: [markerAddress(session)],
    };
  }

  async #opens(
    session: string,
    records: readonly StoredRecord[],
  ): Promise<{ readonly record: StoredRecord; readonly open: Open }[]> {
    const stamps = records.map(({ key }) => stampOfReference(key));
    const messages = await this.#bodies.read(stamps.map((stamp) => ({ mailbox: session, stamp })));
    const names = messages.includes(undefined) ? await this.#bodies.namesIn(session, stamps) : [];
    return records.map((record, n) => ({
      record,
      open: {
        session,
        stamp: stamps[n] as string,
        message: messages[n],
        id: names[n],
        tally: tallyOf(record.value),
      },
    }));
  }
}

/** A reference goes, if it is still as it was read. */
function stageRemoved(draft: Draft, { partition, key, revision }: StoredRecord): void {
  draft.checks.push({ partition, key, revision });
  draft.deletes.push({ partition, key });
}

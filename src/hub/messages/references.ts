import { keyAfter, prefixRange } from '../../storage/keys.ts';
import { pagesOf } from '../../storage/pages.ts';
import type { StoredRecord } from '../../storage/storage.ts';
import type { HubCore } from '../hub-core.ts';
import { PRIORITIES, priorityDigit } from '../priority.ts';
import { sharedStamp } from './bodies.ts';
import {
  claimedPartition,
  mailAddress,
  mailOf,
  mailPartition,
  readyAddress,
  readyPartition,
  stampOfReference,
} from './mailbox.ts';
import { isShared, type MailRecord, type MessagePlace, SHARED } from './message.ts';

/** Where a message that is open in a mailbox stands in it. */
export interface Reference {
  readonly record: StoredRecord;
  /** The stamp of the message or copy in this mailbox. */
  readonly stamp: string;
}

/** Open messages of a mailbox. */
export interface OpenPart {
  readonly stamps: readonly string[];
  readonly states: ReadonlyMap<string, 'ready' | 'claimed'>;
  readonly through: string | undefined;
}

const PAGE = 1000;

/** Finds the reference of a message, while it is neither settled nor dead. */
export class References {
  readonly #core: HubCore;

  constructor(core: HubCore) {
    this.#core = core;
  }

  /** The reference of this message in this mailbox: of the message itself, or of the copy that the session got. */
  async find(session: string, { mailbox, stamp }: MessagePlace): Promise<Reference | undefined> {
    if (mailbox === SHARED) return this.#findCopy(session, stamp);
    if (mailbox !== session) return undefined;
    const [mail] = await this.#core.engine.storage.get([mailAddress(session, stamp)]);
    return mail && this.of(session, stamp, mailOf(mail));
  }

  /** The reference of a message that was read from its mailbox. */
  async of(session: string, stamp: string, { priority }: MailRecord): Promise<Reference | undefined> {
    const { storage } = this.#core.engine;
    const [ready] = await storage.get([readyAddress(session, stamp, priority)]);
    if (ready) return { record: ready, stamp };
    const claimed = (await this.all(claimedPartition(session))).find(({ key }) => stampOfReference(key) === stamp);
    if (claimed) return { record: claimed, stamp };
    // It may have been put back between the two reads.
    const [again] = await storage.get([readyAddress(session, stamp, priority)]);
    return again && { record: again, stamp };
  }

  /** All references of a partition; a mailbox is bounded. */
  async all(partition: string): Promise<StoredRecord[]> {
    const found: StoredRecord[] = [];
    for await (const page of pagesOf(this.#core.engine.storage, partition)) found.push(...page);
    return found;
  }

  /** All that a session has not settled. */
  async open(session: string): Promise<{ readonly ready: StoredRecord[]; readonly claimed: StoredRecord[] }> {
    const ready = await this.all(readyPartition(session));
    const claimed = await this.all(claimedPartition(session));
    return { ready, claimed };
  }

  /**
   * What is not settled behind a stamp, in the order in which it was sent, beginning with the first: about so many, in
   * several reads. `through`: nothing is left out up to this stamp; absent: nothing that was there at first.
   */
  async openAfter(session: string, after: string, wanted: number): Promise<OpenPart> {
    const states = new Map<string, 'ready' | 'claimed'>();
    // What comes while this reads one priority after the other would be seen in some of them only.
    const [newest] = await this.#core.engine.storage.list(mailPartition(session), { reverse: true, limit: 1, values: false });
    if (!newest || newest.key <= after) return { stamps: [], states, through: undefined };
    const lookAtClaims = async (): Promise<void> => {
      for (const { key } of await this.all(claimedPartition(session))) states.set(stampOfReference(key), 'claimed');
    };
    await lookAtClaims();
    let through: string | undefined;
    for (const priority of PRIORITIES) {
      const digit = priorityDigit(priority);
      const start = after === '' ? digit : keyAfter(readyAddress(session, after, priority).key);
      const range = { ...prefixRange(digit), start, limit: wanted, values: false };
      const listed = await this.#core.engine.storage.list(readyPartition(session), range);
      for (const { key } of listed) states.set(stampOfReference(key), 'ready');
      const last = listed[listed.length - 1];
      if (!last || listed.length < wanted) continue;
      const stamp = stampOfReference(last.key);
      if (through === undefined || stamp < through) through = stamp;
    }
    // What was claimed between the reads stands there now.
    await lookAtClaims();
    if (through !== undefined && newest.key < through) through = newest.key;
    const last = through ?? newest.key;
    const stamps = [...states.keys()].filter((stamp) => stamp > after && stamp <= last);
    return { stamps: stamps.sort(), states, through };
  }

  async #findCopy(session: string, stamp: string): Promise<Reference | undefined> {
    const { ready, claimed } = await this.open(session);
    const references = [...claimed, ...ready];
    for (let start = 0; start < references.length; start += PAGE) {
      const part = references.slice(start, start + PAGE);
      const mails = await this.#core.engine.storage.get(part.map(({ key }) => mailAddress(session, stampOfReference(key))));
      const n = mails.findIndex((mail) => {
        const copy = mail && mailOf(mail);
        return mail && copy && isShared(copy) && sharedStamp(mail, copy) === stamp;
      });
      const record = part[n];
      if (record) return { record, stamp: stampOfReference(record.key) };
    }
    return undefined;
  }
}

import { pagesOf } from '../../storage/pages.ts';
import type { StoredRecord } from '../../storage/storage.ts';
import type { HubCore } from '../hub-core.ts';
import { sharedStamp } from './bodies.ts';
import { claimedPartition, mailAddress, mailOf, readyAddress, readyPartition, stampOfReference } from './mailbox.ts';
import { isShared, type MailRecord, type MessagePlace, SHARED } from './message.ts';

/** Where a message that is open in a mailbox stands in it. */
export interface Reference {
  readonly record: StoredRecord;
  /** The stamp of the message or copy in this mailbox. */
  readonly stamp: string;
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

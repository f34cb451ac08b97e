import { type MaybePromise, type StoredRecord, whenDone } from '../../storage/storage.ts';
import type { HubCore } from '../hub-core.ts';
import { mailAddress, mailOf, mailPartition, stampAt } from './mailbox.ts';
import {
  isShared,
  type Message,
  type MessagePlace,
  type MessageRecord,
  messageIdOf,
  messageIdPrefix,
  placeOf,
  SHARED,
  type SharedRecord,
  viewOf,
} from './message.ts';

/** At most so many addresses in one read. */
const AT_ONCE = 1000;

/** Reads messages: those of a mailbox, and those of many recipients where they are stored. */
export class Bodies {
  readonly #core: HubCore;

  constructor(core: HubCore) {
    this.#core = core;
  }

  /** In the order asked; `undefined` where nothing is kept any more. */
  read(places: readonly MessagePlace[]): MaybePromise<(Message | undefined)[]> {
    if (places.length > AT_ONCE) return this.#readMany(places);
    const reading = this.#core.engine.storage.get(places.map(({ mailbox, stamp }) => mailAddress(mailbox, stamp)));
    return whenDone(reading, (records) => this.#views(places, records));
  }

  /** The same of one mailbox, of up to 1,000 messages. */
  readIn(mailbox: string, stamps: readonly string[]): MaybePromise<(Message | undefined)[]> {
    const partition = mailPartition(mailbox);
    const reading = this.#core.engine.storage.get(stamps.map((key) => ({ partition, key })));
    if (reading instanceof Promise) return reading.then((records) => this.#views(mailbox, records));
    return this.#views(mailbox, reading);
  }

  /** One message as it is stored, and where: a copy leads to what all copies share. */
  record({ mailbox, stamp }: MessagePlace): MaybePromise<StoredMessage | undefined> {
    return whenDone(this.#core.engine.storage.get([mailAddress(mailbox, stamp)]), ([found]) => {
      if (!found) return undefined;
      const mail = mailOf(found);
      if (!isShared(mail)) return { id: messageIdOf({ mailbox, stamp }), record: mail };
      return this.record({ mailbox: SHARED, stamp: sharedStamp(found, mail) });
    });
  }

  /** What messages are called of which only the copies are still there. */
  async namesIn(mailbox: string, stamps: readonly string[]): Promise<(string | undefined)[]> {
    const copies = await this.#core.engine.storage.get(stamps.map((stamp) => mailAddress(mailbox, stamp)));
    return copies.map((copy) => {
      const mail = copy && mailOf(copy);
      return copy && mail && isShared(mail) ? messageIdOf({ mailbox: SHARED, stamp: sharedStamp(copy, mail) }) : undefined;
    });
  }

  /** The conversation that is meant: that of the message, if this is the id of one, or else just this name. */
  async threadOf(threadId: string): Promise<string> {
    const place = placeOf(threadId);
    const found = place && (await this.record(place));
    return found ? (found.record.threadId ?? found.id) : threadId;
  }

  /** The messages of records that were read from their mailboxes. */
  of(records: readonly StoredRecord[], mailbox: string): MaybePromise<(Message | undefined)[]> {
    return this.#views(mailbox, records);
  }

  async #readMany(places: readonly MessagePlace[]): Promise<(Message | undefined)[]> {
    const messages: (Message | undefined)[] = [];
    for (let start = 0; start < places.length; start += AT_ONCE) {
      messages.push(...(await this.read(places.slice(start, start + AT_ONCE))));
    }
    return messages;
  }

  /** Of one mailbox, or of that of each place. */
  #views(
    from: string | readonly MessagePlace[],
    records: readonly (StoredRecord | undefined)[],
  ): MaybePromise<(Message | undefined)[]> {
    const views = new Array<Message | undefined>(records.length);
    let shared: Shared[] | undefined;
    for (let n = 0; n < records.length; n++) {
      const record = records[n];
      const mail = record && mailOf(record);
      if (!record || !mail) views[n] = undefined;
      else if (isShared(mail)) {
        (shared ??= []).push({ n, stamp: sharedStamp(record, mail) });
        views[n] = undefined;
      } else {
        const mailbox = typeof from === 'string' ? from : (from[n] as MessagePlace).mailbox;
        views[n] = viewOf(messageIdPrefix(mailbox) + record.key, mail);
      }
    }
    return shared ? this.#withShared(views, shared) : views;
  }

  #withShared(views: (Message | undefined)[], shared: readonly Shared[]): MaybePromise<(Message | undefined)[]> {
    const reading = this.#core.engine.storage.get(shared.map(({ stamp }) => mailAddress(SHARED, stamp)));
    return whenDone(reading, (records) => {
      shared.forEach(({ n, stamp }, k) => {
        const record = records[k];
        if (record) views[n] = viewOf(messageIdPrefix(SHARED) + stamp, mailOf(record) as MessageRecord);
      });
      return views;
    });
  }
}

export interface StoredMessage {
  readonly id: string;
  readonly record: MessageRecord;
}

/** A copy, and where the message is that it shares. */
interface Shared {
  readonly n: number;
  readonly stamp: string;
}

/** Where the message of a copy is. */
export function sharedStamp({ revision }: StoredRecord, { shared }: SharedRecord): string {
  return typeof shared === 'string' ? shared : stampAt(revision, shared);
}

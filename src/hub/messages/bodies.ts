import { type MaybePromise, type StoredRecord, whenDone } from '../../storage/storage.ts';
import type { HubCore } from '../hub-core.ts';
import { mailAddress, mailOf, stampAt } from './mailbox.ts';
import {
  isShared,
  type Message,
  type MessagePlace,
  type MessageRecord,
  messageIdOf,
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

  /** One message as it is stored, and where: a copy leads to what all copies share. */
  async record({ mailbox, stamp }: MessagePlace): Promise<{ readonly id: string; readonly record: MessageRecord } | undefined> {
    const [found] = await this.#core.engine.storage.get([mailAddress(mailbox, stamp)]);
    if (!found) return undefined;
    const mail = mailOf(found);
    if (!isShared(mail)) return { id: messageIdOf({ mailbox, stamp }), record: mail };
    return this.record({ mailbox: SHARED, stamp: sharedStamp(found, mail) });
  }

  /** The conversation that is meant: that of the message, if this is the id of one, or else just this name. */
  async threadOf(threadId: string): Promise<string> {
    const place = placeOf(threadId);
    const found = place && (await this.record(place));
    return found ? (found.record.threadId ?? found.id) : threadId;
  }

  /** The messages of records that were read from their mailboxes. */
  of(records: readonly StoredRecord[], mailbox: string): MaybePromise<(Message | undefined)[]> {
    return this.#views(
      records.map(({ key }) => ({ mailbox, stamp: key })),
      records,
    );
  }

  async #readMany(places: readonly MessagePlace[]): Promise<(Message | undefined)[]> {
    const messages: (Message | undefined)[] = [];
    for (let start = 0; start < places.length; start += AT_ONCE) {
      messages.push(...(await this.read(places.slice(start, start + AT_ONCE))));
    }
    return messages;
  }

  #views(places: readonly MessagePlace[], records: readonly (StoredRecord | undefined)[]): MaybePromise<(Message | undefined)[]> {
    const views: (Message | undefined)[] = [];
    let shared: { readonly n: number; readonly place: MessagePlace }[] | undefined;
    records.forEach((record, n) => {
      if (!record) {
        views.push(undefined);
        return;
      }
      const mail = mailOf(record);
      if (isShared(mail)) {
        (shared ??= []).push({ n, place: { mailbox: SHARED, stamp: sharedStamp(record, mail) } });
        views.push(undefined);
      } else views.push(view(places[n] as MessagePlace, mail));
    });
    if (!shared) return views;
    return this.#withShared(views, shared);
  }

  #withShared(
    views: (Message | undefined)[],
    shared: readonly { readonly n: number; readonly place: MessagePlace }[],
  ): MaybePromise<(Message | undefined)[]> {
    const reading = this.#core.engine.storage.get(shared.map(({ place }) => mailAddress(SHARED, place.stamp)));
    return whenDone(reading, (records) => {
      shared.forEach(({ n, place }, k) => {
        const record = records[k];
        if (record) views[n] = view(place, mailOf(record) as MessageRecord);
      });
      return views;
    });
  }
}

/** Where the message of a copy is. */
export function sharedStamp({ revision }: StoredRecord, { shared }: SharedRecord): string {
  return typeof shared === 'string' ? shared : stampAt(revision, shared);
}

function view(place: MessagePlace, record: MessageRecord): Message {
  return viewOf(messageIdOf(place), record);
}

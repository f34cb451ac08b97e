import { MeshError } from '../../kernel/errors.ts';
import type { JsonValue } from '../../kernel/json.ts';
import { sameJson } from '../../kernel/same-json.ts';
import type { Draft } from '../../storage/draft.ts';
import type { Address } from '../../storage/storage.ts';
import type { HubCore } from '../hub-core.ts';
import { mailAddress, stampAt } from './mailbox.ts';
import { type Message, type MessageRecord, messageIdOf, viewOf } from './message.ts';

/** What is remembered of a send with an idempotency key: where the message is, and who got it. */
export interface FirstSend {
  readonly mailbox: string;
  readonly position: number;
  readonly recipients: readonly string[];
  readonly total: number;
}

export interface Repeated {
  readonly message: Message;
  readonly first: FirstSend;
}

const WINDOW_MS = 86_400_000;

/** Idempotency keys: each sender's own, for 24 hours, also when the message is kept for less. */
export class Once {
  readonly #core: HubCore;

  constructor(core: HubCore) {
    this.#core = core;
  }

  /** Stages that nobody has used the key, and that it is used now. */
  stage(draft: Draft, from: string, key: string, first: FirstSend): void {
    const address = addressOf(from, key);
    draft.checks.push({ ...address, revision: null });
    draft.puts.push({ ...address, value: first as unknown as JsonValue, ttlMs: WINDOW_MS });
  }

  /**
   * What was sent under this key, if anything was.
   * @throws MeshError `already_exists` when that was something else, or is kept no longer
   */
  async find(from: string, key: string, again: MessageRecord): Promise<Repeated | undefined> {
    const { storage } = this.#core.engine;
    const [used] = await storage.get([addressOf(from, key)]);
    if (!used) return undefined;
    const first = used.value as unknown as FirstSend;
    const stamp = stampAt(used.revision, first.position);
    const [mail] = await storage.get([mailAddress(first.mailbox, stamp)]);
    const record = mail?.value as unknown as MessageRecord | undefined;
    const message = messageIdOf({ mailbox: first.mailbox, stamp });
    if (record && sameJson(contentOf(record), contentOf(again))) return { message: viewOf(message, record), first };
    const got = record ? 'another' : 'it again after the first was removed';
    throw new MeshError('already_exists', `expected the same message under the same idempotency key, got ${got}`, {
      details: { message },
    });
  }
}

function addressOf(from: string, key: string): Address {
  return { partition: `sent-once/${from}`, key };
}

function contentOf({ to, type, subject, body, data, replyTo }: MessageRecord): JsonValue {
  return [to, type, subject ?? null, body ?? null, data ?? null, replyTo ?? null];
}

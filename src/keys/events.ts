import type { LoggedEvent } from '../storage/events/event-reader.ts';

interface KeyEvent extends LoggedEvent {
  /** The id of the key, which is no secret. */
  readonly key: string;
  readonly session?: string;
}

/** What the key manager tells. Ids only, never a token. */
export type KeyEvents = {
  key_issued: KeyEvent & { readonly parent?: string };
  key_rotated: KeyEvent;
  key_revoked: KeyEvent;
};

export const KEY_EVENTS: ReadonlySet<string> = new Set<keyof KeyEvents>(['key_issued', 'key_rotated', 'key_revoked']);

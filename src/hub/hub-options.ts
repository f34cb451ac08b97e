import * as z from 'zod';
import { MAX_TTL_MS, MIN_TTL_MS, policy, wholeNumber } from '../kernel/inputs.ts';
import { SessionRegistry } from '../registry/session-registry.ts';
import type { Storage } from '../storage/storage.ts';
import { storagePolicy } from '../storage/storage-policy.ts';
import { COLLABORATION_EVENTS, type CollaborationEvents } from './collaborations/events.ts';
import { MESSAGE_EVENTS, type MessageEvents } from './messages/events.ts';
import type { MessageStats } from './messages/messages.ts';
import { TASK_EVENTS, type TaskEvents } from './tasks/events.ts';
import type { TaskState } from './tasks/task.ts';

/** What the hub tells. */
export type HubEvents = MessageEvents & TaskEvents & CollaborationEvents;

export const HUB_EVENTS: ReadonlySet<string> = new Set<string>([...MESSAGE_EVENTS, ...TASK_EVENTS, ...COLLABORATION_EVENTS]);

/** How mailboxes behave. All processes of a mesh should have the same. */
export interface HubRules {
  /** How many messages may wait in a mailbox: 1 … 100,000. Default 1,000. */
  readonly mailboxLimit?: number | undefined;
  /** How often a message is delivered before it goes to the dead letters: 1 … 1,000. Default 10. */
  readonly maxDeliveries?: number | undefined;
  /** How long a claim lasts: 1 s … 30 days. Default 30 s. */
  readonly visibilityMs?: number | undefined;
  /** How long a message is kept, settled or not: 1 s … 30 days. Default 7 days. */
  readonly retainMs?: number | undefined;
}

/** What `hub.stats` answers. */
export interface HubStats {
  readonly messages: MessageStats;
  /** Tasks that are kept, by their state. */
  readonly tasks: Readonly<Record<TaskState, number>>;
}

export interface CollaborationHubOptions extends HubRules {
  /** The registry whose sessions talk and work; the hub shares its storage and what runs in its background. */
  readonly registry: SessionRegistry;
  /** The storage of the registry. Nothing else fits, so it may be left out. */
  readonly storage?: Storage | undefined;
}

/** What everything that makes a hub accepts of its rules. */
export const HUB_RULES = {
  mailboxLimit: wholeNumber(1, 100_000).default(1000),
  maxDeliveries: wholeNumber(1, 1000).default(10),
  visibilityMs: wholeNumber(MIN_TTL_MS, MAX_TTL_MS).default(30_000),
  retainMs: wholeNumber(MIN_TTL_MS, MAX_TTL_MS).default(7 * 86_400_000),
};

export const HUB_OPTIONS = z.strictObject({
  registry: policy((value): value is SessionRegistry => value instanceof SessionRegistry, 'a SessionRegistry'),
  storage: storagePolicy.optional(),
  ...HUB_RULES,
});

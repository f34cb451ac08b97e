import type { LoggedEvent } from '../../storage/events/event-reader.ts';

interface CollaborationEvent extends LoggedEvent {
  readonly collaboration: string;
}

/** What the hub tells about collaborations. Ids only, never what the context says. */
export type CollaborationEvents = {
  collaboration_created: CollaborationEvent & { readonly initiator: string };
  /** By `join` only: who was invited is active without an event as soon as its session is registered. */
  participant_joined: CollaborationEvent & { readonly session: string };
  participant_left: CollaborationEvent & { readonly session: string };
  step_completed: CollaborationEvent & { readonly step: string; readonly by: string };
  context_updated: CollaborationEvent & { readonly version: number; readonly by?: string };
  collaboration_completed: CollaborationEvent & { readonly by?: string };
  /** `timedOut`: nobody did it, but nothing had happened for so long. */
  collaboration_terminated: CollaborationEvent & { readonly by?: string; readonly timedOut?: true };
};

export const COLLABORATION_EVENTS: readonly (keyof CollaborationEvents)[] = [
  'collaboration_created',
  'participant_joined',
  'participant_left',
  'step_completed',
  'context_updated',
  'collaboration_completed',
  'collaboration_terminated',
];

/** The topic of whoever waits for something to happen in a collaboration. */
export function collaborationTopic(id: string): string {
  return `collaboration/${id}`;
}

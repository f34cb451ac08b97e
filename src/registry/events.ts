import type { LoggedEvent } from '../storage/events/event-reader.ts';
import type { SessionState, SessionStatus } from './session.ts';

interface SessionEvent extends LoggedEvent {
  readonly session: string;
  readonly epoch: number;
}

/** What the registry tells, and to whom it happened. */
export type RegistryEvents = {
  session_created: SessionEvent & { readonly parent?: string; readonly takeover?: true };
  /** `fields` names what changed; `state` is there when a kill order made it `stopping`. */
  session_updated: SessionEvent & {
    readonly fields: readonly string[];
    readonly status?: SessionStatus;
    readonly state?: SessionState;
  };
  /** The lease lapsed. Once per lapse. */
  session_offline: SessionEvent & { readonly lastSeenAt: number };
  /** A heartbeat of the same incarnation after the lapse. */
  session_online: SessionEvent;
  session_ended: SessionEvent;
  /** The record is gone, its retention being over. */
  session_removed: SessionEvent;
  agent_steered: SessionEvent & { readonly steer: string; readonly by?: string };
  steer_settled: SessionEvent & { readonly steer: string; readonly outcome: 'applied' | 'rejected' };
  /** The terminal event of a kill: `graceful` when the owner ended within the grace. */
  agent_killed: SessionEvent & { readonly graceful: boolean; readonly root: string; readonly by?: string };
};

export const REGISTRY_EVENTS: ReadonlySet<string> = new Set<keyof RegistryEvents>([
  'session_created',
  'session_updated',
  'session_offline',
  'session_online',
  'session_ended',
  'session_removed',
  'agent_steered',
  'steer_settled',
  'agent_killed',
]);

/** The topic of everybody who waits for something to happen to a session. */
export function sessionTopic(id: string): string {
  return `session/${id}`;
}

import type { JsonValue } from '../../kernel/json.ts';
import type { Draft } from '../../storage/draft.ts';
import type { Task } from '../tasks/task.ts';
import type { DelegateOptions } from '../tasks/task-inputs.ts';

/** A task in the summary of a collaboration. */
export interface CollaborationTask {
  readonly id: string;
  readonly type: string;
  readonly state: string;
  readonly step?: string | undefined;
  /** Who has worked on it, or is to. */
  readonly session?: string | undefined;
  readonly result?: JsonValue | undefined;
  /** Why it failed, was canceled or rejected. */
  readonly reason?: string | undefined;
  /** The time of its last transition. */
  readonly updatedAt: number;
}

/** What collaborations need of tasks. */
export interface CollaborationTasks {
  /** The tasks of a collaboration, in any order. */
  of(collaboration: string): AsyncIterable<CollaborationTask> | Iterable<CollaborationTask>;
  /** Delegates; `also` stages what else must hold in the commit. */
  delegate(options: DelegateOptions, also: (draft: Draft) => Promise<void>): Promise<Task>;
}

/** The same as `hub.delegate` is given, but for the collaboration, which is known. */
export type DelegateInCollaborationOptions = Omit<DelegateOptions, 'collaborationId'>;

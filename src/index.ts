// Messages, tasks, collaborations.
export { CollaborationHub } from './hub/collaboration-hub.ts';
export { Collaboration } from './hub/collaborations/collaboration.ts';
export type {
  CompleteOptions,
  CompleteStepOptions,
  JoinOptions,
  LeaveOptions,
  ListCollaborationsOptions,
  SummaryOptions,
  TerminateOptions,
  UpdateContextOptions,
} from './hub/collaborations/collaboration-inputs.ts';
export type {
  CollaborationDetails,
  CollaborationInfo,
  CollaborationState,
  Outcome,
  Participant,
  ParticipantState,
} from './hub/collaborations/collaboration-record.ts';
export type { CollaborationTask, DelegateInCollaborationOptions } from './hub/collaborations/collaboration-tasks.ts';
export type { CreateCollaborationOptions, ParticipantInput, StepInput } from './hub/collaborations/creation.ts';
export type { CollaborationEvents } from './hub/collaborations/events.ts';
export type { Progress, Step } from './hub/collaborations/steps.ts';
export type { CollaborationSummary, TaskCounts, TaskSummary } from './hub/collaborations/summary.ts';
export type { CollaborationHubOptions, HubEvents, HubRules, HubStats } from './hub/hub-options.ts';
export type { MailboxMessage } from './hub/messages/browsing.ts';
export type { Consumer, HandlerContext, MessageHandler } from './hub/messages/consumer.ts';
export type { DeadLetter } from './hub/messages/dead-letters.ts';
export type { Delivery } from './hub/messages/delivery.ts';
export type { DeadReason, MessageEvents } from './hub/messages/events.ts';
export type { Inbox } from './hub/messages/inbox.ts';
export type { Message, MessageState, MessageTarget, MessageType } from './hub/messages/message.ts';
export type {
  BroadcastOptions,
  DeadLettersOptions,
  HandleOptions,
  InboxOptions,
  MessageContent,
  MessageRef,
  MessagesOptions,
  PingOptions,
  PurgeOptions,
  ReceiveOptions,
  RedriveOptions,
  ReplyOptions,
  RequestOptions,
  SendOptions,
  SendTarget,
} from './hub/messages/message-inputs.ts';
export type { MessageStats } from './hub/messages/messages.ts';
export type { PingResult } from './hub/messages/pings.ts';
export type { SendResult } from './hub/messages/sending.ts';
export { formatSignal } from './hub/messages/signal.ts';
export type { Priority } from './hub/priority.ts';
export type { Assignment } from './hub/tasks/assignment.ts';
export type { TaskEvents, TaskReason } from './hub/tasks/events.ts';
export type { WorkContext, WorkHandler } from './hub/tasks/job.ts';
export type { OfferTarget, ResultOptions, RetryPolicy, Task, TaskProgress, TaskState, TaskTarget } from './hub/tasks/task.ts';
export type {
  ActOptions,
  CancelOptions,
  ClaimOptions,
  CompleteTaskOptions,
  DelegateOptions,
  DelegateTarget,
  HandoffOptions,
  ListTasksOptions,
  OfferedTo,
  OfferOptions,
  ProgressUpdate,
  ProvideInputOptions,
  ReasonOptions,
  TaskContent,
  WorkChoice,
  WorkOptions,
} from './hub/tasks/task-inputs.ts';
export type { TaskWorker } from './hub/tasks/worker.ts';
export { type Clock, systemClock, type Timer } from './kernel/clock.ts';
export type { EventMap, Listener } from './kernel/emitter.ts';
export { MeshError, type MeshErrorCode, type MeshErrorOptions } from './kernel/errors.ts';
export type { GenerateId } from './kernel/ids.ts';
export type { JsonObject, JsonValue } from './kernel/json.ts';
export type { ReportError } from './kernel/report.ts';
// API keys.
export type { ApiKey, Principal, Refusal } from './keys/api-key.ts';
export type { KeyEvents } from './keys/events.ts';
export type {
  DeriveOptions,
  IssueOptions,
  ListKeysOptions,
  RevokeAllOptions,
  RevokeOptions,
  RotateOptions,
  VerifyOptions,
} from './keys/key-inputs.ts';
export { type IssuedKey, KeyManager, type KeyManagerOptions, type KeyStats } from './keys/key-manager.ts';
export type { Verification } from './keys/verification.ts';
// Shared memory.
export type { MemoryEntry, MemoryTombstone, MemoryType } from './memory/entry.ts';
export type { MemoryEvents } from './memory/events.ts';
export type {
  ClearOptions,
  DeleteOptions,
  HistoryOptions,
  MemoryOptions,
  SearchOptions,
  SetOptions,
  WaitOptions,
  WatchOptions,
} from './memory/memory-inputs.ts';
export { type MemoryStats, SharedMemory, type SharedMemoryOptions } from './memory/shared-memory.ts';
export type { MemoryChange } from './memory/watching.ts';
export { createMesh, type Mesh, type MeshEvent, type MeshEvents, type MeshOptions, type MeshStats } from './mesh.ts';
// Sessions.
export type { RegistryEvents } from './registry/events.ts';
export type { KillReport } from './registry/kill.ts';
export type { Heartbeat } from './registry/renewal.ts';
export type { LoadOf, RegistryStats } from './registry/search.ts';
export type { AgentInfo, Session, SessionState, SessionStatus } from './registry/session.ts';
export { SessionHandle } from './registry/session-handle.ts';
export type {
  EndOptions,
  KillNotice,
  KillOptions,
  ListOptions,
  OnKill,
  Providers,
  RegisterOptions,
  SessionRef,
  SessionUpdate,
  SpawnOptions,
  SpecialistsOptions,
  SteerOptions,
} from './registry/session-inputs.ts';
export { SessionRegistry, type SessionRegistryOptions } from './registry/session-registry.ts';
export type { Directive, Steer, SteerOutcome, SteerReceipt, SteerState } from './registry/steer.ts';
export type { TalkEdges, Topology, TopologyEdge, TopologyNode } from './registry/topology.ts';
export { toDot } from './registry/topology-dot.ts';
export { toMermaid } from './registry/topology-mermaid.ts';
export { toTree } from './registry/topology-tree.ts';
export { type CheckedCommit, checkAddresses, checkedCommit, checkList, LIMITS, recordValue } from './storage/checked.ts';
export type { EngineOptions } from './storage/engine.ts';
export type { FollowOptions } from './storage/events/event-log.ts';
export type { LoggedEvent } from './storage/events/event-reader.ts';
export { type CommitSize, GroupCommit, type GroupCommitOptions } from './storage/group-commit.ts';
export { HintFan } from './storage/hint-fan.ts';
export { InMemoryStorage, type InMemoryStorageOptions } from './storage/in-memory-storage.ts';
export { compareKeys, deadlineOf, keyAfter, leasedKey, padded, prefixRange, stampedKey, unleasedKey } from './storage/keys.ts';
export { namespaced } from './storage/namespaced-storage.ts';
export type { Page } from './storage/query.ts';
export type {
  Address,
  BoundCheck,
  Check,
  Commit,
  CommitResult,
  Committed,
  Conflicted,
  Delete,
  Durability,
  Hint,
  KeyRange,
  ListRange,
  MaybePromise,
  Put,
  RangeDelete,
  RevisionCheck,
  Storage,
  StoredRecord,
  Take,
  Touch,
  Unsubscribe,
} from './storage/storage.ts';

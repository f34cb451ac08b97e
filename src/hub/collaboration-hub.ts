import { MeshError } from '../kernel/errors.ts';
import { CLOSING_MS, inTime } from '../kernel/in-time.ts';
import { parse } from '../kernel/inputs.ts';
import type { JsonValue } from '../kernel/json.ts';
import type { SessionRef } from '../registry/session-inputs.ts';
import { EventSource } from '../storage/events/event-source.ts';
import type { Page } from '../storage/query.ts';
import type { Collaboration } from './collaborations/collaboration.ts';
import type { ListCollaborationsOptions } from './collaborations/collaboration-inputs.ts';
import type { CollaborationInfo } from './collaborations/collaboration-record.ts';
import { Collaborations } from './collaborations/collaborations.ts';
import type { CreateCollaborationOptions } from './collaborations/creation.ts';
import { HubCore } from './hub-core.ts';
import { type CollaborationHubOptions, HUB_EVENTS, HUB_OPTIONS, type HubEvents, type HubStats } from './hub-options.ts';
import type { MailboxMessage } from './messages/browsing.ts';
import type { DeadLetter } from './messages/dead-letters.ts';
import type { Inbox } from './messages/inbox.ts';
import type { Message } from './messages/message.ts';
import type {
  BroadcastOptions,
  DeadLettersOptions,
  InboxOptions,
  MessageRef,
  MessagesOptions,
  PingOptions,
  PurgeOptions,
  RedriveOptions,
  ReplyOptions,
  RequestOptions,
  SendOptions,
} from './messages/message-inputs.ts';
import { Messages } from './messages/messages.ts';
import type { PingResult } from './messages/pings.ts';
import type { SendResult } from './messages/sending.ts';
import type { Assignment } from './tasks/assignment.ts';
import type { WorkHandler } from './tasks/job.ts';
import type { Task } from './tasks/task.ts';
import type {
  ActOptions,
  CancelOptions,
  ClaimOptions,
  CompleteTaskOptions,
  DelegateOptions,
  HandoffOptions,
  ListTasksOptions,
  OfferOptions,
  ProvideInputOptions,
  ReasonOptions,
  WorkOptions,
} from './tasks/task-inputs.ts';
import { Tasks } from './tasks/tasks.ts';
import type { TaskWorker } from './tasks/worker.ts';

/**
 * How sessions work together: messages with mailboxes, requests and replies, delegated tasks, and collaborations in
 * steps. Works on any storage, for all processes that share it.
 */
export class CollaborationHub extends EventSource<HubEvents> {
  readonly #core: HubCore;
  readonly #messages: Messages;
  readonly #tasks: Tasks;
  readonly #collaborations: Collaborations;
  #closing: Promise<void> | undefined;

  /** @throws MeshError `invalid_input` */
  constructor(options: CollaborationHubOptions) {
    const { registry, storage, ...rules } = parse(HUB_OPTIONS, options, 'options');
    const core = new HubCore(registry);
    if (storage && !core.engine.standsOn(storage)) {
      throw new MeshError('invalid_input', 'expected options.storage to be the storage of the registry, got another');
    }
    super({ log: core.engine.log, report: core.engine.report, names: HUB_EVENTS });
    this.#core = core;
    this.#messages = new Messages(core, rules);
    registry.provide({ loadOf: (ids) => this.#loadOf(ids), talkEdges: () => this.#messages.talks() });
    this.#tasks = new Tasks(core);
    this.#collaborations = new Collaborations(core, {
      of: (id) => this.#tasks.tasksOf(id),
      delegate: (task, also) => this.#tasks.delegate(task, also),
    });
  }

  /**
   * Sends a message to a session, to all of a group, or to exactly one specialist, of both not to the sender. A session
   * that is offline gets it when it is back, unless `requireAlive`; of a group those get it that are alive and have room,
   * as with `broadcast`, and `recipients` names them. Delivered at least once, in order of sending within a priority.
   * @throws MeshError `invalid_input`, `limit_exceeded`, `not_found`, `not_alive`, `mailbox_full`, `already_exists`
   * (another message of this idempotency key), `lease_lost` (`from` is a handle that no longer holds)
   */
  send(options: SendOptions): Promise<SendResult> {
    return this.#messages.send(options);
  }

  /**
   * Sends to every session that is alive, but the sender. The message is stored once; of very many recipients some
   * process reaches the rest if this one dies. A mailbox that is full is left out; up to 150 recipients it is not counted in
   * `total`, of more all that were alive are.
   * @throws MeshError as `send`, without `mailbox_full`
   */
  broadcast(options: BroadcastOptions): Promise<SendResult> {
    return this.#messages.broadcast(options);
  }

  /**
   * Answers a message: to its sender, in its conversation. In the same commit the message is settled in the mailbox of
   * who answers, and a `request` that waits for it resolves. An answer to a request is never queued: one that comes when
   * nobody waits any more, or the second one, stands in the conversation only.
   * @throws MeshError as `send`, `not_found` also for the message
   */
  reply(message: MessageRef, options: ReplyOptions): Promise<SendResult> {
    return this.#messages.reply(message, options);
  }

  /**
   * Sends a message of type `request` and waits for its answer. Nobody gets it any more after the timeout.
   * @throws MeshError as `send`, `timed_out`, `aborted`, and `not_alive` also when the other is offline or goes
   */
  request(options: RequestOptions): Promise<Message> {
    return this.#messages.request(options);
  }

  /**
   * Asks whether a session's process is there. Whoever holds the session's handle answers, without code of its own;
   * nobody's liveness or mail is touched.
   * @throws MeshError `invalid_input`, `not_found` and `not_alive` (`from`), `aborted`
   */
  ping(options: PingOptions): Promise<PingResult> {
    return this.#messages.ping(options);
  }

  /**
   * The mailbox of a session, to be emptied: by a loop, by `handle`, or by `receive`.
   *
   * ```ts
   * for await (const { message, ack } of hub.inbox(planner)) await ack();
   * ```
   * @throws MeshError `invalid_input`, `closed`, `lease_lost`
   */
  inbox(session: SessionRef, options: InboxOptions = {}): Inbox {
    return this.#messages.inbox(session, options);
  }

  /**
   * Messages in the mailbox of a session, oldest first, without claiming them: also those that were settled, as long as
   * they are kept.
   * @throws MeshError `invalid_input`
   */
  messages(options: MessagesOptions): Promise<Page<MailboxMessage>> {
    return this.#messages.messages(options);
  }

  /** A message by its id; `undefined` when none is kept. */
  async getMessage(id: string): Promise<Message | undefined> {
    return this.#messages.get(id);
  }

  /**
   * The whole conversation to which a message belongs, in the order in which it was held.
   * @throws MeshError `invalid_input`, `not_found`
   */
  async conversation(message: MessageRef): Promise<Message[]> {
    return this.#messages.conversation(message);
  }

  /**
   * Messages that were given up: delivered too often, terminated, or left behind by a session that is over. Kept as long
   * as the message is.
   * @throws MeshError `invalid_input`
   */
  async deadLetters(options: DeadLettersOptions = {}): Promise<Page<DeadLetter>> {
    return this.#messages.deadLetters(options);
  }

  /**
   * Puts a dead letter back into its mailbox, as if it had never been delivered.
   * @throws MeshError `invalid_input`, `not_found`, `not_alive` (its recipient is over), `mailbox_full`, `conflict` (it has
   * expired)
   */
  async redrive(message: MessageRef, options: RedriveOptions = {}): Promise<void> {
    return this.#messages.redrive(message, options);
  }

  /**
   * Removes what waits in the mailbox of a session; what is claimed stays.
   * @returns how many
   * @throws MeshError `invalid_input`
   */
  async purge(session: string, options: PurgeOptions = {}): Promise<number> {
    return this.#messages.purge(session, options);
  }

  /**
   * Gives a task to a session, or to whoever works for a capability. An offline session finds it when it is back. It is
   * tried at most `1 + maxRetries` times, and fails with `timed_out` when it is not over within `timeoutMs`.
   *
   * ```ts
   * const task = await hub.delegate({ from: planner, to: { capability: 'python' }, type: 'review', payload: { pr: 123 } });
   * const review = await task.result();
   * ```
   * @throws MeshError `invalid_input`, `limit_exceeded`, `not_found`, `not_alive` (the session has ended or is told to
   * stop), `already_exists` (another task of this idempotency key), `lease_lost` (`from` is a handle that no longer holds)
   */
  delegate(options: DelegateOptions): Promise<Task> {
    return this.#tasks.delegate(options);
  }

  /**
   * Works on tasks of a session, and of its capabilities, until it is stopped, the session ends or the mesh is closed.
   * What the handler returns completes the task, what it throws fails the attempt. Keeps the process alive. To work for a
   * session that nobody knows ends at once, which `onError` hears.
   *
   * ```ts
   * const worker = hub.work(dev, { concurrency: 4 }, async (task, { signal }) => review(task.payload, signal));
   * await worker.stop();
   * ```
   * @throws MeshError `invalid_input`, `closed`
   */
  work<Payload = JsonValue>(session: SessionRef, options: WorkOptions, handler: WorkHandler<Payload>): TaskWorker {
    return this.#tasks.work(session, options, handler as WorkHandler);
  }

  /**
   * Claims tasks for a session, to be worked on by other means than `work`. None, when there are none.
   * @throws MeshError `invalid_input`, `not_found`, `not_alive`, `lease_lost`
   */
  claim(session: SessionRef, options: ClaimOptions = {}): Promise<Assignment[]> {
    return this.#tasks.claim(session, options);
  }

  /**
   * Completes a task for the session that has claimed it, or to which it is addressed.
   * @throws MeshError `invalid_input`, `limit_exceeded`, `not_found`, `stale_receipt` (it is not, or no longer, for `by` to
   * complete), `not_alive`, `lease_lost`
   */
  complete(taskId: string, options: CompleteTaskOptions): Promise<Task> {
    return this.#tasks.complete(taskId, options);
  }

  /**
   * Fails the attempt of the session that has claimed a task, or to which it is addressed: it is tried again or fails.
   * @throws MeshError as `complete`
   */
  fail(taskId: string, options: ReasonOptions): Promise<Task> {
    return this.#tasks.fail(taskId, options);
  }

  /**
   * Asks one session, or all that are alive and have a capability or are in a group (at most 64), whether they will do a
   * task. The first that accepts has it; when all have declined or are gone it is `rejected`. (Messages of the types
   * `task_offer` and `task_accept` are for those who run a protocol of their own.)
   * @throws MeshError as `delegate`; `not_found` also when there is nobody to ask
   */
  offer(options: OfferOptions): Promise<Task> {
    return this.#tasks.offer(options);
  }

  /**
   * Takes a task that was offered: from now on it is addressed to `by`, and in its queue.
   * @throws MeshError `invalid_input`, `not_found`, `conflict` (somebody else has it, it is over, or `by` has declined),
   * `forbidden` (`by` was not asked), `not_alive`, `lease_lost`
   */
  accept(taskId: string, options: ActOptions): Promise<Task> {
    return this.#tasks.accept(taskId, options);
  }

  /**
   * Does not take a task that was offered.
   * @throws MeshError `invalid_input`, `not_found`, `conflict` (it is no longer on offer), `forbidden` (`by` was not asked)
   */
  decline(taskId: string, options: ReasonOptions): Promise<Task> {
    return this.#tasks.decline(taskId, options);
  }

  /**
   * Answers the question for which a task is `input_required`; its worker goes on.
   * @throws MeshError `invalid_input`, `limit_exceeded`, `not_found`, `conflict` (it asks nothing)
   */
  provideInput(taskId: string, options: ProvideInputOptions): Promise<Task> {
    return this.#tasks.provideInput(taskId, options);
  }

  /**
   * Gives an open task on, with what is to be known for it, in one step: for the session that has claimed it, to which it
   * is addressed, or that delegated it. Attempts begin anew; the deadline stays.
   * @throws MeshError `invalid_input`, `limit_exceeded`, `not_found`, `not_alive`, `conflict` (it is over, or on offer),
   * `forbidden` (it is not for `by` to give on), `stale_receipt`, `lease_lost`
   */
  handoff(taskId: string, options: HandoffOptions): Promise<Task> {
    return this.#tasks.handoff(taskId, options);
  }

  /**
   * Nobody is to do it any more; whoever works on it is told to give up. What is canceled already stays so.
   * @throws MeshError `invalid_input`, `not_found`, `conflict` (it is over otherwise)
   */
  cancel(taskId: string, options: CancelOptions = {}): Promise<Task> {
    return this.#tasks.cancel(taskId, options);
  }

  /** The task as it is now; `undefined` when there is none of this id. */
  getTask(taskId: string): Promise<Task | undefined> {
    return this.#tasks.get(taskId);
  }

  /**
   * Tasks that meet all conditions, in the order of their ids.
   * @throws MeshError `invalid_input`
   */
  tasks(options: ListTasksOptions = {}): Promise<Page<Task>> {
    return this.#tasks.list(options);
  }

  /**
   * Lets sessions work together through named steps on a shared context. The initiator must be registered; who is invited
   * need not be, and is active from the moment that a session of its id is.
   *
   * ```ts
   * const collaboration = await hub.createCollaboration({
   *   initiator: planner,
   *   participants: [{ session: 'dev-001', role: 'implementer' }],
   *   steps: [{ name: 'design' }, { name: 'implementation', requires: ['dev-001'], after: ['design'] }],
   * });
   * await collaboration.completeStep('design', { by: planner });
   * ```
   * @throws MeshError `invalid_input` (also a step that could never be completed), `limit_exceeded`, `not_found` and
   * `not_alive` (the initiator), `already_exists`, `lease_lost` (the initiator is a handle that no longer holds)
   */
  createCollaboration(options: CreateCollaborationOptions): Promise<Collaboration> {
    return this.#collaborations.create(options);
  }

  /**
   * A collaboration by its id; `undefined` when there is none. One that has ended is kept for seven days.
   * @throws MeshError `invalid_input`
   */
  getCollaboration(id: string): Promise<Collaboration | undefined> {
    return this.#collaborations.get(id);
  }

  /**
   * Collaborations that meet all conditions, in the order of their ids.
   * @throws MeshError `invalid_input`
   */
  collaborations(options: ListCollaborationsOptions = {}): Promise<Page<CollaborationInfo>> {
    return this.#collaborations.list(options);
  }

  /** Counts by going through everything; for people, not for loops. */
  async stats(): Promise<HubStats> {
    const [messages, tasks] = await Promise.all([this.#messages.stats(), this.#tasks.stats()]);
    return { messages, tasks };
  }

  /**
   * Ends what runs in the background and gives back what this process has claimed, without using an attempt. The registry
   * and the storage stay open. May be called again.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#core.close();
    // What can't be given back comes back by itself, and must not keep anything open.
    const { clock, report } = this.#core.engine;
    const givingBack = [this.#messages.close(), this.#tasks.close()].map((each) => each.catch(report));
    await inTime(clock, Promise.all(givingBack), CLOSING_MS.claims);
  }

  /** Mail and tasks that each session has on its hands. */
  async #loadOf(ids: readonly string[]): Promise<number[]> {
    const [mail, tasks] = await Promise.all([this.#messages.loadOf(ids), this.#tasks.loadOf(ids)]);
    return ids.map((_, n) => (mail[n] ?? 0) + (tasks[n] ?? 0));
  }
}

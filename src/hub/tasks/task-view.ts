import type { JsonValue } from '../../kernel/json.ts';
import type { Offer, ResultOptions, Task } from './task.ts';
import type { LoadedTask } from './task-store.ts';

/** Waits for the output of the task of this id. */
export type ResultOf = (id: string, options: ResultOptions | undefined) => Promise<JsonValue>;

/** A task as a caller sees it. */
export function viewOf({ task, contentOf }: LoadedTask, resultOf: ResultOf): Task {
  const { id, value } = task;
  const { title, to, context, headers, collaborationId, step, worker, offer, progress, question, input, output } = value;
  const { reason, message, endedAt } = value;
  return Object.freeze({
    id,
    type: value.type,
    ...(title !== undefined && { title }),
    state: value.state,
    from: value.from,
    ...(to !== undefined && { to: Object.freeze(to) }),
    priority: value.priority,
    payload: contentOf(value.payload),
    ...(context !== undefined && { context: contentOf(context) }),
    ...(headers !== undefined && { headers }),
    ...(collaborationId !== undefined && { collaborationId }),
    ...(step !== undefined && { step }),
    attempt: value.attempt,
    retry: Object.freeze(value.retry),
    ...(worker !== undefined && { worker }),
    ...(offer !== undefined && { offer: frozenOffer(offer) }),
    ...(progress !== undefined && { progress: progressOf(progress, contentOf) }),
    ...(question !== undefined && { question: contentOf(question) }),
    ...(input !== undefined && { input: contentOf(input) }),
    ...(output !== undefined && { output: contentOf(output) }),
    ...(reason !== undefined && { reason }),
    ...(message !== undefined && { message }),
    createdAt: value.createdAt,
    updatedAt: value.updatedAt,
    deadline: value.deadline,
    ...(endedAt !== undefined && { endedAt }),
    result: async <Output = JsonValue>(options?: ResultOptions) => (await resultOf(id, options)) as Output,
  });
}

/** What was stored is frozen already; what was just made is not, and is written again with the next change. */
function frozenOffer(offer: Offer): Offer {
  for (const part of [offer.to, offer.asked, offer.declined]) Object.freeze(part);
  return Object.freeze(offer);
}

function progressOf(
  { data, ...said }: NonNullable<LoadedTask['task']['value']['progress']>,
  contentOf: LoadedTask['contentOf'],
): NonNullable<Task['progress']> {
  return Object.freeze({ ...said, ...(data !== undefined && { data: contentOf(data) }) });
}

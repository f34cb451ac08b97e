import { describe } from '../../kernel/describe.ts';
import { MeshError } from '../../kernel/errors.ts';

/** A named piece of a collaboration. */
export interface Step {
  readonly name: string;
  /** Who may complete it; empty: any active participant. */
  readonly requires: readonly string[];
  /** The steps that must be completed before it. */
  readonly after: readonly string[];
  readonly description?: string;
  readonly completedBy?: string;
  readonly completedAt?: number;
}

/** How far the steps of a collaboration have come. */
export interface Progress {
  /** The first step, in the order given, that can be worked on now. */
  readonly current: string | null;
  /** In the order given, as all lists of steps. */
  readonly completed: readonly string[];
  /** All others, without the current one. */
  readonly pending: readonly string[];
  /** The share of steps that are completed: a whole number from 0 to 100. */
  readonly percent: number;
}

/** How far steps have come; once nobody can work on them any more there is no current one. */
export function progressOf(steps: readonly Step[], state: 'active' | 'completed' | 'terminated'): Progress {
  const done = completedOf(steps);
  const current =
    state === 'active' ? steps.find((step) => !done.has(step.name) && missingFor(step, done).length === 0) : undefined;
  const names = steps.map(({ name }) => name);
  return {
    current: current?.name ?? null,
    completed: names.filter((name) => done.has(name)),
    pending: names.filter((name) => !done.has(name) && name !== current?.name),
    percent: steps.length > 0 ? Math.round((100 * done.size) / steps.length) : state === 'completed' ? 100 : 0,
  };
}

/**
 * The steps with one more completed.
 * @throws MeshError `not_found`, `forbidden`, `conflict` (completed already, or something before it is not)
 */
export function withCompleted(steps: readonly Step[], name: string, by: string, at: number): Step[] {
  const step = stepOf(steps, name);
  if (step.requires.length > 0 && !step.requires.includes(by)) {
    throw new MeshError('forbidden', `expected one of ${step.requires.join(', ')} to complete the step, got ${by}`, {
      details: { step: name, requires: step.requires },
    });
  }
  assertOpen(steps, name);
  const missing = missingFor(step, completedOf(steps));
  if (missing.length > 0) {
    throw new MeshError('conflict', `expected the steps before it to be completed, got ${describe(missing[0])} open`, {
      details: { step: name, missing },
    });
  }
  return steps.map((other) => (other === step ? { ...step, completedBy: by, completedAt: at } : other));
}

/** @throws MeshError `not_found`, `conflict` when it is completed */
export function assertOpen(steps: readonly Step[], name: string): void {
  const { completedBy } = stepOf(steps, name);
  if (completedBy === undefined) return;
  throw new MeshError('conflict', `expected a step that is open, got one that ${completedBy} has completed`, {
    details: { step: name, completedBy },
  });
}

/** @throws MeshError `not_found` */
export function stepOf(steps: readonly Step[], name: string): Step {
  const step = steps.find((candidate) => candidate.name === name);
  if (step) return step;
  throw new MeshError('not_found', `expected a step of the collaboration, got ${describe(name)}`, { details: { step: name } });
}

/**
 * Refuses steps that could never be completed: of one name, after a step that is not there, in a circle, or to be
 * completed by somebody who does not take part.
 * @throws MeshError `invalid_input`
 */
export function checkSteps(steps: readonly Step[], members: ReadonlySet<string>): void {
  const names = new Set<string>();
  steps.forEach(({ name }, n) => {
    if (names.has(name)) throw invalid(`${path(n)}.name`, 'a name that no other step has', name);
    names.add(name);
  });
  steps.forEach(({ requires, after }, n) => {
    const stranger = requires.find((session) => !members.has(session));
    if (stranger !== undefined) throw invalid(`${path(n)}.requires`, 'participants only', stranger);
    const unknown = after.find((name) => !names.has(name));
    if (unknown !== undefined) throw invalid(`${path(n)}.after`, 'names of steps', unknown);
  });
  const stuck = stuckOf(steps);
  if (stuck !== undefined) throw invalid('options.steps', 'steps that do not wait for each other in a circle', stuck);
}

/** A step that would wait for ever. */
function stuckOf(steps: readonly Step[]): string | undefined {
  const done = new Set<string>();
  let open = steps;
  for (;;) {
    const waiting = open.filter((step) => missingFor(step, done).length > 0);
    if (waiting.length === open.length) return waiting[0]?.name;
    for (const { name } of open.filter((step) => !waiting.includes(step))) done.add(name);
    open = waiting;
  }
}

function completedOf(steps: readonly Step[]): Set<string> {
  return new Set(steps.filter(({ completedBy }) => completedBy !== undefined).map(({ name }) => name));
}

function missingFor({ after }: Step, done: ReadonlySet<string>): string[] {
  return after.filter((name) => !done.has(name));
}

function path(n: number): string {
  return `options.steps.${n}`;
}

function invalid(at: string, expected: string, got: string): MeshError {
  return new MeshError('invalid_input', `expected ${at} to be ${expected}, got ${describe(got)}`, { details: { path: at } });
}

/** What comes first: in a mailbox, and in a queue of tasks. */
export type Priority = 'low' | 'medium' | 'high' | 'critical';

export const PRIORITIES = ['critical', 'high', 'medium', 'low'] as const satisfies readonly Priority[];

/** The digit that leads the sort keys of this priority, so that the most urgent stand first. */
export function priorityDigit(priority: Priority): string {
  return String(PRIORITIES.indexOf(priority));
}

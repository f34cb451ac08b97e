import { type Message, type MessageType, SHARED } from './message.ts';

const SIGNS: Readonly<Record<MessageType, string>> = {
  ping: '🔔',
  request: '❓',
  response: '✅',
  broadcast: '📡',
  notification: '📢',
  task_offer: '🤝',
  task_accept: '👍',
  sync: '🔄',
  handoff: '🎯',
};

/**
 * A message as one line for people: `🔔 planner → dev-001 : [COLLABORATION] Ping`. The recipient of a broadcast is `ALL`,
 * and of a message without a subject its type is shown.
 */
export function formatSignal({ type, from, to, subject }: Pick<Message, 'type' | 'from' | 'to' | 'subject'>): string {
  return `${SIGNS[type]} ${from} → ${recipientOf(to)} : [COLLABORATION] ${subject ?? titleOf(type)}`;
}

function titleOf(type: MessageType): string {
  return type.charAt(0).toUpperCase() + type.slice(1).replace('_', ' ');
}

function recipientOf(to: Message['to']): string {
  if (typeof to === 'string') return to === SHARED ? 'ALL' : to;
  return 'group' in to ? `#${to.group}` : `@${to.capability}`;
}

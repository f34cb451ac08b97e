import type { SessionState } from './session.ts';
import type { Topology } from './topology.ts';
import { agentOf, oneLine, type Picture, pictureOf, shortened, wordOf } from './topology-pictures.ts';

const MARKS: Record<SessionState, string> = { alive: '●', stopping: '◐', offline: '○', ended: '■', killed: '✗' };
const AGENT_WIDTH = 40;
const TASK_WIDTH = 48;

/**
 * The topology for a terminal: one line for each session, children below their parent, everything in the order of the
 * ids; then, below an empty line, who has written to whom, `↔` where each has written to the other. It has no line
 * break at the end and is empty for an empty topology. Control characters do not come through, ids are never cut.
 *
 * @example
 * ● planner-001  Planner · Claude  working  Code review
 * ├─ ● dev-001  Helper · Claude  idle
 * └─ ○ qa-001  Tester · Codex  offline
 *
 * planner-001 ↔ dev-001
 * @throws MeshError `invalid_input` for what is no topology
 */
export function toTree(topology: Topology): string {
  const picture = pictureOf(topology);
  const sessions = sessionLines(picture);
  const talks = talkLines(picture);
  return [...sessions, ...(talks.length > 0 ? ['', ...talks] : [])].join('\n');
}

function sessionLines({ nodes }: Picture): string[] {
  /** What stands before the sessions of each depth, below the one that was drawn last. */
  const indents = [''];
  return nodes.map(({ node, depth, last }) => {
    const indent = indents[depth] ?? '';
    indents[depth + 1] = depth === 0 ? '' : indent + (last ? '   ' : '│  ');
    const branch = depth === 0 ? '' : last ? '└─ ' : '├─ ';
    const texts = [oneLine(node.id), shortened(agentOf(node), AGENT_WIDTH), wordOf(node), shortened(node.task ?? '', TASK_WIDTH)];
    return `${indent}${branch}${MARKS[node.state]} ${texts.filter((text) => text !== '').join('  ')}`;
  });
}

function talkLines({ nodes, talks }: Picture): string[] {
  const listeners = new Map<string, string[]>();
  const idOf = (index: number): string => oneLine(nodes[index]?.node.id ?? '');
  for (const { from, to, both } of talks) {
    const beginning = `${idOf(from)} ${both ? '↔' : '→'}`;
    const others = listeners.get(beginning);
    if (others) others.push(idOf(to));
    else listeners.set(beginning, [idOf(to)]);
  }
  return [...listeners].map(([beginning, others]) => `${beginning} ${others.join(', ')}`);
}

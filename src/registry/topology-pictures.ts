import * as z from 'zod';
import { parse } from '../kernel/inputs.ts';
import { compareKeys } from '../storage/keys.ts';
import { SESSION_STATES } from './session.ts';
import type { Topology, TopologyEdge, TopologyNode } from './topology.ts';

/** A session and its place: how far below its root it stands, and whether no sibling comes after it. */
export interface PlacedNode {
  readonly node: TopologyNode;
  readonly depth: number;
  readonly last: boolean;
}

/** A line between two of the nodes, told by their index. */
export interface Line {
  readonly from: number;
  readonly to: number;
}

export interface TalkLine extends Line {
  /** Each has written to the other. */
  readonly both: boolean;
}

/** A topology in the order in which every picture draws it: by id, the children right below their parent. */
export interface Picture {
  readonly nodes: readonly PlacedNode[];
  readonly children: readonly Line[];
  readonly talks: readonly TalkLine[];
}

/** It may have come from somewhere else, as JSON. */
const TOPOLOGY = z.looseObject({
  nodes: z.array(
    z.looseObject({
      id: z.string(),
      name: z.string(),
      type: z.string(),
      state: z.enum(SESSION_STATES),
      status: z.string(),
      task: z.string().optional(),
    }),
  ),
  edges: z.array(z.looseObject({ kind: z.enum(['child', 'talk']), from: z.string(), to: z.string() })),
});

/**
 * Orders a topology for drawing. Of several nodes with one id the first is drawn; of several lines of a kind between
 * the same two sessions, one. Lines to nobody are left out.
 * @throws MeshError `invalid_input`
 */
export function pictureOf(topology: Topology): Picture {
  const { nodes: given, edges } = parse(TOPOLOGY, topology, 'topology') as Topology;
  const byId = new Map<string, TopologyNode>();
  for (const node of given) if (!byId.has(node.id)) byId.set(node.id, node);
  const nodes = inTreeOrder(
    [...byId.values()].sort((a, b) => compareKeys(a.id, b.id)),
    edges,
  );
  const indexOf = new Map(nodes.map(({ node }, index) => [node.id, index]));
  return { nodes, children: linesOf('child', edges, indexOf), talks: talksOf(linesOf('talk', edges, indexOf), nodes) };
}

/** What a session does: what it says of itself while it lives, and what has become of it after that. */
export function wordOf({ state, status }: TopologyNode): string {
  return state === 'alive' ? status : state;
}

/** The agent's name and its type, without what the id or the name says already. */
export function agentOf({ id, name, type }: TopologyNode): string {
  return [...new Set([name, type])].filter((part) => part !== id).join(' · ');
}

/** Of each text in a box, so much: 30 letters of the usual fonts are as wide as a box can be for 30 boxes to be read. */
const BOX_WIDTH = 30;
const BOX_WIDE = /.{1,30}/gu;

/** The lines in the box of a session: its id, which may take several because it is never cut, its agent, what it does. */
export function boxOf(node: TopologyNode): string[] {
  const task = oneLine(node.task ?? '');
  const does = task === '' ? wordOf(node) : `${wordOf(node)}: ${task}`;
  const id = oneLine(node.id).match(BOX_WIDE) ?? [];
  return [...id, shortened(agentOf(node), BOX_WIDTH), shortened(does, BOX_WIDTH)].filter((line) => line !== '');
}

const BLANKS = /[\s\p{Cc}\p{Noncharacter_Code_Point}]+/gu;
const DIRECTIONS = /[\u202a-\u202e\u2066-\u2069]/g;

/**
 * A text that stays on its line: without control characters, which a terminal obeys, and those that XML refuses, and
 * without those that turn the direction of all that comes after them.
 */
export function oneLine(text: string): string {
  return text.toWellFormed().replace(DIRECTIONS, '').replace(BLANKS, ' ').trim();
}

/** The same in at most so many code points. */
export function shortened(text: string, limit: number): string {
  const points = [...oneLine(text)];
  if (points.length <= limit) return points.join('');
  // A joiner with nothing after it would join the ellipsis.
  return `${points
    .slice(0, limit - 1)
    .join('')
    .replace(/[\s\u200d]+$/, '')}…`;
}

/** Without recursion: nothing limits how deep the data of a caller goes. */
function inTreeOrder(sorted: readonly TopologyNode[], edges: readonly TopologyEdge[]): PlacedNode[] {
  const parents = parentsOf(sorted, edges);
  const below = new Map<string | undefined, TopologyNode[]>();
  for (const node of sorted) {
    const parent = parents.get(node.id);
    const siblings = below.get(parent);
    if (siblings) siblings.push(node);
    else below.set(parent, [node]);
  }
  const placed: PlacedNode[] = [];
  const ahead: PlacedNode[] = [];
  const goInto = (parent: string | undefined, depth: number): void => {
    const children = below.get(parent)?.toReversed() ?? [];
    for (const [index, node] of children.entries()) ahead.push({ node, depth, last: index === 0 });
  };
  goInto(undefined, 0);
  for (let next = ahead.pop(); next; next = ahead.pop()) {
    placed.push(next);
    goInto(next.node.id, next.depth + 1);
  }
  return placed;
}

/**
 * One parent at most for each: of several, the one whose id comes first. Of a circle, the member that is reached first
 * loses its parent, so that every way up ends at a root.
 */
function parentsOf(sorted: readonly TopologyNode[], edges: readonly TopologyEdge[]): Map<string, string> {
  const known = new Set(sorted.map(({ id }) => id));
  const parents = new Map<string, string>();
  for (const { kind, from, to } of edges) {
    if (kind !== 'child' || from === to || !known.has(from) || !known.has(to)) continue;
    const other = parents.get(to);
    if (other === undefined || compareKeys(from, other) < 0) parents.set(to, from);
  }
  const reachedFrom = new Map<string, string>();
  for (const { id: start } of sorted) {
    let at: string | undefined = start;
    while (at !== undefined && !reachedFrom.has(at)) {
      reachedFrom.set(at, start);
      at = parents.get(at);
    }
    if (at !== undefined && reachedFrom.get(at) === start) parents.delete(at);
  }
  return parents;
}

function linesOf(kind: TopologyEdge['kind'], edges: readonly TopologyEdge[], indexOf: ReadonlyMap<string, number>): Line[] {
  const found = new Map<string, Line>();
  for (const edge of edges) {
    const from = indexOf.get(edge.from);
    const to = indexOf.get(edge.to);
    if (edge.kind !== kind || from === undefined || to === undefined) continue;
    // Nobody is a child of itself, but whoever likes may write to itself.
    if (kind === 'child' && from === to) continue;
    found.set(`${from} ${to}`, { from, to });
  }
  return [...found.values()].sort((a, b) => a.from - b.from || a.to - b.to);
}

/** One line for both directions. It begins at the session closer to its root, as the lines to children do. */
function talksOf(lines: readonly Line[], nodes: readonly PlacedNode[]): TalkLine[] {
  const said = new Set(lines.map(({ from, to }) => `${from} ${to}`));
  const depthOf = (index: number): number => nodes[index]?.depth ?? 0;
  return lines
    .map((line) => ({ ...line, both: line.from !== line.to && said.has(`${line.to} ${line.from}`) }))
    .filter(({ from, to, both }) => !both || (depthOf(from) - depthOf(to) || from - to) < 0);
}

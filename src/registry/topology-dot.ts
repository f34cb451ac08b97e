import type { SessionState } from './session.ts';
import type { Topology } from './topology.ts';
import { boxOf, pictureOf } from './topology-pictures.ts';

const LOOKS: Record<SessionState, string> = {
  alive: 'color="#2e7d32", fillcolor="#e8f5e9"',
  stopping: 'color="#ef6c00", fillcolor="#fff3e0", penwidth=2',
  offline: 'color="#9e9e9e", fillcolor="#fafafa", fontcolor="#616161", style="rounded,filled,dashed"',
  ended: 'color="#bdbdbd", fillcolor="#eeeeee", fontcolor="#616161"',
  killed: 'color="#c62828", fillcolor="#ffebee", penwidth=2',
};
/** Without constraint, so that the columns are the generations whoever talks to whom. */
const TALK = 'style=dotted, color="#1565c0", constraint=false';

/**
 * The topology in the language of Graphviz, for `dot`: parents left of their children with solid lines, dotted ones
 * from who writes to who is written to, with two heads where each has written to the other. The colours tell the
 * state, and so does the `class` of a node in SVG. Names and tasks are shortened to a line, ids are never cut. No text
 * of a session can be anything but a label.
 * @throws MeshError `invalid_input` for what is no topology
 */
export function toDot(topology: Topology): string {
  const { nodes, children, talks } = pictureOf(topology);
  return [
    'digraph sessions {',
    // Left to right, since a mesh has many more sessions side by side than below each other, and boxes are wide.
    '  graph [rankdir=LR, nodesep=0.25, ranksep=1.2]',
    '  node [shape=box, style="rounded,filled", fontname="Helvetica,Arial,sans-serif", fontsize=11, margin="0.12,0.06"]',
    '  edge [color="#616161", arrowsize=0.6]',
    ...nodes.map(({ node }, index) => `  n${index} [label=${quoted(boxOf(node))}, class="${node.state}", ${LOOKS[node.state]}]`),
    ...children.map(({ from, to }) => `  n${from} -> n${to}`),
    ...talks.map(({ from, to, both }) => `  n${from} -> n${to} [${both ? `${TALK}, dir=both` : TALK}]`),
    '}',
  ].join('\n');
}

/** Graphviz reads escapes such as `\N`, and after them entities such as `&lt;`. */
function quoted(lines: readonly string[]): string {
  return `"${lines.map((line) => line.replace(/["\\]/g, '\\$&').replace(/&/g, '&amp;')).join('\\n')}"`;
}

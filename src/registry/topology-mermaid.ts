import type { SessionState } from './session.ts';
import type { Topology } from './topology.ts';
import { boxOf, type PlacedNode, pictureOf } from './topology-pictures.ts';

const LOOKS: Record<SessionState, string> = {
  alive: 'fill:#e8f5e9,stroke:#2e7d32,color:#1b1b1b',
  stopping: 'fill:#fff3e0,stroke:#ef6c00,stroke-width:2px,color:#1b1b1b',
  offline: 'fill:#fafafa,stroke:#9e9e9e,stroke-dasharray:5 4,color:#616161',
  ended: 'fill:#eeeeee,stroke:#bdbdbd,color:#616161',
  killed: 'fill:#ffebee,stroke:#c62828,stroke-width:2px,color:#1b1b1b',
};
/** Translucent, for light pages and dark ones. */
const TEAM_LOOK = 'fill:#8080800f,stroke:#80808060';
const TALK_LOOK = 'stroke:#1e88e5,stroke-width:2px';

/** With the usual settings 30 sessions fill several screens, and words break across lines that were cut to fit. */
const HEAD = `---
config:
  flowchart:
    nodeSpacing: 20
    rankSpacing: 40
    wrappingWidth: 300
---
flowchart LR`;

/** So many sessions are a team: a lead and two more. A frame around one helper and its parent tells nobody anything. */
const TEAM = 3;

/**
 * The topology as a Mermaid flowchart: parents left of their children with solid lines, dotted ones from who writes to
 * who is written to, with two heads where each has written to the other. Colours tell the state, frames the teams.
 * Names and tasks are shortened to a line, ids are never cut. No text of a session can be anything but a label.
 *
 * Mermaid itself, unless told otherwise, draws nothing of more than 500 lines or 50,000 characters, which is a mesh of
 * some 250 sessions: of a larger one, draw the topology below a `root`.
 * @throws MeshError `invalid_input` for what is no topology
 */
export function toMermaid(topology: Topology): string {
  const { nodes, children, talks } = pictureOf(topology);
  const teams = teamsOf(nodes);
  const opened = new Map(teams.map(({ first }, team) => [first, team]));
  const closed = new Set(teams.map(({ end }) => end));
  const states = new Set(nodes.map(({ node }) => node.state));
  const lines = [HEAD];
  for (const [index, { node }] of nodes.entries()) {
    if (closed.has(index)) lines.push('  end');
    const team = opened.get(index);
    if (team !== undefined) lines.push(`  subgraph t${team} [" "]`);
    lines.push(`  n${index}(${quoted(boxOf(node))}):::${node.state}`);
  }
  if (closed.has(nodes.length)) lines.push('  end');
  for (const { from, to } of children) lines.push(`  n${from} --> n${to}`);
  for (const { from, to, both } of talks) lines.push(`  n${from} ${both ? '<-.->' : '-.->'} n${to}`);
  for (const state of [...states].sort()) lines.push(`  classDef ${state} ${LOOKS[state]}`);
  if (teams.length > 0) lines.push(`  classDef team ${TEAM_LOOK}`);
  for (const team of teams.keys()) lines.push(`  class t${team} team`);
  if (talks.length > 0) lines.push(`  linkStyle ${talks.map((_, talk) => children.length + talk).join(',')} ${TALK_LOOK}`);
  return lines.join('\n');
}

/**
 * What to draw a frame around: the teams of the first generation that has several. In a flowchart every line pushes
 * its end to the right, those of talks too; only the frames keep together who belongs together.
 */
function teamsOf(nodes: readonly PlacedNode[]): { first: number; end: number }[] {
  const byDepth: { first: number; end: number }[][] = [];
  /** How many sessions are below the one at each depth; those below come later in `nodes`. */
  const below: number[] = [];
  for (const [index, { depth }] of [...nodes.entries()].reverse()) {
    const size = 1 + (below[depth + 1] ?? 0);
    below[depth + 1] = 0;
    below[depth] = (below[depth] ?? 0) + size;
    if (size >= TEAM) (byDepth[depth] ??= []).push({ first: index, end: index + size });
  }
  return byDepth.find((teams) => teams.length > 1)?.reverse() ?? [];
}

/** These look the same and mean nothing: no escape keeps the Markdown of every Mermaid from reading the originals. */
const LOOKALIKES: Record<string, string> = { '`': 'ˋ', '*': '∗', '~': '∼' };
const LOOKALIKE = /[`*~]/g;

/**
 * What Mermaid reads in a label even after it has decoded the entities: escapes, formulas, links, icons, emphasis, and
 * what it puts in the place of entities while it works; at the beginning also headings and lists. With zero-width
 * spaces around it all that is seen stays, and nothing is read any more.
 */
const READ =
  /[\\$\]]|:(?=fa-)|(?:https?|ftp)(?=:)|www(?=\.)|@(?=[\w-]+\.)|(?<![\p{L}\p{N}])_|_(?![\p{L}\p{N}])|\ufb02(?=°)|¶(?=ß)/giu;
const READ_FIRST = /^(?:[#+-]|\d+(?=[.)]))/;

/**
 * The ASCII punctuation, of which Mermaid and HTML are made. Commas, slashes, colons before a space and hyphens within
 * words are harmless, and ids and tasks are full of them.
 */
const PUNCTUATION = /[!-+.;-@[-`{-~\u200b]|:(?! )|(?<![\p{L}\p{N}])-|-(?![\p{L}\p{N}])/gu;

function quoted(lines: readonly string[]): string {
  const escaped = lines.map((line) =>
    line
      .replace(LOOKALIKE, (mark) => LOOKALIKES[mark] ?? mark)
      .replace(READ, '\u200b$&\u200b')
      .replace(READ_FIRST, '\u200b$&\u200b')
      .replace(PUNCTUATION, (mark) => `#${mark.charCodeAt(0)};`),
  );
  return `"${escaped.join('<br>')}"`;
}

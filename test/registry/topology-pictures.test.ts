import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Topology, TopologyEdge, TopologyNode } from '../../src/registry/topology.ts';
import { toDot } from '../../src/registry/topology-dot.ts';
import { toMermaid } from '../../src/registry/topology-mermaid.ts';
import { toTree } from '../../src/registry/topology-tree.ts';
import { refusal } from '../support/refusal.ts';

const PICTURES = [toMermaid, toDot, toTree];

function session(id: string, rest: Partial<TopologyNode> = {}): TopologyNode {
  return { id, name: 'Helper', type: 'Claude', state: 'alive', status: 'idle', ...rest };
}

const child = (from: string, to: string): TopologyEdge => ({ kind: 'child', from, to });
const talk = (from: string, to: string): TopologyEdge => ({ kind: 'talk', from, to });

/** Sessions that are told apart by nothing but their ids. */
const mesh = (ids: readonly string[], edges: readonly TopologyEdge[]): Topology => ({
  nodes: ids.map((id) => session(id)),
  edges,
});

const SMALL: Topology = {
  nodes: [
    session('qa', { name: 'Tester', type: 'Codex', state: 'offline' }),
    session('claude-code://planner', { name: 'Planner', status: 'working', task: 'Ship the "login" page' }),
    session('dev', { name: 'Claude', state: 'stopping', task: 'Fix <b> in a\\b' }),
    session('dev/search', { state: 'killed' }),
    session('watch', { name: 'watch', type: 'node', state: 'ended' }),
  ],
  edges: [
    talk('qa', 'claude-code://planner'),
    child('claude-code://planner', 'qa'),
    child('claude-code://planner', 'dev'),
    child('dev', 'dev/search'),
    talk('claude-code://planner', 'dev'),
    talk('claude-code://planner', 'qa'),
    talk('claude-code://planner', 'watch'),
    talk('qa', 'dev'),
    talk('qa', 'dev'),
  ],
};

describe('a small mesh', () => {
  it('is drawn as a Mermaid flowchart', () => {
    expect(toMermaid(SMALL)).toMatchInlineSnapshot(`
      "---
      config:
        flowchart:
          nodeSpacing: 20
          rankSpacing: 40
          wrappingWidth: 300
      ---
      flowchart LR
        n0("claude-code#58;//planner<br>Planner · Claude<br>working: Ship the #34;login#34; page"):::alive
        n1("dev<br>Claude<br>stopping: Fix #60;b#62; in a#8203;#92;#8203;b"):::stopping
        n2("dev/search<br>Helper · Claude<br>killed"):::killed
        n3("qa<br>Tester · Codex<br>offline"):::offline
        n4("watch<br>node<br>ended"):::ended
        n0 --> n1
        n0 --> n3
        n1 --> n2
        n0 -.-> n1
        n0 <-.-> n3
        n0 -.-> n4
        n3 -.-> n1
        classDef alive fill:#e8f5e9,stroke:#2e7d32,color:#1b1b1b
        classDef ended fill:#eeeeee,stroke:#bdbdbd,color:#616161
        classDef killed fill:#ffebee,stroke:#c62828,stroke-width:2px,color:#1b1b1b
        classDef offline fill:#fafafa,stroke:#9e9e9e,stroke-dasharray:5 4,color:#616161
        classDef stopping fill:#fff3e0,stroke:#ef6c00,stroke-width:2px,color:#1b1b1b
        linkStyle 3,4,5,6 stroke:#1e88e5,stroke-width:2px"
    `);
  });

  it('is drawn for Graphviz', () => {
    expect(toDot(SMALL)).toMatchInlineSnapshot(`
      "digraph sessions {
        graph [rankdir=LR, nodesep=0.25, ranksep=1.2]
        node [shape=box, style="rounded,filled", fontname="Helvetica,Arial,sans-serif", fontsize=11, margin="0.12,0.06"]
        edge [color="#616161", arrowsize=0.6]
        n0 [label="claude-code://planner\\nPlanner · Claude\\nworking: Ship the \\"login\\" page", class="alive", color="#2e7d32", fillcolor="#e8f5e9"]
        n1 [label="dev\\nClaude\\nstopping: Fix <b> in a\\\\b", class="stopping", color="#ef6c00", fillcolor="#fff3e0", penwidth=2]
        n2 [label="dev/search\\nHelper · Claude\\nkilled", class="killed", color="#c62828", fillcolor="#ffebee", penwidth=2]
        n3 [label="qa\\nTester · Codex\\noffline", class="offline", color="#9e9e9e", fillcolor="#fafafa", fontcolor="#616161", style="rounded,filled,dashed"]
        n4 [label="watch\\nnode\\nended", class="ended", color="#bdbdbd", fillcolor="#eeeeee", fontcolor="#616161"]
        n0 -> n1
        n0 -> n3
        n1 -> n2
        n0 -> n1 [style=dotted, color="#1565c0", constraint=false]
        n0 -> n3 [style=dotted, color="#1565c0", constraint=false, dir=both]
        n0 -> n4 [style=dotted, color="#1565c0", constraint=false]
        n3 -> n1 [style=dotted, color="#1565c0", constraint=false]
      }"
    `);
  });

  it('is drawn for a terminal', () => {
    expect(toTree(SMALL)).toMatchInlineSnapshot(`
      "● claude-code://planner  Planner · Claude  working  Ship the "login" page
      ├─ ◐ dev  Claude  stopping  Fix <b> in a\\b
      │  └─ ✗ dev/search  Helper · Claude  killed
      └─ ○ qa  Tester · Codex  offline
      ■ watch  node  ended

      claude-code://planner → dev, watch
      claude-code://planner ↔ qa
      qa → dev"
    `);
  });
});

describe('a mesh of nobody', () => {
  const nobody: Topology = { nodes: [], edges: [] };

  it('is a flowchart without nodes', () => {
    expect(toMermaid(nobody).split('\n').at(-1)).toBe('flowchart LR');
  });

  it('is a graph without nodes', () => {
    expect(toDot(nobody)).toMatch(/^digraph sessions \{\n( {2}(graph|node|edge) \[.*\]\n)+\}$/);
  });

  it('is an empty text', () => {
    expect(toTree(nobody)).toBe('');
  });
});

describe('every picture', () => {
  it('is the same for the same mesh in any order', () => {
    const ids = fc.uniqueArray(fc.string({ unit: 'binary' }), { minLength: 1, maxLength: 12 });
    const links = fc.array(fc.tuple(fc.boolean(), fc.nat(), fc.nat()), { maxLength: 30 });
    fc.assert(
      fc.property(ids, links, fc.infiniteStream(fc.nat()), (names, pairs, numbers) => {
        const edges = pairs.map(([kin, from, to]) => (kin ? child : talk)(pick(names, from), pick(names, to)));
        const shuffled = <T>(items: readonly T[]): T[] =>
          items
            .map((item) => [numbers.next().value, item] as const)
            .sort(([a], [b]) => a - b)
            .map(([, item]) => item);
        const topology = mesh(names, edges);
        const other: Topology = { nodes: shuffled(topology.nodes), edges: shuffled(edges) };
        for (const draw of PICTURES) expect(draw(other)).toBe(draw(topology));
      }),
    );
  });

  it('leaves its input as it was', () => {
    const frozen: Topology = { nodes: Object.freeze([...SMALL.nodes]), edges: Object.freeze([...SMALL.edges]) };
    for (const draw of PICTURES) expect(draw(frozen)).toBe(draw(SMALL));
  });

  it('has the first of several sessions with one id', () => {
    const topology: Topology = { nodes: [session('a', { task: 'first' }), session('a', { task: 'second' })], edges: [] };
    for (const draw of PICTURES) {
      expect(draw(topology)).toContain('first');
      expect(draw(topology)).not.toContain('second');
    }
  });

  it('has no line to nobody, no child of itself, and none twice', () => {
    const edges = [child('a', 'b'), talk('a', 'b')];
    const more = [...edges, ...edges, child('a', 'nobody'), talk('nobody', 'b'), child('a', 'a')];
    for (const draw of PICTURES) expect(draw(mesh(['a', 'b'], more))).toBe(draw(mesh(['a', 'b'], edges)));
  });

  it('has a line from who writes to itself', () => {
    const topology = mesh(['a', 'b'], [talk('a', 'a')]);
    expect(toMermaid(topology).match(/^.*-\.-.*$/gm)).toEqual(['  n0 -.-> n0']);
    expect(toDot(topology).match(/^.*dotted.*$/gm)).toEqual(['  n0 -> n0 [style=dotted, color="#1565c0", constraint=false]']);
    expect(toTree(topology).split('\n\n')[1]).toBe('a → a');
  });

  it.each([null, {}, { nodes: 5, edges: [] }, { nodes: [{}], edges: [] }, { nodes: [], edges: [{}] }, { nodes: [session('a')] }])(
    'is of a topology, and of nothing else: %j',
    (given) => {
      for (const draw of PICTURES) expect(() => draw(given as never)).toThrow(refusal('invalid_input') as Error);
    },
  );

  it('has one line for both directions, which begins closer to the root', () => {
    const topology = mesh(['m', 'z', 'a'], [child('m', 'z'), child('z', 'a'), talk('a', 'z'), talk('z', 'a')]);
    expect(toMermaid(topology).match(/^.*-\.-.*$/gm)).toEqual(['  n1 <-.-> n2']);
    expect(toDot(topology).match(/^.*dotted.*$/gm)).toEqual([
      '  n1 -> n2 [style=dotted, color="#1565c0", constraint=false, dir=both]',
    ]);
    expect(toTree(topology).split('\n\n')[1]).toBe('z ↔ a');
  });

  it('ends for parents in a circle, and has every session once', () => {
    const topology = mesh(
      ['a', 'b', 'c', 'd', 'e', 'self'],
      [child('a', 'b'), child('b', 'c'), child('c', 'a'), child('c', 'd'), child('e', 'd'), child('self', 'self')],
    );
    expect(treeOf(topology)).toEqual(['a', '└─ b', '   └─ c', '      └─ d', 'e', 'self']);
    expect(linesOf(toMermaid(topology))).toEqual({ boxes: 6, lines: 5 });
    expect(linesOf(toDot(topology))).toEqual({ boxes: 6, lines: 5 });
  });

  it('has a session that is its own parent below its other one', () => {
    expect(treeOf(mesh(['a', 'z'], [child('a', 'a'), child('z', 'a')]))).toEqual(['z', '└─ a']);
  });

  it('opens a circle of parents also when it is met from the side', () => {
    const topology = mesh(['a', 'x', 'y'], [child('x', 'a'), child('y', 'x'), child('x', 'y')]);
    expect(treeOf(topology)).toEqual(['x', '├─ a', '└─ y']);
  });

  it('is of any depth and width', () => {
    const ids = Array.from({ length: 20_000 }, (_, index) => `s${index}`);
    const deep = mesh(
      ids,
      ids.slice(1).map((id, index) => child(`s${index}`, id)),
    );
    const wide = mesh(
      ids,
      ids.slice(1).map((id) => child('s0', id)),
    );
    for (const draw of [toMermaid, toDot]) {
      expect(linesOf(draw(deep))).toEqual({ boxes: 20_000, lines: 19_999 });
      expect(linesOf(draw(wide))).toEqual({ boxes: 20_000, lines: 19_999 });
    }
    expect(toTree(wide).split('\n')).toHaveLength(20_000);
    const shorter = mesh(ids.slice(0, 2000), deep.edges);
    expect(toTree(shorter).split('\n').at(-1)).toBe(`${'   '.repeat(1998)}└─ ● s1999  Helper · Claude  idle`);
  });

  it('has ids in full, and names and tasks as far as they fit', () => {
    const id = `opencode/${'team/'.repeat(12)}orchestrator`;
    const topology: Topology = { nodes: [session(id, { name: 'N'.repeat(200), task: 'T'.repeat(1000) })], edges: [] };
    expect(toTree(topology)).toBe(`● ${id}  ${'N'.repeat(39)}…  idle  ${'T'.repeat(47)}…`);
    for (const lines of [mermaidBox(toMermaid(topology)), dotBox(toDot(topology))]) {
      expect(lines.slice(0, 3).join('')).toBe(id);
      expect(lines.slice(3)).toEqual([`${'N'.repeat(29)}…`, `idle: ${'T'.repeat(23)}…`]);
    }
  });

  it('cuts between characters, not within them', () => {
    const topology: Topology = { nodes: [session('a', { name: '🚀'.repeat(60) })], edges: [] };
    expect(toTree(topology)).toBe(`● a  ${'🚀'.repeat(39)}…  idle`);
  });

  it('says name and type once when they are the same, and neither when the id is', () => {
    const topology: Topology = {
      nodes: [
        session('a', { name: 'Claude' }),
        session('node', { name: 'Watch', type: 'node' }),
        session('x', { name: 'x', type: 'x' }),
      ],
      edges: [],
    };
    expect(toTree(topology).split('\n')).toEqual(['● a  Claude  idle', '● node  Watch  idle', '● x  idle']);
  });
});

const HOSTILE = [
  '"',
  '\\',
  '\\"',
  '\\N\\G',
  '"]; n9 [label="x',
  '"):::killed',
  'n0 --> n1',
  '-->',
  'end',
  'subgraph x',
  '<script>alert(1)</script>',
  '</div><br>',
  '#quot;',
  '&lt;',
  '%%{init: {"theme": "dark"}}%%',
  '\n  n9("x")',
  '\r\n}',
  '\u2028n9 -> n9',
  '`"',
  ';',
  '│  └─ ● x',
  '\u001b[2J',
  '\u202e',
  '\ud800',
  '',
];
const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme' }),
  fc.array(fc.constantFrom(...HOSTILE), { maxLength: 4 }).map((parts) => parts.join(' ')),
);

describe('no text of a session', () => {
  const states = fc.constantFrom('alive', 'offline', 'stopping', 'ended', 'killed');
  const nodes = fc.array(fc.record({ name: anyText, type: anyText, task: anyText, state: states }), {
    minLength: 7,
    maxLength: 7,
  });
  /** Two teams of three below a root, so that there are frames. */
  const kin = [child('0', '1'), child('0', '4'), child('1', '2'), child('1', '3'), child('4', '5'), child('4', '6')];
  const edges = [...kin, talk('2', '5'), talk('5', '2'), talk('6', '3')];

  it('changes anything but its own label', () => {
    fc.assert(
      fc.property(nodes, (texts) => {
        const topology: Topology = { nodes: texts.map((text, index) => session(String(index), text)), edges };
        const plain: Topology = { nodes: texts.map(({ state }, index) => session(String(index), { state })), edges };
        expect(withoutLabels(toMermaid(topology))).toBe(withoutLabels(toMermaid(plain)));
        expect(withoutLabels(toDot(topology))).toBe(withoutLabels(toDot(plain)));
        expect(beginnings(toTree(topology))).toEqual(beginnings(toTree(plain)));
      }),
    );
  });

  it('changes how many boxes and lines there are, not even as an id', () => {
    const ids = fc.uniqueArray(anyText, { minLength: 3, maxLength: 3 });
    fc.assert(
      fc.property(ids, ([a = '', b = '', c = '']) => {
        const topology = mesh([a, b, c], [child(a, b), child(a, c), talk(b, c)]);
        expect(linesOf(toMermaid(topology))).toEqual({ boxes: 3, lines: 3 });
        expect(linesOf(toDot(topology))).toEqual({ boxes: 3, lines: 3 });
        expect(toTree(topology).split('\n')).toHaveLength(5);
      }),
    );
  });

  it('reaches a terminal, Mermaid or Graphviz with what they obey', () => {
    fc.assert(
      fc.property(anyText, anyText, anyText, (id, name, task) => {
        for (const draw of PICTURES) {
          const drawn = draw({ nodes: [session(id, { name, task })], edges: [] });
          expect(drawn.isWellFormed()).toBe(true);
          expect(drawn.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u);
        }
      }),
    );
  });
});

describe('a Mermaid label', () => {
  const labelOf = (task: string): string => mermaidBox(toMermaid({ nodes: [session('a', { task })], edges: [] })).at(-1) ?? '';

  it.each([
    ['say "no"', 'say #34;no#34;'],
    ['<b>&lt;#35;', '#60;b#62;#38;lt#59;#35;35#59;'],
    ['a --> b', 'a #45;#45;#62; b'],
    ['%%{init}%%', '#37;#37;#123;init#125;#37;#37;'],
    ['C:\\new', 'C#58;#8203;#92;#8203;new'],
    ['re-run a/b, then: c', 're-run a/b, then: c'],
    ['naïve 漢字 🚀', 'naïve 漢字 🚀'],
  ])('has %s as %s', (task, label) => {
    expect(labelOf(task)).toBe(`idle: ${label}`);
  });

  it.each([
    ['`parse()`', 'ˋparse#40;#41;ˋ'],
    ['**2*3*4**', '∗∗2∗3∗4∗∗'],
    ['~~gone~~', '∼∼gone∼∼'],
    ['_em_ my_id', '#8203;#95;#8203;em#8203;#95;#8203; my#95;id'],
    ['[a](b)', '#91;a#8203;#93;#8203;#40;b#41;'],
    ['https://x', '#8203;https#8203;#58;//x'],
    ['fa:fa-car', 'fa#8203;#58;#8203;fa-car'],
    ['$$x$$', '#8203;#36;#8203;#8203;#36;#8203;x#8203;#36;#8203;#8203;#36;#8203;'],
    ['ﬂ°lt¶ß', '#8203;ﬂ#8203;°lt#8203;¶#8203;ß'],
  ])('has nothing in %s that Mermaid reads after decoding it', (task, label) => {
    expect(labelOf(task)).toBe(`idle: ${label}`);
  });

  it.each([
    ['1. first', '#8203;1#8203;#46; first'],
    ['# first', '#8203;#35;#8203; first'],
    ['- first', '#8203;#45;#8203; first'],
  ])('does not begin a list or a heading with %s', (id, label) => {
    expect(mermaidBox(toMermaid({ nodes: [session(id)], edges: [] }))[0]).toBe(label);
  });
});

describe('a DOT label', () => {
  it.each([
    ['say "no"', 'say \\"no\\"'],
    ['C:\\N', 'C:\\\\N'],
    ['a\\', 'a\\\\'],
    ['&lt; <b>', '&amp;lt; <b>'],
  ])('has %s as %s', (task, label) => {
    expect(toDot({ nodes: [session('a', { task })], edges: [] })).toContain(`idle: ${label}", class="alive"`);
  });
});

describe('the frames of a flowchart', () => {
  const framesOf = (topology: Topology): string[] =>
    [...toMermaid(topology).matchAll(/^ {2}subgraph t\d+ \[" "\]\n((?: {2}n\d+\(.*\n)+) {2}end$/gm)].map(([, inside = '']) =>
      [...inside.matchAll(/\("(\w+)<br>/g)].map(([, id]) => id).join(' '),
    );
  const below = (parent: string, ...ids: string[]): TopologyEdge[] => ids.map((id) => child(parent, id));

  it('are around the teams of the first generation that has several', () => {
    const ids = ['root', 'a', 'a1', 'a2', 'a3', 'b', 'b1', 'b2', 'c', 'c1', 'watch'];
    const edges = [...below('root', 'a', 'b', 'c'), ...below('a', 'a1', 'a2'), ...below('a1', 'a3'), ...below('b', 'b1', 'b2')];
    expect(framesOf(mesh(ids, [...edges, child('c', 'c1')]))).toEqual(['a a1 a3 a2', 'b b1 b2']);
  });

  it('are around whole trees when there are several', () => {
    const edges = [...below('a', 'a1', 'a2'), ...below('b', 'b1', 'b2')];
    expect(framesOf(mesh(['a', 'a1', 'a2', 'b', 'b1', 'b2', 'c'], edges))).toEqual(['a a1 a2', 'b b1 b2']);
  });

  it('are not there for one team', () => {
    expect(framesOf(mesh(['a', 'a1', 'a2', 'b'], below('a', 'a1', 'a2')))).toEqual([]);
  });
});

function pick(names: readonly string[], index: number): string {
  return names[index % names.length] ?? '';
}

/** The tree of a mesh whose sessions differ by nothing but their ids. */
function treeOf(topology: Topology): string[] {
  return toTree(topology)
    .split('\n')
    .map((line) => line.replace(/● | {2}Helper.*$/g, ''));
}

function linesOf(picture: string): { boxes: number; lines: number } {
  const lines = picture.split('\n');
  const boxes = lines.filter((line) =>
    /^ {2}n\d+(\("[^"]*"\):::[a-z]+| \[label="([^"\\]|\\.)*", class="[a-z]+", .*\])$/u.test(line),
  );
  return {
    boxes: boxes.length,
    lines: lines.filter((line) => /^ {2}n\d+ (-->|-\.->|<-\.->|->) n\d+( \[.*\])?$/.test(line)).length,
  };
}

function withoutLabels(picture: string): string {
  return picture.replace(/\("[^"]*"\)/g, '()').replace(/label="(?:[^"\\]|\\.)*"/gu, 'label');
}

/** The lines up to the ids, of one digit each, and everything below the tree. */
function beginnings(tree: string): unknown[] {
  const [sessions = '', ...talks] = tree.split('\n\n');
  return [sessions.split('\n').map((line) => /^[│├└─ ]*\S \d/u.exec(line)?.[0]), talks];
}

function mermaidBox(picture: string): string[] {
  return /\("([^"]*)"\)/.exec(picture)?.[1]?.split('<br>') ?? [];
}

function dotBox(picture: string): string[] {
  return /label="([^"]*)"/.exec(picture)?.[1]?.split('\\n') ?? [];
}

import type { Engine } from '../storage/engine.ts';
import { query } from '../storage/query.ts';
import { type SessionSnapshot, type SessionState, type SessionStatus, stateOf } from './session.ts';
import type { SessionStore } from './session-store.ts';

/** A session in a topology. */
export interface TopologyNode {
  readonly id: string;
  readonly name: string;
  readonly type: string;
  readonly state: SessionState;
  readonly status: SessionStatus;
  readonly task?: string;
}

/** `child`: from a parent to its child; `talk`: `from` has written to `to`. */
export interface TopologyEdge {
  readonly kind: 'child' | 'talk';
  readonly from: string;
  readonly to: string;
}

/** Who is whose child and who talks to whom, as plain data. Edges join nodes of the picture only. */
export interface Topology {
  readonly nodes: readonly TopologyNode[];
  readonly edges: readonly TopologyEdge[];
}

/** Who has written to whom; given by whoever carries the messages. */
export type TalkEdges = () => Promise<readonly { readonly from: string; readonly to: string }[]>;

const PAGE = 500;
/** Parents whose children are listed at the same time, after which the loop is yielded. */
const LISTED_AT_ONCE = 64;

/** The sessions below `root`, itself included, or all; without those that are over unless they hold others together. */
export async function readTopology(
  engine: Engine,
  store: SessionStore,
  root: string | undefined,
  talks: TalkEdges | undefined,
): Promise<Topology> {
  const found = root === undefined ? await all(engine, store) : await below(engine, store, root);
  const kept = keepConnected(found);
  const nodes = [...kept.values()].map(nodeOf);
  const edges: TopologyEdge[] = [];
  for (const { id, record } of kept.values()) {
    if (record.parentId !== undefined && kept.has(record.parentId)) edges.push({ kind: 'child', from: record.parentId, to: id });
  }
  for (const { from, to } of (await talks?.()) ?? []) {
    if (kept.has(from) && kept.has(to)) edges.push({ kind: 'talk', from, to });
  }
  return { nodes, edges };
}

async function all(engine: Engine, store: SessionStore): Promise<SessionSnapshot[]> {
  const found: SessionSnapshot[] = [];
  let after: string | undefined;
  do {
    const page = await query(engine.storage, store.collection, {
      select: (records) => store.complete(records),
      limit: PAGE,
      ...(after !== undefined && { after }),
    });
    found.push(...page.items);
    after = page.next;
  } while (after !== undefined);
  return found;
}

async function below(engine: Engine, store: SessionStore, root: string): Promise<SessionSnapshot[]> {
  const found = [await store.require(root)];
  const seen = new Set([root]);
  for (let start = 0; start < found.length; ) {
    if (start > 0) await new Promise<void>((resolve) => engine.clock.nextTurn(resolve));
    const parents = found.slice(start, start + LISTED_AT_ONCE);
    start += parents.length;
    const listed = await Promise.all(parents.map(({ id }) => store.childrenOf(id)));
    const parentOf = new Map(listed.flatMap((children, n) => children.map((child) => [child, parents[n]?.id] as const)));
    for (const snapshot of await store.readMany([...parentOf.keys()].filter((id) => !seen.has(id)))) {
      // The list and the record are of two snapshots: it may have gone to another parent meanwhile.
      if (!snapshot || snapshot.record.parentId !== parentOf.get(snapshot.id)) continue;
      seen.add(snapshot.id);
      found.push(snapshot);
    }
  }
  return found;
}

/** Those that are not over, and their ancestors. */
function keepConnected(found: readonly SessionSnapshot[]): Map<string, SessionSnapshot> {
  const byId = new Map(found.map((snapshot) => [snapshot.id, snapshot]));
  const kept = new Set<string>();
  for (const snapshot of found) {
    const state = stateOf(snapshot);
    if (state === 'ended' || state === 'killed') continue;
    for (let next: SessionSnapshot | undefined = snapshot; next && !kept.has(next.id); ) {
      kept.add(next.id);
      next = next.record.parentId === undefined ? undefined : byId.get(next.record.parentId);
    }
  }
  return new Map([...byId].filter(([id]) => kept.has(id)));
}

function nodeOf(snapshot: SessionSnapshot): TopologyNode {
  const { agent, status, task } = snapshot.record;
  return {
    id: snapshot.id,
    name: agent.name,
    type: agent.type,
    state: stateOf(snapshot),
    status,
    ...(task !== undefined && { task }),
  };
}

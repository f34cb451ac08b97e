import type { Engine } from '../storage/engine.ts';
import { query } from '../storage/query.ts';
import { whenDone } from '../storage/storage.ts';
import { aliveView, isTerminal, type Session, type SessionState, type SessionStatus, viewOf } from './session.ts';
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
  for (const { id, parentId } of kept.values()) {
    if (parentId !== undefined && kept.has(parentId)) edges.push({ kind: 'child', from: parentId, to: id });
  }
  for (const { from, to } of (await talks?.()) ?? []) {
    if (kept.has(from) && kept.has(to)) edges.push({ kind: 'talk', from, to });
  }
  return { nodes, edges };
}

async function all(engine: Engine, store: SessionStore): Promise<Session[]> {
  const found: Session[] = [];
  let after: string | undefined;
  do {
    const page = await query(engine.storage, store.collection, {
      selectListed: (listed) => store.select(listed, aliveView, viewOf),
      selectIds: (ids) => whenDone(store.readMany(ids), (snapshots) => snapshots.map((snapshot) => snapshot && viewOf(snapshot))),
      limit: PAGE,
      ...(after !== undefined && { after }),
    });
    found.push(...page.items);
    after = page.next;
  } while (after !== undefined);
  return found;
}

async function below(engine: Engine, store: SessionStore, root: string): Promise<Session[]> {
  const found = [viewOf(await store.require(root))];
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
      found.push(viewOf(snapshot));
    }
  }
  return found;
}

/** Those that are not over, and their ancestors. */
function keepConnected(found: readonly Session[]): Map<string, Session> {
  const byId = new Map(found.map((session) => [session.id, session]));
  const kept = new Set<string>();
  for (const session of found) {
    if (isTerminal(session.state)) continue;
    for (let next: Session | undefined = session; next && !kept.has(next.id); ) {
      kept.add(next.id);
      next = next.parentId === undefined ? undefined : byId.get(next.parentId);
    }
  }
  return new Map([...byId].filter(([id]) => kept.has(id)));
}

function nodeOf({ id, agent, state, status, task }: Session): TopologyNode {
  return { id, name: agent.name, type: agent.type, state, status, ...(task !== undefined && { task }) };
}

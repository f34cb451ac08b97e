import { readFileSync } from 'node:fs';
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import { createMesh } from '../../../src/index.ts';
import type { StoredRecord } from '../../../src/storage/storage.ts';
import { auditTasks, isOfTasks } from '../hub/task-audit.ts';
import { recordsOf } from '../memory/observed.ts';

export interface Verdict {
  readonly sent: number;
  readonly delegated: number;
  readonly counted: number;
  readonly trees: number;
  readonly revoked: number;
  readonly lost: readonly string[];
  readonly doubled: readonly string[];
  readonly torn: readonly string[];
}

const MAILBOXES = ['box-0', 'box-1'];

/** The lines of all ledgers; a last line that is not whole was not acknowledged. */
function linesOf(ledgers: readonly string[]): unknown[][] {
  return ledgers.flatMap((ledger) => {
    let text = '';
    try {
      text = readFileSync(ledger, 'utf8');
    } catch {
      // Killed before it had one.
    }
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as unknown[]);
  });
}

/** Finishes what those who were killed have left, and compares what is there with what was acknowledged. */
export async function judge(file: string, ledgers: readonly string[]): Promise<Verdict> {
  const lines = linesOf(ledgers);
  const of = (kind: string): unknown[][] => lines.filter(([name]) => name === kind);
  const storage = await SqliteStorage.open(file);
  const mesh = createMesh({ storage, closeStorage: false, onError: () => {} });
  const { hub, registry, memory, keys } = mesh;
  const lost: string[] = [];
  const doubled: string[] = [];
  const torn: string[] = [];

  const got = new Map<string, unknown>(of('got').map(([, box, id, body]) => [`${box} ${id}`, body]));
  const acked = of('acked').map(([, box, id]) => `${box} ${id}`);
  const completed = of('completed').map(([, id]) => String(id));
  // What is claimed comes back within its two seconds, or with the end of the lease.
  for (const box of MAILBOXES) {
    const self = await registry.register({ id: box, takeover: true, capabilities: ['job'] });
    const inbox = hub.inbox(self);
    for (let isEmpty = 0; isEmpty < 2; ) {
      const deliveries = await inbox.receive({ limit: 100, timeoutMs: 3000 });
      isEmpty = deliveries.length === 0 ? isEmpty + 1 : 0;
      for (const { message } of deliveries) got.set(`${box} ${message.id}`, message.body);
      await Promise.all(
        deliveries.map(async (delivery) => {
          await delivery.ack();
          acked.push(`${box} ${delivery.message.id}`);
        }),
      );
    }
    for (;;) {
      const claimed = await hub.claim(self, { limit: 50 });
      for (const assignment of claimed) {
        await assignment.complete(`done ${String(assignment.task.payload)}`);
        completed.push(assignment.task.id);
      }
      const open = await hub.tasks({ state: 'open', limit: 1 });
      if (open.items.length === 0) break;
      await new Promise((resolve) => setTimeout(resolve, claimed.length === 0 ? 200 : 0));
    }
  }

  for (const [, box, id, body] of of('sent')) {
    const name = `${box} ${id}`;
    if (!got.has(name)) lost.push(`message ${name}`);
    else if (got.get(name) !== body) torn.push(`message ${name}: ${String(got.get(name))} for ${String(body)}`);
  }
  for (const name of repeated(acked)) doubled.push(`ack of ${name}`);
  for (const [, id, body] of of('delegated')) {
    const task = await hub.getTask(String(id));
    if (task?.state !== 'completed') lost.push(`task ${String(id)}, ${task?.state}`);
    else if ((await task.result()) !== `done ${String(body)}`) torn.push(`result of ${String(id)}`);
  }
  for (const id of repeated(completed)) doubled.push(`completion of ${id}`);

  const count = (await memory.get<number>('count')) ?? 0;
  const counted = of('counted').length;
  if (count < counted) lost.push(`${counted - count} counts`);
  if (count > of('counting').length) doubled.push(`${count - of('counting').length} counts`);
  if ((await memory.getEntry('count'))?.version !== count) torn.push('the version of the count');

  for (const [, token] of of('revoked')) if ((await keys.verify(String(token))).valid) lost.push('a revocation');
  const kills = new Set(of('killed').map(([, root]) => root));
  for (const [, root, token] of of('planted')) {
    const ids = [String(root), ...[0, 1, 2].map((n) => `${root}.${n}`), `${root}.0.0`];
    const states = await Promise.all(ids.map(async (id) => (await registry.get(id))?.state));
    const dead = states.filter((state) => state === 'killed').length;
    if (kills.has(root) && dead !== ids.length) lost.push(`the kill of ${String(root)}: ${states}`);
    // An order that was given is carried out by whoever is there.
    if (dead !== 0 && dead !== ids.length) torn.push(`the kill of ${String(root)}: ${states}`);
    if (dead === ids.length && (await keys.verify(String(token))).valid) torn.push(`a key of ${String(root)}`);
  }
  torn.push(...(await auditOf(storage)));
  await mesh.close();
  await storage.close();
  return {
    sent: of('sent').length,
    delegated: of('delegated').length,
    counted,
    trees: kills.size,
    revoked: of('revoked').length,
    lost,
    doubled,
    torn,
  };
}

function repeated(names: readonly string[]): string[] {
  const seen = new Set<string>();
  return names.filter((name) => seen.size === seen.add(name).size);
}

async function auditOf(storage: SqliteStorage): Promise<string[]> {
  const partitions = ['tasks', 'tasks.session=box-0', 'tasks.session=box-1', 'workers', 'due', 'events'];
  const tasks = await recordsOf(storage, 'tasks');
  const sessions = new Set(
    tasks.flatMap(({ value }) => [(value as { from: string }).from, (value as { worker?: string }).worker]),
  );
  for (const session of sessions) if (session !== undefined) partitions.push(`tasks.session=${session}`);
  const stored = new Map<string, StoredRecord[]>();
  for (const partition of partitions) if (isOfTasks(partition)) stored.set(partition, await recordsOf(storage, partition));
  return auditTasks(stored);
}

// Does one thing over and over on a file until it is killed, and notes in a ledger of its own what was acknowledged.
import { fsyncSync, openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { SqliteStorage } from '../../../src/adapters/sqlite/index.ts';
import { createMesh, MeshError } from '../../../src/index.ts';

const [file, ledger, role, name] = process.argv.slice(2) as [string, string, string, string];
const notes = openSync(ledger, 'a');
const note = (...line: readonly unknown[]): void => {
  writeSync(notes, `${JSON.stringify(line)}\n`);
  fsyncSync(notes);
};
const mesh = createMesh({ storage: await SqliteStorage.open(file, { busyTimeoutMs: 60_000 }), onError: () => {} });
const { registry, hub, memory, keys } = mesh;
const MAILBOXES = ['box-0', 'box-1'];
let count = 0;

/** What the others do, or the kill of a predecessor, may be in the way of. */
async function attempt(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!MeshError.is(error, 'not_alive', 'lease_lost', 'stale_receipt', 'mailbox_full', 'not_found', 'conflict')) throw error;
    await sleep(20);
  }
}

const roles: Record<string, () => Promise<() => Promise<void>>> = {
  async writer() {
    const self = await registry.register({ id: name, ttlMs: 2000, takeover: true });
    return async () => {
      const body = `${process.pid}-${count++}`;
      const to = MAILBOXES[count % 2] as string;
      const { message } = await hub.send({ from: self, to, body });
      note('sent', to, message.id, body);
      const task = await hub.delegate({
        from: self,
        to: { capability: 'job' },
        type: 'job',
        payload: body,
        retry: { maxRetries: 1000 },
        timeoutMs: 3_600_000,
      });
      note('delegated', task.id, body);
      note('counting');
      await memory.update<number>('count', (n) => (n ?? 0) + 1, { by: self });
      note('counted');
    };
  },
  async consumer() {
    const box = MAILBOXES[Number(name.slice(-1)) % 2] as string;
    const self = await registry.register({ id: box, ttlMs: 2000, takeover: true, capabilities: ['job'] });
    const inbox = hub.inbox(self, { visibilityMs: 2000 });
    return async () => {
      for (const delivery of await inbox.receive({ limit: 5, timeoutMs: 20 })) {
        note('got', box, delivery.message.id, delivery.message.body);
        await delivery.ack();
        note('acked', box, delivery.message.id);
      }
      for (const assignment of await hub.claim(self, { limit: 3 })) {
        await assignment.complete(`done ${String(assignment.task.payload)}`);
        note('completed', assignment.task.id);
      }
    };
  },
  async killer() {
    return async () => {
      const root = `tree-${process.pid}-${count++}`;
      await registry.register({ id: root, ttlMs: 60_000 });
      const children = await Promise.all(
        [0, 1, 2].map((n) => registry.register({ id: `${root}.${n}`, parentId: root, ttlMs: 60_000 })),
      );
      await registry.register({ id: `${root}.0.0`, parentId: `${root}.0`, ttlMs: 60_000 });
      const { token, apiKey } = await keys.issue({ session: children[0], scopes: ['a'] });
      const free = await keys.issue({ scopes: ['a'] });
      note('planted', root, token);
      await keys.revoke(free.apiKey.id);
      note('revoked', free.token, apiKey.id);
      const { killed, stopping } = await registry.kill(root, count % 2 === 0 ? { force: true } : { graceMs: 100 });
      note('killed', root, killed.length, stopping.length);
    };
  },
};

const step = await roles[role]?.();
if (!step) throw new Error(`expected a role, got ${role}`);
process.stdout.write('working\n');
for (;;) await attempt(step);

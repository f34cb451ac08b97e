import { expect, it } from 'vitest';
import { MeshError } from '../../src/kernel/errors.ts';
import type { KillNotice } from '../../src/registry/session-inputs.ts';
import { Tenure } from '../../src/registry/tenure.ts';
import { Engine } from '../../src/storage/engine.ts';
import { InMemoryStorage } from '../../src/storage/in-memory-storage.ts';

const ORDER = { root: 'a', reason: 'budget', at: 1, deadline: 100 };

function tenure(onKill?: (notice: KillNotice) => unknown) {
  const errors: unknown[] = [];
  const report = (error: unknown): void => {
    errors.push(error);
  };
  const engine = new Engine({ storage: new InMemoryStorage(), onError: report });
  const known = { engine, id: 'a', incarnation: 'i', epoch: 1, ttlMs: 1000, retentionMs: 1000, leaseRevision: 1, onKill };
  return { tenure: new Tenure(known), errors };
}

function reasonOf({ signal }: Tenure): string {
  return signal.aborted ? (signal.reason as MeshError).code : 'none';
}

it('aborts with lease_lost when the lease is lost, and stays so', () => {
  const { tenure: lost } = tenure();
  lost.lose();
  expect([reasonOf(lost), lost.end?.code, lost.outcome]).toEqual(['lease_lost', 'lease_lost', 'lease_lost']);
  const { reason } = lost.signal;
  lost.kill('late');
  lost.close();
  expect(lost.signal.reason).toBe(reason);
  expect(lost.outcome).toBe('lease_lost');
});

it('aborts with the reason of a kill order, while its owner may still write', () => {
  const notices: KillNotice[] = [];
  const { tenure: stopped } = tenure((notice) => notices.push(notice));
  stopped.stop(ORDER);
  stopped.stop({ ...ORDER, reason: 'again' });
  expect([reasonOf(stopped), stopped.end, stopped.stopping]).toEqual(['aborted', undefined, true]);
  expect((stopped.signal.reason as MeshError).details).toEqual({ reason: 'budget' });
  stopped.kill('budget');
  stopped.kill('budget');
  expect([stopped.end?.code, stopped.outcome]).toEqual(['lease_lost', 'killed']);
  expect(notices).toEqual([
    { reason: 'budget', force: false, deadline: 100 },
    { reason: 'budget', force: true },
  ]);
});

it('calls onKill again for an earlier deadline only, whatever it hears last', () => {
  const notices: KillNotice[] = [];
  const { tenure: stopped } = tenure((notice) => notices.push(notice));
  for (const deadline of [100, 200, 50, 100, 50]) stopped.stop({ ...ORDER, deadline });
  expect(notices.map(({ deadline }) => deadline)).toEqual([100, 50]);
});

it('calls onKill no more once the owner has ended the session', () => {
  const notices: KillNotice[] = [];
  const { tenure: ended } = tenure((notice) => notices.push(notice));
  ended.stop(ORDER);
  ended.close();
  ended.kill('budget');
  expect(notices).toHaveLength(1);
  expect([ended.outcome, ended.end?.code]).toEqual(['ended', 'lease_lost']);
});

it('lets nothing that onKill throws get in the way', async () => {
  const boom = new Error('mine');
  const thrown = tenure(() => {
    throw boom;
  });
  thrown.tenure.stop(ORDER);
  const rejected = tenure(async () => {
    throw boom;
  });
  rejected.tenure.kill('now');
  await new Promise(setImmediate);
  expect([thrown.errors, rejected.errors]).toEqual([[boom], [boom]]);
  expect([reasonOf(thrown.tenure), reasonOf(rejected.tenure)]).toEqual(['aborted', 'aborted']);
});

it('says closed after the mesh was closed', () => {
  const { tenure: released } = tenure();
  released.release();
  expect([reasonOf(released), released.end?.code]).toEqual(['closed', 'closed']);
  expect(MeshError.is(released.end, 'closed')).toBe(true);
});

it('aborts a signal that is asked for later, with the reason of then', () => {
  const { tenure: stopped } = tenure();
  stopped.stop(ORDER);
  stopped.lose();
  expect(reasonOf(stopped)).toBe('aborted');
  expect(stopped.signal).toBe(stopped.signal);
  const { tenure: lost } = tenure();
  lost.lose();
  expect(lost.signal.reason).toBe(lost.end);
});

it('tells its holder once that it is over, also after an order to stop', () => {
  for (const end of [(one: Tenure) => one.lose(), (one: Tenure) => one.kill('budget'), (one: Tenure) => one.close()]) {
    const { tenure: held } = tenure();
    const told: (Tenure | undefined)[] = [];
    held.holder = { ended: (one) => told.push(one.end && one) };
    held.stop(ORDER);
    expect(told).toEqual([]);
    end(held);
    held.release();
    expect(told).toEqual([held]);
  }
});

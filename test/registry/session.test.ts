import { describe, expect, it } from 'vitest';
import {
  isTerminal,
  type LeaseRecord,
  lastSeenAt,
  type SessionRecord,
  type SessionSnapshot,
  stateOf,
  viewOf,
} from '../../src/registry/session.ts';

const RECORD: SessionRecord = {
  incarnation: 'incarnation_1',
  epoch: 3,
  agent: { name: 'Planner', type: 'Claude' },
  capabilities: ['planning'],
  groups: [],
  status: 'idle',
  metadata: {},
  capacity: 1,
  ttlMs: 1000,
  retentionMs: 5000,
  registeredAt: 100,
  lastActivityAt: 150,
};
const LEASE: LeaseRecord = { value: { incarnation: 'incarnation_1', watch: 'w' }, revision: 7, expiresAt: 1201 };
const ORDER = { root: 'a', reason: 'budget', at: 200, deadline: 900 };

function snapshot(record: Partial<SessionRecord> = {}, rest: Partial<SessionSnapshot> = {}): SessionSnapshot {
  return { id: 'a', record: { ...RECORD, ...record }, revision: 9, lease: LEASE, seenAt: 200, ...rest };
}

describe('the state of a session', () => {
  it('is alive while its lease is there', () => {
    expect(stateOf(snapshot())).toBe('alive');
  });

  it('is offline without a lease, for as long as it is kept', () => {
    expect(stateOf(snapshot({}, { lease: undefined }))).toBe('offline');
  });

  it('is ended once it is no longer kept, whether or not anybody has noticed', () => {
    expect(stateOf(snapshot({}, { lease: undefined, seenAt: undefined }))).toBe('ended');
  });

  it('is stopping under a kill order while the last lease is there, and killed from then on', () => {
    expect(stateOf(snapshot({ stopping: ORDER }))).toBe('stopping');
    expect(stateOf(snapshot({ stopping: ORDER }, { lease: undefined }))).toBe('killed');
  });

  it('does not take the lease of another incarnation for its own', () => {
    const lease = { ...LEASE, value: { ...LEASE.value, incarnation: 'incarnation_2' } };
    expect(stateOf(snapshot({}, { lease }))).toBe('offline');
    expect(stateOf(snapshot({ stopping: ORDER }, { lease }))).toBe('killed');
  });

  it('stays what its end made it, whatever else is stored', () => {
    expect(stateOf(snapshot({ ending: { kind: 'ended', at: 1, lastSeenAt: 1 } }))).toBe('ended');
    expect(stateOf(snapshot({ ending: { kind: 'killed', at: 1, lastSeenAt: 1 } }))).toBe('killed');
  });

  it('is terminal when ended or killed only', () => {
    expect((['alive', 'offline', 'stopping', 'ended', 'killed'] as const).filter(isTerminal)).toEqual(['ended', 'killed']);
  });
});

describe('when a session was seen last', () => {
  it('is what the sighting says while there is one', () => {
    expect(lastSeenAt(snapshot())).toBe(200);
  });

  it('is remembered by the lapse that was told, and by the end', () => {
    expect(lastSeenAt(snapshot({ offlineAt: 180 }, { lease: undefined, seenAt: undefined }))).toBe(180);
    expect(lastSeenAt(snapshot({ ending: { kind: 'ended', at: 190, lastSeenAt: 170 } }))).toBe(170);
  });

  it('is no earlier than what is known to have happened when nobody was there to see it', () => {
    expect(lastSeenAt(snapshot({}, { lease: undefined, seenAt: undefined }))).toBe(150);
  });
});

describe('what a caller sees of a session', () => {
  it('leaves out what there is none of', () => {
    expect(viewOf(snapshot())).toEqual({
      id: 'a',
      agent: { name: 'Planner', type: 'Claude' },
      capabilities: ['planning'],
      groups: [],
      state: 'alive',
      status: 'idle',
      epoch: 3,
      metadata: {},
      capacity: 1,
      ttlMs: 1000,
      registeredAt: 100,
      lastSeenAt: 200,
      lastActivityAt: 150,
    });
  });

  it('has the reason of a kill order from the order on, and its end from the moment it took effect', () => {
    const stopping = viewOf(snapshot({ stopping: ORDER }));
    expect([stopping.state, stopping.reason, stopping.endedAt]).toEqual(['stopping', 'budget', undefined]);
    const killed = viewOf(snapshot({ stopping: ORDER }, { lease: undefined }));
    expect([killed.state, killed.reason, killed.endedAt]).toEqual(['killed', 'budget', 901]);
  });

  it('has what the owner gave to its end', () => {
    const ending = { kind: 'ended', at: 300, lastSeenAt: 250, reason: 'done', result: null } as const;
    expect(viewOf(snapshot({ ending }))).toMatchObject({
      state: 'ended',
      endedAt: 300,
      lastSeenAt: 250,
      reason: 'done',
      result: null,
    });
  });
});

import type { Delivery } from '../../../src/hub/messages/delivery.ts';
import type { Assignment } from '../../../src/hub/tasks/assignment.ts';
import type { KeyRecord } from '../../../src/keys/api-key.ts';
import type { SessionRecord } from '../../../src/registry/session.ts';
import { SessionHandle } from '../../../src/registry/session-handle.ts';
import { InMemoryStorage } from '../../../src/storage/in-memory-storage.ts';
import type { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { Mirror } from './mirror.ts';

/** A key as the ledger knows it. */
export interface KnownKey {
  readonly id: string;
  token: string;
  readonly maxUses?: number | undefined;
  readonly parent?: string | undefined;
  passed: number;
  /** A change of it is under way, or nobody knows what became of it. */
  uncertain: boolean;
  revoked: boolean;
}

/** What was acknowledged, outside of everything that can crash. */
export class Ledger {
  #mirror: Mirror | undefined;
  /** Mailbox and id of every message that was acknowledged. */
  readonly sent: [mailbox: string, id: string][] = [];
  readonly acked = new Map<string, number>();
  /** Until when nobody else may have a delivery, by mailbox and message. */
  readonly held = new Map<string, { until: number; readonly incarnation: string; released: boolean }>();
  readonly deliveries: { readonly delivery: Delivery; readonly by: string; readonly name: string }[] = [];
  readonly assignments: Assignment[] = [];
  readonly tasks = new Set<string>();
  readonly finished = new Map<string, number>();
  readonly counters = new Map<string, { begun: number; done: number }>();
  readonly keys: KnownKey[] = [];
  readonly contexts = new Map<string, { begun: number; done: number }>();
  readonly onceKeys = new Map<string, string>();

  open(clock: VirtualClock): Mirror {
    this.#mirror = new Mirror(new InMemoryStorage({ clock }));
    return this.#mirror;
  }

  get mirror(): Mirror {
    if (!this.#mirror) throw new Error('expected an open storage, got none');
    return this.#mirror;
  }

  session(id: string): SessionRecord | undefined {
    return this.mirror.of('sessions', id)?.value as unknown as SessionRecord | undefined;
  }

  hasLease(id: string): boolean {
    return this.mirror.of('leases', id) !== undefined;
  }

  /** Whether the incarnation of a handle is over for good, by nothing but the records. */
  isOver(handle: SessionHandle): boolean {
    return this.isIncarnationOver(handle.id, SessionHandle.tenureOf(handle).incarnation);
  }

  isIncarnationOver(id: string, incarnation: string | undefined): boolean {
    const record = this.session(id);
    if (!record || record.incarnation !== incarnation || record.ending) return true;
    if (this.hasLease(id)) return false;
    return record.stopping !== undefined || this.mirror.of('sightings', id) === undefined;
  }

  /** Whether a key is good by its records and those on which it depends, whatever its uses. */
  isGood(id: string): boolean {
    const record = this.mirror.of('keys', id)?.value as unknown as KeyRecord | undefined;
    if (!record) return false;
    const chain = [id, ...record.ancestors].map((key) => this.mirror.of('keys', key)?.value as unknown as KeyRecord | undefined);
    const now = this.mirror.raw.now();
    for (const key of chain) {
      if (!key || key.revoked || (key.expiresAt ?? Number.POSITIVE_INFINITY) <= now || (key.notBefore ?? 0) > now) return false;
    }
    return record.session === undefined || !this.isIncarnationOver(record.session, record.incarnation);
  }

  /** Whether it or one that it was derived from was revoked, as was acknowledged. */
  isRevoked(key: KnownKey): boolean {
    if (key.revoked) return true;
    const parent = this.keys.find(({ id }) => id === key.parent);
    return parent !== undefined && this.isRevoked(parent);
  }
}

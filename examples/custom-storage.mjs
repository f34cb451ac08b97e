import {
  checkAddresses,
  checkedCommit,
  checkList,
  compareKeys,
  HintFan,
  keyAfter,
  LIMITS,
  leasedKey,
  MeshError,
  padded,
  stampedKey,
  systemClock,
  unleasedKey,
} from 'session-mesh';

function openArrayStorage({ clock = systemClock } = {}) {
  let partitions = new Map(); // name → its records, frozen and in key order; nothing once closed
  let newest = 0;
  const hints = new HintFan();
  const live = (name, range, now) => within(partitions.get(name) ?? [], range).filter((record) => !(record.expiresAt <= now));
  const find = ({ partition, key }, now) => live(partition, only(key), now)[0];
  const holds = ({ fewerThan, ...check }, now) =>
    fewerThan ? live(check.partition, check, now).length < fewerThan : (find(check, now)?.revision ?? null) === check.revision;
  const assertOpen = () => {
    if (!partitions) throw new MeshError('closed', 'expected an open storage, got a closed one');
  };
  return {
    durability: 'memory',
    clock,
    now: () => clock.now(),
    get(addresses) {
      assertOpen();
      checkAddresses(addresses);
      const now = clock.now();
      return addresses.map((address) => find(address, now));
    },
    list(partition, range = {}) {
      assertOpen();
      checkList(partition, range);
      const records = live(partition, range, clock.now());
      const page = (range.reverse ? records.reverse() : records).slice(0, range.limit ?? LIMITS.page);
      return range.values === false ? page.map((record) => ({ ...record, value: null })) : page;
    },
    commit(commit) {
      assertOpen();
      const { checks, deletes, takes, touches, puts } = checkedCommit(commit);
      const [at, next, copies, changed, taken] = [clock.now(), newest + 1, new Map(), new Set(), []];
      const conflicts = [...checks, ...touches].filter((condition) => !holds(condition, at)).map(nameOf);
      if (conflicts.length > 0) return { committed: false, conflicts };
      // Every step works on copies, which leave out what has expired, so that a conflict leaves no trace.
      const copy = (name) => copies.get(name) ?? copies.set(name, live(name, {}, at)).get(name);
      const replace = (name, range, ...records) => {
        const [from, to] = ends(copy(name), range);
        const removed = copy(name).splice(from, Math.min(to - from, range.limit), ...records.map(Object.freeze));
        if (removed[0]?.revision !== records[0]?.revision) changed.add(name); // A touch keeps the revision: no change.
        return removed;
      };
      for (const entry of deletes) replace(entry.partition, 'key' in entry ? only(entry.key) : entry);
      for (const { from, to, leaseMs, ...range } of takes) {
        for (const record of replace(from, range)) {
          const key = leaseMs === undefined ? unleasedKey(record.key) : leasedKey(record.key, at + leaseMs);
          taken.push({ ...record, partition: to, key, revision: next });
          if (replace(to, only(key), taken.at(-1)).length > 0) conflicts.push({ partition: to, key });
        }
      }
      if (conflicts.length > 0) return { committed: false, conflicts };
      for (const { partition, key, revision, ttlMs } of touches) {
        const [record] = within(copy(partition), only(key));
        if (record?.revision === revision) replace(partition, only(key), { ...record, expiresAt: at + ttlMs });
      }
      for (const [position, { partition, value, ttlMs, ...put }] of puts.entries()) {
        const key = put.stamped ? stampedKey(put.key, padded(next), position) : put.key;
        replace(partition, only(key), { partition, key, value, revision: next, ...(ttlMs && { expiresAt: at + ttlMs }) });
      }
      for (const [name, records] of copies) partitions.set(name, records);
      if (changed.size > 0) newest = next;
      if (changed.size > 0) hints.changed(changed);
      return { committed: true, revision: newest, at, taken };
    },
    watch(listener) {
      assertOpen();
      return hints.add(listener);
    },
    async close() {
      partitions = undefined;
      hints.clear();
    },
  };
}

const only = (key) => ({ start: key, end: keyAfter(key), limit: 1 });
const nameOf = ({ partition, key, start = '' }) => ({ partition, key: key ?? start });
const within = (records, range) => records.slice(...ends(records, range));
const ends = (records, { start = '', end }) => [indexOf(records, start), indexOf(records, end)];
const indexOf = (records, key) => records.filter((record) => key === undefined || compareKeys(record.key, key) < 0).length;

// Whether it is right:

import { storageConformance } from 'session-mesh/testing';

let failed = 0;
for (const { name, run } of storageConformance) {
  try {
    await run(openArrayStorage);
  } catch (error) {
    failed += 1;
    console.error(`FAILED ${name}: ${error.message}`);
  }
}
console.log(`${storageConformance.length - failed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;

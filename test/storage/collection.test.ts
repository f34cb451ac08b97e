import { describe, expect, it } from 'vitest';
import { Collection } from '../../src/storage/collection.ts';
import { Draft } from '../../src/storage/draft.ts';
import { query } from '../../src/storage/query.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { SeededRandom } from '../../src/testing/random.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { storages } from '../support/storages.ts';

interface Agent {
  readonly skills: readonly string[];
  readonly team?: string;
  readonly n: number;
}

function agentsOn(storage: Storage) {
  return new Collection<Agent, 'skill' | 'team'>({
    storage,
    name: 'agents',
    indexes: { skill: (agent) => agent.skills, team: (agent) => agent.team },
  });
}

/** Lets there be this record of an id, or none. */
async function write(storage: Storage, agents: ReturnType<typeof agentsOn>, id: string, next: Agent | undefined): Promise<void> {
  const draft = new Draft();
  const current = await agents.get(id);
  if (current && next) agents.replace(draft, current, next);
  else if (current) agents.remove(draft, current);
  else if (next) agents.create(draft, id, next);
  expect((await storage.commit(draft)).committed).toBe(true);
}

describe.each(storages)('a collection on %s', (_name, open) => {
  it('creates, reads, replaces and removes a record with its index entries', async () => {
    const storage = await open(new VirtualClock());
    const agents = agentsOn(storage);
    const entries = async () =>
      Promise.all(
        [agents.indexPartition('skill', 'go'), agents.indexPartition('skill', 'ts'), agents.indexPartition('team', 'core')].map(
          async (partition) => (await storage.list(partition)).map(({ key }) => key),
        ),
      );
    const draft = new Draft();
    agents.create(draft, 'a', { skills: ['go', 'ts', 'go'], team: 'core', n: 1 });
    await storage.commit(draft);
    expect(await entries()).toEqual([['a'], ['a'], ['a']]);
    await write(storage, agents, 'a', { skills: ['ts'], team: 'core', n: 1 });
    expect(await entries()).toEqual([[], ['a'], ['a']]);
    expect((await agents.get('a'))?.value).toEqual({ skills: ['ts'], team: 'core', n: 1 });
    await write(storage, agents, 'a', undefined);
    expect(await entries()).toEqual([[], [], []]);
    expect(await agents.get('a')).toBeUndefined();
  });

  it('writes only the index entries that change', async () => {
    const storage = await open(new VirtualClock());
    const agents = agentsOn(storage);
    const before = { skills: ['a', 'b', 'c'], team: 'core', n: 1 };
    const draft = new Draft();
    agents.replace(draft, { id: 'x', value: before, revision: 1 }, { ...before, n: 2 });
    expect(draft.puts).toHaveLength(1);
    expect(draft.deletes).toHaveLength(0);
  });

  it('refuses to create what is there and to replace what has changed, with nothing written', async () => {
    const storage = await open(new VirtualClock());
    const agents = agentsOn(storage);
    const commit = async (stage: (draft: Draft) => void) => {
      const draft = new Draft();
      stage(draft);
      return (await storage.commit(draft)).committed;
    };
    expect(await commit((draft) => agents.create(draft, 'a', { skills: ['go'], n: 1 }))).toBe(true);
    expect(await commit((draft) => agents.create(draft, 'a', { skills: ['ts'], n: 2 }))).toBe(false);
    const read = await agents.get('a');
    if (!read) throw new Error('expected a record');
    expect(await commit((draft) => agents.replace(draft, read, { skills: ['ts'], n: 3 }))).toBe(true);
    expect(await commit((draft) => agents.replace(draft, read, { skills: ['go'], n: 4 }))).toBe(false);
    expect(await commit((draft) => agents.remove(draft, read))).toBe(false);
    expect((await agents.get('a'))?.value.n).toBe(3);
    expect(await storage.list(agents.indexPartition('skill', 'go'))).toEqual([]);
  });
});

describe.each(storages)('a query on %s', (_name, open) => {
  const everything = (records: readonly { id: string }[]) => records.map(({ id }) => id);

  async function filled(count: number) {
    const storage = await open(new VirtualClock());
    const agents = agentsOn(storage);
    for (let n = 0; n < count; n++) {
      const skills = [n % 2 ? 'odd' : 'even', ...(n % 5 ? [] : ['five']), ...(n % 50 ? [] : ['rare'])];
      const draft = new Draft();
      agents.create(draft, `a-${String(n).padStart(4, '0')}`, { skills, team: n % 3 ? 'core' : 'edge', n });
      await storage.commit(draft);
    }
    return { storage, agents };
  }

  it('walks all pages in order of the ids, each record once, and says where it ends', async () => {
    const { storage, agents } = await filled(25);
    const seen: string[] = [];
    let after: string | undefined;
    let pages = 0;
    do {
      const page = await query(storage, agents, { select: everything, limit: 10, ...(after === undefined ? {} : { after }) });
      seen.push(...page.items);
      after = page.next;
      pages += 1;
    } while (after !== undefined);
    expect(pages).toBe(3);
    expect(seen).toEqual(Array.from({ length: 25 }, (_, n) => `a-${String(n).padStart(4, '0')}`));
    const exact = await query(storage, agents, { select: everything, limit: 25 });
    expect(exact.items).toHaveLength(25);
    expect('next' in exact).toBe(false);
  });

  it('combines conditions, values of one condition, and what select leaves out', async () => {
    const { storage, agents } = await filled(120);
    const ids = async (where: { index: 'skill' | 'team'; anyOf: string[] }[], keep = (_n: number) => true) =>
      (
        await query(storage, agents, {
          where,
          limit: 1000,
          select: (records) => records.map(({ value }) => (keep(value.n) ? value.n : undefined)),
        })
      ).items;
    const numbers = Array.from({ length: 120 }, (_, n) => n);
    expect(await ids([{ index: 'skill', anyOf: ['rare'] }])).toEqual([0, 50, 100]);
    expect(
      await ids([
        { index: 'skill', anyOf: ['even'] },
        { index: 'skill', anyOf: ['five'] },
        { index: 'team', anyOf: ['core'] },
      ]),
    ).toEqual(numbers.filter((n) => n % 10 === 0 && n % 3));
    expect(await ids([{ index: 'skill', anyOf: ['five', 'odd', 'five'] }])).toEqual(numbers.filter((n) => n % 2 || n % 5 === 0));
    expect(await ids([{ index: 'skill', anyOf: [] }])).toEqual([]);
    expect(await ids([{ index: 'team', anyOf: ['nobody'] }])).toEqual([]);
    expect(await ids([{ index: 'team', anyOf: ['core'] }], (n) => n > 100)).toEqual(numbers.filter((n) => n > 100 && n % 3));
  });

  it('pages through a filter that leaves out most', async () => {
    const { storage, agents } = await filled(600);
    const select = (records: readonly { value: Agent }[]) =>
      records.map(({ value }) => (value.n % 50 === 49 ? value.n : undefined));
    const first = await query(storage, agents, { select, limit: 5 });
    expect(first.items).toEqual([49, 99, 149, 199, 249]);
    const second = await query(storage, agents, { select, limit: 7, ...(first.next ? { after: first.next } : {}) });
    expect(second.items).toEqual([299, 349, 399, 449, 499, 549, 599]);
    expect(second.next).toBeUndefined();
  });

  it('agrees with a plain filter on random records and conditions', async () => {
    const storage = await open(new VirtualClock());
    const agents = agentsOn(storage);
    const random = new SeededRandom(7);
    const skills = ['a', 'b', 'c', 'd', 'é', '😀'];
    const model = new Map<string, Agent>();
    for (let step = 0; step < 400; step++) {
      const id = `x${random.below(60)}`;
      const next = random.chance(0.2)
        ? undefined
        : { skills: skills.filter(() => random.chance(0.4)), team: random.pick(['s', 't']), n: step };
      await write(storage, agents, id, next);
      if (next) model.set(id, next);
      else model.delete(id);
      const where = [
        { index: 'skill' as const, anyOf: skills.filter(() => random.chance(0.3)) },
        { index: 'team' as const, anyOf: ['t'] },
      ].slice(0, 1 + random.below(2));
      const expected = [...model]
        .filter(([, agent]) =>
          where.every(({ index, anyOf }) =>
            (index === 'team' ? [agent.team] : agent.skills).some((s) => anyOf.includes(s as string)),
          ),
        )
        .map(([found]) => found)
        .sort();
      expect((await query(storage, agents, { where, select: everything, limit: 1000 })).items).toEqual(expected);
    }
  });
});

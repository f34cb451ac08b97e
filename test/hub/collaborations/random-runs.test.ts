import { expect, it } from 'vitest';
import type { Collaboration } from '../../../src/hub/collaborations/collaboration.ts';
import type { CollaborationDetails } from '../../../src/hub/collaborations/collaboration-record.ts';
import { createMesh, InMemoryStorage, type Mesh, MeshError } from '../../../src/index.ts';
import { withFaults } from '../../../src/testing/faults.ts';
import { SeededRandom } from '../../../src/testing/random.ts';
import { VirtualClock } from '../../../src/testing/virtual-clock.ts';
import { toldOf } from '../../support/collaborations/team.ts';
import { type Observed, observed, recordsOf } from '../../support/memory/observed.ts';
import { quiet } from '../../support/memory/worlds.ts';
import { Shuffle } from '../../support/registry-kill/storages.ts';

const RUNS = Number(process.env['COLLABORATION_RUNS'] ?? 150);
const FIRST_SEED = Number(process.env['COLLABORATION_SEED'] ?? 1);

const MAX = 4;
const STEPS = [
  { name: 'a' },
  { name: 'b', after: ['a'] },
  { name: 'c', after: ['a'], requires: ['s1', 's2'] },
  { name: 'd', after: ['b', 'c'] },
];
const SESSIONS = ['s0', 's1', 's2', 's3', 's4', 's5'];
/** What an operation may be refused with while others do something else. */
const EXPECTED = ['conflict', 'forbidden', 'not_alive', 'limit_exceeded', 'lease_lost'] as const;

interface Run {
  readonly seen: Observed;
  readonly clock: VirtualClock;
  readonly meshes: readonly Mesh[];
  readonly collaboration: Collaboration;
  /** Context updates that were acknowledged, and endings. */
  readonly updates: number;
  readonly endings: readonly string[];
  /** Steps whose completion was acknowledged. */
  readonly steps: readonly string[];
}

async function run(seed: number): Promise<Run> {
  const random = new SeededRandom(seed);
  const clock = new VirtualClock();
  const seen = observed(new InMemoryStorage({ clock }));
  const faulty = withFaults(seen.storage, { seed, conflictRate: 0.1, ...(seed % 3 === 0 && { unknownRate: 0.1 }) });
  const storage = new Shuffle(seed).over(faulty);
  const errors: unknown[] = [];
  const options = { storage, closeStorage: false, sweepIntervalMs: 100, onError: (error: unknown) => errors.push(error) };
  const meshes = [createMesh(options), createMesh(options), createMesh(options)];
  const at = async <T>(work: Promise<T>): Promise<T> => {
    let isDone = false;
    const done = work.finally(() => {
      isDone = true;
    });
    done.catch(() => {});
    while (!isDone) await clock.advance(1 + random.below(20));
    return done;
  };
  const first = meshes[0] as Mesh;
  const handles = await at(Promise.all(SESSIONS.slice(0, 4).map((id) => quiet(first.registry, id))));
  const timeoutMs = random.chance(0.7) ? 1000 + random.below(500) : undefined;
  const participants = [{ session: 's1' }, { session: 's2' }];
  const given = { id: 'c', initiator: 's0', participants, steps: STEPS, maxParticipants: MAX, timeoutMs, context: { n: 0 } };
  await at(first.hub.createCollaboration(given));
  const collaborations = await at(Promise.all(meshes.map(async ({ hub }) => (await hub.getCollaboration('c')) as Collaboration)));
  let updates = 0;
  const endings: string[] = [];
  const steps: string[] = [];
  const act = async (): Promise<void> => {
    const collaboration = random.pick(collaborations);
    const session = random.pick(SESSIONS);
    const by = random.chance(0.5) ? session : (handles.find(({ id }) => id === session) ?? session);
    const draw = random.next();
    if (draw < 0.2) await collaboration.join({ session: by, role: random.pick(['x', 'y']) });
    else if (draw < 0.3) await collaboration.leave({ session: by });
    else if (draw < 0.6) {
      const { name } = random.pick(STEPS);
      await collaboration.completeStep(name, { by, output: session });
      steps.push(name);
    } else if (draw < 0.92) {
      await collaboration.updateContext<{ n: number }>(({ n }) => ({ n: n + 1 }), random.chance(0.5) ? { by } : {});
      updates += 1;
    } else if (draw < 0.94) {
      await collaboration.complete({ by });
      endings.push('completed');
    } else if (draw < 0.96) {
      await collaboration.terminate({ reason: session });
      endings.push('terminated');
    } else if (draw < 0.98) await first.registry.end(session);
    else await collaboration.get();
  };
  for (let round = 0; round < 6; round++) {
    const acts = Array.from({ length: 8 }, async () => {
      try {
        await act();
      } catch (error) {
        if (!MeshError.is(error, ...EXPECTED) && !(MeshError.is(error, 'not_found') && /session/.test(error.message)))
          throw error;
      }
    });
    await at(Promise.all(acts));
    if (random.chance(0.3)) await clock.advance(random.below(2500));
  }
  faulty.faults.pause();
  await clock.advance(random.below(500));
  expect(errors, `seed ${seed}`).toEqual([]);
  return { seen, clock, meshes, collaboration: collaborations[0] as Collaboration, updates, endings, steps };
}

/** What is wrong with a run, as its records and events say. */
async function faultsOf({ seen, collaboration, updates, endings, steps }: Run): Promise<string[]> {
  const wrong: string[] = [];
  const told = await toldOf(seen.storage);
  const details = await collaboration.get();
  const { n } = await collaboration.context<{ n: number }>();
  if (n !== updates) wrong.push(`${updates} updates of the context, of which ${n} are there`);
  const versions = told.filter(({ name }) => name === 'context_updated').map(({ version }) => version);
  if (String(versions) !== String(versions.map((_, index) => index + 2))) wrong.push(`versions ${versions}`);
  if (versions.length !== updates) wrong.push(`${versions.length} context events of ${updates}`);

  const terminal = told.filter(({ name }) => name === 'collaboration_completed' || name === 'collaboration_terminated');
  if (terminal.length > 1) wrong.push(`${terminal.length} ends`);
  if (terminal.length === 1 && told[told.length - 1] !== terminal[0]) wrong.push('something was told behind the end');
  if (endings.length > 1) wrong.push(`${endings.length} acknowledged ends`);
  if (endings[0] !== undefined && details.state !== endings[0]) wrong.push(`${endings[0]} became ${details.state}`);
  if (terminal[0]?.['timedOut'] && endings.length > 0) wrong.push('timed out and ended');

  const completed = told.filter(({ name }) => name === 'step_completed').map(({ step }) => step);
  if (new Set(completed).size !== completed.length) wrong.push(`a step twice: ${completed}`);
  if (String([...completed].sort()) !== String([...steps].sort())) wrong.push(`steps ${steps}, told ${completed}`);
  completed.forEach((name, index) => {
    const { after = [] } = STEPS.find((step) => step.name === name) ?? {};
    if (!after.every((before) => completed.indexOf(before) < index)) wrong.push(`${name} before ${after}`);
  });
  for (const { name, completedBy } of details.steps) {
    if ((completedBy !== undefined) !== completed.includes(name)) wrong.push(`step ${name} is not as told`);
    if ((await collaboration.output(name)) !== completedBy) wrong.push(`output of ${name} is not that of ${completedBy}`);
  }
  return [...wrong, ...(await membersWrong(seen, details, told))];
}

async function membersWrong(
  { storage, partitions }: Observed,
  details: CollaborationDetails,
  told: readonly Record<string, unknown>[],
): Promise<string[]> {
  const wrong: string[] = [];
  const members = new Set(['s0', 's1', 's2']);
  for (const { name, session } of told) {
    if (name === 'participant_joined') members.add(String(session));
    if (name === 'participant_left' && !members.delete(String(session))) wrong.push(`${session} left without being there`);
    if (members.size > MAX) wrong.push(`${members.size} participants`);
  }
  const now = details.participants.map(({ session }) => session).sort();
  if (String(now) !== String([...members].sort())) wrong.push(`participants ${now}, told ${[...members]}`);
  const indexed: string[] = [];
  for (const partition of partitions) {
    if (!partition.startsWith('collaborations.session=')) continue;
    if ((await recordsOf(storage, partition)).length > 0) indexed.push(partition.slice('collaborations.session='.length));
  }
  if (String(indexed.sort()) !== String(now)) wrong.push(`index ${indexed}, participants ${now}`);
  return wrong;
}

it(`keeps its promises in ${RUNS} random runs of three processes, with conflicts and lost answers`, async () => {
  const ends = { active: 0, completed: 0, terminated: 0, timedOut: 0 };
  for (let seed = FIRST_SEED; seed < FIRST_SEED + RUNS; seed++) {
    const done = await run(seed);
    expect(await faultsOf(done), `seed ${seed}`).toEqual([]);
    const { state, reason } = await done.collaboration.get();
    ends[reason === 'timeout' ? 'timedOut' : state] += 1;
    for (const mesh of done.meshes) await mesh.close();
  }
  // Or the runs would not have tried what they are for.
  for (const [end, times] of Object.entries(ends)) expect(times, end).toBeGreaterThan(RUNS / 50);
});

import * as z from 'zod';
import { MeshError } from '../kernel/errors.ts';
import type { GenerateId } from '../kernel/ids.ts';
import { parse, policy } from '../kernel/inputs.ts';
import { createMesh, type Mesh, type MeshOptions } from '../mesh.ts';
import { InMemoryStorage } from '../storage/in-memory-storage.ts';
import { SeededRandom } from './random.ts';
import { VirtualClock } from './virtual-clock.ts';

/** Options of `createTestMesh`. */
export interface TestMeshOptions extends Omit<MeshOptions, 'generateId'> {
  /** Makes ids the same in every run. Default 1. */
  readonly seed?: number;
}

const ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyz';
const ID_LENGTH = 12;

const isSeed = (value: unknown): value is number => Number.isSafeInteger(value);
const seedPolicy = policy(isSeed, 'a whole number');
/** The rest are the options of a mesh, which looks at them itself. */
const OPTIONS = z.looseObject({ seed: seedPolicy.optional(), generateId: z.undefined().optional() });

/**
 * A mesh for a test: virtual time, ids from a seed, in memory. Move time with `await clock.advance(ms)`. A storage of
 * your own must be on a `VirtualClock` itself, which is then the one you get.
 * @throws MeshError `invalid_input`
 */
export function createTestMesh(options: TestMeshOptions = {}): { mesh: Mesh; clock: VirtualClock } {
  const { seed = 1, storage, ...rest } = parse(OPTIONS, options, 'options') as TestMeshOptions;
  const clock = storage === undefined ? new VirtualClock() : storage?.clock;
  if (!(clock instanceof VirtualClock)) {
    throw new MeshError('invalid_input', 'expected options.storage to be on a VirtualClock, got one that is not', {
      details: { path: 'options.storage' },
    });
  }
  const generateId = seededIds(seed);
  return { mesh: createMesh({ ...rest, storage: storage ?? new InMemoryStorage({ clock }), generateId }), clock };
}

/** Ids that are the same in every run. */
export function seededIds(seed: number): GenerateId {
  const random = new SeededRandom(seed);
  return (prefix) => `${prefix}_${Array.from({ length: ID_LENGTH }, () => ALPHABET[random.below(ALPHABET.length)]).join('')}`;
}

import type { GenerateId } from '../kernel/ids.ts';
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

/**
 * A mesh for a test: virtual time, ids from a seed, in memory. Move time with `await clock.advance(ms)`. A storage of
 * your own must be on a `VirtualClock` itself, which is then the one you get.
 */
export function createTestMesh({ seed = 1, storage, ...options }: TestMeshOptions = {}): { mesh: Mesh; clock: VirtualClock } {
  const clock = storage?.clock instanceof VirtualClock ? storage.clock : new VirtualClock();
  const generateId = seededIds(seed);
  return { mesh: createMesh({ ...options, storage: storage ?? new InMemoryStorage({ clock }), generateId }), clock };
}

/** Ids that are the same in every run. */
export function seededIds(seed: number): GenerateId {
  const random = new SeededRandom(seed);
  return (prefix) => `${prefix}_${Array.from({ length: ID_LENGTH }, () => ALPHABET[random.below(ALPHABET.length)]).join('')}`;
}

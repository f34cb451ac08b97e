export {
  type ConformanceCase,
  type OpenOptions,
  type OpenStorage,
  type PersistenceCase,
  type PersistentStore,
  persistenceConformance,
  storageConformance,
} from './conformance.ts';
export { type EventRecorder, recordEvents } from './event-recorder.ts';
export { type FaultCounts, type FaultOptions, type Faults, type FaultyStorage, withFaults } from './faults.ts';
export { SeededRandom } from './random.ts';
export { type ScriptedAgent, type ScriptedAgentOptions, type ScriptedAnswer, scriptedAgent } from './scripted-agent.ts';
export {
  type Invariant,
  type SimulatedAction,
  type SimulatedProcess,
  type SimulatedWorld,
  type SimulateOptions,
  type SimulationCounts,
  SimulationFailure,
  type SimulationFaults,
  type SimulationReport,
  simulate,
} from './simulate.ts';
export { createTestMesh, type TestMeshOptions } from './test-mesh.ts';
export { VirtualClock, type VirtualClockOptions } from './virtual-clock.ts';

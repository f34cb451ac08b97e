import { callback, parse, policy } from '../kernel/inputs.ts';
import { isMeshEvent, type Mesh, type MeshEvent, type MeshEvents } from '../mesh.ts';
import { meshPolicy } from './mesh-policy.ts';

const eventName = policy(isMeshEvent, 'the name of an event');

/** What `recordEvents` has heard. */
export interface EventRecorder {
  /** Everything heard so far, oldest first. */
  readonly events: readonly MeshEvent[];
  /** The names alone, for exact sequences. */
  readonly names: readonly string[];
  /**
   * Resolves with the first event of this name that fits, also when it has already been heard.
   * @throws MeshError `invalid_input`, and whatever `fits` throws
   */
  waitFor<Name extends keyof MeshEvents & string>(
    name: Name,
    fits?: (event: MeshEvents[Name]) => boolean,
  ): Promise<MeshEvents[Name]>;
  /** Stops to listen. Waits that are open stay open. */
  stop(): void;
}

/**
 * Listens to all events of a mesh from now on.
 * @throws MeshError `invalid_input`
 */
export function recordEvents(mesh: Mesh): EventRecorder {
  parse(meshPolicy, mesh, 'mesh');
  const events: MeshEvent[] = [];
  const waiting = new Set<(event: MeshEvent) => void>();
  const listener = (event: MeshEvent): void => {
    events.push(event);
    for (const wake of [...waiting]) wake(event);
  };
  mesh.on('*', listener);
  return {
    events,
    get names() {
      return events.map(({ name }) => name);
    },
    waitFor<Name extends keyof MeshEvents & string>(name: Name, fits: (event: MeshEvents[Name]) => boolean = () => true) {
      return new Promise<MeshEvents[Name]>((resolve, reject) => {
        parse(eventName, name, 'name');
        parse(callback<(event: MeshEvents[Name]) => boolean>(), fits, 'fits');
        const isIt = (event: MeshEvent): event is MeshEvents[Name] => event.name === name && fits(event as MeshEvents[Name]);
        const heard = events.find(isIt);
        if (heard) return resolve(heard);
        const wake = (event: MeshEvent): void => {
          try {
            if (!isIt(event)) return;
            resolve(event);
          } catch (error) {
            reject(error);
          }
          waiting.delete(wake);
        };
        waiting.add(wake);
      });
    },
    stop: () => void mesh.off('*', listener),
  };
}

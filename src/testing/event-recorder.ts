import type { Mesh, MeshEvent, MeshEvents } from '../mesh.ts';

/** What `recordEvents` has heard. */
export interface EventRecorder {
  /** Everything heard so far, oldest first. */
  readonly events: readonly MeshEvent[];
  /** The names alone, for exact sequences. */
  readonly names: readonly string[];
  /** Resolves with the first event of this name that fits, also when it has already been heard. */
  waitFor<Name extends keyof MeshEvents & string>(
    name: Name,
    fits?: (event: MeshEvents[Name]) => boolean,
  ): Promise<MeshEvents[Name]>;
  /** Stops to listen. Waits that are open stay open. */
  stop(): void;
}

/** Listens to all events of a mesh from now on. */
export function recordEvents(mesh: Mesh): EventRecorder {
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
      const isIt = (event: MeshEvent): event is MeshEvents[Name] => event.name === name && fits(event as MeshEvents[Name]);
      const heard = events.find(isIt);
      if (heard) return Promise.resolve(heard);
      return new Promise<MeshEvents[Name]>((resolve) => {
        const wake = (event: MeshEvent): void => {
          if (!isIt(event)) return;
          waiting.delete(wake);
          resolve(event);
        };
        waiting.add(wake);
      });
    },
    stop: () => void mesh.off('*', listener),
  };
}

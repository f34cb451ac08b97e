/** A number in [0, 1). Only for spreading load in time; ids and secrets come from `ids.ts` and the key manager. */
export type Random = () => number;

export const systemRandom: Random = () => Math.random();

/** Between half of `ms` and `ms`: apart from each other, yet never at once. */
export function jitter(ms: number, random: Random = systemRandom): number {
  return ms / 2 + (ms / 2) * random();
}

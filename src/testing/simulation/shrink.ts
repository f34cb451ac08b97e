import type { Step } from './plan.ts';

/**
 * The fewest steps that this finds by leaving out parts, first large and then small ones, as long as it still `fails`:
 * with the time that passes in them or, where that is what matters, without it.
 */
export async function shrink(
  steps: readonly Step[],
  fails: (steps: readonly Step[]) => Promise<boolean>,
  attempts: number,
): Promise<readonly Step[]> {
  let shortest = steps;
  let left = attempts;
  let size = Math.ceil(steps.length / 2);
  while (size >= 1 && left > 0) {
    let isShorter = false;
    for (let start = 0; start < shortest.length && left > 0; ) {
      const found = await firstThat(fails, candidates(shortest, start, size), left);
      left -= found.tried;
      if (found.candidate) {
        shortest = found.candidate;
        isShorter = true;
      } else start += size;
    }
    if (size === 1 && !isShorter) break;
    size = size === 1 ? 1 : Math.floor(size / 2);
  }
  return shortest;
}

function candidates(steps: readonly Step[], start: number, size: number): (readonly Step[])[] {
  const before = steps.slice(0, start);
  const after = steps.slice(start + size);
  const previous = before[before.length - 1];
  if (!previous) return [after];
  const passMs = steps.slice(start, start + size).reduce((sum, step) => sum + step.passMs, previous.passMs);
  return [
    [...before, ...after],
    [...before.slice(0, -1), { ...previous, passMs }, ...after],
  ];
}

async function firstThat(
  fails: (steps: readonly Step[]) => Promise<boolean>,
  tries: readonly (readonly Step[])[],
  atMost: number,
): Promise<{ readonly tried: number; readonly candidate?: readonly Step[] }> {
  let tried = 0;
  for (const candidate of tries.slice(0, atMost)) {
    tried += 1;
    if (await fails(candidate)) return { tried, candidate };
  }
  return { tried };
}

import { performance } from 'node:perf_hooks';

/** What one round of one side measured, in the unit of its case, with the processor time it took in the same unit. */
/** @typedef {{ value: number, cpu?: number }} Sample */

/** The compiler of the host works beside the program for about so long; until then both sides are slower than they stay. */
const WARM_MS = 4000;

/** Runs `work` once, and says what one of the `count` operations in it took, in microseconds. */
export async function timed(count, work) {
  const cpuBefore = process.cpuUsage();
  const before = performance.now();
  await work();
  const value = ((performance.now() - before) * 1000) / count;
  const { user, system } = process.cpuUsage(cpuBefore);
  return { value, cpu: (user + system) / count };
}

/** Bytes on the heap once everything unreachable is gone. Needs `--expose-gc`. */
export function heapBytes() {
  globalThis.gc();
  globalThis.gc();
  return process.memoryUsage().heapUsed;
}

/**
 * Rounds of both sides in turns, so that whatever else the machine does meets both; who is first changes every round.
 * The ratio is taken inside a round and then its median over the rounds, since neighbours share the machine's mood.
 */
export async function compare({ ours, reference }, { rounds, warmUps }) {
  const began = performance.now();
  for (let round = 0; round < warmUps || performance.now() - began < WARM_MS; round++) {
    await ours();
    await reference();
  }
  const samples = { ours: [], reference: [] };
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? ['ours', 'reference'] : ['reference', 'ours'];
    for (const side of order) {
      // So that neither side clears away what the other has left. Not a full collection: that also throws compiled code
      // away, for which a program of many parts pays in the round that follows, and a loop by hand does not.
      globalThis.gc?.({ type: 'minor' });
      samples[side].push(await (side === 'ours' ? ours : reference)());
    }
  }
  const ratios = samples.ours.map(({ value }, round) => value / samples.reference[round].value);
  return {
    ours: summary(samples.ours),
    reference: summary(samples.reference),
    ratio: { median: median(ratios), low: Math.min(...ratios), high: Math.max(...ratios) },
    rounds,
  };
}

function summary(samples) {
  const cpu = samples.map((sample) => sample.cpu).filter((value) => value !== undefined);
  return { value: median(samples.map(({ value }) => value)), ...(cpu.length > 0 && { cpu: median(cpu) }) };
}

export function median(values) {
  return percentile(values, 50);
}

export function percentile(values, percent) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = ((sorted.length - 1) * percent) / 100;
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return low + (high - low) * (at - Math.floor(at));
}

/** The same numbers in every run: a small generator with a full period, good enough to spread accesses. */
export function seeded(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

import { median, timed } from './measure.mjs';

/** Fills all sizes of one curve, and then measures each operation at each size in turns. */
const [file, name, rounds] = process.argv.slice(2);

const { curves } = await import(file);
const curve = curves.find((candidate) => candidate.name === name);
const filled = [];
for (const size of curve.sizes) {
  console.error(`  ${name}: ${size.toLocaleString('en')}`);
  filled.push(await curve.open(size));
}
const measured = [];
for (const { operation, unit = 'µs', count } of curve.operations) {
  const samples = filled.map(() => []);
  for (let round = -1; round < Number(rounds); round++) {
    for (const [index, one] of filled.entries()) {
      globalThis.gc({ type: 'minor' });
      const own = one.operations[operation];
      const value = own.measure ? await own.measure() : (await timed(count, () => own(count))).value;
      // The first round warms up.
      if (round >= 0) samples[index].push(value);
    }
  }
  measured.push({ operation, unit, values: samples.map(median) });
}
for (const { close } of filled) await close();
process.send(measured, () => process.exit());

import { compare } from './measure.mjs';

/** Measures one case in a process of its own, so that no case meets the heap or the inlined code of another. */
const [file, name, rounds, warmUps] = process.argv.slice(2);

const { cases } = await import(file);
const found = cases.find((candidate) => candidate.name === name);
const sides = await found.open();
if (sides.skipped) {
  await answer({ skipped: sides.skipped });
} else {
  const result = await compare(sides, { rounds: Number(rounds), warmUps: Number(warmUps) });
  await sides.verify();
  const notes = (await sides.notes?.()) ?? [];
  await sides.close();
  await answer({ result, notes });
}
// Peers leave timers and sockets behind.
process.exit();

function answer(message) {
  return new Promise((resolve) => process.send(message, resolve));
}

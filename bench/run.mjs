import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { curvesWith, growthTable } from './lib/growth.mjs';
import { load, machine } from './lib/machine.mjs';
import { measuredBy } from './lib/measured.mjs';
import { installPeers } from './lib/packages.mjs';
import { footnotes, markdown, table } from './lib/report.mjs';

const HELP = `npm run bench -- [words …] [--row 17] [--rounds 9] [--markdown] [--json file] [--list] [--growth]
Measures every case whose file or name has all the words, or of one or several --row of the table in docs/benchmarks.md.
--markdown prints what stands there. --list names what would be measured.
--growth measures how the cost of operations grows with sessions, entries, mailboxes, tasks and processes instead. Nothing fails because of a figure.`;

const { values, positionals: words } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '9' },
    row: { type: 'string', multiple: true, default: [] },
    markdown: { type: 'boolean', default: false },
    json: { type: 'string' },
    list: { type: 'boolean', default: false },
    growth: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

const rounds = Number(values.rounds);
if (values.help || !Number.isInteger(rounds) || rounds < 1) {
  console.log(HELP);
  process.exit(values.help ? 0 : 1);
}

const chosen = values.growth ? await curvesWith(words) : await casesWith(words);
if (values.list) {
  for (const { name } of chosen) console.log(name);
} else if (values.growth) {
  await measureGrowth();
} else {
  installPeers();
  await measureAll();
}

async function measureGrowth() {
  const settings = summary(machine());
  console.error(settings);
  const tables = [];
  for (const [index, curve] of chosen.entries()) {
    console.error(`${index + 1}/${chosen.length} ${curve.name}`);
    const measured = await measuredBy('growth-child.mjs', [curve.url, curve.name, rounds]);
    if (measured) tables.push(growthTable(curve, measured));
  }
  console.log([`${settings} · loadAfter ${load()}\nMedians of ${rounds} rounds.`, ...tables].join('\n\n'));
  if (tables.length < chosen.length) process.exitCode = 1;
}

async function measureAll() {
  const settings = machine();
  console.error(summary(settings));
  const rows = [];
  for (const [index, found] of chosen.entries()) {
    console.error(`${index + 1}/${chosen.length} ${found.name}`);
    const measured = await measuredBy('child.mjs', [found.url, found.name, rounds, found.warmUps ?? 2]);
    const { name, about, first, goal, unit = 'µs', file } = found;
    if (measured) rows.push({ name, about, first, goal, unit, file, ...measured });
  }
  const run = { machine: { ...settings, loadAfter: load() }, rounds, rows };
  if (values.markdown) console.log(markdown(run));
  else {
    console.log(`${summary(run.machine)}\nmedians of ${rounds} interleaved rounds, per operation\n\n${table(rows)}\n`);
    console.log(footnotes(rows));
  }
  if (values.json) writeFileSync(values.json, `${JSON.stringify(run, null, 2)}\n`);
  if (rows.length < chosen.length) process.exitCode = 1;
}

function summary(settings) {
  return Object.entries(settings)
    .map(([name, value]) => `${name} ${value}`)
    .join(' · ');
}

async function casesWith(wanted) {
  const folder = path.join(import.meta.dirname, 'cases');
  const found = [];
  for (const file of readdirSync(folder).sort()) {
    const url = pathToFileURL(path.join(folder, file)).href;
    const { cases } = await import(url);
    found.push(...cases.map((one) => ({ ...one, file, url })));
  }
  return found.filter(({ file, name }) => {
    const text = `${file} ${name}`.toLowerCase();
    const isOfRow = values.row.length === 0 || values.row.some((row) => text.includes(`(row ${row})`));
    return isOfRow && wanted.every((word) => (word.endsWith('.mjs') ? file === word : text.includes(word.toLowerCase())));
  });
}

/** Numbers to three digits, with a unit that keeps them short. */
export function amount(value, unit) {
  if (unit === 'µs' && value >= 1000) return `${digits(value / 1000)} ms`;
  if (unit === 'µs' && value < 1) return `${digits(value * 1000)} ns`;
  return `${digits(value)} ${unit}`;
}

export function digits(value) {
  if (!Number.isFinite(value)) return '–';
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/**
 * What a bound asks for: our rate (at least) or time (at most) as a multiple of the reference, our time so many times
 * faster, or our value itself.
 */
function bound({ rate, time, faster, value }, unit) {
  if (rate !== undefined) return { text: `≥ ${rate}×`, holds: ({ ratio }) => 1 / ratio.median >= rate };
  if (faster !== undefined) return { text: `≥ ${faster}×`, holds: ({ ratio }) => 1 / ratio.median >= faster };
  if (time !== undefined) return { text: `≤ ${time}×`, holds: ({ ratio }) => ratio.median <= time };
  return { text: `≤ ${amount(value, unit)}`, holds: ({ ours }) => ours.value <= value };
}

/** A row is told as a rate where its bounds are rates, and as time or size otherwise. */
function ratioOf({ first, goal, unit, result }) {
  const { median, low, high } = result.ratio;
  const some = first ?? goal ?? (median < 0.1 ? { faster: 1 } : {});
  const inverse = some.rate !== undefined || some.faster !== undefined;
  const told = some.rate !== undefined ? ' rate' : some.faster !== undefined ? ' faster' : unit === 'µs' ? ' time' : '';
  return inverse
    ? { ratio: `${digits(1 / median)}×${told}`, spread: `${digits(1 / high)} … ${digits(1 / low)}` }
    : { ratio: `${digits(median)}×${told}`, spread: `${digits(low)} … ${digits(high)}` };
}

function verdict({ first, goal, unit, result }) {
  if (goal && bound(goal, unit).holds(result)) return 'goal';
  if (first) return bound(first, unit).holds(result) ? 'first' : 'no';
  return goal ? 'no' : '';
}

const HEADS = ['row', 'ours', 'reference', 'ratio', 'first', 'goal', 'met', 'spread', 'cpu ours', 'cpu ref.'];

/** The results as a table in Markdown, which is also how a terminal reads it well. */
export function table(rows) {
  const lines = rows.map((row) => {
    const { name, first, goal, unit, result, skipped } = row;
    const bounds = [first, goal].map((one) => (one ? bound(one, unit).text : ''));
    if (skipped) return [name, '–', '–', skipped, ...bounds, '', '', '', ''];
    const { ratio, spread } = ratioOf(row);
    const cpu = (side) => (side.cpu === undefined ? '' : amount(side.cpu, unit));
    const { ours, reference } = result;
    const values = [amount(ours.value, unit), amount(reference.value, unit)];
    return [name, ...values, ratio, ...bounds, verdict(row), spread, cpu(ours), cpu(reference)];
  });
  const widths = HEADS.map((head, column) => Math.max(head.length, ...lines.map((line) => line[column].length)));
  const print = (cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |`;
  return [print(HEADS), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...lines.map(print)].join('\n');
}

/** What each row compares, and what else its case has to say. */
export function footnotes(rows) {
  return rows.map(({ name, about, notes = [] }) => `- **${name}**: ${[about, ...notes].filter(Boolean).join('. ')}`).join('\n');
}

/** All that a run has to say, with a heading for each file of cases: what stands in docs/benchmarks.md. */
export function markdown({ machine, rounds, rows }) {
  const settings = Object.entries(machine).map(([name, value]) => `| ${name} | ${value} |`);
  const files = [...new Set(rows.map(({ file }) => file))];
  const parts = files.map((file) => {
    const own = rows.filter((row) => row.file === file);
    return `### ${file}\n\n${table(own)}\n\n${footnotes(own)}`;
  });
  return [
    `Medians of ${rounds} interleaved rounds, per operation.`,
    `| setting | value |\n|---|---|\n${settings.join('\n')}`,
    ...parts,
  ]
    .join('\n\n')
    .concat('\n');
}

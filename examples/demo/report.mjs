// The report: what was found in the source tree, who worked on it, what happened, and whether all of it is right.
import { formatSignal, toTree } from 'session-mesh';
import { isGivenBack } from './audit.mjs';
import { timelineOf } from './timeline.mjs';

export function reportOf({ root, plan, overview, figures, topology, conversation, checks, events, files, elapsedMs, crash }) {
  const told = (name) => events.filter((event) => event.name === name);
  const surveyed = told('task_completed').filter(({ step }) => step === 'survey');
  const seconds = elapsedMs / 1000;
  const busy = (surveyed.at(-1).at - told('task_claimed')[0].at) / 1000;
  const sections = [
    [
      '',
      [
        `Survey of ${root}`,
        `${plan.total} files, ${sum(overview.languages, 'lines')} lines, in ${plan.directories.length} directories`,
      ],
    ],
    ['Code', codeLines(overview)],
    ['Who did it', figures.map(({ session, ...own }) => `${session.padEnd(10)} ${wordsOf(own)}`)],
    ['Topology, with everybody', toTree(topology.full).split('\n')],
    ['Topology, at the end', toTree(topology.last).split('\n')],
    ['What happened', timelineOf(events)],
    ['A conversation', conversation.map((message) => formatSignal(message) + (message.body ? ` (${message.body})` : ''))],
    [
      'Figures',
      table([
        ['tasks', told('task_delegated').length + told('task_offered').length],
        ['attempts', told('task_claimed').length],
        ['redelivered', events.filter(isGivenBack).length],
        ['messages', told('message_sent').length],
        ['events', events.length],
        ['missed after', `${(crash.missedAfterMs / 1000).toFixed(1)} s (the killed process)`],
        ['throughput', `${Math.round(surveyed.length / Math.max(busy, 0.001))} files a second while there were files`],
        ['elapsed', `${seconds.toFixed(1)} s`],
      ]),
    ],
    ['Checked against the store and the event log', checks.map(({ what, ok, got }) => (ok ? `✓ ${what}` : `✗ ${what}: ${got}`))],
    ['Files', [`${files.picture} (Mermaid)`, files.events]],
  ];
  const shown = sections.filter(([, lines]) => lines.length > 0);
  return `${shown.map(([title, lines]) => [...(title ? [title, '─'.repeat(title.length)] : []), ...lines].join('\n')).join('\n\n')}\n`;
}

function codeLines({ languages, longest, largest, exporting, imported, alike, todos, problems, secondLook }) {
  const rows = languages.map(({ language, files, lines, bytes, functions }) => [
    language,
    `${files} files`,
    `${lines} lines`,
    `${Math.round(bytes / 1024)} KiB`,
    functions > 0 ? `${functions} functions` : '',
  ]);
  return [
    ...table(rows),
    ...list(
      'longest functions',
      longest.map(({ name, file, line, lines }) => `${name}, ${lines} lines, ${file}:${line}`),
    ),
    ...list(
      'largest files',
      largest.map(({ file, lines }) => `${file}, ${lines} lines`),
    ),
    ...list(
      'most exports',
      exporting.map(({ file, exports }) => `${file}, ${exports}`),
    ),
    ...list(
      'most imported',
      imported.map(({ name, files }) => `${name}, by ${files} files`),
    ),
    ...list(
      'names that look alike',
      alike.map((names) => names.map(({ name, file }) => `${name} (${file})`).join(' and ')),
    ),
    ...list('to do', todos),
    ...list('problems', problems),
    ...list('the reviewer would look again at', secondLook.slice(0, 8)),
  ];
}

function list(title, items) {
  return items.length === 0 ? [] : [`${title}:`, ...items.map((item) => `  ${item}`)];
}

function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)));
  return rows.map((row) =>
    row
      .map((cell, column) => String(cell).padEnd(widths[column]))
      .join('  ')
      .trimEnd(),
  );
}

function wordsOf(figures) {
  return Object.entries(figures)
    .map(([name, value]) => `${value} ${name}`)
    .join(', ');
}

function sum(items, name) {
  return items.reduce((total, item) => total + item[name], 0);
}

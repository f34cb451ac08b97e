// What many findings come to.

const TOP = 5;

/** Plain JSON, as it is stored by the reviewer and printed by the orchestrator. */
export function overviewOf(findings) {
  const byLanguage = new Map();
  for (const { language, lines, bytes, functions = 0 } of findings) {
    const sum = byLanguage.get(language) ?? { language, files: 0, lines: 0, bytes: 0, functions: 0 };
    byLanguage.set(language, {
      language,
      files: sum.files + 1,
      lines: sum.lines + lines,
      bytes: sum.bytes + bytes,
      functions: sum.functions + functions,
    });
  }
  const code = findings.filter(({ longest }) => longest);
  return {
    files: findings.length,
    languages: [...byLanguage.values()].sort((a, b) => b.lines - a.lines),
    longest: top(code, ({ longest }) => longest.lines).map(({ file, longest }) => ({ file, ...longest })),
    largest: top(findings, ({ lines }) => lines).map(({ file, lines }) => ({ file, lines })),
    exporting: top(findings, ({ exports = [] }) => exports.length).map(({ file, exports }) => ({
      file,
      exports: exports.length,
    })),
    imported: topImports(findings),
    alike: namesAlike(findings),
    todos: findings.flatMap(({ file, todos }) => todos.map((line) => `${file}:${line}`)).slice(0, TOP * 2),
    problems: findings.filter(({ problem }) => problem).map(({ file, problem }) => `${file}: ${problem}`),
    secondLook: findings.filter(({ verdict }) => verdict === 'Worth a second look').map(({ file }) => file),
  };
}

function top(findings, measure) {
  const measured = findings.filter((finding) => measure(finding) > 0);
  return measured.sort((a, b) => measure(b) - measure(a) || (a.file < b.file ? -1 : 1)).slice(0, TOP);
}

function topImports(findings) {
  const counts = new Map();
  for (const { imports = [] } of findings) {
    for (const name of imports) if (!name.startsWith('.')) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .slice(0, TOP)
    .map(([name, files]) => ({ name, files }));
}

/** Exported names that differ only in case or in a plural. A constant in capitals beside a type is a habit, no mistake. */
function namesAlike(findings) {
  const places = new Map();
  for (const { file, exports = [] } of findings) {
    for (const name of exports) if (!places.has(name) && !/^[A-Z0-9_]+$/.test(name)) places.set(name, file);
  }
  const byForm = new Map();
  for (const name of places.keys()) {
    const form = name.toLowerCase().replace(/s$/, '');
    byForm.set(form, [...(byForm.get(form) ?? []), name]);
  }
  const alike = [...byForm.values()].filter(
    (names) => names.length > 1 && new Set(names.map((name) => places.get(name))).size > 1,
  );
  return alike.slice(0, TOP * 2).map((names) => names.map((name) => ({ name, file: places.get(name) })));
}

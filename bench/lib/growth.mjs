import { readdirSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { amount, digits } from './report.mjs';

const FOLDER = path.resolve(import.meta.dirname, '..', 'growth');

/** What grows, each a table: the same operation at several sizes, measured in turns. */
export async function curvesWith(words) {
  const found = [];
  for (const file of readdirSync(FOLDER).sort()) {
    const url = pathToFileURL(path.join(FOLDER, file)).href;
    const { curves } = await import(url);
    found.push(...curves.map(({ name, about, sizes }) => ({ url, file, name, about, sizes })));
  }
  return found.filter(({ file, name }) => words.every((word) => `${file} ${name}`.toLowerCase().includes(word.toLowerCase())));
}

/** One table a curve: operations down, sizes across, and how many times longer the last size takes than the first. */
export function growthTable({ name, about, sizes }, measured) {
  const heads = ['operation', ...sizes.map((size) => size.toLocaleString('en')), 'last ÷ first'];
  const lines = measured.map(({ operation, unit, values }) => [
    operation,
    ...values.map((value) => amount(value, unit)),
    `${digits(values.at(-1) / values[0])}×`,
  ]);
  const widths = heads.map((head, column) => Math.max(head.length, ...lines.map((line) => line[column].length)));
  const print = (cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |`;
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`;
  return [`#### ${name}`, '', `${about}.`, '', print(heads), rule, ...lines.map(print)].join('\n');
}

import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { readDocument } from './readme.ts';
import { ROOT } from './source-tree.ts';

it('has a check that runs the README’s test command', () => {
  accessSync(path.join(ROOT, '.ci', 'run'), constants.X_OK);
  const command = /^readonly TEST_COMMAND='(.*)'$/m.exec(readDocument('.ci/run'))?.[1];
  expect(command).toBe('npm ci && npm test');
  expect(readDocument('README.md').split('\n')).toContain(command);
});

it.each(['.ci/run', 'package.json', '.npmrc', 'bench/package.json'])('%s names no host and no place of one machine', (name) => {
  expect(readDocument(name)).not.toMatch(/https?:\/\/|registry\s*=|\/(home|root|Users|work)\//);
});

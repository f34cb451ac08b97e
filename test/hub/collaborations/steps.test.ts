import { describe, expect, it } from 'vitest';
import { checkSteps, progressOf, type Step, withCompleted } from '../../../src/hub/collaborations/steps.ts';
import { MeshError } from '../../../src/kernel/errors.ts';
import { SeededRandom } from '../../../src/testing/random.ts';

function step(name: string, after: readonly string[] = [], requires: readonly string[] = []): Step {
  return { name, after, requires };
}

function done(name: string, after: readonly string[] = []): Step {
  return { ...step(name, after), completedBy: 'dev', completedAt: 1 };
}

function refusalOf(act: () => unknown): { code: string; details: unknown; message: string } {
  try {
    act();
  } catch (error) {
    if (MeshError.is(error)) return { code: error.code, details: error.details, message: error.message };
    throw error;
  }
  throw new Error('expected a refusal, got none');
}

describe('the progress of steps', () => {
  it.each<[string, Step[], string | null, string[], string[], number]>([
    ['of none', [], null, [], [], 0],
    ['at the beginning', [step('a'), step('b', ['a'])], 'a', [], ['b'], 0],
    ['in between', [done('a'), step('b', ['a']), step('c', ['b'])], 'b', ['a'], ['c'], 33],
    ['at two thirds', [done('a'), done('b', ['a']), step('c', ['b'])], 'c', ['a', 'b'], [], 67],
    ['at the end', [done('a'), done('b')], null, ['a', 'b'], [], 100],
    ['when a later one stands first', [step('b', ['a']), step('a')], 'a', [], ['b'], 0],
    ['when two can be worked on', [done('a'), step('c'), step('b', ['a'])], 'c', ['a'], ['b'], 33],
  ])('%s', (_what, steps, current, completed, pending, percent) => {
    expect(progressOf(steps, 'active')).toEqual({ current, completed, pending, percent });
  });

  it('has no current step once nobody can work on one any more', () => {
    const steps = [done('a'), step('b')];
    expect(progressOf(steps, 'terminated')).toEqual({ current: null, completed: ['a'], pending: ['b'], percent: 50 });
    expect(progressOf([], 'terminated').percent).toBe(0);
    expect(progressOf([], 'completed').percent).toBe(100);
  });

  it('says 100 percent only of all', () => {
    const steps = Array.from({ length: 100 }, (_, n) => (n < 99 ? done(`s${n}`) : step(`s${n}`)));
    expect(progressOf(steps, 'active').percent).toBe(99);
  });
});

describe('completing a step', () => {
  const steps = [step('a'), step('b', ['a'], ['dev', 'qa'])];

  it('notes who did it and when', () => {
    expect(withCompleted(steps, 'a', 'lead', 5)).toEqual([{ ...step('a'), completedBy: 'lead', completedAt: 5 }, steps[1]]);
  });

  it('refuses one that is not there, or is not for this one, or comes too early, or is completed', () => {
    expect(refusalOf(() => withCompleted(steps, 'c', 'dev', 5))).toMatchObject({ code: 'not_found', details: { step: 'c' } });
    expect(refusalOf(() => withCompleted(steps, 'b', 'lead', 5))).toMatchObject({
      code: 'forbidden',
      details: { step: 'b', requires: ['dev', 'qa'] },
    });
    expect(refusalOf(() => withCompleted(steps, 'b', 'qa', 5))).toMatchObject({
      code: 'conflict',
      details: { step: 'b', missing: ['a'] },
    });
    expect(refusalOf(() => withCompleted([done('a')], 'a', 'dev', 5))).toMatchObject({
      code: 'conflict',
      details: { step: 'a', completedBy: 'dev' },
    });
  });
});

describe('steps that could never be completed', () => {
  const members = new Set(['lead', 'dev']);

  it.each<[string, Step[], string]>([
    ['two of one name', [step('a'), step('a')], 'options.steps.1.name'],
    ['after one that is not there', [step('a'), step('b', ['c'])], 'options.steps.1.after'],
    ['by somebody who does not take part', [step('a', [], ['dev', 'qa'])], 'options.steps.0.requires'],
    ['after itself', [step('a', ['a'])], 'options.steps'],
    ['in a circle of two', [step('a', ['b']), step('b', ['a'])], 'options.steps'],
    [
      'in a circle of three behind others',
      [step('a'), step('b', ['a', 'd']), step('c', ['b']), step('d', ['c'])],
      'options.steps',
    ],
  ])('are refused: %s', (_what, steps, path) => {
    expect(refusalOf(() => checkSteps(steps, members))).toMatchObject({ code: 'invalid_input', details: { path } });
  });

  it('are told from others, whatever the order', () => {
    checkSteps([step('c', ['a', 'b']), step('b', ['a']), step('a', [], ['lead', 'dev'])], members);
    checkSteps([], members);
    checkSteps([step('__proto__'), step('constructor', ['__proto__'])], members);
  });

  it('are all others: whatever is accepted can be completed, and what is refused cannot', () => {
    const random = new SeededRandom(5);
    let refused = 0;
    for (let round = 0; round < 500; round++) {
      const names = ['a', 'b', 'c', 'd', 'e'].slice(0, 1 + random.below(5));
      let steps = names.map((name) =>
        step(
          name,
          names.filter(() => random.chance(0.2)),
        ),
      );
      let accepted = true;
      try {
        checkSteps(steps, members);
      } catch {
        accepted = false;
        refused += 1;
      }
      for (let current = progressOf(steps, 'active').current; current !== null; current = progressOf(steps, 'active').current) {
        steps = withCompleted(steps, current, 'dev', 1);
      }
      expect(progressOf(steps, 'active').percent === 100, JSON.stringify(steps)).toBe(accepted);
    }
    expect(refused).toBeGreaterThan(50);
    expect(refused).toBeLessThan(450);
  });
});

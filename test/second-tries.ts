import type { Reporter, TestCase } from 'vitest/node';

/** Names, at the end of a run, the tests that failed and then passed: each is a defect of the library or of the test, to be mended. */
export class SecondTries implements Reporter {
  readonly #names: string[] = [];

  onTestCaseResult(test: TestCase): void {
    if (test.diagnostic()?.flaky) this.#names.push(`${test.module.relativeModuleId} > ${test.fullName}`);
  }

  onTestRunEnd(): void {
    for (const name of this.#names) console.log(`PASSED ON THE SECOND TRY ONLY: ${name}`);
  }
}

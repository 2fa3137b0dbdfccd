import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { root } from './child.mjs';

/** The folders of the packages that have unit tests. */
function tested() {
  const folders = [...readdirSync(path.join(root, 'packages')).map((name) => `packages/${name}`), 'bench'];
  return folders.filter((folder) => {
    const manifest = path.join(root, folder, 'package.json');
    return existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).scripts?.test !== undefined;
  });
}

const resultsOf = (folder) => path.join(root, folder, 'test-results.json');

/** Removes what an earlier run reported, so that a run that reports nothing is noticed. */
export function forgetTestResults() {
  for (const folder of tested()) rmSync(resultsOf(folder), { force: true });
}

/**
 * Adds up what vitest reported in each package. A package without a report failed.
 *
 * @returns {{ passed: number, failed: number, skipped: number }}
 */
export function countTestResults() {
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const folder of tested()) {
    const { passed, failed, skipped } = countIn(resultsOf(folder));
    if (passed + failed === 0) sayFailed(folder, 'no test reported anything');
    total.passed += passed;
    total.failed += passed + failed === 0 ? 1 : failed;
    total.skipped += skipped;
  }
  return total;
}

function countIn(file) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  if (!existsSync(file)) return total;
  for (const { name, status, message, assertionResults } of JSON.parse(readFileSync(file, 'utf8')).testResults) {
    const passed = assertionResults.filter((test) => test.status === 'passed').length;
    const rest = assertionResults.length - passed;
    total.passed += passed;
    // A file that does not load has no test, and one whose set-up fails has only tests that did not run.
    if (status === 'passed') {
      total.skipped += rest;
      continue;
    }
    total.failed += Math.max(1, rest);
    const failures = assertionResults.filter((test) => test.status === 'failed');
    const where = path.relative(root, name);
    for (const { fullName, failureMessages } of failures)
      sayFailed(`${where} > ${fullName}`, failureMessages?.[0] ?? '');
    if (failures.length === 0) sayFailed(where, message ?? '');
  }
  return total;
}

/** In a line that `.ci/run` repeats at its end, where somebody who sees only that looks for it. */
export function sayFailed(what, why) {
  console.log(`FAILED: ${what}: ${why.split('\n', 1).join('')}`);
}

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
 * Adds up the verdicts of all packages. A package without one failed.
 *
 * @returns {import('./verdict-reporter.mjs').Verdict}
 */
export function readTestResults() {
  const total = { passed: 0, failed: 0, skipped: 0, failures: [], mishaps: [] };
  for (const folder of tested()) {
    for (const [name, value] of Object.entries(verdictOf(folder))) {
      if (Array.isArray(value)) total[name].push(...value);
      else total[name] += value;
    }
  }
  return total;
}

function verdictOf(folder) {
  const file = resultsOf(folder);
  const verdict = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  if (verdict.passed + verdict.failed > 0) return verdict;
  return { failed: 1, failures: [{ what: folder, why: 'no test reported anything' }] };
}

/** In a line that `.ci/run` repeats at its end, where somebody who sees only that looks for it. */
export function sayFailed(what, why) {
  console.log(`FAILED: ${what}: ${why}`);
}

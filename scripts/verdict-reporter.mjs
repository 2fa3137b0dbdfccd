import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { root } from './child.mjs';

const FRAMES = 4;

/**
 * A reporter for Vitest that writes what `npm test` and `npm run e2e` count into `--outputFile`, as JSON. Vitest's own JSON leaves out what goes
 * wrong outside of every test, and says of a file whose process died that it passed.
 *
 * @typedef {{ what: string, why: string }} Failure
 * @typedef {object} Verdict
 * @property {number} passed
 * @property {number} failed - tests, and errors of theirs outside of every test, such as a rejection that nobody handles
 * @property {number} skipped - tests that say themselves that they are to be skipped
 * @property {Failure[]} failures - what failed: at least one for each file with a test that did not run
 * @property {Failure[]} mishaps - of Vitest itself: a process that it lost, for instance
 */
export default class VerdictReporter {
  #file = '';

  onInit({ config }) {
    this.#file = path.resolve(config.root, config.outputFile);
  }

  onTestRunEnd(modules, errors) {
    const verdict = { passed: 0, failed: 0, skipped: 0, failures: [], mishaps: [] };
    for (const module of modules) judge(module, verdict);
    for (const error of errors) {
      const file = error.VITEST_TEST_PATH;
      const isOfTests = file !== undefined && error.name !== 'EnvironmentTeardownError';
      const what = `${place(file ?? process.cwd())} > ${error.type ?? 'error'} outside of every test`;
      (isOfTests ? verdict.failures : verdict.mishaps).push({ what, why: inOneLine(error) });
      if (isOfTests) verdict.failed += 1;
    }
    writeFileSync(this.#file, JSON.stringify(verdict));
  }
}

function judge(module, verdict) {
  const tests = [...module.children.allTests()];
  const having = (...states) => tests.filter((test) => states.includes(test.result().state));
  const passed = having('passed').length;
  const rest = tests.length - passed;
  verdict.passed += passed;
  if (['passed', 'skipped'].includes(module.state()) && having('failed', 'pending').length === 0) {
    verdict.skipped += rest;
    return;
  }
  // A file that does not load has no test, and one whose set-up fails has only tests that did not run.
  verdict.failed += Math.max(1, rest);
  const where = place(module.moduleId);
  const failures = having('failed').map((test) => ({
    what: `${where} > ${test.fullName}`,
    why: inOneLine(test.result().errors?.[0]),
  }));
  const [error = { name: 'Error', message: 'not all of its tests ran' }] = module.errors();
  verdict.failures.push(...(failures.length > 0 ? failures : [{ what: where, why: inOneLine(error) }]));
}

const place = (file) => path.relative(root, file);

function inOneLine({ name, message, stack, cause } = {}) {
  const because = cause?.message === undefined ? '' : ` (because: ${cause.message})`;
  const frames = (stack ?? '').split('\n').filter((line) => /^\s*at /.test(line));
  return `${name ?? 'thrown'}: ${message}${because} ${frames.slice(0, FRAMES).join('')}`.replaceAll(/\s+/g, ' ');
}

/** `npm test`: everything that needs neither Kubernetes nor a KMS, on this Node and on the others that are supported. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { root, run } from './child.mjs';
import { generatedCodeIsCurrent } from './generated-code.mjs';
import { install } from './install.mjs';
import { forgetTestResults, readTestResults, sayFailed } from './test-results.mjs';

const otherNodes = [22, 24];
const nodeVersions = 'scripts/node-versions';
const nx = path.join(root, 'scripts/nx.mjs');

const total = { passed: 0, failed: 0 };
const summary = [];

/** One step that either passes or fails. */
function step(name, succeeded) {
  total[succeeded ? 'passed' : 'failed'] += 1;
  summary.push(`${name}: ${succeeded ? 'passed' : 'failed'}`);
  if (!succeeded) sayFailed('npm test', name);
}

/** The unit tests of all packages, run by the Node at `node`. */
function unitTests(node, version) {
  const title = `unit tests on Node ${version}`;
  console.log(`\n${title}`);
  let results = runUnitTests(node);
  if (results.mishaps.length > 0 && results.failed === 0) {
    // Every test passed, and Vitest failed: now and then it loses a process that ends while they talk. nx repeats only what did not pass.
    for (const { what, why } of results.mishaps) console.log(`REPEATED: ${title}: ${what}: ${why}`);
    results = runUnitTests(node);
  }
  const { passed, failed, skipped, failures, mishaps } = results;
  for (const { what, why } of [...failures, ...mishaps]) sayFailed(`${title}: ${what}`, why);
  const allFailed = failed + mishaps.length;
  total.passed += passed;
  total.failed += allFailed;
  const notRun = skipped === 0 ? '' : `, ${skipped} skipped`;
  summary.push(`${title}: ${passed} passed, ${allFailed} failed${notRun}`);
}

function runUnitTests(node) {
  forgetTestResults();
  const code = run(node, [nx, 'run-many', '-t', 'test', '--nxBail=false']);
  const results = readTestResults();
  if (code !== 0 && results.failed + results.mishaps.length === 0)
    results.mishaps.push({ what: 'nx', why: `exit code ${code}, and no word why` });
  return results;
}

/** On a Node that npm brings, where it does for this platform. */
function unitTestsOnNode(major) {
  if (process.versions.node.startsWith(`${major}.`)) return;
  const name = `node-${major}-${process.platform}-${process.arch}`;
  const { optionalDependencies } = JSON.parse(readFileSync(path.join(root, nodeVersions, 'package.json'), 'utf8'));
  if (optionalDependencies[name] === undefined) {
    const platform = `${process.platform}-${process.arch}`;
    summary.push(`unit tests on Node ${major}: NOT RUN, there is no package of it for ${platform}`);
    return;
  }
  const node = path.join(root, nodeVersions, 'node_modules', name, 'bin/node');
  if (existsSync(node)) unitTests(node, major);
  else step(`unit tests on Node ${major}: ${name} is installed`, false);
}

function everything() {
  install();
  install(nodeVersions);
  const built = run(process.execPath, [nx, 'run-many', '-t', 'build']) === 0;
  step('build', built);
  if (!built) return;
  step('lint', run('npm', ['run', '--silent', 'lint']) === 0);
  step('generated code is what the .proto files give', generatedCodeIsCurrent());
  step('npm start -- --once', run('npm', ['start', '--', '--once']) === 0);
  unitTests(process.execPath, process.versions.node);
  for (const major of otherNodes) unitTestsOnNode(major);
}

try {
  everything();
} catch (error) {
  console.error(error);
  step('the test run itself', false);
}
console.log(`\n${summary.join('\n')}\n${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 ? 0 : 1;

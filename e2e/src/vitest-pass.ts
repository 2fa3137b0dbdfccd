import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { z } from 'zod';
import { e2eRoot, type Pass } from './groups.js';

/** How many tests did what they should. Whatever did not run failed, unless it says itself that it is to be skipped. */
export interface Verdict {
  readonly passed: number;
  readonly failed: number;
}

const report = z.object({
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      message: z.string().default(''),
      assertionResults: z.array(
        z.object({ status: z.string(), fullName: z.string(), failureMessages: z.array(z.string()).nullish() }),
      ),
    }),
  ),
});

const vitest = path.join(path.dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs');

/** Runs vitest as a child process, its output passed on, and counts. */
export async function runPass(pass: Pass, directory: string): Promise<Verdict> {
  await mkdir(directory);
  const reportPath = path.join(directory, 'report.json');
  const child = spawn(
    process.execPath,
    [
      vitest,
      'run',
      pass.folder,
      `--maxWorkers=${pass.workers}`,
      '--reporter=verbose',
      '--reporter=json',
      `--outputFile.json=${reportPath}`,
    ],
    {
      cwd: e2eRoot,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, SEALWAX_E2E_KUBERNETES: pass.kubernetes, SEALWAX_E2E_DIRECTORY: directory },
    },
  );
  const abandon = (signal: NodeJS.Signals): void => {
    child.kill(signal);
    process.exit(1);
  };
  process.on('SIGTERM', abandon).on('SIGINT', abandon);
  const [code] = (await once(child, 'exit')) as [number | null];
  process.off('SIGTERM', abandon).off('SIGINT', abandon);
  const counted = await countFrom(reportPath);
  if (code === 0 || counted.failed > 0) return counted;
  // An error outside of every test, such as an unhandled rejection, is in the exit code only.
  sayFailed(pass.folder, `an error outside of every test, exit code ${String(code)}`);
  return { ...counted, failed: 1 };
}

/** In a line that `.ci/run` repeats at its end, where somebody who sees only that looks for it. */
export function sayFailed(what: string, why: string): void {
  console.log(`FAILED: ${what}: ${why.split('\n', 1).join('')}`);
}

async function countFrom(reportPath: string): Promise<Verdict> {
  let text: string;
  try {
    text = await readFile(reportPath, 'utf8');
  } catch {
    sayFailed(reportPath, 'vitest wrote no report');
    return { passed: 0, failed: 1 };
  }
  let passed = 0;
  let failed = 0;
  for (const file of report.parse(JSON.parse(text)).testResults) {
    const good = file.assertionResults.filter((test) => test.status === 'passed').length;
    passed += good;
    // A file that does not load has no test; one whose preparation fails has only tests that did not run.
    if (file.status === 'passed') continue;
    failed += Math.max(1, file.assertionResults.length - good);
    const name = path.relative(e2eRoot, file.name);
    const failures = file.assertionResults.filter((test) => test.status === 'failed');
    for (const { fullName, failureMessages } of failures)
      sayFailed(`${name} > ${fullName}`, failureMessages?.[0] ?? '');
    if (failures.length === 0) sayFailed(name, file.message);
  }
  return passed + failed === 0 ? { passed, failed: 1 } : { passed, failed };
}

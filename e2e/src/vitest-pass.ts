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

const failure = z.object({ what: z.string(), why: z.string() });

/** As scripts/verdict-reporter.mjs writes it. */
const report = z.object({
  passed: z.number(),
  failed: z.number(),
  failures: z.array(failure),
  mishaps: z.array(failure),
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
      '--reporter=../scripts/verdict-reporter.mjs',
      `--outputFile=${reportPath}`,
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
  const { passed, failed, failures } = await readReport(reportPath);
  if (code !== 0 && failures.length === 0) {
    failures.push({ what: pass.folder, why: `vitest ended with exit code ${String(code)}, and no word why` });
  }
  for (const { what, why } of failures) sayFailed(what, why);
  return { passed, failed: Math.max(failed, failures.length) };
}

/** In a line that `.ci/run` repeats at its end, where somebody who sees only that looks for it. */
export function sayFailed(what: string, why: string): void {
  console.log(`FAILED: ${what}: ${why}`);
}

async function readReport(reportPath: string): Promise<Verdict & { failures: z.infer<typeof failure>[] }> {
  let text: string;
  try {
    text = await readFile(reportPath, 'utf8');
  } catch {
    return { passed: 0, failed: 1, failures: [{ what: reportPath, why: 'vitest wrote no report' }] };
  }
  const { passed, failed, failures, mishaps } = report.parse(JSON.parse(text));
  if (passed + failed === 0) failures.push({ what: reportPath, why: 'no test ran' });
  return { passed, failed: failed + mishaps.length, failures: [...failures, ...mishaps] };
}

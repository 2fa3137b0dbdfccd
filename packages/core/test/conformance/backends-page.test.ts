import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';
import { conformanceCases } from '../../src/conformance/index.js';
import { toJavaScript } from './to-javascript.js';

const run = promisify(execFile);
const root = path.resolve(import.meta.dirname, '../../../..');
const TIMEOUT_MS = 180_000;

/** The files that docs/backends.md shows, in a folder of their own, with the service that it supposes. */
const folder = await mkdtemp(path.join(tmpdir(), 'sealwax-backend-acme-'));
afterAll(() => rm(folder, { recursive: true, force: true }));
const page = await readFile(path.join(root, 'docs/backends.md'), 'utf8');
for (const [, name, content] of page.matchAll(/^```\w+ file=(\S+)\n(.*?)^```$/gms)) {
  const file = path.join(folder, name!);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, content!);
}
await symlink(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
const service = await readFile(path.join(import.meta.dirname, 'acme-service.ts'), 'utf8');
await writeFile(path.join(folder, 'test/service.js'), toJavaScript(service));

/** Without what this runner tells its own children. */
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(VITEST|NODE_TEST)/.test(name)));
const within = (command: string, args: readonly string[]) => run(command, args, { cwd: folder, env });
const bin = (name: string) => path.join(folder, 'node_modules/.bin', name);

test('the backend of the page compiles under its own tsconfig', { timeout: TIMEOUT_MS }, async () => {
  await within(bin('tsc'), []);
});

test('it passes the kit as the page runs it with node:test', { timeout: TIMEOUT_MS }, async () => {
  const { stdout } = await within(process.execPath, ['--test', '--test-reporter=tap', 'test/conformance.node.js']);
  expect(stdout).toMatch(/^# fail 0$/m);
  expect(stdout).toMatch(new RegExp(`^# tests ${await numberOfCases()}$`, 'm'));
  // One text in its harness, one case skipped for it.
  expect(stdout).toMatch(/^# skipped 1$/m);
});

test('it passes the kit as the page runs it with Vitest', { timeout: TIMEOUT_MS }, async () => {
  const { stdout } = await within(bin('vitest'), ['run', '--root', folder, '--reporter=json']);
  const { numFailedTests, numPassedTests } = JSON.parse(stdout.slice(stdout.indexOf('{'))) as Record<string, number>;
  expect(numFailedTests).toBe(0);
  expect(numPassedTests).toBe((await numberOfCases()) - 1);
});

async function numberOfCases(): Promise<number> {
  const { startHarness } = (await import(path.join(folder, 'test/harness.js'))) as {
    readonly startHarness: () => Promise<{
      readonly harness: Parameters<typeof conformanceCases>[0];
      readonly stop: () => Promise<void>;
    }>;
  };
  const { harness, stop } = await startHarness();
  await stop();
  return conformanceCases(harness).length;
}

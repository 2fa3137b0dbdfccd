import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { conformanceCases as ConformanceCases } from '@sealwax/core/conformance';
import { afterAll, test } from 'vitest';
import { startHttpKms } from '../../src/http-kms/http-kms-harness.js';
import { installedPackages } from '../../src/packed-packages.js';
import { testDirectory } from '../../src/test-directory.js';

// The kit as a vendor has it, from the tarball; and before the tests are collected, as it says which there are.
const { directory } = await installedPackages();
const kit = pathToFileURL(path.join(directory, 'node_modules/@sealwax/core/dist/conformance/index.js')).href;
const { conformanceCases } = (await import(kit)) as { conformanceCases: typeof ConformanceCases };
const harness = await startHttpKms(await testDirectory('conformance'));
afterAll(() => harness.stop());

for (const { name, skip, run } of conformanceCases(harness)) {
  if (skip !== undefined) throw new Error(`the http kms can do everything, and yet "${name}" is skipped: ${skip}`);
  test(name, { timeout: 120_000 }, run);
}
